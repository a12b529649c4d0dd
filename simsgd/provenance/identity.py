"""An identity: a description of all that bits depend on, its key, and how it differs from another."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simsgd.support import checks, show

SCHEME = 1
"""Which way of describing this is: keys of two schemes are never equal."""
ABSENT = "absent"
"""What `Identity.difference` shows in place of what one of the two does not have."""
UNREADABLE = "nothing that can be read is said of it"
LONGEST = 60
"""How many characters of a value are shown in a table."""


def canonical(description: Any) -> str:
    """Return a description as text: equal descriptions as equal texts, whatever the order of their keys."""
    return json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(description: Any) -> str:
    """Return the SHA-256 (hexadecimal) of a description's canonical text."""
    return hashlib.sha256(canonical(description).encode()).hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Identity:
    """Everything that the bits of a tape or a run depend on, and a key of it.

    Two runs whose identities are equal computed the same bits. Two whose identities differ may have: `difference` says where.
    Where something could not be identified, `unknown` says what and the key begins with "?"; such an identity is equal to none.
    Code of yours that reads files, clocks or the machine is unknown, as its names tell, and code that makes a set has the same
    key only in processes of one PYTHONHASHSEED, on which the order of texts in it depends. What cannot be seen is what code
    reaches by names made at run time (`getattr(os, "get" + "pid")`), and a library's own state.

    Attributes:
        description: nested, of plain texts, numbers, lists and dicts, as JSON has them.

    Example:
        >>> import simsgd as sg
        >>> slow, fast = (sg.Cluster(4, sg.times.Exponential(mean=mean)) for mean in (0.2, 0.1))
        >>> tapes = [sg.record(sg.AsyncSGD(), each, until=sg.Updates(9)) for each in (slow, fast, fast)]
        >>> tapes[1].identity == tapes[2].identity
        True
        >>> tapes[0].identity.difference(tapes[1].identity)
        {'recording.cluster.compute.mean': (0.2, 0.1)}
    """

    description: dict[str, Any]

    @staticmethod
    def read(text: object) -> Identity:
        """Return the identity whose description is a JSON text, as a file holds it; an unknown one if it is no such text."""
        try:
            found = json.loads(text)  # type: ignore[arg-type]
            canonical(found)
        except (TypeError, ValueError, RecursionError):
            found = None
        return Identity(found if isinstance(found, dict) else {"unknown": UNREADABLE})

    @property
    def unreadable(self) -> bool:
        """Whether `read` could make nothing of its text."""
        return self.description == {"unknown": UNREADABLE}

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hexadecimal) of the description; it begins with "?" if something is unknown."""
        return ("?" if self.unknown else "") + digest({"scheme": SCHEME, "identity": self.description})

    @functools.cached_property
    def unknown(self) -> tuple[str, ...]:
        """What could not be identified: its places in the description, each with the reason."""
        return tuple(unknowns(self.description))

    @property
    def tape(self) -> Identity:
        """The identity of the tape that a run plays, as far as the bound of its `until`; a tape's own identity is itself.

        A run that ended earlier, at its target or interrupted, has a shorter tape: `run.tape.identity` differs by `until`.
        """
        return Identity(self.description["tape"]) if "tape" in self.description else self

    def difference(self, other: Identity) -> dict[str, tuple[Any, Any]]:
        """Return what differs from another identity: for each place (what it is here, what it is there).

        Raises:
            TypeError: if `other` is no identity.
        """
        checks.instance("other", other, Identity, "another run's identity")
        here, there = dict(_leaves(self.description)), dict(_leaves(other.description))
        places = [*here, *(place for place in there if place not in here)]
        pairs = {place: (here.get(place, ABSENT), there.get(place, ABSENT)) for place in places}
        return {place: pair for place, pair in pairs.items() if canonical(pair[0]) != canonical(pair[1])}

    def __eq__(self, other: object) -> bool:
        """Identities are equal when their keys are and nothing is unknown."""
        return isinstance(other, Identity) and self.key == other.key and not self.unknown

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        missing = f", unknown: {'; '.join(self.unknown)}" if self.unknown else ""
        return f"Identity({self.key[:13]}…{missing})"

    def _repr_html_(self) -> str:
        rows = [(place, str(value)[:LONGEST]) for place, value in _leaves(self.description)]
        return show.in_html([("Identity", self.key), *(("unknown", place) for place in self.unknown), *rows])


def unknowns(description: Any, place: str = "") -> Iterator[str]:
    """Yield, for each part of a description that is unknown, its place and the reason."""
    for where, value in _leaves(description, place):
        if where.split(".")[-1] == "unknown":
            yield f"{where.removesuffix('unknown').removesuffix('.')}: {value}".removeprefix(": ")


def _leaves(description: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each plain value of a description with its place, such as ("cluster.compute.mean", 0.1)."""
    if isinstance(description, Mapping) and description:
        for name in sorted(description):
            yield from _leaves(description[name], f"{place}.{name}" if place else name)
    elif isinstance(description, list) and description:
        for i, each in enumerate(description):
            yield from _leaves(each, f"{place}[{i}]")
    else:
        yield place, description
