"""Configurations as Python expressions: what is attacked is made from the very text that the report prints.

An expression is a text ("0.5"), a tuple of expressions (a sequence) or a `Call`.
"""

from __future__ import annotations

import dataclasses
import decimal
import fractions
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import simsgd as sg

from . import rubbish

HEADER = """\
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np

import simsgd as sg
from tests.attack import limits, rubbish

limits.lower()
"""
"""What every script imports."""

NAMES: dict[str, Any] = {
    "math": math,
    "np": np,
    "sg": sg,
    "rubbish": rubbish,
    "Fraction": fractions.Fraction,
    "Decimal": decimal.Decimal,
}


@dataclasses.dataclass(frozen=True)
class Call:
    """A call with arguments by name."""

    name: str
    arguments: tuple[tuple[str, Expression], ...] = ()

    def given(self, **others: Expression) -> Call:
        """Return the call with other arguments; None leaves one out."""
        return Call(self.name, tuple((n, v) for n, v in (dict(self.arguments) | others).items() if v is not None))


Expression = str | tuple["Expression", ...] | Call


def text(expression: Expression) -> str:
    """Return an expression as Python."""
    if isinstance(expression, Call):
        return f"{expression.name}({', '.join(f'{name}={text(value)}' for name, value in expression.arguments)})"
    if isinstance(expression, tuple):
        return f"({''.join(f'{text(each)}, ' for each in expression).rstrip() if expression else ''})"
    return expression


def make(expression: Expression) -> Any:
    """Return what an expression stands for."""
    written = text(expression)
    if "optax" in written and "optax" not in NAMES:
        import optax

        NAMES["optax"] = optax
    return eval(written, NAMES)  # the attack's own text


def parts(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all those in it."""
    yield expression
    inner = (value for _, value in expression.arguments) if isinstance(expression, Call) else expression
    if not isinstance(expression, str):
        for each in inner:
            yield from parts(each)
