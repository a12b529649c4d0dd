"""Keys of cells: a canonical description of all that a cell's bits depend on, and its SHA-256.

The description is that of the cell's identity (`simsgd.provenance`) as plain JSON in which

- floats are written in hexadecimal, so that no two of them share a text and no reader rounds one;
- simsgd's own code and version are left out, wherever they stand, and the declared version of its bits (`provenance.bits`)
  stands for them: a new comment, or a release that computes the same, leaves what is kept as it is;
- the rest of the environment stays. Each part has changed bits in somebody's hands: versions of Python, NumPy, SimPy, JAX and
  optax; the C library and the processor's features, by which NumPy and XLA choose their codes for powers and exponentials; the
  kind of device and its libraries, the number of cores, among which some sums are split; the compiler's flags and JAX's
  settings. Names of machines and users, paths and times are not in it;
- `lanes` is there, the width of the executable: another width is another executable, and equal to rounding only.

Too fine a key costs time, too coarse a one gives wrong results, so in doubt a part stays in.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simsgd.provenance import Identity, canonical
from simsgd.provenance.bits import BITS
from simsgd.provenance.identity import ABSENT, unknowns
from simsgd.studies.store import saying
from simsgd.studies.store.saying import DIGEST

SCHEMA = 1
"""Which way of writing descriptions this is: keys of two schemas are never equal."""
SHORT = 16
"""Digits of a group's name that stand in the name of its file."""
ENVIRONMENTS = ("environment", "bits", "lanes")
"""Parts of a description, at any depth, that say where and with what a cell is computed, not what it is."""


class NotStorableError(ValueError):
    """A cell cannot be kept in a folder, as part of it cannot be identified; the message names the part and the way out."""


@dataclass(frozen=True, eq=False)
class Described:
    """A cell as the store knows it.

    Attributes:
        description: canonical; plain JSON without floats.
    """

    description: dict[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hexadecimal) of the description."""
        return _digest(self.description)

    @functools.cached_property
    def kin(self) -> str:
        """SHA-256 of the description without environment, lanes, and hashes of code and data: stale cells share it."""
        return _digest(_outline(self.description))

    @property
    def about(self) -> dict[str, str | int]:
        """What people call the cell by: its problem, protocol, step size, seed and so on, as far as they are said."""
        return saying.about(self.description)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Described) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def described(identity: Identity, lanes: int = 0) -> Described:
    """Return a cell, or a tape, as the store knows it.

    Args:
        identity: of a cell, `cell.identity`; or of a tape.
        lanes: how many lanes the executable has that plays it; 0 for a run made alone.

    Raises:
        NotStorableError: if part of it cannot be identified.

    Example:
        >>> from simsgd.provenance import Identity
        >>> from simsgd.studies.store import keys
        >>> cell = keys.described(Identity({"seed": 0, "step size": 0.1, "environment": {"code": "…", "versions": {}}}))
        >>> cell.description["cell"]
        {'seed': 0, 'step size': {'float': '0x1.999999999999ap-4'}, 'environment': {'versions': {}}}
    """
    plain = _without_own_code(written(identity.description))
    for place in unknowns(plain):
        raise NotStorableError(
            f"this cell cannot be kept in a folder: {place}. A kept cell must be found again by all that its bits depend on: "
            "give functions of yours all that they need as arguments or as constants of their module, as cell.identity.unknown "
            "says; or run the study without a folder"
        )
    if not os.environ.get("PYTHONHASHSEED", "").isdigit():
        for place, _ in _leaves(plain):
            if place.split(".")[-1] == "hash seed":
                raise NotStorableError(
                    f"this cell cannot be kept in a folder: code at {place.removesuffix('.hash seed')} makes or holds a set of "
                    "texts, whose order differs in each process, so that the cell would not be found again: use a tuple or "
                    "sorted(…), or start Python with PYTHONHASHSEED=0"
                )
    return Described({"schema": SCHEMA, "bits": BITS, "lanes": int(lanes), "cell": plain})


def written(value: Any) -> Any:
    """Return plain JSON as it stands in a canonical description: floats in hexadecimal, simsgd's functions without their code.

    Example:
        >>> from simsgd.studies.store import keys
        >>> keys.written([1, 0.5]), keys.read([1, {"float": "0x1.0000000000000p-1"}])
        ([1, {'float': '0x1.0000000000000p-1'}], [1, 0.5])
    """
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, list | tuple):
        return [written(each) for each in value]
    if isinstance(value, Mapping):
        ours = "class" not in value and str(value.get("function", "")).startswith("simsgd.")
        return {name: written(each) for name, each in value.items() if not (ours and name == "code")}
    return value


def read(value: Any) -> Any:
    """Return what `written` wrote, with floats again."""
    if isinstance(value, Mapping):
        if set(value) == {"float"} and isinstance(value["float"], str):
            return float.fromhex(value["float"])
        return {name: read(each) for name, each in value.items()}
    return [read(each) for each in value] if isinstance(value, list) else value


def difference(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two canonical descriptions: for each place (what it is here, what it is there).

    Example:
        >>> from simsgd.studies.store import keys
        >>> keys.difference({"versions": {"jax": "0.12.0"}}, {"versions": {"jax": "0.12.1"}})
        {'versions.jax': ('0.12.0', '0.12.1')}
    """
    ours, theirs = dict(_leaves(here)), dict(_leaves(there))
    places = [*ours, *(place for place in theirs if place not in ours)]
    pairs = {place: (ours.get(place, ABSENT), theirs.get(place, ABSENT)) for place in places}
    return {place: (read(one), read(other)) for place, (one, other) in pairs.items() if one != other}


def of_group(cells: Iterable[str]) -> str:
    """Return a name for a group of cells by their keys, in whatever order: a hash, hexadecimal."""
    return _digest(sorted(cells))


def _without_own_code(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a description whose environments, its own and its tape's, say neither simsgd's code nor its version."""
    environment = plain.get("environment")
    if isinstance(environment, dict):
        said = environment.get("versions", {})
        versions = {name: version for name, version in said.items() if name != "simsgd"}
        rest = {name: each for name, each in environment.items() if name != "code"}
        plain = {**plain, "environment": {**rest, "versions": versions}}
    return {**plain, "tape": _without_own_code(plain["tape"])} if isinstance(plain.get("tape"), dict) else plain


def _outline(value: Any) -> Any:
    """Return a description without what is called `ENVIRONMENTS`, and without digests."""
    if isinstance(value, Mapping):
        return {name: _outline(each) for name, each in value.items() if name not in ENVIRONMENTS}
    if isinstance(value, list):
        return [_outline(each) for each in value]
    return "" if isinstance(value, str) and DIGEST.fullmatch(value) else value


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each text, whole number, float in hexadecimal and empty list or dict of a description with its place."""
    if isinstance(value, Mapping) and value and set(value) != {"float"}:
        for name, each in value.items():
            yield from _leaves(each, f"{place}.{name}" if place else name)
    elif isinstance(value, list) and value:
        for i, each in enumerate(value):
            yield from _leaves(each, f"{place}[{i}]")
    else:
        yield place, value


def _digest(description: Any) -> str:
    return hashlib.sha256(canonical(description).encode()).hexdigest()
