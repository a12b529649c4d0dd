"""A problem that can be computed in the head: one number w, the loss ½(w − x)², so that the gradient is w − x."""

import jax.numpy as jnp
import numpy as np

import simsgd as sg
from simsgd import times


def _start(key):
    return jnp.asarray(16.0)


def _loss(parameters, batch):
    return jnp.mean((parameters - batch) ** 2) / 2


def _model(parameters, data):
    return parameters


def problem(optima=(0.0,), workers=None):
    """Return it, w beginning at 16; with `workers`, each has an optimum x of its own, in order."""
    made = sg.Problem("one number", _start, _loss, np.asarray(optima), batch_size=1, metrics={"w": _model})
    if workers is None:
        return made
    return made.partitioned(workers, by=sg.problems.GivenShares([[worker] for worker in range(workers)]))


def cluster(*seconds, **others):
    """Return workers whose jobs take always as long, each its own time; messages take none."""
    return sg.Cluster(len(seconds), times.PerWorker([times.Constant(s) for s in seconds]), **others)


def models(method, seconds, updates, optima=(0.0,), **others):
    """Return w after each update; workers have optima of their own where there is one for each."""
    return _run(method, seconds, updates, optima, evaluate_every=sg.Updates(1), **others)[1:]


def end(method, seconds, updates, optima):
    """Return w after so many updates."""
    return _run(method, seconds, updates, optima)[-1]


def _run(method, seconds, updates, optima, evaluate_every=None, **others):
    own = len(seconds) if len(optima) == len(seconds) else None
    run = sg.simulate(
        method,
        problem(optima, own),
        cluster(*seconds, **others),
        until=sg.Updates(updates),
        evaluate_every=evaluate_every,
        dtype="float64",
    )
    return run.dataset["w"].values.tolist()
