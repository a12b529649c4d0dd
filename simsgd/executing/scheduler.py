"""Recordings and groups, handed to executors in an order that keeps few in memory, and their results handed on as they come."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from typing import Any

from simsgd.executing import backends
from simsgd.executing.backends import Backend, Done, Ended, Lost, Pending, Raised, Unfit
from simsgd.executing.parcels import SendingError, opened
from simsgd.executing.pinning import Surroundings
from simsgd.executing.signs import Signs
from simsgd.support import interrupts

FROZEN = 600.0
"""Seconds without a sign of work that had given signs, after which it counts as lost, if no `patience` is said."""
SHORTEST, LONGEST = 0.002, 0.05
"""Seconds between two looks at the futures: at first, and when nothing has happened for long."""

GUARD = (
    "It had given nothing back: processes that are spawned import the script, which must begin its work below "
    'if __name__ == "__main__":. '
)
"""What is said first where a pool breaks before anything came back."""

type Task = tuple[Callable[..., Any], Sequence[Any]]


class ExecutorError(RuntimeError):
    """An executor died, lost some of the work, or cannot do it; the message says what, and how much is finished."""


@dataclass(frozen=True)
class Group:
    """Cells that are played together.

    Attributes:
        function: called with `*arguments` and then the tapes of `needs`, in this order.
        arguments: positional ones.
        needs: names of recordings.
        cells: how many.
    """

    function: Callable[..., Any]
    arguments: Sequence[Any] = ()
    needs: Sequence[str] = ()
    cells: int = 1


def execute(
    recordings: Mapping[str, Task],
    groups: Mapping[str, Group],
    executor: Executor | Backend,
    recorder: Executor | Backend,
    *,
    on_outcomes: Callable[[str, Any], object],
    on_failure: Callable[[str, Exception], object],
    on_look: Callable[[], object] | None = None,
    shared: tuple[type, ...] = (),
    surroundings: Surroundings | None = None,
    in_flight: int | None = None,
    signs: Signs | None = None,
    patience: float | None = None,
) -> None:
    """Have recordings made and groups played, and hand each group's outcomes over as soon as they are there.

    Groups are begun in the order given, a few at a time. A tape is recorded when the first group that needs it comes near, and
    kept until the last one that needs it has ended: groups with the same needs should stand together.

    Args:
        recordings: by name (function, positional arguments); each is made once, if a group needs it.
        groups: by name.
        executor: plays the groups.
        recorder: makes the recordings; it may be the same.
        on_outcomes: called in this thread with a group's name and what its function returned.
        on_failure: called with a group's name and the error that its function, or a recording that it needs, raised.
        on_look: called a few times a second while everything goes on, for a progress bar.
        shared: kinds of things that many groups hold, such as problems: packed once, and kept by workers.
        surroundings: what the bits of playing workers depend on; without it nothing is asked of them.
        in_flight: so many groups are submitted at a time; by default two for each worker, or 32 if their number is unknown.
        signs: where workers give signs of life.
        patience: seconds without a sign after which work counts as lost. By default that is 600 for work that has begun to give
            signs, and work that has not begun is waited for without end, as in the queue of a cluster.

    Raises:
        ExecutorError: if the executor died, or some groups were lost, after the others were finished; or, at once, if the work
            raised what is the environment's fault, such as MemoryError or OSError. These are no failures: to run them again is
            all that is needed.
        SendingError: if something cannot be sent to another process.
        KeyboardInterrupt, and what the callbacks raise: after what had not begun was cancelled.

    Example:
        >>> from simsgd.executing import Group, execute
        >>> from simsgd.executing.pools import Here
        >>> groups = {"squares": Group(lambda of, tape: [of * n**2 for n in tape], (10,), needs=["numbers"])}
        >>> execute(
        ...     {"numbers": (range, (4,))}, groups, Here(), Here(), on_outcomes=print, on_failure=print
        ... )
        squares [0, 10, 40, 90]
    """
    players = backends.of(executor, shared, surroundings, in_flight)
    recorders = backends.of(recorder, shared)
    watch = _Watch(signs, patience)
    execution = _Execution(recordings, groups, _Crew(players, watch), _Crew(recorders, watch), on_outcomes, on_failure)
    with interrupts.listening():
        execution.run(on_look or (lambda: None))


class _Dead(Exception):  # noqa: N818  (no user sees it)
    """The executor takes no more work."""


class _Watch:
    """How long to wait for a sign: of work that has begun, and of work that perhaps has not; and when the last one came."""

    def __init__(self, signs: Signs | None, patience: float | None) -> None:
        self.signs = signs
        self.begun = FROZEN if patience is None else patience
        self.waiting = math.inf if patience is None else patience
        self.heard = time.monotonic()


@dataclass
class _Flight:
    """Work that is submitted."""

    what: str
    future: Pending
    since: float
    silent: bool = False
    """Whether it counts as lost; it is kept if it comes after all."""


class _Crew:
    """A backend, with what it has been given and has not given back."""

    def __init__(self, backend: Backend, watch: _Watch) -> None:
        self.backend, self.watch = backend, watch
        self.flights: dict[str, _Flight] = {}

    @property
    def room(self) -> bool:
        return len(self.flights) < self.backend.limit

    @property
    def waiting(self) -> bool:
        """Whether something is still to be waited for."""
        return any(not flight.silent for flight in self.flights.values())

    def submit(self, name: str, what: str, function: Callable[..., Any], arguments: Sequence[Any], *further: Any) -> None:
        sign = self.watch.signs.sign(what) if self.watch.signs else None
        try:
            future = self.backend.submit(what, function, arguments, further, sign)
        except SendingError:
            raise
        except Exception as error:  # BrokenExecutor; RuntimeError after a shutdown; others' own
            raise _Dead from error
        self.flights[name] = _Flight(what, future, time.monotonic())

    def landed(self) -> Iterator[tuple[str, Ended]]:
        """Yield what has ended since the last look."""
        for name, flight in list(self.flights.items()):
            try:
                ended = backends.ended(flight.future) if flight.future.done() else None
            except Exception as error:  # BrokenExecutor, or another when work was to be sent again
                raise _Dead from error
            if ended is not None:
                self._forget(name)
                self.watch.heard = time.monotonic()
                yield name, ended

    def fallen_silent(self) -> Iterator[tuple[str, str]]:
        """Yield (name, why) of the work that has given no sign for too long since the last look."""
        watch, now = self.watch, time.monotonic()
        quiet = {name: watch.signs.seconds(flight.what) if watch.signs else None for name, flight in self.flights.items()}
        watch.heard = max([watch.heard, *(now - seconds for seconds in quiet.values() if seconds is not None)])
        for name, flight in self.flights.items():
            seconds, limit = quiet[name], watch.begun
            if seconds is None:
                seconds, limit = now - max(flight.since, watch.heard), watch.waiting
            if not flight.silent and seconds > limit:
                flight.silent = True
                yield name, f"gave no sign for {seconds:.3g} s"

    def cancel(self) -> None:
        """Cancel what has not begun."""
        for name, flight in list(self.flights.items()):
            with contextlib.suppress(Exception):  # a dead executor's own
                flight.future.cancel()
            self._forget(name)

    def _forget(self, name: str) -> None:
        flight = self.flights.pop(name)
        if self.watch.signs:
            self.watch.signs.forget(flight.what)


class _Execution:
    """The state of one `execute`."""

    def __init__(
        self,
        recordings: Mapping[str, Task],
        groups: Mapping[str, Group],
        players: _Crew,
        recorders: _Crew,
        on_outcomes: Callable[[str, Any], object],
        on_failure: Callable[[str, Exception], object],
    ) -> None:
        self.recordings, self.groups, self.players, self.recorders = recordings, groups, players, recorders
        self.on_outcomes, self.on_failure = on_outcomes, on_failure
        unknown = {need for group in groups.values() for need in group.needs} - set(recordings)
        if unknown:
            raise ValueError(f"needs must name recordings, and there is none called {', '.join(map(repr, sorted(unknown)))}")
        self._ahead = iter(groups)
        self._open: dict[str, None] = {}
        self._wanted = Counter(need for group in groups.values() for need in set(group.needs))
        self._tapes: dict[str, Any] = {}
        self._unmade: dict[str, Ended] = {}
        self._lost: dict[str, str] = {}
        self._finished = 0
        self._landed = False

    def run(self, on_look: Callable[[], object]) -> None:
        """Go on until nothing is left to be waited for."""
        try:
            self._go_on(on_look)
        except _Dead as dead:
            self._save()
            raise self._died(dead.__cause__) from dead.__cause__
        except BaseException:
            self._save()
            raise
        finally:
            self.players.cancel()
            self.recorders.cancel()
        if self._lost:
            raise self._lost_some()

    def _go_on(self, on_look: Callable[[], object]) -> None:
        pause = SHORTEST
        while self._come_near():
            moved = self._collect() + self._begin()
            on_look()
            interrupts.look()
            if moved:
                pause = SHORTEST
            elif self._open and not (self.players.waiting or self.recorders.waiting):  # silent work fills all places
                self._lost |= dict.fromkeys([*self._open, *self._ahead], "was not begun: nothing gives a sign")
                return
            else:
                time.sleep(pause := min(1.3 * pause, LONGEST))

    def _collect(self) -> int:
        """Take what has ended; return how much."""
        moved = 0
        for name, ended in self.recorders.landed():
            moved += 1
            self._landed = True
            self._recorded(name, ended)
        for name, ended in self.players.landed():
            moved += 1
            self._landed = True
            self._played(name, ended)
        for name, why in self.recorders.fallen_silent():
            self._unmade[name] = Lost(why)
        for name, why in self.players.fallen_silent():
            self._played(name, Lost(why))
        return moved

    def _come_near(self) -> bool:
        """Let the next groups come near, so that their tapes are recorded; say whether any are left."""
        while len(self._open) < 2 * self.players.backend.limit and (name := next(self._ahead, None)) is not None:
            self._open[name] = None
        return bool(self._open)

    def _begin(self) -> int:
        """Submit what can be; return how much."""
        return sum(self._advance(name) for name in list(self._open) if name not in self.players.flights)

    def _advance(self, name: str) -> int:
        """Submit a group, or the recordings that it waits for; return how many things."""
        group = self.groups[name]
        unmade = [self._unmade[need] for need in group.needs if need in self._unmade]
        if unmade:
            self._played(name, unmade[0])
            return 1
        begun = 0
        missing = [need for need in dict.fromkeys(group.needs) if need not in self._tapes]
        for need in missing:
            if need not in self.recorders.flights and self.recorders.room:
                self.recorders.submit(need, f"recording {need}", *self.recordings[need])
                begun += 1
        if not missing and self.players.room:
            tapes = [self._tapes[need] for need in group.needs]
            self.players.submit(name, f"group {name}", group.function, group.arguments, *tapes)
            begun += 1
        return begun

    def _recorded(self, name: str, ended: Ended) -> None:
        self._unmade.pop(name, None)  # it comes after all
        if isinstance(ended, Unfit):
            raise self._unfit(ended)
        if not isinstance(ended, Done):
            self._unmade[name] = ended
        elif self._wanted[name]:
            self._tapes[name] = self.players.backend.prepared(f"recording {name}", ended.value)

    def _played(self, name: str, ended: Ended) -> None:
        """Hand a group's end over; one that counts as lost may still come."""
        if name in self._open:
            del self._open[name]
            self._release(name)
        self._lost.pop(name, None)
        if isinstance(ended, Unfit):
            raise self._unfit(ended)
        if isinstance(ended, Lost):
            self._lost[name] = ended.reason
            return
        self._finished += 1
        if isinstance(ended, Raised):
            self.on_failure(name, ended.error)
        else:
            self.on_outcomes(name, opened(ended.value))

    def _release(self, name: str) -> None:
        """Let go of the tapes that no further group needs."""
        for need in set(self.groups[name].needs):
            self._wanted[need] -= 1
            if not self._wanted[need]:
                self._tapes.pop(need, None)

    def _save(self) -> None:
        """Hand over the groups that have ended before everything broke off, as far as that goes."""
        for name, flight in list(self.players.flights.items()):
            with contextlib.suppress(Exception):
                if flight.future.done() and isinstance(ended := backends.ended(flight.future), Done | Raised):
                    del self.players.flights[name]
                    self._played(name, ended)

    def _died(self, cause: BaseException | None) -> ExecutorError:
        recordings = (f"the recording {_short(name)}" for name in self.recorders.flights)
        at_work = _some([*map(_short, self.players.flights), *recordings])
        said = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
        guard = "" if self._landed or not isinstance(cause, BrokenExecutor) else GUARD
        return ExecutorError(
            f"the executor died ({said}) while it had {at_work}: {self._kept()}. {guard}Run again, with a "
            "new executor, to make the rest; if it dies again, give it fewer workers, as memory may be what it lacks"
        )

    def _lost_some(self) -> ExecutorError:
        reasons = "; ".join(f"{_short(name)} {reason}" for name, reason in list(self._lost.items())[:3])
        further = f"; and {len(self._lost) - 3} more" if len(self._lost) > 3 else ""
        return ExecutorError(
            f"the executor lost {len(self._lost)} groups: {reasons}{further}. {self._kept()}. Run again to make the rest"
        )

    def _unfit(self, ended: Unfit) -> ExecutorError:
        error = ExecutorError(
            f"{ended.reason}. {self._kept()}; nothing counts as failed. Mend that, and run again to make the rest"
        )
        if ended.trace:
            error.add_note(f"raised by the work:\n{ended.trace}")
        return error

    def _kept(self) -> str:
        return f"{self._finished} of {len(self.groups)} groups are finished and kept"


def _short(name: object) -> str:
    """Return a name that can be read: the beginning of a long one, such as a hash."""
    text = str(name)
    return text if len(text) <= 16 else f"{text[:8]}…"


def _some(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(map(str, names[:5])) + more) or "nothing in hand"
