"""Methods of the shelf that keep a table of gradients: models step by step, as computed by hand, through the simulator.

w begins at 16 and η = ½; a worker's gradient is w_read − x, x its own optimum, 0 where nothing else is said.
"""

import numpy as np
import pytest
from by_hand import cluster, end, models, problem

import simsgd as sg
from simsgd import faults, methods


def test_all_client_engagement():
    """Steps are zero until worker 1 is there, at 3.5 s; then w ← w − ½·(G₀ + G₁)/2.

    Worker 0 reads w₀ … w₃ = 16: (16 + 16)/2, w = 8; it reads w₃: (16 + 16)/2, w = 0; it reads w₅ = 0: (0 + 16)/2, w = −4; it
    reads w₆: (−4 + 16)/2, w = −7.
    """
    assert models(methods.all_client_engagement(0.5), (1.0, 3.5), 7) == [16, 16, 16, 8, 0, -4, -7]


def test_incremental_aggregated():
    """As above, but the full gradient: of the optima −3 and 3 in the data a batch has one, and their mean is 0."""
    method = methods.incremental_aggregated(0.5, steps=1)
    run = sg.simulate(
        method, problem((-3.0, 3.0)), cluster(1.0, 3.5), until=sg.Updates(7), evaluate_every=sg.Updates(1), dtype="float64"
    )
    assert run.dataset["w"].values.tolist() == [16, 16, 16, 16, 8, 0, -4, -7]


def test_incremental_aggregated_takes_its_time():
    """A full gradient of 4 batches takes 4 local steps of time."""
    tape = sg.record(methods.incremental_aggregated(steps=4), cluster(1.0, 1.5), until=sg.Updates(3))
    assert tape.time.tolist() == [4, 6, 8]


def test_impatient_averaging():
    """Worker 2 is down from 1.5 s on, its gradient stays 16: w ← w − ½·(G₀ + G₁ + G₂)/3.

    8 = 16 − ½·48/3; 8/3 = 8 − ½·(8 + 8 + 16)/3; −8/9 = 8/3 − ½·(8/3 + 8/3 + 16)/3.
    """
    down = faults.Crash(worker=2, at=1.5)
    got = models(methods.impatient_averaging(0.5), (1.0, 1.0, 1.0), 3, faults=[down])
    assert got == pytest.approx([8, 8 / 3, -8 / 9], rel=1e-14)


def test_ringleader():
    """Two rounds of two steps, x = (0, 16), worker 1 at 3.25 and 6.5 s: w ← w − ½·(mean of worker 0 + mean of worker 1)/2.

    Round 0: worker 0 delivers 16 three times, worker 1 delivers 0: w = 16 − ½·8 = 12; worker 0 steps with 16: w = 8.
    Round 1: worker 0 delivers 8, 8; worker 1, which read w = 12, −4: w = 8 − ½·2 = 7; worker 0 steps with 8: w = 6.
    """
    assert models(methods.ringleader(0.5), (1.0, 3.25), 4, optima=(0.0, 16.0)) == [12, 8, 7, 6]


def test_tables_go_to_the_optimum_of_all_whatever_the_speeds():
    """Job times 1 and 10, optima 0 and 1: plain asynchronous SGD weights them by rate, 1/11, tables by worker, ½."""
    about = {"abs": 0.022}  # η = 0.002: the model swings by about 11 gradients, each at most 1, times η
    assert end(methods.asynchronous(0.002), (1.0, 10.0), 10_000, optima=(0.0, 1.0)) == pytest.approx(1 / 11, **about)
    for method in (methods.all_client_engagement(0.002), methods.ringleader(0.002)):
        assert end(method, (1.0, 10.0), 10_000, optima=(0.0, 1.0)) == pytest.approx(1 / 2, **about)


def test_what_is_made_for_data_that_differ_asks_for_them():
    """Both sides are named."""
    with pytest.raises(ValueError, match=r"partitioned") as error:
        sg.simulate(methods.ringleader(), problem(), cluster(1.0, 1.0), until=sg.Updates(1))
    assert "Ringleader" in str(error.value)
    assert np.isfinite(models(methods.ringleader(), (1.0, 1.0), 2, optima=(0.0, 1.0))).all()
