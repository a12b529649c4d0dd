"""Each protocol against cases of its paper that can be worked out by hand, and what it promises of staleness and of time."""

import math

import numpy as np
import pytest

import simsgd as sg
from simsgd import faults, networks, protocols, times
from simsgd.tape.schema import REASONS


def constant(*seconds):
    """A cluster with a worker for each job time (seconds), and messages that take none."""
    return sg.Cluster(len(seconds), times.PerWorker([times.Constant(value) for value in seconds]))


def events(tape):
    """(moment, worker, version read, weight, whether it ends a step) of each gradient used."""
    columns = (tape.time, tape.worker, tape.read, tape.weight, tape.step.astype(int))
    return list(zip(*(column.tolist() for column in columns), strict=True))


# --- by hand -------------------------------------------------------------------------------------------------------------


def test_k_batch_sync_cancels_at_the_step_and_hands_the_same_version_out_before():
    """Jobs of 1 and 1.6 s, K = 3: gradients at 1, 1.6 and 2, where worker 1's second job, begun at 1.6, is cancelled."""
    tape = sg.record(protocols.KBatchSyncSGD(3), constant(1.0, 1.6), sg.Updates(2))
    third = 1 / 3
    assert events(tape)[:3] == [(1.0, 0, 0, third, 0), (1.6, 1, 0, third, 0), (2.0, 0, 0, third, 1)]
    assert tape.update_times.tolist() == [2.0, 4.0]
    assert (tape.discarded.worker.tolist(), tape.discarded.assigned.tolist()) == ([1, 1], [1.6, 3.6])
    assert tape.discarded.time.tolist() == [2.0, 4.0]


def test_k_async_waits_for_different_workers_and_cancels_nothing():
    """Jobs of 1, 2 and 5 s, K = 2: worker 0 waits from 1 to 2; at 5 worker 2 comes with a gradient two versions old."""
    tape = sg.record(protocols.KAsyncSGD(2), constant(1.0, 2.0, 5.0), sg.Updates(3))
    assert [event[:3] for event in events(tape)] == [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1), (5, 2, 0), (5, 0, 2)]
    assert tape.update_times.tolist() == [2.0, 4.0, 5.0]
    assert set(tape.weight.tolist()) == {0.5}
    assert len(tape.discarded) == 0


def test_stale_synchronous_steps_when_somebody_reads():
    """Jobs of 1 and 4 s, s = 1: worker 0 may begin its jobs 0 and 1 at once, 2 when the other has done one, at 4."""
    tape = sg.record(protocols.StaleSynchronousSGD(1), constant(1.0, 4.0), sg.Updates(3))
    assert events(tape) == [
        (1.0, 0, 0, 0.5, 1),  # worker 0 goes on at once, so the model is stepped
        (2.0, 0, 1, 0.5, 0),  # it has to wait, so nobody reads
        (4.0, 1, 0, 0.5, 1),  # both go on: one step with both gradients
        (5.0, 0, 2, 0.5, 0),
        (8.0, 1, 2, 0.5, 1),
    ]


def test_a_slow_worker_caps_the_others_for_every_finite_bound():
    """Jobs of 1 and 10 s: in 1000 s the slow one does 100, and the fast one at most s + 1 more, if s lets it wait at all."""
    for bound in (0, 1, 3, 50):
        tape = sg.record(protocols.StaleSynchronousSGD(bound), constant(1.0, 10.0), sg.Seconds(1000))
        counts = np.bincount(tape.worker, minlength=2)
        assert counts.tolist() == [100 + bound, 100]  # what it begins at 1000 s is not done


def test_ringmaster_s_stops():
    """Jobs of 1 and 10 s, R = 3: at the third step worker 1's job is three versions old, and begins anew; so at each third."""
    tape = sg.record(protocols.RingmasterASGD(3, stops=True), constant(1.0, 10.0), sg.Updates(9))
    assert set(tape.worker.tolist()) == {0}
    assert tape.discarded.time.tolist() == [3.0, 6.0, 9.0]
    assert tape.in_flight.read.tolist() == [9, 9]
    lenient = sg.record(protocols.RingmasterASGD(3), constant(1.0, 10.0), sg.Updates(19))
    assert lenient.discarded.time.tolist() == [10.0]  # computed to its end, and ignored


@pytest.mark.parametrize("seed", range(3))
def test_ringmaster_stops_a_job_when_its_delay_reaches_the_threshold(seed):
    """With crashes, too: after a return a worker's job is as old as the model that it was then handed."""
    crashes = faults.Crashes(between=times.Exponential(5.0), lasting=times.Exponential(1.0))
    cluster = sg.Cluster(6, times.Lognormal(1.0, 2.0), networks.Link(0.05), faults=[crashes])
    tape = sg.record(protocols.RingmasterASGD(4, stops=True), cluster, sg.Updates(500), seed=seed)
    stopped = tape.discarded.reason == REASONS.index("cancelled")
    assert stopped.sum() > 50
    assert set((tape.discarded.version - tape.discarded.read)[stopped].tolist()) == {4}
    assert set(tape.discarded.reason.tolist()) == {REASONS.index("cancelled"), REASONS.index("crash")}
    assert tape.staleness.max() == 3
    assert (tape.updates - tape.in_flight.read).max() <= 3


def test_mind_flayer_gives_trials_up():
    """Jobs of 1 and 9 s, two trials of 1.5 s: worker 0 is done at 2, worker 1 gives up at 1.5 and 3, where the step is made."""
    tape = sg.record(protocols.MindFlayerSGD(limit=1.5, trials=2), constant(1.0, 9.0), sg.Updates(2))
    assert events(tape) == [(1.0, 0, 0, 0.5, 0), (2.0, 0, 0, 0.5, 1), (4.0, 0, 1, 0.5, 0), (5.0, 0, 1, 0.5, 1)]
    assert tape.update_times.tolist() == [3.0, 6.0]
    assert tape.discarded.time.tolist() == [1.5, 3.0, 4.5, 6.0]


def test_mind_flayer_with_limits_and_trials_for_each_and_the_sum_of_the_paper():
    """Jobs of 1 and 2 s, limits 3 and 1.5, trials 1 and 3: p = (1, 0), so B = Σ p_i·B_i = 1; here divided by 4 to see it."""
    method = protocols.MindFlayerSGD(limit=(3.0, 1.5), trials=(1, 3), expected=4.0)
    tape = sg.record(method, constant(1.0, 2.0), sg.Updates(1))
    assert events(tape) == [(1.0, 0, 0, 0.25, 1)]
    assert tape.discarded.time.tolist() == [1.5, 3.0, 4.5]
    assert tape.update_times.tolist() == [4.5]


def test_mind_flayer_s_trials_take_what_they_should():
    """Exponential jobs, limit t: a trial is in time with p = 1 − e^(−t), takes E[min(X, t)] = p, and at most t."""
    limit, rounds = 0.7, 4_000
    tape = sg.record(
        protocols.MindFlayerSGD(limit, trials=3), sg.Cluster(1, times.Exponential(1.0)), sg.Updates(rounds), seed=1
    )
    p, trials = 1 - math.exp(-limit), len(tape) + len(tape.discarded)
    assert len(tape) / trials == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / trials))
    second_moment = 2 * (1 - (1 + limit) * math.exp(-limit))  # E[min(X, t)²]
    assert tape.end / trials == pytest.approx(p, abs=5 * math.sqrt((second_moment - p**2) / trials))
    np.testing.assert_allclose(tape.discarded.time - tape.discarded.assigned, limit, rtol=1e-9)
    assert (tape.arrived - tape.assigned).max() <= limit
    assert trials >= 3 * rounds  # those of rounds in which no trial was in time, which make no step, on top


def test_mind_flayer_gives_each_trial_up_at_its_own_limit():
    """Limits that no float hits exactly, different for each worker: none is given up late, and none goes on."""
    limits = (0.1, 0.3, 0.7, 1.1)
    method = protocols.MindFlayerSGD(limit=limits, trials=3)
    tape = sg.record(method, sg.Cluster(4, times.Exponential(1.0)), sg.Updates(500))
    given_up = tape.discarded
    assert len(given_up) > 1000
    np.testing.assert_allclose(given_up.time - given_up.assigned, np.array(limits)[given_up.worker], atol=1e-9)
    assert (tape.arrived - tape.assigned < np.array(limits)[tape.worker]).all()
    assert (len(tape) + len(given_up)) % (4 * 3) == 0  # whole rounds of three trials for each


def test_malenia_s_harmonic_condition():
    """Jobs of 1 and 2 s, S = 8: 1/B_0 + 1/B_1 ≤ n²/S = 1/2, at 6 s with 1/6 + 1/3.

    Worker 1's job of the old version, begun at 6 s, is ignored at 8; so the next step is at 14 s, with 1/7 + 1/3.
    """
    tape = sg.record(protocols.MaleniaSGD(8), constant(1.0, 2.0), sg.Updates(2))
    assert tape.update_times.tolist() == [6.0, 14.0]
    assert np.bincount(tape.worker[:9]).tolist() == [6, 3]
    assert np.bincount(tape.worker[9:]).tolist() == [7, 3]
    np.testing.assert_allclose(tape.weight[:9], np.where(tape.worker[:9] == 0, 1 / 12, 1 / 6))
    assert tape.discarded.time.tolist() == [8.0]


@pytest.mark.parametrize("wanted", [1, 5, 12, 40])
def test_malenia_steps_as_soon_as_it_may_and_counts_all_workers_alike(wanted):
    n, updates = 5, 60
    law = times.Speeds(times.Lognormal(1.0, 1.0), (1.0, 1.0, 0.2, 5.0, 1.0))
    tape = sg.record(protocols.MaleniaSGD(wanted), sg.Cluster(n, law), sg.Updates(updates), seed=wanted)
    assert not tape.staleness.any()
    ends = np.flatnonzero(tape.step) + 1
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        given = np.bincount(tape.worker[start:end], minlength=n)
        one_less = given - np.eye(n)[tape.worker[end - 1]]
        assert n * n / wanted >= (1 / given).sum() * (1 - 1e-9)
        assert not one_less.all() or n * n / wanted < (1 / one_less).sum()
        np.testing.assert_allclose(np.bincount(tape.worker[start:end], tape.weight[start:end]), 1 / n)


def test_bounded_concurrency_in_turn():
    """Two jobs of a second in flight among three workers: 0 and 1, then whoever has been idle for longest."""
    tape = sg.record(protocols.BoundedAsyncSGD(2, choose="in turn"), sg.Cluster(3, times.Constant(1.0)), sg.Updates(7))
    assert tape.worker.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert tape.time.tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0]
    assert tape.staleness.tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_bounded_concurrency_at_random_is_fair_to_the_idle():
    """Whoever is idle is as likely as any other, so with alike workers all get the same share, of a mean 1/n."""
    n, updates = 6, 12_000
    tape = sg.record(protocols.BoundedAsyncSGD(2), sg.Cluster(n, times.Constant(1.0)), sg.Updates(updates), seed=1)
    share = np.bincount(tape.worker, minlength=n) / updates
    np.testing.assert_allclose(share, 1 / n, atol=5 * math.sqrt(1 / n * (1 - 1 / n) / updates))
    again = sg.record(protocols.BoundedAsyncSGD(2), sg.Cluster(n, times.Constant(1.0)), sg.Updates(updates), seed=1)
    assert again == tape


def test_a_crashed_worker_gives_its_place_to_another():
    """One job of a second in flight among two workers; worker 0 is down from 2.5 s to 10 s, in its second job."""
    crash = faults.Crash(worker=0, at=2.5, back=10.0)
    cluster = sg.Cluster(2, times.Constant(1.0), faults=[crash])
    tape = sg.record(protocols.BoundedAsyncSGD(1, choose="in turn"), cluster, sg.Seconds(13))
    assert tape.worker.tolist() == [0, 1] + [1] * 8 + [0, 1]
    assert tape.time.tolist() == [1.0, 2.0, *np.arange(3.5, 11), 11.5, 12.5]


def test_first_m_takes_the_time_of_the_slowest_of_them():
    """h_(m) a step, for each m, and min over m of h_(m)·(1 + s/m) seconds to the target for s = 10: m = 2 of 1, 1.2, 4, 9."""
    seconds, s = (1.0, 1.2, 4.0, 9.0), 10.0
    steps = [sg.record(protocols.FirstMSGD(m), constant(*seconds), sg.Updates(10)).end / 10 for m in range(1, len(seconds) + 1)]
    assert steps == pytest.approx(seconds)
    total = [h * (1 + s / m) for m, h in enumerate(steps, 1)]
    assert int(np.argmin(total)) + 1 == 2
    assert total[1] == pytest.approx(7.2)


def test_first_m_by_number_leaves_the_others_without_a_job():
    tape = sg.record(protocols.FirstMSGD((2, 0)), constant(1.0, 0.1, 2.0), sg.Updates(3))
    assert tape.worker.tolist() == [0, 2] * 3
    assert tape.update_times.tolist() == [2.0, 4.0, 6.0]
    assert tape.in_flight.worker.tolist() == [0, 2]


def test_rescaled_weights():
    """Jobs of 1 and 10 s: v = h_i·(1/n)·(1/1 + 1/10) = 0.55 and 5.5, so in ten seconds both move the model by 5.5."""
    known = sg.record(protocols.RescaledASGD(seconds=(1.0, 10.0)), constant(1.0, 10.0), sg.Seconds(100.5))
    moved = np.bincount(known.worker, known.weight)
    np.testing.assert_allclose(known.weight[:11], [0.55] * 9 + [5.5, 0.55])
    np.testing.assert_allclose(moved, 55.0)
    counted = sg.record(protocols.RescaledASGD(), constant(1.0, 10.0), sg.Seconds(10_000.5))
    assert counted.weight[:11].tolist() == [0.5] * 9 + [10 / 2, 11 / 20]
    np.testing.assert_allclose(np.bincount(counted.worker, counted.weight) / 5500, 1.0, rtol=0.01)  # off by the start only


def test_ringleader_has_two_phases():
    """Jobs of 1 and 2.5 s. Steps: at 2.5, when worker 1 is in the table; at 3 with worker 0's next; at 5 and 5 again."""
    tape = sg.record(protocols.RingleaderASGD(), constant(1.0, 2.5), sg.Updates(4))
    assert events(tape) == [
        (1.0, 0, 0, 0.0, 0),
        (2.0, 0, 0, 0.0, 0),
        (2.5, 1, 0, 1.0, 1),  # all are in the table
        (3.0, 0, 0, 1.0, 1),  # worker 0's step ends the round
        (4.0, 0, 2, 0.0, 0),
        (5.0, 1, 1, 1.0, 1),
        (5.0, 0, 2, 1.0, 1),
    ]


def test_ringleader_keeps_what_fast_workers_compute_after_their_step():
    """Jobs of 1, 3 and 3 s: worker 0 steps at 4, and what it delivers before the round ends at 6 is for the next round.

    Round 0: 1, 2 (worker 0), 3 (worker 1), 3 (worker 2: step), 3 (worker 0: step), then 4 and 5 (worker 0, kept), 6 (worker 1:
    step). Round 1 begins with worker 0 in the table and waits for 1 and 2.
    """
    tape = sg.record(protocols.RingleaderASGD(), constant(1.0, 3.0, 3.0), sg.Updates(4))
    assert [(time, worker, int(weight)) for time, worker, _, weight, _ in events(tape)] == [
        *[(1.0, 0, 0), (2.0, 0, 0), (3.0, 1, 0), (3.0, 2, 1), (3.0, 0, 1)],
        *[(4.0, 0, 0), (5.0, 0, 0), (6.0, 1, 1)],
        *[(6.0, 2, 0), (6.0, 0, 0), (7.0, 0, 0), (8.0, 0, 0), (9.0, 1, 1)],
    ]


@pytest.mark.parametrize("seed", range(3))
def test_ringleader_s_rounds(seed):
    """Each worker steps once a round; staleness ≤ 2n − 2; the round that a message is for is that of the version it read."""
    n = 6
    law = times.Speeds(times.Lognormal(1.0, 1.0), (1.0, 1.0, 0.2, 5.0, 1.0, 0.05))
    tape = sg.record(protocols.RingleaderASGD(), sg.Cluster(n, law), sg.Updates(50 * n), seed=seed)
    rounds = tape.worker[tape.step].reshape(-1, n)
    np.testing.assert_array_equal(np.sort(rounds), np.tile(np.arange(n), (50, 1)))
    assert tape.staleness.max() <= 2 * n - 2
    np.testing.assert_array_equal(tape.weight, tape.step.astype(float))
    current, own = tape.version // n, -(-tape.read // n)
    assert set((own - current).tolist()) == {0, 1}
    first_phase = tape.version % n == 0
    np.testing.assert_array_equal(tape.step[~first_phase], (own == current)[~first_phase])
    assert len(tape.discarded) == 0


def test_rennala_s_first_batch_for_unequal_workers():
    """The smallest t with Σ ⌊t/√i⌋ ≥ B: for 100 workers and B = 100 it is √68; K-batch-sync takes as long for every batch."""
    cluster = constant(*np.sqrt(np.arange(1, 101)))
    assert sg.record(protocols.RennalaSGD(100), cluster, sg.Updates(1)).end == pytest.approx(8.246, abs=5e-4)
    every = sg.record(protocols.KBatchSyncSGD(100), cluster, sg.Updates(5)).update_times
    np.testing.assert_allclose(every, math.sqrt(68) * np.arange(1, 6), rtol=1e-12)


def test_rennala_s_first_batch_for_a_thousand_workers():
    cluster = constant(*np.sqrt(np.arange(1, 1001)))
    assert sg.record(protocols.RennalaSGD(5000), cluster, sg.Updates(1)).end == pytest.approx(89.045, abs=5e-4)


# --- staleness -----------------------------------------------------------------------------------------------------------

LAWS = {
    "exponential": times.Exponential(1.0),
    "constant": times.Constant(1.0),
    "stragglers": times.Speeds(times.Gamma(1.0, 0.6), (1.0, 0.1, 3.0, 1.0, 1.0, 0.5, 2.0)),
    "heavy tail": times.Pareto(0.3, 1.5),
}
N, K = 7, 3
WAITING_JOBS = {  # how many jobs are in flight at each step: each of them is one version older then
    "K-batch-async": (protocols.KBatchAsyncSGD(K), N - 1, K),
    "K-async": (protocols.KAsyncSGD(K), N - K, K),
    "bounded": (protocols.BoundedAsyncSGD(K), K - 1, 1),
    "bounded in turn": (protocols.BoundedAsyncSGD(K, choose="in turn"), K - 1, 1),
    "rescaled": (protocols.RescaledASGD(), N - 1, 1),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "network", [networks.Link(), networks.ParameterServer(networks.Link(0.02, 1e4))], ids=["free", "queue"]
)
@pytest.mark.parametrize("method", WAITING_JOBS)
def test_staleness_is_conserved(method, network, law):
    """Σ τ(used) + Σ τ(in flight) is the number of jobs in flight at a step, times the steps, as integers.

    So the mean tends to (n − 1)/K for K-batch-async, (n − K)/K for K-async, K − 1 for K jobs in flight.
    """
    protocol, older, per_step = WAITING_JOBS[method]
    tape = sg.record(protocol, sg.Cluster(N, LAWS[law], network), sg.Updates(500), seed=2, message_bytes=100.0)
    in_flight = tape.updates - tape.in_flight.read
    assert int(tape.staleness.sum()) + int(in_flight.sum()) == older * tape.updates
    rest = int(in_flight.sum()) / len(tape)
    assert tape.staleness.mean() == pytest.approx(older / per_step - rest, rel=1e-12)


@pytest.mark.parametrize(
    "protocol",
    [protocols.KSyncSGD(K), protocols.KBatchSyncSGD(K), protocols.RennalaSGD(K), protocols.FirstMSGD(K)],
    ids=repr,
)
def test_methods_that_step_with_one_version_have_no_staleness(protocol):
    tape = sg.record(protocol, sg.Cluster(N, LAWS["stragglers"]), sg.Updates(200))
    assert not tape.staleness.any()
    assert len(tape) == 200 * K


@pytest.mark.parametrize("bound", [0, 1, 2, 5])
@pytest.mark.parametrize("law", LAWS)
def test_the_bound_of_stale_synchronous_holds_at_every_moment(law, bound):
    """No job k of a worker is handed out before every worker has delivered k − s; and the bound is met where workers differ."""
    cluster = sg.Cluster(N, LAWS[law], networks.ParameterServer(networks.Link(0.02, 1e4)))
    tape = sg.record(protocols.StaleSynchronousSGD(bound), cluster, sg.Updates(400), seed=5, message_bytes=100.0)
    assert lead(tape).max() <= bound
    if law in ("stragglers", "heavy tail"):
        assert lead(tape).max() == bound
    assert tape.staleness.max() <= 2 * bound * (N - 1) + N - 1  # no more versions than gradients in the window


def lead(tape):
    """How many clocks each job's worker was ahead of the slowest when the job was handed out; job k is its clock k."""
    job, assigned = (np.concatenate([getattr(log, c) for log in (tape, tape.in_flight)]) for c in ("job", "assigned"))
    delivered = [np.searchsorted(tape.time[tape.worker == worker], assigned, "right") for worker in range(tape.workers)]
    return job - np.min(delivered, axis=0)


# --- refusals ------------------------------------------------------------------------------------------------------------

WRONG = {
    "KBatchSyncSGD": [{"gradients": 0}, {"gradients": 1.5}, {"gradients": "many"}],
    "KAsyncSGD": [{"gradients": 0}, {"gradients": True}],
    "FirstMSGD": [{"workers": 0}, {"workers": ()}, {"workers": (1, 1)}, {"workers": (-1,)}],
    "StaleSynchronousSGD": [{"bound": -1}, {"bound": float("inf")}],
    "BoundedAsyncSGD": [{"jobs": 0}, {"jobs": 2, "choose": "fastest"}],
    "RescaledASGD": [{"seconds": (1.0, 0.0)}, {"seconds": (1.0, float("nan"))}],
    "AdaSyncSGD": [{"every": 0.0}, {"every": 1.0, "gradients": 0}],
    "RingmasterASGD": [{"threshold": 0}],
    "MindFlayerSGD": [{"limit": 0.0}, {"limit": (1.0, -1.0)}, {"limit": 1.0, "trials": 0}, {"limit": 1.0, "trials": ()}],
    "MaleniaSGD": [{"gradients": 0}],
}


@pytest.mark.parametrize(("name", "arguments"), [(name, case) for name, cases in WRONG.items() for case in cases])
def test_nonsense_is_refused_at_construction(name, arguments):
    with pytest.raises(ValueError, match=rf"{name}\.{list(arguments)[-1]} must .*got"):
        getattr(protocols, name)(**arguments)


def test_arguments_of_the_wrong_kind_are_refused():
    with pytest.raises(TypeError, match=r"RingmasterASGD\.stops must be True or False, got 'yes'"):
        protocols.RingmasterASGD(2, stops="yes")
    with pytest.raises(TypeError, match=r"FirstMSGD\.workers must be a sequence such as \(0, 2, 5\)"):
        protocols.FirstMSGD("all")
    with pytest.raises(TypeError, match=r"RescaledASGD\.seconds must be a sequence"):
        protocols.RescaledASGD(3.0)


TOO_MANY = {
    "KSyncSGD.gradients=5": protocols.KSyncSGD(5),
    "KAsyncSGD.gradients=5": protocols.KAsyncSGD(5),
    "FirstMSGD.workers=5": protocols.FirstMSGD(5),
    "BoundedAsyncSGD.jobs=5": protocols.BoundedAsyncSGD(5),
}


@pytest.mark.parametrize("said", TOO_MANY)
def test_more_than_there_are_workers_is_refused_when_the_recording_starts(said):
    with pytest.raises(ValueError, match=rf"{said} asks for more workers than there are .* 4 .*use at most 4"):
        sg.record(TOO_MANY[said], sg.Cluster(4, times.Constant(1.0)), sg.Updates(1))


def test_workers_that_are_not_there_are_refused_when_the_recording_starts():
    with pytest.raises(ValueError, match=r"FirstMSGD\.workers has \[7\], but the cluster's workers are \[0, 1\]"):
        sg.record(protocols.FirstMSGD((0, 7)), constant(1.0, 1.0), sg.Updates(1))
    with pytest.raises(ValueError, match=r"RescaledASGD\.seconds has the times of 3 workers, but there are 2"):
        sg.record(protocols.RescaledASGD((1.0, 2.0, 3.0)), constant(1.0, 1.0), sg.Updates(1))


def test_ringleader_refuses_workers_that_come_or_go():
    for fault, happened in ((faults.Leave(worker=1, at=2.5), "has left"), (faults.Join(worker=1, at=2.5), "has joined")):
        with pytest.raises(ValueError, match=rf"RingleaderASGD\(\) makes rounds .*worker 1 {happened} at 2.5 s: let it crash"):
            sg.record(protocols.RingleaderASGD(), sg.Cluster(3, times.Constant(1.0), faults=[fault]), sg.Updates(50))


# --- workers that come and go --------------------------------------------------------------------------------------------


def test_stale_synchronous_goes_on_without_a_worker_that_leaves():
    """Jobs of 1 and 100 s, s = 0: worker 1 leaves at 5.5 s, so worker 0, which has waited since 1 s, goes on alone."""
    cluster = sg.Cluster(2, constant(1.0, 100.0).compute, faults=[faults.Leave(worker=1, at=5.5)])
    tape = sg.record(protocols.StaleSynchronousSGD(0), cluster, sg.Updates(3))
    assert (tape.time.tolist(), tape.update_times.tolist()) == ([1.0, 6.5, 7.5], [5.5, 6.5, 7.5])
    assert tape.weight.tolist() == [0.5, 1.0, 1.0]


def test_stale_synchronous_takes_a_worker_in_that_joins():
    """A worker that joins at 2.5 s, when the slowest has done two clocks, begins with clock 3: with s = 0 at the next step."""
    cluster = sg.Cluster(2, times.Constant(1.0), faults=[faults.Join(worker=1, at=2.5)])
    for bound, began in ((0, 3.0), (1, 2.5)):
        tape = sg.record(protocols.StaleSynchronousSGD(bound), cluster, sg.Seconds(6.2))
        assert tape.assigned[tape.worker == 1][0] == began
        assert lead_of_counts(tape) <= 1 + bound


def lead_of_counts(tape):
    counts = np.bincount(tape.worker, minlength=2)
    return counts[0] - 3 - counts[1]  # the clock at which worker 1 began


def test_k_async_goes_on_without_a_worker_that_waited_and_left():
    """Jobs of 1, 2, 2 s, K = 2: worker 0 waits from 1 s on and leaves at 1.5; its gradient counts, and 1 and 2 go on."""
    cluster = sg.Cluster(3, constant(1.0, 2.0, 2.0).compute, faults=[faults.Leave(worker=0, at=1.5)])
    tape = sg.record(protocols.KAsyncSGD(2), cluster, sg.Updates(2))
    assert (tape.worker.tolist(), tape.time.tolist()) == ([0, 1, 2, 1], [1.0, 2.0, 2.0, 4.0])


def test_mind_flayer_goes_on_without_a_worker_that_leaves_and_takes_one_in_that_joins():
    """Jobs of a second, limit 2: worker 1 leaves at 0.5, so worker 0's gradient makes the step; worker 2 joins at 1.5."""
    changes = [faults.Leave(worker=1, at=0.5), faults.Join(worker=2, at=1.5)]
    tape = sg.record(protocols.MindFlayerSGD(2.0), sg.Cluster(3, times.Constant(1.0), faults=changes), sg.Updates(3))
    assert (tape.worker.tolist(), tape.time.tolist()) == ([0, 0, 0, 2], [1.0, 2.0, 3.0, 3.0])
    assert tape.weight.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_malenia_goes_on_without_a_worker_that_leaves():
    """Jobs of 1 and 9 s, S = 2: worker 1 leaves at 2.5 s, when worker 0 has given two; that is enough for it alone."""
    cluster = sg.Cluster(2, constant(1.0, 9.0).compute, faults=[faults.Leave(worker=1, at=2.5)])
    tape = sg.record(protocols.MaleniaSGD(2), cluster, sg.Updates(1))
    assert (tape.update_times.tolist(), tape.weight.tolist()) == ([2.5], [0.5, 0.5])


def test_mind_flayer_needs_a_limit_for_each_worker():
    with pytest.raises(ValueError, match=r"MindFlayerSGD\.limit has values for workers 0 to 1, but there is a worker 2"):
        sg.record(protocols.MindFlayerSGD((1.0, 2.0)), sg.Cluster(3, times.Constant(1.0)), sg.Updates(1))


# --- AdaSync -------------------------------------------------------------------------------------------------------------


def test_adasync_takes_k_from_the_loss():
    """K = √(F(w_0)/F(w)), rounded, from the loss at the first step after each interval: played here by evaluating each step."""
    every, workers = 2.0, 8
    run = sg.simulate(
        protocols.AdaSyncSGD(every),
        sg.problems.quadratic(),
        sg.Cluster(workers, times.Exponential(1.0)),
        sg.optimizers.sgd(0.1),
        sg.Seconds(40),
        evaluate_every=sg.Updates(1),
    )
    losses = run.dataset["loss"].to_numpy()
    sizes = np.diff(np.flatnonzero(run.tape.step), prepend=-1)
    wanted, look = 1, every
    for version, moment in enumerate(run.tape.update_times, 1):
        assert sizes[version - 1] == wanted
        if moment >= look:
            look = moment + every
            wanted = max(1, min(workers, round(math.sqrt(losses[0] / losses[version]))))
    assert sizes[0] == 1
    assert sizes[-1] > 3  # or nothing was tested


def test_adasync_needs_gradients():
    with pytest.raises(sg.ProtocolError, match=r"observes 'loss'.*use simulate"):
        sg.record(protocols.AdaSyncSGD(1.0), sg.Cluster(2, times.Constant(1.0)), sg.Updates(1))


def test_adasync_goes_on_with_fewer_workers_than_k():
    """K_0 = 3 of 3 workers; one leaves in the first round, and the two gradients there are make the step, as their mean."""
    cluster = sg.Cluster(3, constant(1.0, 2.0, 9.0).compute, faults=[faults.Leave(worker=2, at=3.0)])
    run = sg.simulate(
        protocols.AdaSyncSGD(1e6, gradients=3), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(2)
    )
    assert run.tape.update_times.tolist() == [3.0, 5.0]
    np.testing.assert_allclose(run.tape.weight, 0.5)
