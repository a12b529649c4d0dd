"""Whether the parts of a method are functions: what is compiled is what they did once, while JAX traced them.

Laws of this module:

1. The slow replay is played twice, uncompiled. The first answer that differs is that of the part to blame, because all that it
   was asked was the same until then.
2. Who moves the generator that all of NumPy or Python shares is to blame at once: what it drew may have been kept since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pickle
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd import optimizers
from simsgd.method import COMPRESSIONS, PARTS, Method
from simsgd.testing.case import Case, UnmetError
from simsgd.testing.reference import arrivals, play_jobs, transformation

JOBS = 8
"""So many jobs are played: two of each of the workers that methods are checked on, as a full pass and what comes after it."""
KEYS = {
    "work": "by job.key or job.shared_key",
    "compress_up": "by the key or shared_key that compress is given",
    "compress_down": "by the key or shared_key that compress is given",
    "at_worker": "by the key that its update is offered",
    "on_message": "by the key that its update is offered",
    "hand_out": "in on_message, by the key that its update is offered, and read them from message_state",
}
"""How a part draws random numbers; others keep a key in their state."""

type Answer = tuple[str, list[bytes]]
"""The place of a part, and what it answered."""


def check_pure(case: Case) -> None:
    """Its parts answer the same whenever they are asked the same, and draw random numbers by the keys they are given."""
    if case.name == "crashing":  # its parts are asked nothing that they are not asked on the quiet one
        return
    first, again = _answers(case), _answers(case)
    for (place, one), (_, other) in zip(first, again, strict=True):
        if one != other:
            raise _impure(case.method, place, "another answer the second time")


def _answers(case: Case) -> list[Answer]:
    """Return what the parts of a method answer, one after the other, while the slow replay plays the first jobs uncompiled."""
    heard: list[Answer] = []
    with jax.disable_jit():
        jobs = list(itertools.islice(arrivals(case.tape), JOBS))
        play_jobs(jobs, case.tape.workers, case.problem, _listened_to(case.method, heard), case.seed)
    return heard


def _listened_to(method: Method, heard: list[Answer]) -> Any:
    """Return a method all of whose parts note what they answer."""

    def listen(place: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **others: Any) -> Any:
            before = _shared_generators()
            answer = ask(*args, **others)
            if _shared_generators() != before:
                raise _impure(method, place, "random numbers drawn from the generator that all of NumPy or of Python shares")
            heard.append((place, _bytes(answer)))
            return answer

        return asked

    def heard_part(place: str, part: Any, *names: str) -> Any:
        return SimpleNamespace(**{name: listen(place, getattr(part, name)) for name in names})

    parts: dict[str, Any] = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    for place in filter(parts.get, PARTS):
        made = transformation(parts[place])
        parts[place] = optax.GradientTransformationExtraArgs(listen(place, made.init), listen(place, made.update))
    for place in filter(parts.get, COMPRESSIONS):
        parts[place] = heard_part(place, parts[place], "init", "compress")
    return SimpleNamespace(**parts | {"work": heard_part("work", method.work, "begin", "run", "shows")})


def _shared_generators() -> bytes:
    """Return the states of the generators that all who call `numpy.random` or `random` share."""
    return pickle.dumps((np.random.get_state(legacy=False), random.getstate()))  # noqa: NPY002


def _bytes(answer: Any) -> list[bytes]:
    """Return the bits of an answer; nothing of what JAX is just tracing, as inside of a derivative."""
    found = []
    for leaf in jax.tree.leaves(answer):
        with contextlib.suppress(jax.errors.TracerArrayConversionError):
            typed = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            found.append(np.asarray(jax.random.key_data(leaf) if typed else leaf).tobytes())
    return found


def _impure(method: Method, place: str, found: str) -> UnmetError:
    part = getattr(method, place)
    said = optimizers.describe(part) if place in PARTS else repr(part)
    how = KEYS.get(place, "by a key that it keeps in its state, as optax.add_noise does")
    return UnmetError(
        f"{place}={said:.200} to answer the same whenever it is asked the same: it is compiled once, and what it draws from "
        f"anywhere else is written in. Draw random numbers {how}",
        found,
    )
