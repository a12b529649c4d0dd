"""Lower limits at which simsgd gives up, so that an attack is soon there. No result depends on them."""

import contextlib

import simsgd as sg
from simsgd.recording import computing, server, stuck

LOWERED = (
    (sg.bounds, "rows", 20_000),
    (sg.bounds, "evaluations", 5_000),
    (stuck, "GRADIENTS_WITHOUT_STEP", 10_000),
    (server, "GRADIENTS_WITHOUT_STEP", 10_000),
    (computing, "DRAWS_AT_ONE_MOMENT", 10_000),
    (stuck, "ALARMS_WITHOUT_DELIVERY", 5_000),
    (server, "ALARMS_WITHOUT_DELIVERY", 5_000),
    (stuck, "ALARMS_WHILE_IDLE", 1_000),
    (stuck, "LOST_WITHOUT_DELIVERY", 50),
    (stuck, "FAULTS_WITHOUT_DELIVERY", 50),
)


def lower() -> None:
    """Lower the limits of this process, for good."""
    for where, name, limit in LOWERED:
        setattr(where, name, limit)


@contextlib.contextmanager
def lowered():
    """Lower the limits in a block; they are as before after it."""
    before = [(where, name, getattr(where, name)) for where, name, _ in LOWERED]
    lower()
    try:
        yield
    finally:
        for where, name, limit in before:
            setattr(where, name, limit)
