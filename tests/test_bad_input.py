"""Bad arguments are refused at once, with the argument's name, its value, and what would do."""

import math
from dataclasses import dataclass

import numpy as np
import optax
import pytest

import simsgd as sg

LAW = sg.times.Constant(1.0)
CLUSTER = sg.Cluster(2, LAW)
QUADRATIC = sg.problems.quadratic()
SGD = sg.optimizers.sgd(0.1)
UNTIL = sg.Updates(10)

REFUSED = {
    "no workers": (lambda: sg.Cluster(0, LAW), ValueError, "Cluster.workers must be a whole number of at least 1, got 0"),
    "negative workers": (lambda: sg.Cluster(-3, LAW), ValueError, "Cluster.workers … got -3"),
    "half a worker": (lambda: sg.Cluster(2.5, LAW), ValueError, "Cluster.workers … got 2.5"),
    "a boolean": (lambda: sg.Cluster(True, LAW), ValueError, "Cluster.workers … got True"),
    "a law's class": (
        lambda: sg.Cluster(2, sg.times.Constant),
        TypeError,
        "got the class Constant itself: call it, as in Constant(seconds=…)",
    ),
    "a number as law": (
        lambda: sg.Cluster(2, 0.1),
        TypeError,
        "Cluster.compute must be … times.Exponential(mean=0.1), got 0.1",
    ),
    "a bandwidth as network": (lambda: sg.Cluster(2, LAW, 1e9), TypeError, "Cluster.network must be an instance … Link"),
    "no updates": (lambda: sg.Updates(0), ValueError, "Updates.count must be a whole number of at least 1, got 0"),
    "updates as text": (lambda: sg.Updates("10"), ValueError, "Updates.count … got '10'"),
    "no seconds": (lambda: sg.Seconds(0), ValueError, "Seconds.seconds must be a finite number above 0 (seconds), got 0"),
    "endless": (lambda: sg.Seconds(math.inf), ValueError, "Seconds.seconds … got inf"),
    "not a number of seconds": (lambda: sg.Seconds(math.nan), ValueError, "Seconds.seconds … got nan"),
    "no value for a target": (lambda: sg.Target("loss"), ValueError, "needs exactly one of at_most and at_least"),
    "two values for a target": (
        lambda: sg.Target("loss", at_most=1, at_least=2),
        ValueError,
        "needs exactly one of at_most and at_least",
    ),
    "a target of nan": (lambda: sg.Target("loss", at_most=math.nan), ValueError, "Target.at_most … got nan"),
    "a bound in no unit": (
        lambda: sg.Target("loss", at_most=1, within=60),
        TypeError,
        "Target.within must be … Seconds(60), got 60",
    ),
    "an unbounded target": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, sg.Target("loss", at_most=0.1)),
        ValueError,
        "may never be reached: give it a bound, for example within=Seconds(60)",
    ),
    "an unknown metric": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, sg.Target("accuracy", at_most=0.1, within=UNTIL)),
        ValueError,
        "until.metric must be one of 'loss', 'distance', got 'accuracy'",
    ),
    "until a number": (lambda: sg.record(sg.AsyncSGD(), CLUSTER, 100), TypeError, "until must be … got 100"),
    "a target to record": (
        lambda: sg.record(sg.AsyncSGD(), CLUSTER, sg.Target("loss", at_most=0.1, within=UNTIL)),
        TypeError,
        "until … a Target needs gradients: simulate",
    ),
    "a protocol's class": (
        lambda: sg.record(sg.AsyncSGD, CLUSTER, UNTIL),
        TypeError,
        "got the class AsyncSGD itself: add ()",
    ),
    "a protocol's name": (
        lambda: sg.record("async", CLUSTER, UNTIL),
        TypeError,
        "protocol must be … AsyncSGD(), got 'async'",
    ),
    "a cluster that is none": (lambda: sg.record(sg.AsyncSGD(), 16, UNTIL), TypeError, "cluster must be an instance … got 16"),
    "a negative seed": (lambda: sg.record(sg.AsyncSGD(), CLUSTER, UNTIL, seed=-1), ValueError, "seed … got -1"),
    "a seed as text": (lambda: sg.record(sg.AsyncSGD(), CLUSTER, UNTIL, seed="0"), ValueError, "seed … got '0'"),
    "negative bytes": (
        lambda: sg.record(sg.AsyncSGD(), CLUSTER, UNTIL, message_bytes=-1),
        ValueError,
        "message_bytes must be a finite number of at least 0 (bytes), got -1",
    ),
    "no step size": (lambda: sg.optimizers.sgd(0), ValueError, "step_size must be a finite number above 0, got 0"),
    "too much momentum": (lambda: sg.optimizers.sgd(0.1, 1.0), ValueError, "momentum must be at least 0 and below 1, got 1.0"),
    "an optimizer already made": (lambda: sg.optimizers.tunable(optax.sgd(0.1)), TypeError, "factory must be a function"),
    "a step size as optimizer": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, 0.1, UNTIL),
        TypeError,
        "optimizer must be … optimizers.sgd(0.1) … got 0.1",
    ),
    "an optimizer's factory": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, optax.sgd, UNTIL),
        TypeError,
        "optimizer must be",
    ),
    "a problem's factory": (
        lambda: sg.simulate(sg.AsyncSGD(), sg.problems.digits, CLUSTER, SGD, UNTIL),
        TypeError,
        "problem must be … problems.digits(), got",
    ),
    "an unknown dtype": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, UNTIL, dtype="float16"),
        ValueError,
        "dtype must be one of 'float32', 'float64', got 'float16'",
    ),
    "no width": (lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, UNTIL, width=0), ValueError, "width … got 0"),
    "a number to look after": (
        lambda: sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, UNTIL, evaluate_every=5),
        TypeError,
        "evaluate_every must say what it counts, got 5: Updates(5) or Seconds(5)",
    ),
    "beyond the tape": (
        lambda: sg.replay(sg.record(sg.AsyncSGD(), CLUSTER, UNTIL), QUADRATIC, SGD, sg.Updates(11)),
        ValueError,
        "until=Updates(count=11) is never reached: the tape ends after 10 updates, at 5 s",
    ),
    "after the tape": (
        lambda: sg.replay(sg.record(sg.AsyncSGD(), CLUSTER, UNTIL), QUADRATIC, SGD, sg.Seconds(5.5)),
        ValueError,
        "is never reached: the tape ends after 10 updates, at 5 s",
    ),
    "no tape": (lambda: sg.replay("tape.nc", QUADRATIC, SGD), TypeError, "tape must be an instance … got 'tape.nc'"),
    "an unknown name": (lambda: sg.SyncSGD, AttributeError, "simsgd has no 'SyncSGD'; it has … AsyncSGD … Cluster"),
    "one speed for all": (lambda: sg.times.Speeds(LAW, 2.0), TypeError, "Speeds.speeds must be a sequence … got 2.0"),
    "one law for each": (lambda: sg.times.PerWorker(LAW), TypeError, "PerWorker.laws must be a sequence"),
    "one network for each": (
        lambda: sg.networks.PerWorker(sg.networks.Link()),
        TypeError,
        "PerWorker.networks must be a sequence",
    ),
    "one curvature": (lambda: sg.problems.quadratic(1.0), TypeError, "spectrum must be a sequence such as … got 1.0"),
    "no curvature": (
        lambda: sg.problems.quadratic(()),
        ValueError,
        "spectrum must hold at least one curvature above 0, got none",
    ),
    "too large a number": (lambda: sg.times.Constant(10**400), ValueError, "Constant.seconds must be a finite number above 0"),
    "no variation": (
        lambda: sg.times.Gamma(1.0, 1e-200),
        ValueError,
        "Gamma.coefficient_of_variation must be from 1e-6 … got 1e-200",
    ),
    "an endless tail": (
        lambda: sg.record(sg.AsyncSGD(), sg.Cluster(50, sg.times.Pareto(1.0, 0.001)), UNTIL),
        ValueError,
        "Pareto … drew a compute time of inf seconds",
    ),
    "one step size": (
        lambda: sg.studies.tune(sg.AsyncSGD(), QUADRATIC, CLUSTER, 0.1, sg.Target("loss", at_most=0.1, within=UNTIL)),
        TypeError,
        "step_sizes must be a sequence such as [0.01, 0.1, 1.0], got 0.1",
    ),
    "no step sizes": (
        lambda: sg.studies.tune(sg.AsyncSGD(), QUADRATIC, CLUSTER, [], sg.Target("loss", at_most=0.1, within=UNTIL)),
        ValueError,
        "step_sizes must hold at least one step size, got none",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_named(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error) as refusal:
        call()
    for part in message.split(" … "):
        assert part in str(refusal.value)


def test_numbers_of_other_types_make_no_other_clock():
    """A float32 or whole-number argument is stored as the float it stands for: the same times, the same description."""
    laws = [sg.times.Constant(0.5), sg.times.Constant(np.float32(0.5)), sg.times.Constant(np.float64(0.5))]
    assert len({repr(law) for law in laws}) == 1
    link = sg.networks.Link(latency=np.float32(0.25), bandwidth=2)
    assert repr(link) == "Link(latency=0.25, bandwidth=2.0)"
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(np.float32(0.1))), sg.Updates(20_000))
    assert tape.end == pytest.approx(10_000 * float(np.float32(0.1)), rel=1e-9)


def test_unknown_statistics_are_named():
    @dataclass(frozen=True)
    class Asking(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.observe("accuracy")

    with pytest.raises(sg.ProtocolError, match=r"Asking\(\) observes 'accuracy': it must be one of 'loss', 'distance'"):
        sg.simulate(Asking(), QUADRATIC, CLUSTER, SGD, UNTIL)


def test_unknown_metrics_of_a_run_are_named():
    run = sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, SGD, UNTIL)
    with pytest.raises(ValueError, match="metric must be one of 'loss', 'distance', got 'accuracy'"):
        run.final("accuracy")
    with pytest.raises(ValueError, match=r"target is needed, for example Target\(\"loss\", at_most=0\.1\)"):
        run.to_target()
