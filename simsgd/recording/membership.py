"""Which workers there are: who belongs to the cluster, who is down, and who will come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from simsgd.recording.fault_schedule import Change


class Workers(Collection[int]):
    """Some workers, to be looked at and not changed; going through them, in order, they may change meanwhile.

    Args:
        numbers: the workers' numbers, which others change.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = numbers

    def __contains__(self, worker: object) -> bool:
        return worker in self._numbers

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"Workers({sorted(self._numbers)})"


class Membership:
    """The workers of a cluster at one moment.

    Args:
        workers: how many there will ever be.
        late: those that are yet to join.

    Attributes:
        present: those that belong to the cluster, in order.
        members: the same as a set.
        down: those of them that are down.
        expected: those that are down or yet to join, and will come.
    """

    def __init__(self, workers: int, late: Collection[int]) -> None:
        everybody = range(workers)
        self.members = set(everybody) - set(late)
        self.present: Sequence[int] = sorted(self.members) if late else everybody
        self.down: set[int] = set()
        self.expected = set(late)

    def change(self, change: Change) -> None:
        """Let a worker be from now on what a change says."""
        belongs = change.kind != "leave"
        is_down = belongs and change.down
        for workers, is_one in ((self.members, belongs), (self.down, is_down), (self.expected, is_down and change.back)):
            (workers.add if is_one else workers.discard)(change.worker)
        if change.kind in ("leave", "join"):
            self.present = sorted(self.members)


def listed(workers: Sequence[int]) -> str:
    """Return workers' numbers as text, "0 to 3" where they follow one another.

    Example:
        >>> from simsgd.recording.membership import listed
        >>> listed([0, 1, 2, 3]), listed([0, 2])
        ('0 to 3', '0, 2')
    """
    if len(workers) > 1 and list(workers) == list(range(workers[0], workers[-1] + 1)):
        return f"{workers[0]} to {workers[-1]}"
    return ", ".join(map(str, workers))


def named(workers: Sequence[int]) -> str:
    """Return workers as text, "worker 3" or "workers 0 to 3"."""
    return f"worker{'s' if len(workers) > 1 else ''} {listed(workers)}"
