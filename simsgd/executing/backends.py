"""How work gets to an executor, and what comes back: straight in this process, in parcels to others.

What comes back is `Done`, or `Raised` with the error of the work itself. All else that a future raises is the executor's.
"""

from __future__ import annotations

import pickle
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from simsgd.executing.parcels import LackingError, Packer, Parcel, SendingError, opened, unpack
from simsgd.executing.pinning import Surroundings, SurroundingsError, pin
from simsgd.executing.signs import Sign, beating
from simsgd.support import environment

IN_FLIGHT = 32
"""So many things are submitted at a time to an executor that does not say how many workers it has."""
AGAIN = 0.2
"""Seconds after which work is sent again that a worker lacked something for, while another worker is being sent it."""


@dataclass(frozen=True)
class Done:
    """Work that is done: what it returned, perhaps still in a `Parcel`."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """Work that raised an error of its own."""

    error: Exception


@dataclass(frozen=True)
class Lost:
    """Work that the executor lost: nobody knows how it would have ended."""

    reason: str


@dataclass(frozen=True)
class Unfit:
    """A worker that cannot do the work: it lacks a module, or memory, or its bits would be others.

    Attributes:
        reason: why, in words.
        trace: where in its code it was found out, if that was in the work.
    """

    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Lacking:
    """Work that came without something that the worker does not have; it is to be sent again, with everything."""


type Ended = Done | Raised | Lost | Unfit


class Pending(Protocol):
    """What is asked of a future."""

    def done(self) -> bool:
        """Say whether the work has ended."""

    def result(self) -> Ended:
        """Return how it ended, or raise what happened to the executor."""

    def cancel(self) -> object:
        """Cancel it if it has not begun."""


class Backend(Protocol):
    """Takes work, and gives futures of how it ended."""

    limit: int
    """So many pieces of work are submitted at a time."""

    def submit(
        self, what: str, function: Callable[..., Any], arguments: Sequence[Any], further: Sequence[Any], sign: Sign | None
    ) -> Pending:
        """Have `function(*arguments, *further)` done; `what` names it in errors, `further` may be parcels."""

    def prepared(self, what: str, thing: Any) -> Any:
        """Return something that several pieces of work will get, in the form in which it is handed over."""


class Here(Executor):
    """Does what is submitted at once, in the thread that submits it.

    Example:
        >>> from simsgd.executing.backends import Here
        >>> Here().submit(max, 1, 2).result()
        2
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class Direct:
    """Hands work to this process itself, or to its threads: as it is.

    Args:
        executor: one that works in this process.
        limit: how many pieces of work are submitted at a time.
    """

    def __init__(self, executor: Executor, limit: int | None = None) -> None:
        self.executor, self.limit = executor, limit or _limit(executor)

    def submit(
        self, what: str, function: Callable[..., Any], arguments: Sequence[Any], further: Sequence[Any], sign: Sign | None
    ) -> Pending:
        """Have work done in this process."""
        return self.executor.submit(carried_out, sign, function, *arguments, *further)

    def prepared(self, what: str, thing: Any) -> Any:
        """Return it as it is."""
        return thing


class Sending:
    """Hands work to an executor in parcels, for its processes, here or elsewhere.

    Args:
        executor: anything with `submit(function, *positional)`.
        shared: kinds of things of which a worker keeps those used last; see `Packer`.
        surroundings: what the workers' bits depend on must be like this; without it nothing is asked.
        limit: how many pieces of work are submitted at a time.
    """

    def __init__(
        self,
        executor: Executor,
        shared: tuple[type, ...] = (),
        surroundings: Surroundings | None = None,
        limit: int | None = None,
    ) -> None:
        self.executor, self.surroundings, self.limit = executor, surroundings, limit or _limit(executor)
        self._packer, self._pace = Packer(shared), _Pace()

    def submit(
        self, what: str, function: Callable[..., Any], arguments: Sequence[Any], further: Sequence[Any], sign: Sign | None
    ) -> Pending:
        """Have work done by the executor; raises SendingError for what cannot be sent."""
        parcel = self._packer.pack(what, (function, tuple(arguments)))
        sent = [self.prepared(what, thing) for thing in further]

        def send(parcel: Parcel) -> Future[Any]:
            nonce = secrets.token_hex(8)  # some executors answer an equal call with an old result
            return self.executor.submit(carried_out_there, nonce, self.surroundings, sign, parcel, *sent)

        return _Sent(send, parcel, self._pace)

    def prepared(self, what: str, thing: Any) -> Parcel:
        """Return it as a parcel, packed once."""
        return thing if isinstance(thing, Parcel) else Packer().pack(what, thing)


class _Sent:
    """A future of work that is sent: first without its large parts, and with them if the worker lacks them."""

    def __init__(self, send: Callable[[Parcel], Future[Any]], parcel: Parcel, pace: _Pace) -> None:
        self._send, self._parcel, self._pace = send, parcel, pace
        self._again = 0.0
        self._future: Future[Any] | None = send(parcel.light)

    def done(self) -> bool:
        """Say whether the work has ended; this is where it is sent again."""
        if self._future is None and time.monotonic() >= self._again:
            whole = self._pace.allows()
            self._future = self._pace.timed(self._send, self._parcel) if whole else self._send(self._parcel.light)
        if self._future is None or not self._future.done():
            return False
        if isinstance(ended(self._future), Lacking):
            self._future, self._again = None, time.monotonic() + (0.0 if self._pace.allows() else AGAIN)
            return False
        return True

    def result(self) -> Any:
        """Return how the work ended."""
        assert self._future is not None
        return self._future.result()

    def cancel(self) -> bool:
        """Cancel it if it has not begun."""
        return self._future is None or self._future.cancel()


class _Pace:
    """Keeps large parts from being sent too often: a worker that got them for one piece of work has them for the next."""

    def __init__(self) -> None:
        self._next = 0.0

    def allows(self) -> bool:
        return time.monotonic() >= self._next

    def timed(self, send: Callable[[Parcel], Future[Any]], parcel: Parcel) -> Future[Any]:
        begun = time.monotonic()
        future = send(parcel)
        now = time.monotonic()
        self._next = now + AGAIN + 2 * (now - begun)
        return future


def of(
    executor: Executor | Backend,
    shared: tuple[type, ...] = (),
    surroundings: Surroundings | None = None,
    limit: int | None = None,
) -> Backend:
    """Return the backend for an executor: threads of this process get things as they are, any other gets parcels.

    Raises:
        TypeError: for what has no `submit`.
    """
    if isinstance(executor, Direct | Sending) or hasattr(executor, "prepared"):
        return executor  # type: ignore[return-value]
    _check_submits(executor)
    if isinstance(executor, Here):
        return Direct(executor, 1)  # what it has done is handed on before it does more
    if isinstance(executor, ThreadPoolExecutor):
        return Direct(executor, limit)
    return Sending(executor, shared, surroundings, limit)


def check(executor: object) -> None:
    """Raise TypeError for what has no `submit`, ValueError for a pool whose processes are about to be forked: they cannot play.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from simsgd.executing import backends
        >>> backends.check(ThreadPoolExecutor(2))
    """
    _check_submits(executor)
    context, begun = getattr(executor, "_mp_context", None), getattr(executor, "_processes", None)
    if isinstance(executor, ProcessPoolExecutor) and context and context.get_start_method() == "fork" and not begun:
        raise ValueError(
            'executor must not start its processes by "fork", which copies a JAX that has started, and hangs: give it '
            'concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")), in a script below '
            'if __name__ == "__main__":; or loky.ProcessPoolExecutor(2), or none, for threads'
        )


def _check_submits(executor: object) -> None:
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "executor must have a method submit(function, *arguments), such as "
            f"concurrent.futures.ThreadPoolExecutor(2) or a Dask Client's get_executor(), got {executor!r:.60}"
        )


def _limit(executor: Executor) -> int:
    """Return how many things to submit at a time: two for each worker, so that none waits for us."""
    for name in ("_max_workers", "num_workers"):  # of concurrent.futures and loky, of mpi4py
        workers = getattr(executor, name, None)
        if isinstance(workers, int) and workers > 0:
            return 2 * workers
    return IN_FLIGHT


def carried_out(sign: Sign | None, function: Callable[..., Any], *arguments: Any) -> Ended:
    """Do work in this process, and say how it ended."""
    with beating(sign):
        try:
            return Done(function(*map(opened, arguments)))
        except Exception as error:
            return _unfit(error) if environment.at_fault(error) else Raised(error)


def _unfit(error: Exception) -> Unfit:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Unfit(f"the work could not be done, by no fault of its own ({said})", "".join(traceback.format_exception(error)))


def carried_out_there(
    nonce: str, surroundings: Surroundings | None, sign: Sign | None, parcel: Parcel, *further: Parcel
) -> Ended | Lacking:
    """Do work that came in parcels, and say how it ended, so that it can be sent back."""
    with beating(sign):
        try:
            pin(surroundings)
            function, arguments = unpack(parcel)
            given = [unpack(each) for each in further]
        except LackingError:
            return Lacking()
        except SurroundingsError as error:
            return Unfit(str(error))
        except Exception as error:
            return Unfit(
                f"a worker could not unpack what it was sent ({type(error).__name__}: {error}): it needs the same modules and "
                "versions as this process, its own modules installed or on PYTHONPATH"
            )
        ended = carried_out(None, function, *arguments, *given)
        try:
            return Done(Packer().pack("what a worker returns", ended.value)) if isinstance(ended, Done) else _sendable(ended)
        except SendingError as error:
            return Raised(error)


def _sendable(ended: Ended) -> Ended:
    """Return an error in a form that comes back whole: some cannot be unpickled, which would break the executor."""
    if not isinstance(ended, Raised):
        return ended
    error, lines = ended.error, traceback.format_exception(ended.error)
    try:
        same = type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        same = False
    if not same:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note("raised in another process:\n" + "".join(lines))
    return Raised(error)


def ended(future: Pending) -> Ended:
    """Return how the work of a future that is done ended.

    Raises:
        BrokenExecutor: if the executor has died.
        KeyboardInterrupt: if Ctrl-C came to the worker.
    """
    try:
        return future.result()
    except (BrokenExecutor, KeyboardInterrupt):
        raise
    except BaseException as error:  # another executor's CancelledError is no Exception
        said = " ".join(str(error).split())
        return Lost(f"{type(error).__name__}{f': {said:.300}' if said else ''}")
