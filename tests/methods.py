"""The protocols that the shared suites run over: one of each that the package exports. A new one needs a row."""

import simsgd as sg
from simsgd import protocols

METHODS = {
    "sync": sg.MinibatchSGD(),
    "async": sg.AsyncSGD(),
    "K-sync": protocols.KSyncSGD(1),
    "K-batch-sync": protocols.KBatchSyncSGD(3),
    "first m": protocols.FirstMSGD(1),
    "K-async": protocols.KAsyncSGD(1),
    "K-batch-async": protocols.KBatchAsyncSGD(3),
    "SSP": protocols.StaleSynchronousSGD(1),
    "bounded": protocols.BoundedAsyncSGD(2),
    "bounded in turn": protocols.BoundedAsyncSGD(1, choose="in turn"),
    "Rennala": protocols.RennalaSGD(5),
    "MindFlayer": protocols.MindFlayerSGD(limit=1.0, trials=2),
    "Ringmaster": protocols.RingmasterASGD(2),
    "Ringmaster with stops": protocols.RingmasterASGD(2, stops=True),
    "Rescaled": protocols.RescaledASGD(),
    "Malenia": protocols.MaleniaSGD(3),
}
"""Those that any cluster of at least two workers carries, whoever crashes, leaves or joins."""
FIXED_WORKERS = {
    "Ringleader": protocols.RingleaderASGD(),
}
"""Those that refuse workers which leave or join."""
OBSERVING = {
    "AdaSync": protocols.AdaSyncSGD(every=1.0),
}
"""Those that look at the loss, and so cannot be recorded without gradients."""
