"""Whether a recording can go on: if nothing but waiting can follow, it says who waits for whom."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from simsgd.protocols import Protocol
from simsgd.recording.membership import Membership, listed, named

GRADIENTS_WITHOUT_STEP = 1_000_000
"""A protocol that has let so many gradients in a row arrive without a step is taken to be stuck."""
FAULTS_WHILE_IDLE = 10_000
"""A cluster in which so many faults in a row have found nobody at work is taken to be stuck."""
LOST_WITHOUT_DELIVERY = 1_000
"""A cluster that has lost so many jobs of each worker since the last gradient was delivered is taken to be stuck."""
ALARMS_WITHOUT_DELIVERY = 1_000_000
"""A protocol that has been woken so often since the last gradient was delivered is taken to be stuck."""
ALARMS_WHILE_IDLE = 10_000
"""A protocol that has been woken so often in a row, and has let nobody work, is taken to be stuck."""
FAULTS_WITHOUT_DELIVERY = 1_000
"""A cluster that has met so many faults for each worker, and for each of 100 at least, since then is taken to be stuck."""
GONE = (
    "give it a time at which it is back, let it leave for good (faults.Leave), or use a method that goes on without it, such "
    "as MinibatchSGD(wait=False)"
)


class StuckError(RuntimeError):
    """The simulation cannot go on; the message says who waits for whom."""


class Waiting(NamedTuple):
    """Who waits for what.

    Attributes:
        asked: the workers of whom a gradient is asked.
        working: those of them that have a job.
        blocked: how many jobs wait in the fabric for those of others.
        accumulated: how many gradients have been accumulated since the last step.
        alarms: how many alarms are yet to ring.
    """

    asked: Collection[int]
    working: Collection[int]
    blocked: int
    accumulated: int
    alarms: int


@dataclass
class Progress:
    """What has happened since things last moved.

    Attributes:
        arrived: gradients since the last step.
        lost: jobs lost to faults since the last gradient was delivered.
        idle_faults: faults in a row that found nobody at work.
        faults: since the last gradient was delivered.
        alarms: since the last gradient was delivered.
        idle_alarms: those of them in a row after which nobody was at work.
    """

    arrived: int = 0
    faults: int = 0
    lost: int = 0
    idle_faults: int = 0
    alarms: int = 0
    idle_alarms: int = 0

    def check(self, where: str, protocol: Protocol, membership: Membership, waiting: Waiting) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding and faults happens.

        Args:
            where: the moment, the version and what has just happened.
            protocol: which answers the gradients.
            membership: who there is.
            waiting: who waits for what.
        """
        if self.alarms >= ALARMS_WITHOUT_DELIVERY:
            raise StuckError(
                f"{where}, {self.alarms} alarms have rung since the last gradient was delivered: {protocol!r} must set "
                "fewer, or let its workers finish their jobs"
            )
        if self.arrived >= GRADIENTS_WITHOUT_STEP:
            raise StuckError(
                f"{where}, {self.arrived} gradients have arrived since the last step and the model stands still "
                f"({waiting.accumulated} of them accumulated): {protocol!r} must call server.step"
            )
        if self.lost >= LOST_WITHOUT_DELIVERY * max(1, len(membership.present)):
            raise StuckError(
                f"{where}, {self.lost} jobs have been lost to faults since the last gradient was delivered: workers do not "
                "stay up for as long as a job takes, make Cluster.faults rarer or jobs shorter"
            )
        if self.faults > FAULTS_WITHOUT_DELIVERY * max(100, len(membership.present)):
            raise StuckError(
                f"{where}, {self.faults} crashes and returns have come since the last gradient was delivered: make "
                "Cluster.faults rarer, or jobs shorter"
            )
        if not (len(waiting.working) > waiting.blocked or self._something_comes(membership, waiting)):
            raise StuckError(f"{where}, {self._who_waits_for_whom(protocol, membership, waiting)}")

    def _something_comes(self, membership: Membership, waiting: Waiting) -> bool:
        """Say whether something may come, though nobody is at work who will deliver: a worker, or an alarm."""
        owed_and_coming = not membership.expected.isdisjoint(waiting.asked)
        may_be_handed_one = bool(membership.expected) and self.idle_faults < FAULTS_WHILE_IDLE
        will_be_woken = waiting.alarms > 0 and self.idle_alarms < ALARMS_WHILE_IDLE
        return owed_and_coming or may_be_handed_one or will_be_woken

    def _who_waits_for_whom(self, protocol: Protocol, membership: Membership, waiting: Waiting) -> str:
        present, asked, working = membership.present, waiting.asked, waiting.working
        gone = sorted(set(asked) - set(working) - membership.expected)
        if not present:
            return "all workers have left"
        if membership.members <= membership.down - membership.expected:
            return f"all there are, {named(present)}, are down for good: give them times at which they are back"
        if working:
            missing = f"that of {named(gone)}, down for good" if gone else "others, which never come"
            return f"the gradients of {named(sorted(working))} wait in the all-reduce for {missing}: {GONE}"
        if gone:
            return f"the server waits for the gradient of {named(gone)}, down for good, and the others for the server: {GONE}"
        if waiting.alarms:
            return (
                f"nobody has been at work after {self.idle_alarms} alarms in a row: {protocol!r} must call server.assign, "
                "perhaps in on_alarm"
            )
        if membership.expected:
            return (
                f"nobody has had a job for {self.idle_faults} faults: {protocol!r} waits for the gradient of nobody, and must "
                "call server.assign, perhaps in on_return"
            )
        return (
            f"every worker ({listed(present)}) waits for the server to assign a job, and the server waits for a gradient: "
            f"{protocol!r} must call server.assign"
        )
