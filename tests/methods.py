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
    "MindFlayer": protocols.MindFlayerSGD(limit=5.0, trials=2),
    "Malenia": protocols.MaleniaSGD(3),
}
"""One of each kind, over which suites run that play gradients: rows unused, cancelled, cancelled by an alarm, weighted late."""
RECORDED = METHODS | {
    "K-batch-sync": protocols.KBatchSyncSGD(3),
    "first m": protocols.FirstMSGD(1),
    "K-async": protocols.KAsyncSGD(1),
    "SSP": protocols.StaleSynchronousSGD(1),
    "bounded": protocols.BoundedAsyncSGD(2),
    "bounded in turn": protocols.BoundedAsyncSGD(1, choose="in turn"),
    "Ringmaster with stops": protocols.RingmasterASGD(2, stops=True),
    "Rescaled": protocols.RescaledASGD(),
    "sampled": protocols.SampledSGD(2),
    "dynamic local": protocols.DynamicLocalSGD(3),
    "quorum": protocols.QuorumSGD(quorum=1, grace=0.4375),
    "post-local": protocols.PostLocalSGD(after=3, steps=2),
}
"""All those that any cluster of at least two workers carries, whoever crashes, leaves or joins: for suites that record."""
FIXED_WORKERS = {
    "Ringleader": protocols.RingleaderASGD(),
}
"""Those that refuse workers which leave or join."""
OBSERVING = {
    "AdaSync": protocols.AdaSyncSGD(every=1.0),
    "AdaComm": protocols.AdaCommSGD(every=1.0, steps=3),
}
"""Those that look at the loss, and so cannot be recorded without gradients."""
OF_SEVERAL_KINDS = {
    "epochs": protocols.EpochSGD(updates=3),
    "asynchronous epochs": protocols.AsyncEpochSGD(updates=4),
    "loopless epochs": protocols.LooplessEpochSGD(probability=0.3),
    "fragments": protocols.FragmentsSGD(fragments=2),
    "MARINA": protocols.MarinaRounds(probability=0.3),
}
"""Those that ask for several kinds of jobs, and so are recorded with a whole method: the suites over the shelf have them."""
