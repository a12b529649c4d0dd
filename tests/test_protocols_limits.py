"""Where methods end when workers' data differ, on quadratics: at the optimum of all workers, or at one that speed decides.

At a constant step size a method that steps with single workers' gradients ends in a cycle round its limit, off by an amount
proportional to the step size. So each is run at two step sizes, and 2·w(η/2) − w(η) is compared, in which that amount cancels.
"""

import numpy as np
import pytest

import simsgd as sg
from simsgd import protocols, times

TWO = sg.problems.quadratics([0.0, 1.0])
SECONDS = (1.0, 2.0, 10.0)
OPTIMA = np.array([[0.0, 1.0], [1.0, -1.0], [3.0, 2.0]])
CURVATURES = np.array([[1.0, 0.5], [0.5, 1.0], [1.0, 2.0]])
THREE = sg.problems.quadratics(OPTIMA, CURVATURES)
TRUE = sg.problems.weighted_optimum(OPTIMA, CURVATURES)
BY_RATE = sg.problems.weighted_optimum(OPTIMA, CURVATURES, weights=1 / np.array(SECONDS))
AVERAGED = {
    "minibatch": (sg.MinibatchSGD(), None),
    "SSP": (protocols.StaleSynchronousSGD(3), None),  # all clocks run alike in the end
    "Malenia": (protocols.MaleniaSGD(5), None),
    "rescaled": (protocols.RescaledASGD(SECONDS), None),
    "rescaled, counting": (protocols.RescaledASGD(), None),
    "Ringleader": (protocols.RingleaderASGD(), sg.optimizers.round_table()),
}
BIASED = {
    "async": (sg.AsyncSGD(), None),
    "K-batch-async": (protocols.KBatchAsyncSGD(2), None),
    "Ringmaster": (protocols.RingmasterASGD(100), None),
}


def end(protocol, table, problem, seconds, step_size=0.02):
    """The model at the end, as the step size goes to 0."""
    cluster = sg.Cluster(len(seconds), times.PerWorker([times.Constant(value) for value in seconds]))
    models = []
    for size in (step_size, step_size / 2):
        method = sg.Method(protocol, sg.optimizers.sgd(size), on_message=table)
        run = sg.simulate(method, problem, cluster, until=sg.Seconds(200 / step_size), dtype="float64")
        models.append(np.asarray(run.parameters))
    return 2 * models[1] - models[0]


def test_two_workers_ten_times_apart():
    """Job times 1 and 10 s, optima 0 and 1: plain asynchronous SGD ends at 1/11, rescaled at 1/2."""
    assert end(sg.AsyncSGD(), None, TWO, (1.0, 10.0)) == pytest.approx(1 / 11, abs=1e-3)
    assert end(protocols.RescaledASGD((1.0, 10.0)), None, TWO, (1.0, 10.0)) == pytest.approx(1 / 2, abs=1e-3)


@pytest.mark.parametrize("name", AVERAGED)
def test_methods_in_which_workers_count_alike_end_at_the_true_optimum(name):
    np.testing.assert_allclose(end(*AVERAGED[name], THREE, SECONDS), TRUE, atol=2e-3)


@pytest.mark.parametrize("name", BIASED)
def test_methods_in_which_gradients_count_alike_end_where_speed_decides(name):
    """(Σ p_i A_i)⁻¹ Σ p_i A_i x_i with p_i ∝ 1/h_i, which is far from the true optimum here."""
    np.testing.assert_allclose(end(*BIASED[name], THREE, SECONDS), BY_RATE, atol=2e-3)
    assert np.linalg.norm(BY_RATE - TRUE) > 0.5
