"""What makes a function that composes a method a preset: its name, and its source, which its docstring says."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable

from simsgd.method import Method


def preset[**Settings](name: str) -> Callable[[Callable[Settings, Method]], Callable[Settings, Method]]:
    """Return a decorator: methods that the function returns are called `name`, and cite the docstring's paragraph "Source".

    A method that has a name or a source already keeps it.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.minibatch().source
        'Chen et al. (2016), "Revisiting distributed synchronous SGD"'
    """

    def named(make: Callable[Settings, Method]) -> Callable[Settings, Method]:
        found = re.search(r"^Source: (.*?)\.?(?:\n\n|\Z)", inspect.getdoc(make) or "", re.MULTILINE | re.DOTALL)
        source = " ".join(found[1].split()) if found else None

        @functools.wraps(make)
        def made(*args: Settings.args, **settings: Settings.kwargs) -> Method:
            method = make(*args, **settings)
            return dataclasses.replace(method, name=method.name or name, source=method.source or source)

        return made

    return named
