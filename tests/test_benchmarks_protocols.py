"""How fast protocols record: gradients that arrive in a processor second, as ratios to asynchronous SGD side by side.

Run it with: python -m pytest -m slow -s -n 0 tests/test_benchmarks_protocols.py

No protocol may record below half of what asynchronous SGD does: one that does work for every worker at every gradient would, at
1,000 workers, by far. A gradient counts when it arrives; jobs that are cancelled are work too, and are printed.
"""

import time

import numpy as np
import pytest

import simsgd as sg
from simsgd import protocols
from simsgd.recording.recorder import Recording
from simsgd.tape.schema import REASONS

pytestmark = pytest.mark.slow
ROUNDS = 5
GRADIENTS = 40_000
LAW = sg.times.Exponential(mean=1.0)


def methods(n):
    """The protocols as one would use them with n workers. K-sync with a small K cancels n − K jobs for K gradients."""
    return {
        "minibatch": sg.MinibatchSGD(),
        "K-sync": protocols.KSyncSGD(3 * n // 4),
        "K-batch-sync": protocols.KBatchSyncSGD(2 * n),
        "first m": protocols.FirstMSGD(n // 2),
        "K-async": protocols.KAsyncSGD(n // 4),
        "K-batch-async": protocols.KBatchAsyncSGD(n // 4),
        "SSP(0)": protocols.StaleSynchronousSGD(0),
        "SSP(3)": protocols.StaleSynchronousSGD(3),
        "bounded": protocols.BoundedAsyncSGD(n // 2),
        "bounded in turn": protocols.BoundedAsyncSGD(n // 2, choose="in turn"),
        "Rennala": protocols.RennalaSGD(2 * n),
        "Ringmaster": protocols.RingmasterASGD(2 * n),
        "Ringmaster with stops": protocols.RingmasterASGD(2 * n, stops=True),
        "MindFlayer": protocols.MindFlayerSGD(limit=2.0, trials=4),
        "Malenia": protocols.MaleniaSGD(2 * n),
        "Rescaled": protocols.RescaledASGD(),
        "Ringleader": protocols.RingleaderASGD(),
    }


def speed(protocol, n):
    """Gradients that arrived, and jobs that were handed out, for each processor second of recording until GRADIENTS arrived."""
    recording = Recording(protocol, sg.Cluster(n, LAW))
    start = time.process_time()
    seconds = arrived = 0
    while arrived < GRADIENTS:
        seconds += GRADIENTS / n / 20
        recording.advance(seconds=seconds)
        unused = recording._logs.discarded.column("reason") == REASONS.index("unused")
        arrived = recording._logs.rows.count + int(unused.sum())
    spent = time.process_time() - start
    return arrived / spent, (arrived + int((~unused).sum())) / spent


@pytest.mark.parametrize("n", [16, 1000])
def test_no_protocol_records_below_half_of_asynchronous_sgd(n):
    slow = []
    for name, protocol in methods(n).items():
        pairs = np.array([(speed(protocol, n), speed(sg.AsyncSGD(), n)) for _ in range(ROUNDS)])
        ratios = pairs[:, 0, 0] / pairs[:, 1, 0]
        (gradients, jobs), (plain, _) = np.median(pairs, axis=0)
        print(
            f"{n} workers, {name}: {gradients:,.0f} gradients/s ({jobs:,.0f} jobs/s) against {plain:,.0f}, "
            f"ratio {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        )
        slow += [name] if np.median(ratios) < 0.5 else []
    assert not slow
