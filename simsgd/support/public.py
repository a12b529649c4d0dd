"""The public names of a module: what tab completion offers is `__all__`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def names(all_: Sequence[str]) -> Callable[[], list[str]]:
    """Return a module's `__dir__`: the function that lists `all_`, its public names, in the order of the alphabet.

    Example:
        >>> from simsgd.support import public
        >>> __all__ = ["replay", "record"]
        >>> __dir__ = public.names(__all__)
        >>> __dir__()
        ['record', 'replay']
    """
    ordered = sorted(all_)
    return lambda: list(ordered)


def near(module: str, all_: Sequence[str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__`: the function that refuses a name that it hasn't, and says which public ones are near.

    Args:
        module: its name.
        all_: its public names.

    Example:
        >>> from simsgd.support import public
        >>> __getattr__ = public.near("simsgd.methods", ["fedavg", "fedprox"])
        >>> __getattr__("fed_avg")
        Traceback (most recent call last):
            ...
        AttributeError: simsgd.methods has no 'fed_avg': did you mean fedavg?
    """

    def refuse(name: str) -> Any:
        import difflib  # for who mistypes alone

        plain = {each.lower().replace("_", ""): each for each in all_}
        found = [] if name.startswith("__") else difflib.get_close_matches(name.lower().replace("_", ""), plain, 2, 0.7)
        hint = f": did you mean {' or '.join(plain[each] for each in found)}?" if found else ""
        raise AttributeError(f"{module} has no {name!r}{hint}")

    return refuse
