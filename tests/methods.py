"""The protocols that the shared suites run over: one of each that the package exports. A new one needs a row."""

import simsgd as sg
from simsgd import protocols

METHODS = {
    "sync": sg.MinibatchSGD(),
    "async": sg.AsyncSGD(),
    "K-sync": protocols.KSyncSGD(1),
    "K-batch-async": protocols.KBatchAsyncSGD(3),
    "Rennala": protocols.RennalaSGD(5),
    "Ringmaster": protocols.RingmasterASGD(2),
}
