"""Whether code can see in which order a set's entries come: that of texts depends on PYTHONHASHSEED, of objects on addresses.

A set that code builds is followed to where it goes. It may be looked into (`in`), counted, sorted, changed; wherever else it
goes (a loop, `next(iter(…))`, another function, an attribute, the caller) its order may be seen.
"""

from __future__ import annotations

import dis
import functools
import os
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from simsgd.provenance.outside import names

ORDERED = "{} iterates over a set, or gives it away; its order depends on PYTHONHASHSEED: sort it"
"""The reason."""
NUMBERS = bool | int | float | complex | None
"""What has the same hash in all processes."""
MAKERS = frozenset(("set", "frozenset"))
ORDERLESS = names("sorted len min max sum any all set frozenset bool isinstance")
"""Builtins whose answer does not depend on their one argument's order, or is a set again, which is followed from there."""
METHODS = names(
    "add discard remove clear update difference_update intersection_update issubset issuperset isdisjoint __contains__"
)
"""Methods of a set that answer nothing or a truth value, whatever its order."""
ENDS = ("CONTAINS_OP", "COMPARE_OP", "IS_OP", "POP_TOP", "POP_JUMP", "TO_BOOL", "UNARY_NOT", "SET_UPDATE")
"""Operations after which nothing of a set's order is left."""
GLOBALS = "LOAD_GLOBAL", "LOAD_NAME"
ATTRIBUTES = "LOAD_ATTR", "LOAD_METHOD"
KEEPS = ("COPY", "SWAP", "PUSH_NULL", "NOP", "KW_NAMES", "CACHE", "RESUME", "EXTENDED_ARG", "NOT_TAKEN")
"""Operations that take nothing from the stack, beside those that load."""
BRANCHES = ("FOR_ITER", "SEND", "RETURN", "RERAISE")
"""How operations begin beyond which a set is not followed that still lies on the stack."""


class Step(NamedTuple):
    """An instruction: its name, what it is about, how many values it adds to the stack, its number."""

    name: str
    about: Any
    effect: int
    argument: int


def numbers(entries: Any) -> bool:
    """Say whether the order of a set of these entries is the same in all processes."""
    return all(isinstance(each, NUMBERS) for each in entries)


def hash_seed() -> str:
    """Return the hash of a text, which tells hash seeds apart."""
    return hex(hash("the order of a set") & 0xFFFF_FFFF_FFFF_FFFF)


def fixed() -> bool:
    """Say whether PYTHONHASHSEED is fixed in the environment."""
    return os.environ.get("PYTHONHASHSEED", "random").isdigit()


@functools.lru_cache(maxsize=4096)
def order_is_seen(code: types.CodeType) -> bool:
    """Say whether code, or the code inside of it, may depend on the order of a set that it makes."""
    within = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return _Code(code).seen() or any(map(order_is_seen, within))


def _steps(code: types.CodeType) -> Iterator[Step]:
    """Yield the instructions; those that do two things at once (from Python 3.13 on) as two."""
    for each in dis.get_instructions(code):
        name = each.opname.replace("_BORROW", "").replace("_CHECK", "")
        effect = dis.stack_effect(each.opcode, each.arg, jump=False) + (name == "END_FOR")  # where the loop jumps to it
        if name.count("_FAST") == 2:
            first, second = name.split("_FAST")[:2]
            for kind, about in zip((first, second.lstrip("_")), each.argval, strict=True):
                yield Step(f"{kind}_FAST", about, 1 if kind == "LOAD" else -1, 0)
        else:
            yield Step(name, each.argval, effect, each.arg or 0)


class _Code:
    """One code's instructions, and where the sets go that it makes."""

    def __init__(self, code: types.CodeType) -> None:
        self.code, self.steps = code, list(_steps(code))
        calls = list(self._calls())
        self.callee = {end: name for _, end, name in calls}
        self.calling = {start for start, *_ in calls}
        self.followed: set[str] = set()

    def seen(self) -> bool:
        return any(not self.harmless(start) for start in self.made()) or any(
            step.name in GLOBALS and step.about in MAKERS and at not in self.calling and not self._tests(at + 1)
            for at, step in enumerate(self.steps)
        )

    def _tests(self, at: int) -> bool:
        """Say whether a class on top of the stack only tells kinds apart, as in `isinstance(x, (set, list))`."""
        taken = self._taken(at)
        if taken is None:
            return False
        step = self.steps[taken]
        return self._tests(taken + 1) if step.name == "BUILD_TUPLE" else self._uses(taken, step)

    def made(self) -> Iterator[int]:
        """Yield where each set that the code makes has come to lie on top of the stack."""
        for at, step in enumerate(self.steps):
            if step.name == "BUILD_SET" and self.steps[at + 1].name != "SWAP":
                yield at + 1
            elif step.name == "SET_ADD":
                yield self._after_loop(at)
            elif self.callee.get(at) in MAKERS or (isinstance(step.about, frozenset) and not numbers(step.about)):
                yield at + 1
            elif step.name in ATTRIBUTES and step.about in ("keys", "items") and self._is_operand(at + 2):
                yield at + 2

    def _is_operand(self, at: int) -> bool:
        """Say whether what lies on top of the stack becomes part of a set, as in `a.keys() & b.keys()`."""
        taken = self._taken(at)
        return taken is None or self.steps[taken].name == "BINARY_OP"

    def _after_loop(self, at: int) -> int:
        """Return where the set of a comprehension is ready."""
        while at < len(self.steps) and self.steps[at].name != "END_FOR":
            at += 1
        while at < len(self.steps) and self.steps[at].name in ("END_FOR", "POP_ITER", "POP_TOP"):
            at += 1
        while at + 1 < len(self.steps) and self.steps[at].name == "SWAP" and self.steps[at + 1].name == "STORE_FAST":
            at += 2
        return at

    def _calls(self) -> Iterator[tuple[int, int, str]]:
        """Yield where builtins are loaded and called that matter here, with one argument at most and none by name."""
        for at, step in enumerate(self.steps):
            if step.name not in GLOBALS or step.about not in ORDERLESS:
                continue
            depth = step.effect
            for end in range(at + 1, len(self.steps)):
                depth += self.steps[end].effect
                if depth < 1:
                    break
                if self.steps[end].name.startswith("CALL") and depth == 1:
                    plain = self.steps[end].name == "CALL" and self.steps[end - 1].name != "KW_NAMES"
                    several = step.about == "isinstance" and self.steps[end].argument == 2
                    if step.about in MAKERS or (plain and (self.steps[end].argument <= 1 or several)):
                        yield at, end, step.about
                    break

    def harmless(self, at: int) -> bool:
        """Say whether nothing sees the order of the set that lies on top of the stack before an instruction."""
        taken = self._taken(at)
        if taken is None:
            return False
        step = self.steps[taken]
        return self.harmless(taken + 1) if step.name == "BINARY_OP" else self._uses(taken, step)

    def _taken(self, at: int) -> int | None:
        """Return which instruction takes what lies on top of the stack; None if that is not to be seen at a glance."""
        above = 0
        for index in range(at, len(self.steps)):
            step = self.steps[index]
            if step.name in ("COPY", "SWAP") and step.argument > above:
                return None
            if _takes(step) > above:
                return index
            if "JUMP" in step.name or step.name.startswith(BRANCHES):
                return None
            above += step.effect
        return None

    def _uses(self, at: int, step: Step) -> bool:
        if step.name in ("STORE_FAST", "STORE_DEREF", "STORE_NAME"):
            return self._variable(step.about)
        if step.name in ATTRIBUTES:
            return step.about in METHODS
        if step.name == "CALL":
            return self.callee.get(at) in ORDERLESS
        return step.name.startswith(ENDS)

    def _variable(self, name: str) -> bool:
        """Say whether nothing sees the order of the set that a variable holds, here or in a function inside."""
        if name in self.followed:
            return True
        self.followed.add(name)
        return all(
            each.harmless(at + 1)
            for each in (self, *self._inner(self.code, name))
            for at, step in enumerate(each.steps)
            if step.about == name and step.name in ("LOAD_FAST", "LOAD_DEREF", "LOAD_NAME", "LOAD_CLASSDEREF")
        )

    def _inner(self, code: types.CodeType, name: str) -> Iterator[_Code]:
        for each in code.co_consts:
            if isinstance(each, types.CodeType) and name in each.co_freevars:
                yield _Code(each)
                yield from self._inner(each, name)


def _takes(step: Step) -> int:
    """Return how many values an instruction takes from the stack."""
    if step.name.startswith("LOAD_") and step.name not in (*ATTRIBUTES, "LOAD_SUPER_ATTR"):
        return 0
    if step.name in KEEPS:
        return 0
    if step.name in ATTRIBUTES or step.name.startswith("UNPACK_"):
        return 1
    leaves = 0 if step.name.startswith(("STORE_", "POP_", "RETURN_", "DELETE_", "SET_", "LIST_", "DICT_", "YIELD")) else 1
    return leaves - step.effect
