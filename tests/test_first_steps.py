"""What somebody new may stumble over when writing a protocol or recording: refused, or made right, and said."""

import inspect
from dataclasses import dataclass, field

import numpy as np
import pytest
from methods import FIXED_WORKERS, OBSERVING, OF_SEVERAL_KINDS, RECORDED

import simsgd as sg
from simsgd.recording.server import EARLY_ROWS

CLUSTER = sg.Cluster(3, sg.times.Exponential(mean=1.0))


# --- protocols -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Doing(sg.Protocol):
    """Asynchronous SGD that first does something with (server, gradient)."""

    action: object

    def on_gradient(self, server, gradient):
        self.action(server, gradient)
        server.apply(gradient)
        server.assign(gradient.worker)


def doing(action, until=None):
    return sg.record(Doing(action), CLUSTER, until or sg.Updates(5), seed=0)


def test_every_exported_protocol_is_in_the_shared_suite():
    exported = {name for name in sg.protocols.__all__ if inspect.isclass(getattr(sg.protocols, name))}
    concrete = {name for name in exported if not inspect.isabstract(getattr(sg.protocols, name))}
    concrete -= {"Gradient", "JobInFlight", "Server"}
    assert concrete == {type(method).__name__ for method in (RECORDED | FIXED_WORKERS | OBSERVING | OF_SEVERAL_KINDS).values()}


def test_a_protocol_that_is_not_frozen_is_refused():
    @dataclass
    class Remembering(sg.Protocol):
        count: int = 0

        def on_gradient(self, server, gradient):
            self.count += 1

    class Plain(sg.AsyncSGD):
        """Inherits from a frozen dataclass, and could be given attributes all the same."""

    @dataclass(frozen=True)
    class Holding(sg.AsyncSGD):
        seen: list = field(default_factory=list)

    for protocol in (Remembering(), Plain()):
        with pytest.raises(TypeError, match=r"protocol is of the class .*put @dataclass\(frozen=True\) above .*server\.notes"):
            sg.record(protocol, CLUSTER, sg.Updates(5))
    with pytest.raises(TypeError, match=r"protocol\.seen can be changed in place, .*use a tuple.*got \[\]"):
        sg.record(Holding(), CLUSTER, sg.Updates(5))


@pytest.mark.parametrize("name", ["read", "worker", "job", "arrived"])
def test_gradients_cannot_be_forged(name):
    with pytest.raises(AttributeError):
        doing(lambda server, gradient: setattr(gradient, name, 999))


def test_a_copy_of_a_gradient_is_not_the_one_delivered():
    with pytest.raises(sg.ProtocolError, match="is not the gradient being delivered"):
        doing(lambda server, gradient: server.accumulate(gradient._replace(read=999)))


@pytest.mark.parametrize("name", ["version", "accumulated", "workers", "busy", "down", "now", "rng"])
def test_the_server_s_state_cannot_be_set(name):
    with pytest.raises(AttributeError):
        doing(lambda server, gradient: setattr(server, name, 999))


@pytest.mark.parametrize("worker", [1.0, True, "1", None, -1, 3])
def test_workers_are_whole_numbers(worker):
    said = r"(worker must be a whole number of at least 0|the workers are 0 to 2)"
    with pytest.raises(sg.ProtocolError, match=rf"called assign\({worker!r}\) at .* s, but {said}"):
        doing(lambda server, gradient: server.assign(worker))
    with pytest.raises(sg.ProtocolError, match=rf"called cancel\({worker!r}\) at .* s, but"):
        doing(lambda server, gradient: server.cancel(worker))


def test_numpy_s_whole_numbers_are_workers():
    done = doing(lambda server, gradient: server.cancel(np.int64(server.busy and next(iter(server.busy)))), sg.Updates(2))
    assert set(done.discarded.worker) <= {0, 1, 2}


@pytest.mark.parametrize("weight", ["0.5", None, True, 1j, float("nan"), float("inf")])
def test_weights_are_finite_numbers(weight):
    with pytest.raises(sg.ProtocolError, match=r"gave a gradient the weight .* must be a finite number"):
        doing(lambda server, gradient: server.apply(gradient, weight))
    if weight is not True:  # which is equal to 1
        with pytest.raises(sg.ProtocolError, match=r"stepped with the scale .* must be a finite number"):
            doing(lambda server, gradient: (server.accumulate(gradient), server.step(weight)))


# --- random numbers of a protocol's own ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropping(sg.Protocol):
    """Ignores each gradient with some probability."""

    probability: float

    def on_gradient(self, server, gradient):
        if server.rng.random() >= self.probability:
            server.apply(gradient)
        server.assign(gradient.worker)


def test_a_protocol_has_random_numbers_of_its_own():
    until = sg.Seconds(500)
    dropping, again, other = (sg.record(Dropping(0.3), CLUSTER, until, seed=seed) for seed in (1, 1, 2))
    assert dropping == again
    share, gradients = len(dropping.discarded) / 1500, 1500  # 3 workers, 1 gradient/s each
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / gradients) ** 0.5 + 4 * 0.3 / gradients**0.5
    assert not np.array_equal(dropping.discarded.job[:20], other.discarded.job[:20])


def test_no_other_draw_moves_with_them():
    """Who drops nothing draws as often; the times of the workers' jobs are those of asynchronous SGD, which never draws."""
    until = sg.Seconds(100)
    plain, keeping, dropping = (sg.record(p, CLUSTER, until) for p in (sg.AsyncSGD(), Dropping(0.0), Dropping(0.5)))
    assert keeping == plain
    for worker in range(3):
        jobs = {
            int(job): float(ended)
            for log in (dropping, dropping.discarded)
            for job, ended in zip(log.job[log.worker == worker], log.ended[log.worker == worker], strict=True)
        }
        used = plain.worker == worker
        assert jobs == dict(zip(plain.job[used].tolist(), plain.ended[used].tolist(), strict=True))


# --- work without end ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_bounds(monkeypatch):
    for name, value in {"rows": 5_000, "workers": 50}.items():
        monkeypatch.setattr(sg.bounds, name, value)


REFUSED = {
    "updates": (
        lambda: sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(10**12)),
        r"until=Updates\(count=10+\) would take 1e\+12 rows",
    ),
    "updates of a simulation": (
        lambda: sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), CLUSTER, sg.optimizers.sgd(0.1), sg.Updates(10**12)),
        r"until=Updates\(count=10+\) would take 1e\+12 rows",
    ),
    "times of nothing": (
        lambda: sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1e-300)), sg.Seconds(60)),
        r"until=Seconds\(60\), at the pace of 1,000 rows in the first 5e-298 s, would take 1\.2e\+302 rows",
    ),
    "the same, simulated": (
        lambda: sg.simulate(
            sg.AsyncSGD(),
            sg.problems.quadratic(),
            sg.Cluster(2, sg.times.Constant(1e-300)),
            sg.optimizers.sgd(0.1),
            sg.Seconds(60),
        ),
        r"would take 1\.2e\+302 rows",
    ),
    "workers": (lambda: sg.Cluster(10**7, sg.times.Constant(1.0)), r"Cluster\.workers=10000000 would take 1e\+07 workers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_take_too_much_is_refused_before_the_work(case):
    call, message = REFUSED[case]
    with pytest.raises(sg.BoundError, match=message + r".*at most .* are begun: ask for less, or allow it with sg\.bounds\."):
        call()


def test_a_bound_can_be_changed(small_bounds):
    with pytest.raises(sg.BoundError, match=r"sg\.bounds\.rows = 6000"):
        sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(6_000))
    sg.bounds.rows = 6_000
    assert sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(6_000)).updates == 6_000
    with pytest.raises(ValueError, match=r"bounds\.rows must be a whole number of at least 1, got 0"):
        sg.bounds.rows = 0
    with pytest.raises(AttributeError, match="bounds has no 'row'; it has rows, workers, evaluations, bytes, file_bytes"):
        sg.bounds.row = 1


@dataclass(frozen=True)
class Quickening(sg.times.Law):
    """Jobs of a second each, and then of a microsecond: the pace at the beginning says nothing of what comes."""

    def sampler(self, rng, worker):
        jobs = iter([1.0] * EARLY_ROWS)
        return lambda now: next(jobs, 1e-6)

    def moments(self, worker=0):
        return sg.times.Moments(1e-6, 0.0)


def test_what_turns_out_to_take_too_much_is_stopped(small_bounds):
    with pytest.raises(sg.BoundError, match=r"a recording of AsyncSGD\(\) that has come to .* s would take 5,001 rows"):
        sg.record(sg.AsyncSGD(), sg.Cluster(1, Quickening()), sg.Seconds(2_000))


# --- tables and pictures of it -------------------------------------------------------------------------------------------


def test_a_tape_is_a_data_frame():
    tape = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(10))
    frame = tape.to_dataframe()
    assert frame.shape == (10, 20)
    assert frame["staleness"].tolist() == tape.staleness.tolist()
    assert frame["time"].tolist() == tape.time.tolist()


def test_notebooks_show_a_tape_as_a_table():
    shown = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(10))._repr_html_()
    assert all(part in shown for part in ("<table>", "AsyncSGD()", "staleness", "10 used, 0 thrown away, 3 in flight"))


def test_swapped_arguments_of_record_say_so():
    with pytest.raises(TypeError, match=r"protocol must be .*which is for cluster: arguments seem to be swapped"):
        sg.record(CLUSTER, sg.AsyncSGD(), sg.Updates(5))
