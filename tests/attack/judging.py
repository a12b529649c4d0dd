"""What an error must be: typed, raised by simsgd on purpose, naming its subject and the way out; or the user's own object."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import traceback
from collections.abc import Callable

import simsgd

from . import rubbish

HOME = pathlib.Path(simsgd.__file__).parent
RAW = re.compile(
    "NoneType|unsupported operand|index out of range|object is not|has no attribute|not subscriptable|must be real number|"
    "could not convert|math domain|math range|not iterable|unhashable|cannot be interpreted|too large to convert|ambiguous|"
    "positional argument|required argument|<locals>|Traceback"
)
"""What Python and NumPy say of themselves; simsgd says it of the argument."""
WAYS_OUT = re.compile(
    "must|use |give|ask for|allow|need|got|cancel|wait|only|at least|once|cannot|call|say|record|twice|idle|busy|before|,"
)
VERBS = {"assign", "cancel", "accumulate", "step", "apply", "observe", "staleness"}
"""What a protocol calls."""
LONGEST = 4000


class Failure(Exception):  # noqa: N818
    """Something did not hold; the message begins with what.

    Attributes:
        oracle: the function that found it, if it was not the call itself that failed.
    """

    oracle: Callable[..., None] | None = None


def judge(error: BaseException, written: str) -> str:
    """Return the kind of an error that is as it must be.

    Args:
        error: what came out.
        written: the configuration as text.

    Raises:
        Failure: if it is not.
    """
    kind = type(error)
    if isinstance(error, rubbish.OwnError | rubbish.OwnInterrupt):
        if not any(error is own for own in rubbish.raised):
            raise Failure(f"own exception copied: {error!r}") from error
        return "the user's own"
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    if last.filename == rubbish.__file__:
        return "the user's own"
    if not (kind.__module__.startswith("simsgd") or kind in (ValueError, TypeError)):
        raise Failure(f"raw {kind.__name__}: {error!s:.200} ({place(last)})") from error
    if HOME not in pathlib.Path(last.filename).parents or not raises(last.filename, last.lineno or 0):
        raise Failure(f"raw {kind.__name__}: not raised by simsgd: {error!s:.200} ({place(last)})") from error
    said = str(error)
    quoted = re.sub(r"got .*", "", said, flags=re.DOTALL)
    if RAW.search(quoted):
        raise Failure(f"raw words in {kind.__name__}: {said:.300} ({place(last)})") from error
    if not names_something(said, written):
        raise Failure(f"names nothing: {kind.__name__}: {said:.300} ({place(last)})") from error
    if not WAYS_OUT.search(said):
        raise Failure(f"no way out: {kind.__name__}: {said:.300} ({place(last)})") from error
    if len(said) > LONGEST:
        raise Failure(f"too long: {kind.__name__}: {len(said)} characters ({place(last)})") from error
    return kind.__name__


def names_something(said: str, written: str) -> bool:
    """Say whether a message mentions an argument, a class or a value of the configuration."""
    names = set(re.findall(r"[A-Za-z_]{3,}", written)) - {"sg", "times", "networks", "faults", "protocols", "rubbish", "math"}
    names |= VERBS
    return not names.isdisjoint(re.findall(r"[A-Za-z_]{3,}", said))


def place(frame: traceback.FrameSummary) -> str:
    return f"{pathlib.Path(frame.filename).name}:{frame.lineno}"


@functools.cache
def _raising_lines(filename: str) -> frozenset[int]:
    tree = ast.parse(pathlib.Path(filename).read_text(encoding="utf-8"))
    spans = ((node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise))
    return frozenset(line for first, last in spans for line in range(first, last + 1))


def raises(filename: str, line: int) -> bool:
    """Say whether a line is part of a `raise` statement."""
    return line in _raising_lines(filename)
