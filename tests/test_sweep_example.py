"""An example to copy: a parametrised sweep of your own, 3 methods × 4 worker counts × 5 seeds on the digits.

The fixture `simsgd_simulate`, which comes with simsgd, is `sg.simulate` but for two things: what was asked for before is not
made again (with `--simsgd-cache` in later sessions too), and a case that fails shows the line that makes its run again.
Cases share compiled players: `problems.digits()` is made once, `optimizers.sgd` keeps its numbers outside the compiled code,
so a player compiles once for each method and number of workers, whatever the seed, the step size or the length. What the cases
measured is collected in one table, which the last test reads; `python -m pytest tests/test_sweep_example.py -s` prints it.
"""

import numpy as np
import pytest

import simsgd as sg

METHODS = {
    "synchronous": (sg.MinibatchSGD(), sg.optimizers.sgd(0.5)),
    "asynchronous": (sg.AsyncSGD(), sg.optimizers.sgd(0.05)),
    "asynchronous, momentum": (sg.AsyncSGD(), sg.optimizers.sgd(0.005, momentum=0.9)),
}
WORKERS = (1, 2, 4, 8)
SEEDS = range(5)
TARGET = sg.Target("accuracy", at_least=0.85, within=sg.Seconds(60))


@pytest.fixture(scope="module")
def seconds_to_target():
    """Where the cases write what they measured: (method, workers, seed) -> simulated seconds."""
    return {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("method", METHODS)
def test_method_reaches_the_target(method, workers, seed, seconds_to_target, simsgd_simulate):
    protocol, optimizer = METHODS[method]
    cluster = sg.Cluster(workers, sg.times.ShiftedExponential(shift=0.05, mean=0.1))
    run = simsgd_simulate(protocol, sg.problems.digits(), cluster, optimizer, TARGET, seed, evaluate_every=sg.Seconds(0.1))
    assert run.status == "target reached"
    seconds_to_target[method, workers, seed] = run.to_target().seconds


def test_asynchronous_workers_share_the_work(seconds_to_target):
    """Every doubling of the workers brings asynchronous SGD to the target sooner, in the median over the seeds."""
    if len(seconds_to_target) < len(METHODS) * len(WORKERS) * len(SEEDS):
        pytest.skip("needs every case of the sweep: run the whole file")
    medians = {
        (method, workers): np.median([seconds_to_target[method, workers, seed] for seed in SEEDS])
        for method in METHODS
        for workers in WORKERS
    }
    for method in METHODS:
        print(f"{method:>24}", *(f"{medians[method, workers]:8.2f} s" for workers in WORKERS))
    assert (np.diff([medians["asynchronous", workers] for workers in WORKERS]) < 0).all()
