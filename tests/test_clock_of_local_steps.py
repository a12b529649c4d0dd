"""The clock of local steps: steps made ahead, a time instead of a number of steps, the time of compressing, sent changes.

Nothing is computed here: works say what jobs cost, and a recording charges it.
"""

import dataclasses
import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import simsgd as sg
from simsgd import faults, networks, times, works
from simsgd.costs import Costs
from simsgd.protocols import KSyncSGD, RingmasterASGD
from simsgd.recording.computing import Computing
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading
from simsgd.support import rng
from simsgd.tape.dataset import plain_charges
from simsgd.tape.schema import REASONS
from simsgd.times.answers import sampler_of
from simsgd.times.stretching import Stretched
from simsgd.work import Message, Work

MESSAGE = Message(100.0, ((25,),))


@dataclasses.dataclass(frozen=True)
class Charging(Work):
    """A work that is charged what its fields say, and computes nothing."""

    seconds: float | None = None
    overlap: int = 0

    def charge(self, order):
        return super().charge(order)._replace(seconds=self.seconds, overlap=self.overlap)

    def run(self, parameters, state, job):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Fixed(Charging):
    takes_steps = False


def recording(work, cluster, protocol=None, seed=0, **others):
    return Recording(protocol or sg.AsyncSGD(), cluster, Costs(work, MESSAGE, **others), seed)


def recorded(work, cluster, until, protocol=None, seed=0, **others):
    """The tape of a work's jobs until so many seconds (a float) or updates (a whole number)."""
    going = recording(work, cluster, protocol, seed, **others)
    going.advance(**({"updates": until} if isinstance(until, int) else {"seconds": until}))
    return going.tape().check()


def draws(cluster, seed, worker, purpose="compute time"):
    """A worker's nominal times, one after the other."""
    draw = sampler_of(cluster.compute, rng.stream(seed, purpose, worker), worker)
    nominal = draw.work if isinstance(draw, Stretched) else draw
    while True:
        yield nominal(0.0)


def jobs(tape, worker):
    """A worker's jobs in order: (job, log, row)."""
    logs = (tape, tape.discarded, tape.in_flight)
    found = [(int(log.job[row]), log, row) for log in logs for row in np.flatnonzero(log.worker == worker)]
    return sorted(found, key=lambda each: each[0])


# --- steps made ahead -----------------------------------------------------------------------------------------------------


def test_steps_made_ahead_by_hand():
    """Steps of 1 s, two of five ahead, 1.5 s each way: 5 s at first, then max(E + 2, began) + 3 = began + 3."""
    tape = recorded(Charging(steps=5, overlap=2), sg.Cluster(1, times.Constant(1.0), networks.Link(1.5)), 3)
    assert tape.began.tolist() == [1.5, 9.5, 15.5]  # the first ends at 6.5 and arrives at 8
    assert tape.ended.tolist() == [6.5, 12.5, 18.5]
    slow_steps = recorded(Charging(steps=5, overlap=4), sg.Cluster(1, times.Constant(1.0), networks.Link(1.5)), 3)
    assert slow_steps.ended.tolist() == [6.5, 11.5, 16.5]  # the four ahead end at 10.5, after the model has come at 9.5


@dataclasses.dataclass(frozen=True)
class Whole(sg.Compression):
    """Leaves everything as it is, and may be added on its way."""

    sums = True

    def bytes(self, shapes):
        return 4.0 * sum(map(math.prod, shapes))

    def compress(self, message, state, key, shared_key):
        return message, state


LATE = "8 bytes in four buckets of 2.25 s, and half of a step of s seconds is its backward pass: the first is ready at 8 - 3s/8"


@pytest.mark.parametrize(
    ("work", "more", "first"),
    [
        (Charging(steps=1), {}, 5.0),  # of 8 s
        (Charging(steps=2), {}, 6.5),  # of 4 s each
        (Charging(steps=8), {}, 7.625),
        (Charging(steps=2, seconds=8.0), {}, 8.0),  # which step is the last, only the end tells
        (Charging(steps=1), {"compress_up": Whole()}, 8.0),
        (Charging(steps=2), {"compress_up": Whole(), "compressing": times.Constant(0.5)}, 8.5),
        (works.Marina(compression=Whole(), full_steps=1), {}, 8.0),
    ],
)
def test_buckets_leave_in_the_last_backward_pass_and_not_before_they_are_compressed(work, more, first):
    ring = networks.Ring(networks.Link(1 / 8, 1.0), buckets=4, overlap=True, backward_share=0.5)
    method = sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(0.1), work=work, **more)
    cluster = sg.Cluster(2, times.Constant(8.0 / work.steps), ring)
    tape = sg.record(method, cluster, sg.Updates(2), message_shapes=[(2,)])
    assert tape.arrived.tolist() == [first + 9.0] * 2 + [2 * (first + 9.0)] * 2, LATE


NETWORKS = {
    "free": networks.Link(),
    "link": networks.Link(latency=0.4, bandwidth=300.0),
    "jitter": networks.Jittery(networks.Link(latency=0.4), times.Exponential(0.2)),
    "fair": networks.ParameterServer(networks.Link(0.05, 200.0), sharing="fair"),
    "first in, first out": networks.ParameterServer(networks.Link(0.05, 200.0), sharing="first in, first out"),
    "sharded": networks.ParameterServer(networks.Link(0.05, 200.0), shards=2, update=times.Exponential(0.1)),
}
RING = networks.Ring(networks.Link(0.05, 400.0))
FAULTS = {
    "none": (),
    "crashes": (faults.Crashes(between=times.Exponential(9.0), lasting=times.Exponential(1.0)),),
    "losses": (faults.LostMessages(probability=0.2, timeout=0.3),),
}
PROTOCOLS = {"async": sg.AsyncSGD(), "K-sync": KSyncSGD(2), "Ringmaster": RingmasterASGD(3, stops=True)}


def overlapping(tape, down):
    """Of each job (worker, number) when the job before ended, if the steps ahead count from there; else not a number."""
    found = {}
    for worker in range(tape.workers):
        before, over = math.nan, math.nan
        for number, log, row in jobs(tape, worker):
            assigned = float(log.assigned[row])
            went_down = any(w == worker and over <= start <= assigned for w, start in zip(down.worker, down.start, strict=True))
            found[worker, number] = math.nan if went_down else before
            delivered = log is tape or (log is tape.discarded and log.reason[row] == REASONS.index("unused"))
            before, over = (float(log.ended[row]), float(log.arrived[row])) if delivered else (math.nan, math.nan)
    return found


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("network", NETWORKS)
def test_steps_made_ahead_on_every_fabric(network, protocol, fault):
    """Each job ends at max(E + A, began) + B, of its worker's own draws, whatever was cancelled, lost or down before."""
    cluster = sg.Cluster(3, times.Speeds(times.Exponential(0.5), (1.0, 2.0, 0.7)), NETWORKS[network], FAULTS[fault])
    tape = recorded(Charging(steps=4, overlap=3), cluster, 60.0, PROTOCOLS[protocol], seed=5)
    before, ahead = overlapping(tape, tape.down), 0
    for worker in range(3):
        drawn = draws(cluster, 5, worker)
        for number, log, row in jobs(tape, worker):
            first, last = sum(next(drawn) for _ in range(3)), next(drawn)
            began, ended, since = float(log.began[row]), float(log.ended[row]), before[worker, number]
            ahead += not math.isnan(since)
            expected = max(since + first, began) + last if since == since else began + first + last
            assert math.isnan(ended) or ended == pytest.approx(expected, rel=1e-12)
    assert ahead > 20


def test_steps_made_ahead_in_an_all_reduce():
    """Who waits for the others computes on: constant steps of 1 s and 2 s, two of three ahead, 1 s to sum."""
    cluster = sg.Cluster(2, times.PerWorker((times.Constant(1.0), times.Constant(2.0))), networks.Ring(networks.Link(0.5)))
    tape = recorded(Charging(steps=3, overlap=2), cluster, 3, sg.MinibatchSGD())
    # round 1: ready at 3 and 6, summed at 7; then worker 0 has its two steps ahead since 5, worker 1 at 10
    assert tape.ended[2:4].tolist() == [8.0, 12.0]
    assert tape.update_times.tolist() == [7.0, 13.0, 19.0]


def test_steps_made_ahead_under_a_clock_are_two_pieces_of_work():
    """A pause from 5 to 6 s, 10 to 11 s, …: each piece is stretched from where it begins."""
    cluster = sg.Cluster(1, times.Pauses(times.Constant(1.0), every=5.0, lasting=1.0), networks.Link(1.5))
    tape = recorded(Charging(steps=3, overlap=2), cluster, 12)
    slow = [sampler_of(cluster.compute, rng.stream(0, "compute time", 0), 0) for _ in range(99)]  # each asked once
    for row in range(12):
        began, end = float(tape.began[row]), float(tape.ended[row])
        if row:
            since = float(tape.ended[row - 1])
            ready = max(began, since + slow.pop().in_parts(since, 2.0))
            assert end == pytest.approx(ready + slow.pop().in_parts(ready, 1.0))
        else:
            assert end == began + slow.pop().in_parts(began, 3.0)


@dataclasses.dataclass(frozen=True)
class Impatient(sg.AsyncSGD):
    """Cancel the first job at 1 s, whose model takes 10 s, and send the next without one."""

    def start(self, server):
        server.assign(0, bytes_down=1000.0)
        server.alarm(1.0)

    def on_alarm(self, server):
        server.cancel(0)
        server.assign(0, bytes_down=0.0)


def test_a_clock_goes_back_for_a_job_whose_model_takes_less():
    """The job cancelled would have begun at 10 s, so far had the clock's pauses been looked at; the next begins at 1 s."""
    law = times.Pauses(times.Constant(3.0), every=2.0, lasting=0.5)
    cluster = sg.Cluster(1, law, networks.Link(bandwidth=100.0))
    tape = recorded(Charging(), cluster, 1, Impatient())
    fresh = sampler_of(law, rng.stream(0, "compute time", 0), 0)
    assert tape.began[0] == 1.0
    assert tape.ended[0] - 1.0 == pytest.approx(fresh.in_parts(1.0, 3.0))
    assert tape.ended[0] > 4.0  # it met pauses


# --- a time instead of a number of steps ----------------------------------------------------------------------------------


def within(drawn, seconds):
    """(steps, seconds) of as many draws as end within so many seconds, at least one; the one that does not is used up."""
    steps, done = 1, next(drawn)
    while done < seconds:
        following = done + next(drawn)
        if following > seconds:
            break
        steps, done = steps + 1, following
    return steps, max(done, seconds) if steps == 1 else seconds


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_time_for_each_job_on_every_fabric(network, protocol, fault):
    """As many steps as end within 2 s; the job ends exactly then, or with its only step.

    Draws move neither with cancels nor with faults: jobs that never began have theirs.
    """
    cluster = sg.Cluster(3, times.Speeds(times.Exponential(0.8), (1.0, 2.0, 0.4)), NETWORKS[network], FAULTS[fault])
    tape = recorded(Charging(seconds=2.0), cluster, 60.0, PROTOCOLS[protocol], seed=5)
    assert tape.steps.max() > 3
    assert protocol != "async" or (tape.ended - tape.began).max() > 2.1
    for worker in range(3):
        drawn = draws(cluster, 5, worker)
        for _, log, row in jobs(tape, worker):
            steps, took = within(drawn, 2.0)
            ended = float(log.ended[row])
            assert log.seconds[row] == 2.0
            assert int(log.steps[row]) == (1 if math.isnan(ended) else steps)
            assert math.isnan(ended) or ended == pytest.approx(float(log.began[row]) + took, rel=1e-15)


def test_a_time_for_each_job_in_an_all_reduce_makes_all_ready_at_once():
    cluster = sg.Cluster(3, times.Speeds(times.Exponential(0.1), (1.0, 2.0, 0.4)), networks.Ring(networks.Link(0.05)))
    tape = recorded(Charging(seconds=4.0), cluster, 20, sg.MinibatchSGD())
    np.testing.assert_allclose(np.diff(tape.update_times, prepend=0.0), 4.2)
    assert len(set(tape.steps.tolist())) > 10


def test_steps_that_fill_the_time_exactly_count():
    tape = recorded(Charging(seconds=3.0), sg.Cluster(1, times.Constant(1.0)), 3)
    assert (tape.steps.tolist(), tape.ended.tolist()) == ([3, 3, 3], [3.0, 6.0, 9.0])


def test_the_step_that_a_time_cuts_off_is_wasted_by_hand():
    """Steps of 0.7 s in 2 s: two, and 0.6 s come to nothing; 0.25 s of compressing follow. At 5 s a third job is under way."""
    cluster = sg.Cluster(1, times.Constant(0.7))
    tape = recorded(Charging(seconds=2.0), cluster, 5.0, compressing=times.Constant(0.25))
    assert tape.dropped.tolist() == pytest.approx([0.6, 0.6])
    assert (tape.in_flight.dropped.tolist(), tape.in_flight.steps.tolist()) == ([0.0], [1])
    found = {kind: np.stack(stretch[1:]).T.ravel().tolist() for kind, stretch in tape.stretches().items()}
    assert found["discarded"] == pytest.approx([1.4, 2.0, 3.65, 4.25])
    assert found["computing"] == pytest.approx([0.0, 1.4, 2.25, 3.65, 2.0, 2.25, 4.25, 4.5, 4.5, 5.0])
    assert tape.shares()["computing"].tolist() == [1.0]


def test_the_share_that_a_summary_calls_wasted_has_the_steps_that_were_cut_off(noisy):
    """Of 2 s, 0.6 each; a fixed number of steps wastes nothing, and has no such column in its hash."""
    method = sg.methods.local_sgd(0.1, seconds=2.0)
    run = sg.simulate(method, noisy, sg.Cluster(2, times.Constant(0.7)), until=sg.Updates(5))
    assert run.wasted == {"gradients": 0, "steps": 10, "seconds": pytest.approx(6.0), "share": pytest.approx(0.3)}
    assert "wasted      0 gradients and 10 steps cut off, 30.0% of computing" in run.summary()
    whole = sg.simulate(sg.methods.local_sgd(0.1, steps=2), noisy, sg.Cluster(2, times.Constant(0.7)), until=sg.Updates(5))
    assert whole.wasted == {"gradients": 0, "steps": 0, "seconds": 0.0, "share": 0.0}
    assert "wasted      0 gradients, 0.0% of computing" in whole.summary()
    assert {"kind", "seconds", "dropped"} <= plain_charges(whole.tape)


@settings(deadline=None, max_examples=40)
@given(
    law=st.sampled_from(["exponential", "pauses", "slow spells"]),
    network=st.sampled_from(sorted(NETWORKS)),
    fault=st.sampled_from(sorted(FAULTS)),
    seconds=st.floats(0.3, 4.0),
    compressing=st.sampled_from([None, times.Exponential(0.1)]),
    until=st.floats(1.0, 30.0),
    seed=st.integers(0, 2**31),
)
def test_the_time_of_workers_adds_up_where_steps_are_cut_off(law, network, fault, seconds, compressing, until, seed):
    """Shares add up to 1, stretches of a worker do not overlap, and what is cut off is shorter than its job."""
    compute = {"exponential": times.Exponential(0.7), **CLOCKED}[law]
    cluster = sg.Cluster(3, compute, NETWORKS[network], FAULTS[fault])
    tape = recorded(Charging(seconds=seconds), cluster, until, PROTOCOLS["Ringmaster"], seed, compressing=compressing).check()
    shares = tape.shares()
    assert min(share.min() for share in shares.values()) >= 0
    np.testing.assert_allclose(sum(shares.values()), 1.0, rtol=1e-9)
    worker, begin, end = (np.concatenate(columns) for columns in zip(*tape.stretches().values(), strict=True))
    order = np.lexsort((end, begin, worker))
    same = np.diff(worker[order]) == 0
    assert (begin[order][1:] >= end[order][:-1] - 1e-9)[same].all()
    assert (tape.dropped < seconds).all()
    whole = recording(Charging(seconds=seconds), cluster, PROTOCOLS["Ringmaster"], seed, compressing=compressing)
    whole.advance(seconds=2 * until)
    reading = Reading(whole.tape())
    reading.advance(seconds=until)
    assert reading.tape() == tape


CLOCKED = {
    "pauses": times.Pauses(times.Exponential(0.7), every=5.0, lasting=1.5),
    "slow spells": times.SlowSpells(times.Exponential(0.7), slowness=4.0, normal_seconds=4.0, slow_seconds=2.0),
    "very many pauses": times.Pauses(times.Exponential(0.7), every=0.004, lasting=0.002),
}


@pytest.mark.parametrize("law", CLOCKED)
def test_a_time_is_the_clock_s_whatever_slows_the_worker(law):
    """The job ends when its time is over; the nominal seconds of its steps are what the clock lets be done in it."""
    cluster = sg.Cluster(2, CLOCKED[law], networks.Link(0.1))
    tape = recorded(Charging(seconds=3.0), cluster, 40.0, seed=2)
    for worker in range(2):
        drawn = draws(cluster, 2, worker)
        clock = sampler_of(cluster.compute, rng.stream(2, "compute time", worker), worker)
        for _, log, row in jobs(tape, worker)[:-1]:
            began, ended = float(log.began[row]), float(log.ended[row])
            nominal = done_by(clock, began, 3.0)
            steps, done = 1, next(drawn)
            if done > nominal:
                assert ended > began + 3.0
                assert log.dropped[row] == 0.0
                continue
            while (following := done + next(drawn)) <= nominal:
                steps, done = steps + 1, following
            assert ended == began + 3.0
            assert int(log.steps[row]) == steps
            assert log.dropped[row] == pytest.approx(3.0 * (1 - done / nominal))


def done_by(clock, began, seconds):
    """The work done in so many seconds, piece by piece: the slow way."""
    done, at = 0.0, 0.0
    clock.__dict__.setdefault("all", [])
    index = 0
    while at < began + seconds:
        if index == len(clock.all):
            clock.all.append(next(clock.pieces))
        until, slowness = clock.all[index]
        index += 1
        done += max(0.0, min(until, began + seconds) - max(at, began)) / slowness
        at = until
    return done


def test_another_number_of_steps_takes_the_place_of_the_time():
    @dataclasses.dataclass(frozen=True)
    class Three(sg.AsyncSGD):
        def start(self, server):
            server.assign(0, steps=3)

    tape = recorded(Charging(seconds=2.5), sg.Cluster(1, times.Constant(1.0)), 2, Three())
    assert (tape.steps.tolist(), tape.seconds.tolist(), tape.ended.tolist()) == ([3, 2], [0.0, 2.5], [3.0, 5.5])


def test_what_came_of_a_time_is_not_known_before_it_is_over():
    """Neither on a tape that ends before nor to a protocol that looks."""
    going = recording(Charging(seconds=2.5), sg.Cluster(1, times.Constant(1.0)))
    going.advance(seconds=1.0)
    assert going.tape().in_flight.steps.tolist() == [1]
    assert going._server.jobs[0].steps == 1
    going.advance(seconds=2.5)
    assert going.tape().steps.tolist() == [2]


# --- the time of compressing, and models sent in changes -------------------------------------------------------------------


@pytest.mark.parametrize("law", [times.Exponential(0.2), times.Pauses(times.Exponential(0.2), every=1.0, lasting=0.5)])
@pytest.mark.parametrize("network", ["jitter", "fair"])
def test_compressing_takes_one_draw_for_each_job_and_moves_no_other(law, network):
    """Each job computes as long as without, and then compresses: draws of a stream of its own, the k-th for the k-th job."""
    cluster = sg.Cluster(3, times.Exponential(0.5), NETWORKS[network], FAULTS["crashes"])
    tape = recorded(Charging(steps=2), cluster, 40.0, RingmasterASGD(3, stops=True), seed=4, compressing=law)
    compared = 0
    for worker in range(3):
        drawn = draws(cluster, 4, worker)
        compress = sampler_of(law, rng.stream(4, "compressing", worker), worker)
        number = 0
        for job, log, row in jobs(tape, worker):
            began, ended = float(log.began[row]), float(log.ended[row])
            computed = began + next(drawn) + next(drawn)
            if math.isnan(ended):
                continue
            while number < job:  # those that came to nothing left theirs unused
                (compress.work if isinstance(compress, Stretched) else compress)(0.0)
                number += 1
            number += 1
            assert ended == pytest.approx(computed + compress(computed), rel=1e-12)
            compared += 1
    assert compared > 20


def test_compressing_delays_an_all_reduce():
    given_ = (Charging(), sg.Cluster(4, times.Constant(1.0), networks.Ring(networks.Link(0.1))), 3, sg.MinibatchSGD())
    assert recorded(*given_).update_times.tolist() == pytest.approx([1.6, 3.2, 4.8])
    assert recorded(*given_, compressing=times.Constant(0.25)).update_times.tolist() == pytest.approx([1.85, 3.7, 5.55])


def test_steps_are_made_ahead_once_the_message_before_is_compressed():
    cluster = sg.Cluster(1, times.Constant(1.0), networks.Link(0.5))
    tape = recorded(Charging(steps=3, overlap=2), cluster, 3, compressing=times.Constant(0.25))
    assert tape.ended.tolist() == [3.75, 7.0, 10.25]  # at 3.75 the first is ready; two steps ahead, one more, and to compress


def test_who_compresses_is_said_in_errors():
    @dataclasses.dataclass(frozen=True)
    class Broken(times.Law):
        def sample(self, rng, worker, now):
            return -1.0

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

    with pytest.raises(ValueError, match=r"Broken\(\) drew -1.0 seconds for worker 0") as caught:
        recorded(Charging(), sg.Cluster(1, times.Constant(1.0)), 1, compressing=Broken())
    assert not any("Constant" in note for note in caught.value.__notes__ if "drew" in note)
    speeds = times.Speeds(times.Constant(1.0), (1.0, 2.0))
    with pytest.raises(ValueError, match=r"Speeds.speeds must hold one speed for each of 3 workers"):
        recording(Charging(), sg.Cluster(3, times.Constant(1.0)), compressing=speeds)


@dataclasses.dataclass(frozen=True)
class Tenth(sg.Compression):
    def bytes(self, shapes):
        return 10.0

    def compress(self, message, state, key, shared_key):
        raise NotImplementedError


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("network", ["link", "fair", "jitter"])
@pytest.mark.parametrize("protocol", ["async", "Ringmaster"])
def test_what_goes_down_is_one_change_for_each_version_and_never_more_than_the_model(protocol, network, forgets):
    """A worker's first model is whole; then (version − last had)·10 bytes, at most 100; after a reset whole again."""
    crash = [faults.Crashes(between=times.Exponential(4.0), lasting=times.Exponential(0.5))]
    cluster = sg.Cluster(5, times.Speeds(times.Exponential(0.5), (1.0, 1.0, 1.0, 1.0, 0.05)), NETWORKS[network], crash)
    tape = recorded(Charging(), cluster, 200, PROTOCOLS[protocol], down=Tenth(), forgets=forgets, seed=1)
    seen, capped = set(), 0
    for worker in range(5):
        had, over = None, 0.0
        for _, log, row in jobs(tape, worker):
            read, assigned = int(log.read[row]), float(log.assigned[row])
            down = tape.down.start[tape.down.worker == worker]
            if forgets and ((over <= down) & (down <= assigned)).any():
                had = None
            expected = 100.0 if had is None else min(100.0, 10.0 * (read - had))
            assert log.bytes_down[row] == expected
            seen.add(expected)
            capped += had is not None and read - had > 10
            had, over = (had if math.isnan(log.began[row]) else read), assigned
    assert {20.0, 30.0, 100.0} < seen
    assert forgets or protocol == "Ringmaster" or capped


def test_a_protocol_s_own_bytes_and_a_work_s_multiples_go_before():
    @dataclasses.dataclass(frozen=True)
    class Twice(Charging):
        def bytes_down(self, message_bytes):
            return 2 * message_bytes

    @dataclasses.dataclass(frozen=True)
    class Says(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.apply(gradient)
            server.assign(gradient.worker, bytes_down=7.0 if server.version == 2 else None)

    tape = recorded(Twice(), sg.Cluster(1, times.Constant(1.0)), 4, Says(), down=Tenth())
    assert tape.bytes_down.tolist() == [200.0, 20.0, 7.0, 20.0]


# --- closed forms ---------------------------------------------------------------------------------------------------------


def test_rounds_of_local_steps_take_the_slowest_sum():
    """With n = 16 exponential workers, D = 1, H = 10: E[max of 16 Gamma(10)] + D, to four standard errors of 3000 rounds."""
    cluster = sg.Cluster(16, times.Exponential(1.0), networks.Link(0.5))
    rounds = np.diff(recorded(Charging(steps=10), cluster, 3000, sg.MinibatchSGD()).update_times, prepend=0.0)
    slowest = functools.partial(lambda power, t: power * t ** (power - 1) * (1 - stats.gamma(10).cdf(t) ** 16))
    mean, square = (integrate.quad(functools.partial(slowest, power), 0, 60)[0] for power in (1, 2))
    assert rounds.mean() == pytest.approx(mean + 1, abs=4 * math.sqrt((square - mean**2) / 3000))
    assert 15 < mean < 17  # far from one worker's 10


def test_steps_within_a_time_are_poisson_but_at_least_one():
    """Exponential steps, rate λ, time T: K ~ Poisson(λT) end in it, so max(1, K) are made.

    E = λT + e^(−λT), and a job takes T + e^(−λT)/λ: where none ends, the first goes on for 1/λ more, without a memory.
    """
    rate, time, count = 1.5, 1.2, 20_000
    tape = recorded(Charging(seconds=time), sg.Cluster(1, times.Exponential(1 / rate)), count)
    law, none = stats.poisson(rate * time), math.exp(-rate * time)
    variance = (rate * time) ** 2 + rate * time + none - (rate * time + none) ** 2
    assert tape.steps.mean() == pytest.approx(rate * time + none, abs=4 * math.sqrt(variance / count))
    expected = count * np.array([law.cdf(1), *law.pmf([2, 3, 4]), law.sf(4)])
    found = np.array([*[(tape.steps == k).sum() for k in (1, 2, 3, 4)], (tape.steps > 4).sum()])
    assert stats.chisquare(found, expected).pvalue > 1e-3
    took = tape.ended - tape.began
    beyond = math.sqrt(none * (2 - none)) / rate  # its standard deviation: E[X²] = 2p/λ², E[X] = p/λ
    assert took.mean() == pytest.approx(time + none / rate, abs=4 * beyond / math.sqrt(count))


def test_steps_made_ahead_hide_the_messages():
    """One worker, exponential steps, o of H ahead, D for both messages: E[max(Gamma(o), D)] + H − o for a round."""
    steps, ahead, both, count = 6, 4, 3.0, 20_000
    cluster = sg.Cluster(1, times.Exponential(1.0), networks.Link(both / 2))
    rounds = np.diff(recorded(Charging(steps=steps, overlap=ahead), cluster, count).ended)
    law = stats.gamma(ahead)
    hidden = both + integrate.quad(law.sf, both, 60)[0]
    assert rounds.mean() == pytest.approx(hidden + steps - ahead, abs=4 * math.sqrt(steps / count))
    plain = np.diff(recorded(Charging(steps=steps), cluster, 2000).ended)
    assert plain.mean() == pytest.approx(both + steps, abs=4 * math.sqrt(steps / 2000))


# --- all of it, in pieces and cut -----------------------------------------------------------------------------------------

LAWS = {"exponential": times.Exponential(0.5), "constant": times.Constant(0.5)} | CLOCKED
WORKS = {
    "a time": Charging(seconds=1.5),
    "ahead": Charging(steps=4, overlap=3),
    "ahead, compressed": Charging(steps=2, overlap=1),
    "a time, compressed": Charging(seconds=0.7),
    "compressed down": Charging(),
}
OTHERS = {
    "ahead, compressed": {"compressing": times.Pauses(times.Exponential(0.1), every=0.3, lasting=0.1)},
    "a time, compressed": {"compressing": times.Exponential(0.1)},
    "compressed down": {"down": Tenth(), "forgets": True},
}


@settings(deadline=None, max_examples=80)
@given(
    work=st.sampled_from(sorted(WORKS)),
    law=st.sampled_from(sorted(LAWS)),
    network=st.sampled_from([*sorted(NETWORKS), "ring"]),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    fault=st.sampled_from(sorted(FAULTS)),
    seed=st.integers(0, 2**31),
    pieces=st.lists(st.floats(0.01, 3.0), min_size=1, max_size=12),
)
def test_pieces_and_cuts_are_the_same_recording(work, law, network, protocol, fault, seed, pieces):
    cluster = sg.Cluster(3, LAWS[law], RING if network == "ring" else NETWORKS[network], FAULTS[fault])
    chosen, others = sg.MinibatchSGD(wait=False) if network == "ring" else PROTOCOLS[protocol], OTHERS.get(work, {})
    given_ = (WORKS[work], cluster, chosen, seed)
    moments = np.cumsum(pieces)
    going = recording(*given_, **others)
    for moment in moments:
        going.advance(seconds=float(moment))
    whole = recorded(WORKS[work], cluster, float(moments[-1]), chosen, seed, **others)
    assert going.tape() == whole
    for moment in moments[:3]:
        reading = Reading(whole)
        reading.advance(seconds=float(moment))
        assert reading.tape() == recorded(WORKS[work], cluster, float(moment), chosen, seed, **others)
    if whole.updates:
        half = (whole.updates + 1) // 2
        reading = Reading(whole)
        reading.advance(updates=half)
        assert reading.tape() == recorded(WORKS[work], cluster, half, chosen, seed, **others)


def test_a_tape_with_times_is_saved_and_read(tmp_path):
    tape = recorded(Charging(seconds=1.5), sg.Cluster(2, times.Exponential(0.5)), 9)
    tape.save(tmp_path / "tape.nc")
    again = sg.Tape.load(tmp_path / "tape.nc")
    assert again == tape
    assert again.seconds.tolist() == [1.5] * 9


# --- the conformance suite's clock ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, repr=False)
class Ahead(sg.works.LocalSteps):
    """All local steps but one are made ahead."""

    def charge(self, order):
        return super().charge(order)._replace(overlap=self.steps - 1)


METHODS = {
    "ahead": Ahead(steps=3),
    "a time": sg.works.LocalSteps(seconds=2.0),
    "steps of each worker": sg.works.LocalSteps(of_workers=(1, 2, 3, 4)),
}


def conforming(name, compressing=None):
    sgd = sg.optimizers.sgd
    work = METHODS[name]
    parts = {} if compressing is None else {"compress_up": sg.compressions.Half(), "compressing": compressing}
    return sg.Method(sg.AsyncSGD(), sgd(0.5), work=work, inner=sgd(0.1), source="Nobody (2000)", **parts)


@pytest.mark.parametrize("compressing", [None, times.Exponential(0.2)], ids=["", "compressed"])
@pytest.mark.parametrize("name", METHODS)
def test_the_conformance_suite_knows_this_clock(name, compressing):
    """Its own count of a worker's draws agrees, on a quiet cluster and one that crashes; so do tapes in pieces."""
    for check in ("tape", "common random numbers"):
        sg.testing.check_method(conforming(name, compressing), only=check)


@pytest.mark.parametrize(
    ("name", "function", "wrong"),
    [
        ("ahead", "interrupt", lambda right: lambda self, worker: None),
        ("a time", "_steps_within", lambda right: lambda self, *args: (right(self, *args)[0] + 1, right(self, *args)[1])),
        ("steps of each worker", "_compressed", lambda right: lambda self, job, moment: moment),
    ],
)
def test_it_sees_a_clock_that_is_wrong(name, function, wrong, monkeypatch):
    """If who was down had worked on, a step too many were counted, or compressing took no time."""
    monkeypatch.setattr(Computing, function, wrong(getattr(Computing, function)))
    with pytest.raises(sg.testing.ConformanceError, match="fails the check 'common random numbers'"):
        sg.testing.check_method(conforming(name, times.Exponential(0.2)), only="common random numbers")


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (Charging(seconds=-1.0), r"seconds in Charging\(.*\)'s charge for a job must be a finite number above 0 \(seconds\)"),
        (Charging(seconds=math.inf), r"seconds in Charging\(.*must be a finite number above 0"),
        (Charging(seconds=0.0), r"seconds in Charging\(.*must be a finite number above 0"),
        (Charging(steps=4, overlap=4), r"overlap in Charging\(.*must be below its steps, 4, got 4"),
        (Charging(steps=4, overlap=-1), r"overlap in Charging\(.*must be a whole number of at least 0"),
        (Charging(seconds=1.0, overlap=1), r"overlap in Charging\(.*must be 0 where a job has a time"),
        (Fixed(seconds=1.0), r"Fixed\(.*must not have seconds=1.0: .* Fixed does not take that"),
    ],
    ids=str,
)
def test_what_no_job_can_be_charged_is_refused_before_it_begins(work, sentence):
    with pytest.raises(ValueError, match=sentence):
        recording(work, sg.Cluster(1, times.Constant(1.0)))


def test_fewer_steps_than_are_made_ahead_are_refused():
    @dataclasses.dataclass(frozen=True)
    class Fewer(sg.AsyncSGD):
        def start(self, server):
            server.assign(0, steps=2)

    with pytest.raises(sg.ProtocolError, match=r"assign\(0, steps=2\) at 0 s, but its work makes 2 ahead"):
        recorded(Charging(steps=4, overlap=2), sg.Cluster(1, times.Constant(1.0)), 1, Fewer())


def test_steps_that_take_no_time_do_not_fill_one():
    with pytest.raises(sg.BoundError, match="a job of 1 seconds would take"):
        recorded(Charging(seconds=1.0), sg.Cluster(1, times.Constant(1e-6)), 1)
