"""Rounds whose local steps the protocol says, so that all numbers of them share one compiled player."""

from __future__ import annotations

import dataclasses

import simsgd as sg


def of(method: sg.Method, steps: int, after: int = 0) -> sg.Method:
    """Return a method of local steps in rounds of all workers, of so many steps after so many rounds of one."""
    return dataclasses.replace(method, protocol=sg.protocols.PostLocalSGD(after=after, steps=steps))


def local_sgd(step_size: float, *, steps: int, after: int = 0) -> sg.Method:
    """Return local SGD in rounds of so many steps, after so many rounds of one: post-local SGD where there are any."""
    return of(sg.methods.local_sgd(step_size, steps=1), steps, after)
