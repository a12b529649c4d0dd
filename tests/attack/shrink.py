"""Simpler configurations that fail in the same way: parts are left out, laws made constant, numbers made plain."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from .expressions import Call, Expression, text

SIMPLEST: tuple[Expression, ...] = (
    Call("sg.times.Constant", (("seconds", "1.0"),)),
    Call("sg.networks.Link"),
    Call("sg.AsyncSGD"),
)
NUMBERS = ("0", "1", "2", "1.0", "2.0", "0.5")


def signature(reason: str) -> tuple[str, str]:
    """Return what two failures of one cause have in common: how the message begins, and the place in the code."""
    place = re.search(r"\((\w+\.py:\d+)\)$", reason)
    return re.sub(r"\d[\d.e+-]*", "#", reason.split(":")[0]), place[1] if place else ""


def simpler(expression: Expression) -> Iterator[Expression]:
    """Yield simpler forms of an expression, the simplest first."""
    if isinstance(expression, Call):
        yield from (each for each in SIMPLEST if len(text(each)) < len(text(expression)))
        yield from (value for _, value in expression.arguments if isinstance(value, Call))
        for name, value in expression.arguments:
            yield expression.given(**{name: None})
            yield from (expression.given(**{name: other}) for other in simpler(value))
    elif isinstance(expression, tuple):
        for i, each in enumerate(expression):
            yield expression[:i] + expression[i + 1 :]
            yield from ((*expression[:i], other, *expression[i + 1 :]) for other in simpler(each))
    else:
        yield from (number for number in NUMBERS if (len(number), number) < (len(expression), expression))


def shrink(call: Call, reason_of: Callable[[Call], str | None], seconds: float = 10.0) -> Call:
    """Return a simpler call that fails for the same reason.

    Args:
        call: fails.
        reason_of: says why a call fails, or None if it does not.
        seconds: processor time to spend.
    """
    wanted, end = signature(reason_of(call) or ""), time.process_time() + seconds
    tried = set()
    progress = True
    while progress:
        progress = False
        for other in simpler(call):
            if time.process_time() > end:
                return call
            if isinstance(other, Call) and other.name == call.name and other not in tried:
                tried.add(other)
                reason = reason_of(other)
                if reason is not None and signature(reason) == wanted:
                    call, progress = other, True
                    break
    return call
