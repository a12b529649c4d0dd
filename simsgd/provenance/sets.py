"""Sets of texts: their order depends on PYTHONHASHSEED, so what makes or holds one is described with the process's hash seed.

Whether code sees that order cannot be told from a glance at it. So code that only ever asks `x in {…}` of a constant is left
alone, and all other code that makes a set is another one in a process of another hash seed: its identity may differ where its
bits do not, and never the other way round. Where PYTHONHASHSEED is fixed, identities are the same in all processes.
"""

from __future__ import annotations

import dis
import functools
import itertools
import types
from typing import Any

NUMBERS = bool | int | float | complex | None
"""What has the same hash in all processes."""
MAKING = ("BUILD_SET", "SET_ADD", "SET_UPDATE")
"""Operations that make a set, or a comprehension of one."""
NAMES = ("set", "frozenset")
"""Builtins that make one."""
VIEWS = ("keys", "items")
"""Methods whose answers make one when they are combined."""
COMBINING = ("&", "|", "^", "-", "&=", "|=", "^=", "-=")


def numbers(entries: Any) -> bool:
    """Say whether the order of a set of these entries is the same in all processes."""
    return all(isinstance(each, NUMBERS) for each in entries)


def hash_seed() -> str:
    """Return the hash of a text, which tells hash seeds apart."""
    return hex(hash("the order of a set") & 0xFFFF_FFFF_FFFF_FFFF)


@functools.lru_cache(maxsize=4096)
def makes_one(code: types.CodeType) -> bool:
    """Say whether code, or the code inside of it, may make a set of other things than numbers.

    Example:
        >>> from simsgd.provenance.sets import makes_one
        >>> [makes_one((lambda x: x in {"a", "b"}).__code__), makes_one((lambda x: list({x, "b"})).__code__)]
        [False, True]
    """
    steps = [*dis.get_instructions(code)]
    views = any(step.argval in VIEWS for step in steps)
    for step, following in itertools.pairwise(steps):
        constant = isinstance(step.argval, frozenset) and not numbers(step.argval) and following.opname != "CONTAINS_OP"
        named = step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in NAMES
        combined = views and step.opname == "BINARY_OP" and step.argrepr in COMBINING
        if constant or named or combined or step.opname in MAKING:
            return True
    return any(makes_one(each) for each in code.co_consts if isinstance(each, types.CodeType))
