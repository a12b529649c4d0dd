"""What a worker's bits depend on, beside what it is sent: made like this process's where that can be, and else refused.

A sum that is split among threads has other bits with another number of them; so it has with another version of the compiler. A
worker gets this process's variables before it starts JAX, and then says what it is; if that differs, it does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simsgd.executing.parcels import Packer, Parcel, unpack
from simsgd.support import forked

PREFIXES = ("XLA_", "JAX_", "NVIDIA_TF32", "CUBLAS_", "TF_CUDNN", "LIBTPU_", "ONEDNN_", "DNNL_")
"""How variables begin that JAX, and the libraries below it, read when they are loaded."""
OWN = ("CACHE", "VISIBLE", "COORDINATOR", "PROCESS_ID")
"""Parts of the names of variables that are each process's own, and change no bit."""


class SurroundingsError(RuntimeError):
    """A worker's bits would differ from this process's; the message says why."""


@dataclass(frozen=True)
class Surroundings:
    """What bits depend on, beside what is computed.

    Attributes:
        variables: of the environment, to be set before the worker starts JAX.
        description: nested, plain: device, threads, versions, settings.
        describe: the function that describes the process it is called in, as a parcel, because unpacking it may load JAX.
    """

    variables: Mapping[str, str]
    description: Mapping[str, Any]
    describe: Parcel = field(repr=False)

    @staticmethod
    def here(describe: Callable[[], Mapping[str, Any]]) -> Surroundings:
        """Return those of this process, with `describe()`, for example `replaying.machine.here`, as their description."""
        description = _plain(describe())
        variables = {name: value for name, value in os.environ.items() if _counts(name)}
        threads = description.get("device.threads")
        if threads:
            variables["NPROC"] = threads  # by which XLA counts its threads, wherever it is set
        return Surroundings(variables, description, Packer().pack("describe", describe))


def pin(wanted: Surroundings | None) -> None:
    """Make this process compute as `wanted` says, or raise SurroundingsError that names what differs.

    Variables are set only where JAX has not started yet: afterwards they would say what is not so.
    """
    if wanted is None or _pinned.get("last") == wanted:
        return
    if not forked.jax_has_started():
        os.environ.update(wanted.variables)
    found = _plain(unpack(wanted.describe)())
    differ = {name for name in {**wanted.description, **found} if wanted.description.get(name) != found.get(name)}
    if differ:
        said = "; ".join(
            f"{name} is {found.get(name, 'not there')}, here {wanted.description.get(name, 'not there')}"
            for name in sorted(differ)
        )
        raise SurroundingsError(
            f"a worker would compute other bits than this process: {said:.1000}. Start workers on like machines with the same "
            "packages and variables of the environment (JAX_PLATFORMS, XLA_FLAGS, NPROC for the number of threads), and so "
            "that they have not started JAX before"
        )
    _pinned["last"] = wanted


_pinned: dict[str, Surroundings] = {}
"""What this process was last found to be like."""


def _counts(variable: str) -> bool:
    return variable.startswith(PREFIXES) and not any(part in variable for part in OWN)


def _plain(description: Mapping[str, Any]) -> dict[str, str]:
    """Return a description by dotted names, with the number of threads in place of what it comes from."""
    leaves = dict(_leaves(description, ""))
    cores = leaves.pop("device.cores", None)
    threads = leaves.pop("device's variables.NPROC", cores)
    return leaves | ({"device.threads": threads} if cores is not None and threads is not None else {})


def _leaves(thing: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(thing, Mapping):
        for name, value in thing.items():
            yield from _leaves(value, f"{place}.{name}" if place else str(name))
    else:
        yield place, str(thing)
