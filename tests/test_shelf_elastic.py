"""Elastic averaging: models step by step, as computed by hand, and where it is stable.

The centre begins at 16, as do all local models; a worker's gradient is x − its optimum, 0 where nothing else is said.
"""

import dataclasses

import numpy as np
import pytest
from by_hand import cluster, models

import simsgd as sg
from simsgd import methods, works
from simsgd.protocols import BoundedAsyncSGD, FirstMSGD


def test_easgd():
    """η = ½, α = ¼, optima 0 and 16: (x⁰, x¹, x̃), all from the old values.

    (16, 16, 16) → (8, 16, 16) as nothing pulls yet → (4 + 2, 16, 16 − 2) → (3 + 2, 16 − ½, 14 − 2 + ½), and at last
    x̃ = 12½ + (5 − 12½ + 15½ − 12½)/4.
    """
    method = methods.easgd(0.5, pull=0.25)
    assert models(method, (1.0, 2.0), 4, optima=(0.0, 16.0)) == [16, 14, 12.5, 12.5 + (-7.5 + 3.0) / 4]


def test_async_easgd():
    """One worker with H = 2, η = ½, α = ¼, so that the centre read is the current one: the pull comes with the first step.

    x = 16, d = 0: 8, 4, x̃ = 16. x = 4, d = −3: 2 + 3, 2½, x̃ = 13. x = 2½, d = −21/8: 1¼ + 21/8 = 31/8, x̃ = 83/8, x = 31/16.
    """
    expected = [16, 13, 83 / 8, 83 / 8 + (31 / 16 - 83 / 8) / 4]
    assert models(methods.async_easgd(0.5, pull=0.25, steps=2), (1.0,), 4) == expected


def test_async_easgd_pulls_at_the_centre_that_was_read():
    """η = ½, H = 1, α = ¼; worker 0 delivers at 2, 4, 6, 8 s, worker 1 at 4.5 and 9 s, and every first message is 0.

    Worker 0: x = 8, reads 16, d = −2, x = 4 + 2; reads 14, d = −2, x = 3 + 2; reads 12, d = −7/4. Worker 1 reads 14 at 4.5 s
    with x = 8: d = −3/2, whatever has become of the centre by 9 s.
    """
    method = methods.async_easgd(0.5, pull=0.25, steps=1)
    assert models(method, (2.0, 4.5), 6) == [16, 14, 14, 12, 10.25, 8.75]


def test_eamsgd():
    """One worker, H = 2, η = ½, α = ¼, δ = ½: v ← v/2 − ½(x + v/2), x ← x + v.

    v = −8, x = 8; v = −4 − ½·4 = −6, x = 2; x̃ = 16. Then d = −7/2: v = −3 − ½(2 − 3) = −5/2, x = 2 − 5/2 + 7/2 = 3;
    v = −5/4 − ½(3 − 5/4) = −17/8, x = 7/8; x̃ = 25/2, and at last 25/2 + (7/8 − 25/2)/4.
    """
    method = methods.eamsgd(0.5, pull=0.25, steps=2, momentum=0.5)
    assert models(method, (1.0,), 3) == [16, 12.5, 12.5 + (7 / 8 - 12.5) / 4]


@pytest.mark.slow
def test_eamsgd_without_momentum_is_asynchronous_easgd():
    got, expected = (
        models(method, (1.0, 3.5), 9, optima=(0.0, 16.0))
        for method in (methods.eamsgd(0.1, pull=0.2, steps=3, momentum=0.0), methods.async_easgd(0.1, pull=0.2, steps=3))
    )
    assert got == expected


@pytest.mark.parametrize("make", [methods.easgd, pytest.param(methods.async_easgd, marks=pytest.mark.slow)])
def test_without_a_pull_workers_learn_each_for_itself(make):
    """α = 0: the centre stays, and a worker's model is that of plain SGD with its gradients alone."""
    learned = sg.problems.quadratic(noise=0.5)
    method, jobs = make(0.1, pull=0.0, steps=1), 5
    run = sg.simulate(method, learned, cluster(1.0, 1.0, 1.0), until=sg.Seconds(jobs), dtype="float64")
    played = sg.testing.play_slowly(run.tape, learned, method)
    for worker in range(3):
        alone = sg.Method(FirstMSGD((worker,)), sg.optimizers.sgd(0.1))
        one = sg.simulate(alone, learned, cluster(1.0, 1.0, 1.0), until=sg.Updates(jobs), dtype="float64")
        np.testing.assert_allclose(played.worker_states[worker][0].model, one.parameters, rtol=1e-12)
    assert run.parameters.tolist() == played.versions[0].tolist()


def round_of(workers, step_size, pull):
    """The matrix of one round: each worker in turn, with the centre, moves on x²/2; (x⁰, …, x̃) → (x⁰, …, x̃)."""
    whole = np.eye(workers + 1)
    for worker in range(workers):
        one = np.eye(workers + 1)
        one[worker, worker], one[worker, -1] = 1 - step_size - pull, pull
        one[-1, worker], one[-1, -1] = pull, 1 - pull
        whole = one @ whole
    return whole


@pytest.mark.parametrize(
    ("workers", "step_size"), [(3, 1.0), *(pytest.param(n, a, marks=pytest.mark.slow) for n in (1, 4) for a in (0.2, 1.9))]
)
@pytest.mark.parametrize("side", [0.99, 1.01])
def test_the_round_robin_is_stable_up_to_the_bound(workers, step_size, side):
    """α ≤ (4 − 2η)/(4 − η) on x²/2; the centre's growth is that of the round's matrix.

    With one job in flight what is read is current, so the exchange is the paper's.
    """
    pull = side * (4 - 2 * step_size) / (4 - step_size)
    matrix = round_of(workers, step_size, pull)
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    assert (radius < 1) == (side < 1)
    method = dataclasses.replace(
        methods.async_easgd(step_size, pull=pull, steps=1), protocol=BoundedAsyncSGD(jobs=1, choose="in turn")
    )
    centers = models(method, (1.0,) * workers, 40 * workers)[workers - 1 :: workers]
    state, expected = np.full(workers + 1, 16.0), []
    for _ in centers:
        state = matrix @ state
        expected.append(state[-1])
    np.testing.assert_allclose(centers, expected, rtol=1e-9, atol=1e-9)


def test_workers_that_join_begin_at_the_centre_that_they_are_handed():
    """Worker 1 joins at 2.5 s and is handed 14: its message of 6.5 s is 0, where it would be 2 with a model that began at 16.

    η = ½, α = ¼, H = 1; worker 0 each second: d = 0, −2, −2, −7/4, −3/2, −41/32.
    """
    joining = sg.faults.Join(worker=1, at=2.5)
    method = methods.async_easgd(0.5, pull=0.25, steps=1)
    assert models(method, (1.0, 4.0), 7, faults=[joining]) == [16, 14, 12, 10.25, 8.75, 7.46875, 7.46875]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: methods.easgd(pull=-0.1), "Elastic.pull must be .*at least 0, got -0.1"),
        (lambda: methods.easgd(pull=float("nan")), "Elastic.pull must be"),
        (lambda: methods.async_easgd(pull=0.1, steps=0), "Elastic.steps must be at least 1, got 0"),
        (lambda: methods.eamsgd(pull=0.1, steps=1, momentum=1.0), "Elastic.momentum must be"),
        (lambda: works.Elastic(pull=0.1, momentum=-0.1), "Elastic.momentum must be"),
    ],
)
def test_what_makes_no_sense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_without_an_inner_optimizer_there_is_nothing_to_learn_by():
    with pytest.raises(ValueError, match="inner"):
        dataclasses.replace(methods.easgd(pull=0.1), inner=None)
