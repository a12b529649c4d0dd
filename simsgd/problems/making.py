"""The call that made a problem, kept with it, so that a run can be written as the line that makes it again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from simsgd.problems.problem import Problem


def remembered[**Settings](make: Callable[Settings, Problem]) -> Callable[Settings, Problem]:
    """Return a function that makes problems and keeps with each by which call, where its arguments are numbers and texts.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.digits(batch_size=16).made_by
        'sg.problems.digits(batch_size=16)'
    """

    @functools.wraps(make)
    def made(*args: Settings.args, **settings: Settings.kwargs) -> Problem:
        problem = make(*args, **settings)
        if all(map(_is_plain, (*args, *settings.values()))):
            said = [*map(repr, args), *(f"{name}={value!r}" for name, value in settings.items())]
            object.__setattr__(problem, "made_by", f"sg.problems.{getattr(make, '__name__', '')}({', '.join(said)})")
        return problem

    return made


def _is_plain(value: Any) -> bool:
    """Return whether a value's repr is the code that makes it."""
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
