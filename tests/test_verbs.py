"""The verbs: alarms, weights known at the step, a look at the jobs in flight; and what the clock charges for a job."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
from test_ties import assert_cut_at_each_update

import simsgd as sg
from simsgd import measures
from simsgd.costs import Costs
from simsgd.recording.recorder import Recording

TIES = sg.times.Constant(1.0)
EXPONENTIAL = sg.times.Exponential(mean=1.0)
LINK = sg.networks.Link(latency=0.0, bandwidth=100.0)


@dataclass(frozen=True)
class Scripted(sg.AsyncSGD):
    """Asynchronous SGD that calls a function when it starts, with each gradient, and with each alarm."""

    start_with: object = None
    gradient_with: object = None
    alarm_with: object = None

    def start(self, server):
        super().start(server)
        if self.start_with:
            self.start_with(server)

    def on_gradient(self, server, gradient):
        if self.gradient_with:
            self.gradient_with(server, gradient)
        else:
            super().on_gradient(server, gradient)

    def on_alarm(self, server):
        if self.alarm_with:
            self.alarm_with(server)


def recorded(until, law=TIES, workers=2, **script):
    return sg.record(Scripted(**script), sg.Cluster(workers, law), until).check()


# --- alarms ---------------------------------------------------------------------------------------------------------------


def test_several_alarms_ring_each_at_its_moment():
    rung = []

    def begin(server):
        for seconds in (2.5, 0.0, 0.5, 0.5):
            server.alarm(seconds)

    recorded(sg.Seconds(3), start_with=begin, alarm_with=lambda server: rung.append((server.now, server.version)))
    assert rung == [(0.0, 0), (0.5, 0), (0.5, 0), (2.5, 4)]


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan, "1", None, 1e309])
def test_alarms_that_cannot_ring_are_refused(seconds):
    with pytest.raises(sg.ProtocolError, match=r"set an alarm in .* seconds at 0 s: it must be a finite number of at least 0"):
        recorded(sg.Seconds(3), start_with=lambda server: server.alarm(seconds))


def test_an_alarm_beyond_the_clock_is_refused():
    def late(server, gradient):
        server.alarm(1.7e308)

    with pytest.raises(sg.ProtocolError, match="the clock cannot count so far"):
        recorded(sg.Updates(3), law=sg.times.Constant(1e308), workers=1, gradient_with=late)


def test_an_alarm_that_nobody_answers_is_refused():
    @dataclass(frozen=True)
    class Deaf(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.alarm(1.0)

    with pytest.raises(sg.ProtocolError, match="it has no on_alarm to answer it with"):
        sg.record(Deaf(), sg.Cluster(1, TIES), sg.Updates(1))


@dataclass(frozen=True)
class Later(sg.AsyncSGD):
    """Hands out the first jobs after a while, and each further one a while after the gradient."""

    wait: float = 5.0

    def start(self, server):
        server.alarm(self.wait)

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.alarm(self.wait)

    def on_alarm(self, server):
        for worker in server.workers:
            if worker not in server.busy:
                server.assign(worker)
                return


def test_a_protocol_that_waits_for_an_alarm_is_not_stuck():
    tape = sg.record(Later(), sg.Cluster(2, TIES), sg.Updates(3)).check()
    assert tape.assigned.tolist() == [5.0, 11.0, 17.0]


@dataclass(frozen=True)
class Dreaming(sg.AsyncSGD):
    """Wakes, and sets the next alarm, and hands out nothing."""

    works: bool = False
    period: float = 1.0

    def start(self, server):
        if self.works:
            super().start(server)
        server.alarm(self.period)

    def on_alarm(self, server):
        server.alarm(self.period)


@pytest.mark.parametrize("period", [0.0, 1.0])
def test_alarms_after_which_nothing_can_happen_do_not_go_on_for_ever(period):
    with pytest.raises(sg.StuckError, match=r"10000 alarms in a row: Dreaming\(.*\) must call server\.assign"):
        sg.record(Dreaming(period=period), sg.Cluster(2, TIES), sg.Updates(3))


def test_alarms_that_leave_no_time_for_a_gradient_do_not_go_on_for_ever(monkeypatch):
    monkeypatch.setattr("simsgd.recording.stuck.ALARMS_WITHOUT_DELIVERY", 100)
    monkeypatch.setattr("simsgd.recording.server.ALARMS_WITHOUT_DELIVERY", 100)
    with pytest.raises(sg.StuckError, match="100 alarms have rung since the last gradient was delivered"):
        sg.record(Dreaming(works=True, period=0.0), sg.Cluster(2, TIES), sg.Updates(3))
    assert sg.record(Dreaming(works=True, period=0.1), sg.Cluster(2, TIES), sg.Updates(100)).updates == 100


def test_all_who_left_are_not_waited_for_though_alarms_ring():
    cluster = sg.Cluster(1, TIES, faults=(sg.faults.Leave(0, at=2.5),))
    with pytest.raises(sg.StuckError, match="all workers have left"):
        sg.record(Dreaming(works=True), cluster, sg.Updates(9))


@dataclass(frozen=True)
class Periodic(sg.AsyncSGD):
    """Steps when the alarm rings with what has come, cancels the last worker's job and hands out anew; drops every third."""

    period: float = 1.0

    def start(self, server):
        super().start(server)
        server.alarm(self.period)

    def on_gradient(self, server, gradient):
        if server.rng.random() < 0.6:
            server.accumulate(gradient)
        if server.rng.random() < 0.7:
            server.assign(gradient.worker)

    def on_alarm(self, server):
        if server.accumulated:
            server.step(scale=1 / server.accumulated)
        for worker in reversed(server.workers):
            if worker in server.busy and server.rng.random() < 0.3:
                server.cancel(worker)
            if worker not in server.busy:
                server.assign(worker)
        server.alarm(self.period)


@pytest.mark.parametrize("period", [0.5, 1.0, 0.7])
@pytest.mark.parametrize("law", [TIES, sg.times.Recorded(((0.0, 0.5, 1.0),) * 4, at_end="repeat"), EXPONENTIAL], ids=str)
@pytest.mark.parametrize("faults", [(), (sg.faults.Crash(0, at=1.0, back=2.0),)], ids=["well", "crashing"])
def test_a_tape_is_cut_at_updates_that_alarms_made(law, faults, period):
    for seed in range(4):
        tape = assert_cut_at_each_update(Periodic(period), sg.Cluster(4, law, faults=faults), 6, seed)
        assert (tape.update_times % period == 0).all() or period == 0.7


def test_a_recording_with_alarms_goes_on_in_pieces():
    cluster = sg.Cluster(4, TIES)
    whole, pieces = sg.record(Periodic(0.5), cluster, sg.Updates(12)), Recording(Periodic(0.5), cluster)
    for seconds in (0.4, 0.5, 0.75, 2.0):
        pieces.advance(seconds=seconds)
        assert pieces.tape().check() == sg.record(Periodic(0.5), cluster, sg.Seconds(seconds))
    pieces.advance(updates=12)
    assert pieces.tape() == whole


def test_replaying_a_recording_with_alarms_is_simulating():
    problem, cluster, optimizer = sg.problems.quadratic(), sg.Cluster(4, TIES), sg.optimizers.sgd(0.1)
    for until in (sg.Updates(9), sg.Seconds(4.0)):
        run = sg.simulate(Periodic(0.5), problem, cluster, optimizer, until)
        tape = sg.record(Periodic(0.5), cluster, until, message_bytes=problem.message_bytes)
        assert sg.replay(tape, problem, optimizer, until) == run


# --- weights at the step, and looks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeanOfMeans(sg.AsyncSGD):
    """Steps once each worker has given a gradient, with the mean of the workers' means (Malenia's step)."""

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        counts = {worker: server.accumulated_by(worker) for worker in server.workers}
        assert sum(counts.values()) == server.accumulated
        if all(counts.values()):
            server.step(weights={worker: 1 / (len(counts) * count) for worker, count in counts.items()})
        server.assign(gradient.worker)


def test_weights_by_worker_multiply_each_one_s_gradients():
    tape = sg.record(MeanOfMeans(), sg.Cluster(2, sg.times.PerWorker([TIES, sg.times.Constant(3.5)])), sg.Updates(3)).check()
    assert tape.worker.tolist() == [0, 0, 0, 1] * 3 or tape.updates == 3
    for version in range(3):
        of_step = tape.version == version
        for worker in (0, 1):
            assert tape.weight[of_step & (tape.worker == worker)].sum() == pytest.approx(0.5)


def test_weights_scale_and_those_given_before_are_multiplied():
    def answer(server, gradient):
        server.accumulate(gradient, weight=2.0 + gradient.worker)
        if server.accumulated == 2:
            server.step(scale=0.5, weights={1: 4.0})
        server.assign(gradient.worker)

    assert recorded(sg.Updates(1), gradient_with=answer).weight.tolist() == [1.0, 6.0]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({0: math.inf}, r"stepped with the weight of worker 0 inf at 1 s: it must be a finite number"),
        ({0: "1"}, r"stepped with the weight of worker 0 '1'"),
        ({7: 1.0}, r"stepped with a weight of worker 7 at 1 s, but the workers are 0 to 1"),
        ({"0": 1.0}, r"worker must be a whole number of at least 0, got '0'"),
        ([1.0, 1.0], r"stepped with the weights \[1\.0, 1\.0\] at 1 s: give a dict \{worker: weight\}"),
        ({0: 1e308}, r"stepped with the weights \{0: 1e\+308\} .*the weight 10, and their product is no finite number"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, said):
    def answer(server, gradient):
        server.accumulate(gradient, weight=10.0)
        server.step(weights=weights)

    with pytest.raises(sg.ProtocolError, match=said):
        recorded(sg.Updates(1), gradient_with=answer)


def test_jobs_in_flight_are_seen_and_not_what_is_to_come():
    seen = []

    def answer(server, gradient):
        assert gradient.worker not in server.jobs
        server.apply(gradient)
        server.assign(gradient.worker, steps=2)
        seen.append({worker: tuple(job) for worker, job in server.jobs.items()})
        assert (len(server.jobs), list(server.jobs)) == (2, [0, 1])

    recorded(sg.Updates(2), law=sg.times.PerWorker([TIES, sg.times.Constant(1.5)]), gradient_with=answer)
    assert seen[0] == {0: (0, 1, 1, 1.0, 2), 1: (1, 0, 0, 0.0, 1)}
    assert seen[1] == {0: (0, 1, 1, 1.0, 2), 1: (1, 1, 2, 1.5, 2)}
    with pytest.raises(TypeError):
        Recording(sg.AsyncSGD(), sg.Cluster(1, TIES))._server.jobs[0] = None


# --- charges --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Charged(sg.Work):
    """Charges what it is told to."""

    down: object = 1.0
    up: object = 1.0

    def bytes_down(self, message_bytes):
        return self.down * message_bytes

    def bytes_up(self, message_bytes):
        return self.up * message_bytes

    def run(self, parameters, state, job):
        return job.gradient(parameters), state


def played(work, law=EXPONENTIAL, network=LINK, protocol=None, until=None, size=10.0, workers=4, **more):
    protocol = protocol or sg.AsyncSGD()
    costs = Costs.of(sg.Method(protocol, sg.optimizers.sgd(0.1), work=work), size)
    recording = Recording(protocol, sg.Cluster(workers, law, network, **more), costs)
    recording.advance(seconds=until or 30.0)
    return recording.tape().check()


@pytest.mark.parametrize(
    "law",
    [EXPONENTIAL, sg.times.SlowSpells(EXPONENTIAL, 3.0, 2.0, 2.0), sg.times.AutocorrelatedLognormal(1.0, 0.5, 0.5)],
    ids=["free", "stretched by the clock", "remembering"],
)
def test_a_job_of_several_steps_takes_the_sum_of_so_many_draws(law):
    """Its nominal seconds are those of a worker's draws k·H to k·H + H − 1, and a clock stretches the sum."""
    from simsgd.support import rng
    from simsgd.times.stretching import Stretched

    steps = 3
    tape = played(Charged(steps=steps), law, sg.networks.Link(latency=0.0))
    assert (tape.steps == steps).all()
    for worker in range(4):
        draw = law.sampler(rng.stream(0, "compute time", worker), worker)
        nominal = draw.work if isinstance(draw, Stretched) else draw
        rows = np.flatnonzero(tape.worker == worker)
        for row in rows[np.argsort(tape.job[rows])]:
            work = sum(nominal(0.0) for _ in range(steps))
            took = draw.in_parts(tape.began[row], work) if isinstance(draw, Stretched) else work
            assert tape.ended[row] - tape.began[row] == pytest.approx(took, rel=1e-12)


def test_steps_begin_one_after_the_other():
    """Each step is drawn for the second at which it begins, so a law that looks at the clock sees it move."""

    @dataclass(frozen=True)
    class Lengthening(sg.times.Law):
        def sample(self, rng, worker, now):
            return now + 1.0

        def moments(self, worker=0):
            return TIES.moments()

    tape = played(Charged(steps=3), Lengthening(), sg.networks.Link(latency=0.0), until=22.0, workers=1)
    assert tape.ended.tolist() == [1.0 + 2.0 + 4.0]
    assert tape.in_flight.began.tolist() == [7.0]


@dataclass(frozen=True)
class Cancelling(sg.AsyncSGD):
    """Hands out jobs of one to four steps, and cancels the neighbour's job one time in three."""

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker, steps=1 + (gradient.job + 1) % 4)
        neighbour = (gradient.worker + 1) % len(server.workers)
        if server.rng.random() < 1 / 3 and neighbour in server.jobs:
            server.cancel(neighbour)
            server.assign(neighbour, steps=1 + server.version % 3)


@pytest.mark.parametrize("network", [sg.networks.ParameterServer(LINK), sg.networks.Link(latency=0.3)], ids=["server", "link"])
@pytest.mark.parametrize("faults", [(), (sg.faults.LostMessages(0.3, timeout=2.0),)], ids=["well", "losing messages"])
def test_each_job_s_draws_are_its_own_whatever_became_of_those_before(network, faults):
    """The draws of a job begin after all those of the worker's earlier jobs, also of those that never began."""
    table = tuple(tuple(x / 64 for x in range(1, 800)) for _ in range(4))  # the k-th draw is (k + 1)/64 seconds
    tape = played(Charged(), sg.times.Recorded(table, at_end="stop"), network, Cancelling(), until=60.0, faults=faults)
    assert np.isnan(tape.discarded.began).sum() > 3 or not faults
    for worker in range(4):
        jobs = {}
        for _, log, _ in tape.jobs_and_ends():
            for row in np.flatnonzero(log.worker == worker):
                jobs[int(log.job[row])] = (int(log.steps[row]), float(log.ended[row] - log.began[row]))
        draw = 1
        for job in sorted(jobs):
            steps, took = jobs[job]
            assert math.isnan(took) or took == pytest.approx(sum(range(draw, draw + steps)) / 64)
            draw += steps


@pytest.mark.parametrize("sharing", ["fair", "first in, first out"])
def test_messages_have_bytes_of_their_own_on_a_server_s_links(sharing):
    """Two workers, 100 bytes/s: down 200 bytes each, up 10: by hand."""
    network = sg.networks.ParameterServer(sg.networks.Link(latency=0.0, bandwidth=100.0), sharing=sharing)
    tape = played(Charged(down=20.0, up=1.0), TIES, network, workers=2, until=5.5)
    began = [4.0, 4.0] if sharing == "fair" else [2.0, 4.0]
    assert tape.began[:2].tolist() == began
    assert tape.arrived[:2].tolist() == ([5.2, 5.2] if sharing == "fair" else [3.1, 5.1])
    assert (set(tape.bytes_down.tolist()), set(tape.bytes_up.tolist())) == ({200.0}, {10.0})


def test_messages_have_bytes_of_their_own_on_paths():
    tape = played(Charged(down=20.0, up=0.0), TIES, workers=1, until=6.5)
    assert tape.began.tolist() == [2.0, 5.0]
    assert tape.arrived.tolist() == [3.0, 6.0]


def test_an_all_reduce_sums_messages_as_long_as_what_goes_up():
    """A ring of 2: each rank sends two halves; 100 bytes take 1 s at 100 bytes/s. What goes down is not sent."""
    ring = sg.networks.Ring(LINK)
    tape = played(Charged(down=1e9, up=10.0), TIES, ring, sg.MinibatchSGD(), workers=2, until=5.0)
    assert tape.arrived.tolist() == [2.0, 2.0, 4.0, 4.0]
    assert measures.bytes_moved(tape, np.array([1.0, 2.0, 4.0])).tolist() == [0.0, 200.0, 400.0]


def test_bytes_and_samples_are_counted_as_charged():
    tape = played(Charged(steps=4, down=2.0, up=0.5), TIES, sg.networks.Link(latency=0.0), workers=1, until=8.5)
    assert measures.bytes_moved(tape, np.array([0.0, 3.9, 4.0, 8.0])).tolist() == [20.0, 20.0, 20.0 + 25.0, 20.0 + 50.0]
    assert measures.samples_used(tape, np.array([0, 1, 2]), 32).tolist() == [0, 128, 256]


@pytest.mark.parametrize("of", ["down", "up"])
@pytest.mark.parametrize("factor", [-1.0, math.inf, math.nan])
def test_bytes_that_no_message_has_are_refused(of, factor):
    with pytest.raises(
        ValueError, match=rf"bytes_{of} in Charged.*'s charge for a job must be a finite number of at least 0 .bytes"
    ):
        played(Charged(**{of: factor}))


@dataclasses.dataclass(frozen=True)
class Odd(sg.Compression):
    """Says of a message's bytes what it is told to."""

    said: object

    def bytes(self, shapes):
        return self.said

    def compress(self, message, state, key, shared_key):
        return message, state


@pytest.mark.parametrize("said", [-50, math.inf, math.nan, None, "ten"])
def test_bytes_that_no_compressed_message_has_are_refused(said):
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=Odd(said))
    with pytest.raises(ValueError, match=r"bytes of Odd\(said=.*\) must be a finite number of at least 0 \(bytes\), got"):
        sg.record(method, sg.Cluster(2, TIES), sg.Updates(1), message_bytes=100.0)


@dataclasses.dataclass(frozen=True)
class Priced(sg.OneGradient):
    """Charges what it is told to."""

    said: object = None

    def charge(self, order):
        return self.said


def test_a_charge_that_says_no_bytes_has_those_of_the_work():
    tape = played(Priced(said=sg.Charges(steps=2)), size=10.0)
    assert set(tape.bytes_up.tolist()) == set(tape.bytes_down.tolist()) == {10.0}
    assert set(tape.steps.tolist()) == {2}


@pytest.mark.parametrize("said", [3, None, (2, 0.0, 0.0)])
def test_a_charge_that_is_none_is_refused(said):
    with pytest.raises(TypeError, match=r"charge for a job must be an instance such as Charges\(steps=8\), or super"):
        played(Priced(said=said))


@pytest.mark.parametrize("steps", [0, -1, 1.5, "2", True])
def test_steps_that_no_job_has_are_refused(steps):
    with pytest.raises(sg.ProtocolError, match=r"called assign\(0, steps=.*, but steps must be a whole number of at least 1"):
        recorded(sg.Updates(1), gradient_with=lambda server, gradient: server.assign(gradient.worker, steps=steps))


def test_steps_that_a_gradient_does_not_take_are_refused_where_it_is_computed():
    protocol = Scripted(gradient_with=lambda server, gradient: server.assign(gradient.worker, steps=2))
    with pytest.raises(sg.ProtocolError, match=r"assign\(0, steps=2\) at 1 s, but what is played computes 1 for a job"):
        sg.simulate(protocol, sg.problems.quadratic(), sg.Cluster(2, TIES), sg.optimizers.sgd(0.1), sg.Updates(1))


def test_steps_beyond_the_bound_are_refused():
    with pytest.raises(sg.BoundError, match=r"assign\(0, steps=1000000\)"):
        recorded(sg.Updates(1), gradient_with=lambda server, gradient: server.assign(gradient.worker, steps=10**6))


def test_a_worker_that_is_back_has_the_steps_that_were_asked_for():
    @dataclass(frozen=True)
    class Five(sg.AsyncSGD):
        def start(self, server):
            server.assign(0, steps=5)

    tape = sg.record(Five(), sg.Cluster(1, TIES, faults=(sg.faults.Crash(0, at=2.0, back=3.0),)), sg.Updates(2)).check()
    assert tape.discarded.steps.tolist() == [5]
    assert tape.steps.tolist() == [5, 1]
    assert tape.time.tolist() == [8.0, 9.0]


def test_a_method_is_recorded_with_its_work():
    optax = pytest.importorskip("optax")
    method = sg.Method(sg.AsyncSGD(), optax.sgd(0.1), work=Charged(steps=2, down=3.0))
    tape = sg.record(method, sg.Cluster(2, TIES, LINK), sg.Updates(4), message_bytes=10.0)
    assert set(tape.steps.tolist()) == {2}
    assert tape.header["work"].startswith("Charged(steps=2")
    plain = sg.record(sg.AsyncSGD(), sg.Cluster(2, TIES, LINK), sg.Updates(4), message_bytes=10.0)
    assert plain.header["work"] == "OneGradient()"
    assert tape.identity.description["recording"]["charges"] != plain.identity.description["recording"]["charges"]


def test_plain_charges_are_no_part_of_the_content():
    """So tapes have the hashes that they had before there were columns of charges."""
    free, paid = (sg.record(sg.AsyncSGD(), sg.Cluster(2, TIES), sg.Updates(4), message_bytes=size) for size in (0, 8))
    assert free == paid
    more = dataclasses.replace(paid, bytes_up=paid.bytes_up + 1)
    assert more != paid
    assert dataclasses.replace(paid, steps=paid.steps + 1) != paid


def test_charges_are_saved_and_read(tmp_path):
    tape = played(Charged(steps=2, down=3.0, up=0.5))
    tape.save(tmp_path / "tape.nc")
    loaded = sg.Tape.load(tmp_path / "tape.nc")
    assert loaded == tape
    assert (loaded.bytes_up == 5.0).all()


@pytest.mark.parametrize("column", ["row_steps", "discarded_bytes_down", "in_flight_bytes_up"])
def test_a_tape_from_before_there_were_charges_has_plain_ones(column):
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, TIES), sg.Updates(4), message_bytes=8)
    old = tape.to_dataset()
    loaded = sg.Tape.from_dataset(old.drop_vars([column]))
    assert loaded == tape
    assert set(loaded.bytes_down.tolist()) == {8.0}
    with pytest.raises(sg.TapeError, match="damaged or edited"):
        sg.Tape.from_dataset(played(Charged(steps=2, down=3.0)).to_dataset().drop_vars(["row_steps", "row_bytes_down"]))


@pytest.mark.parametrize(("column", "value"), [("steps", 0), ("bytes_down", -1.0), ("bytes_up", np.inf), ("bytes_up", np.nan)])
def test_charges_that_are_none_are_refused(column, value):
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, TIES), sg.Updates(4))
    wrong = getattr(tape, column).copy()
    wrong[2] = value
    with pytest.raises(sg.TapeError, match="row 2 breaks law 8"):
        dataclasses.replace(tape, **{column: wrong}).check()
