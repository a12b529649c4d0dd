"""Whether a recording can go on: if nothing but waiting can follow, it says who waits for whom."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simsgd.protocols import Protocol
from simsgd.recording.membership import Membership, listed, named

GRADIENTS_WITHOUT_STEP = 1_000_000
"""A protocol that has let so many gradients in a row arrive without a step is taken to be stuck."""
FAULTS_WHILE_IDLE = 10_000
"""A cluster in which so many faults in a row have found nobody at work is taken to be stuck."""
LOST_WITHOUT_DELIVERY = 1_000
"""A cluster that has lost so many jobs of each worker since the last gradient was delivered is taken to be stuck."""
FAULTS_WITHOUT_DELIVERY = 1_000
"""A cluster that has met so many faults for each worker, and for each of 100 at least, since then is taken to be stuck."""
GONE = (
    "give it a time at which it is back, let it leave for good (faults.Leave), or use a method that goes on without it, such "
    "as MinibatchSGD(wait=False)"
)


class StuckError(RuntimeError):
    """The simulation cannot go on; the message says who waits for whom."""


@dataclass
class Progress:
    """What has happened since things last moved.

    Attributes:
        arrived: gradients since the last step.
        lost: jobs lost to faults since the last gradient was delivered.
        idle_faults: faults in a row that found nobody at work.
        faults: since the last gradient was delivered.
    """

    arrived: int = 0
    faults: int = 0
    lost: int = 0
    idle_faults: int = 0

    def check(
        self,
        where: str,
        protocol: Protocol,
        membership: Membership,
        asked: Collection[int],
        working: Collection[int],
        waiting: int,
        accumulated: int,
    ) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding and faults happens.

        Args:
            where: the moment, the version and what has just happened.
            protocol: which answers the gradients.
            membership: who there is.
            asked: the workers of whom a gradient is asked.
            working: those of them that have a job.
            waiting: how many jobs wait in the fabric for those of others.
            accumulated: how many gradients have been accumulated since the last step.
        """
        if self.arrived >= GRADIENTS_WITHOUT_STEP:
            raise StuckError(
                f"{where}, {self.arrived} gradients have arrived since the last step and the model stands still ({accumulated} "
                f"of them accumulated): {protocol!r} must call server.step"
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
        owed_and_coming = not membership.expected.isdisjoint(asked)
        may_be_handed_one = membership.expected and self.idle_faults < FAULTS_WHILE_IDLE
        if not (len(working) > waiting or owed_and_coming or may_be_handed_one):
            raise StuckError(f"{where}, {self._who_waits_for_whom(protocol, membership, asked, working)}")

    def _who_waits_for_whom(
        self, protocol: Protocol, membership: Membership, asked: Collection[int], working: Collection[int]
    ) -> str:
        present = membership.present
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
        if membership.expected:
            return (
                f"nobody has had a job for {self.idle_faults} faults: {protocol!r} waits for the gradient of nobody, and must "
                "call server.assign, perhaps in on_return"
            )
        return (
            f"every worker ({listed(present)}) waits for the server to assign a job, and the server waits for a gradient: "
            f"{protocol!r} must call server.assign"
        )
