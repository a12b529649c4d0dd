"""Forged files: their checksum is right, and what they hold is not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from simsgd.support import sealed
from simsgd.tape import Tape, dataset

DEEP = "@deep@"
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    1.5,
    -0.5,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    2**31,
    2**63,
    10**12,
    1_000_000,
    "",
    "x",
    "\0",
    "nan",
    "1",
    "\ud800",
    "x" * 100_000,
    [],
    [1],
    [[1, 2], [3, 4]],
    {},
    {"a": 1},
    [None],
    DEEP,
    {"seconds": -1},
    {"count": 1.5},
    [0] * 1000,
    "|O8",
    "<M8[ns]",
    "<f8",
    "|b1",
    "<i4",
    "row",
    "worker",
    "loss",
    "time",
    "tape",
)
VALUES = (0, 1, -1, 2, 127, -128, 2**31 - 1, -(2**31), 1e-300, 1e300, math.nan, math.inf, -math.inf, 0.05, 3.0)


def forged(chance: random.Random, suffix: str, data: bytes) -> tuple[str, bytes]:
    """Return how a file was forged, and its bytes."""
    if suffix == ".toml":
        return toml(chance, data.decode())
    body, index = parted(data)
    ways: tuple[Callable[..., None], ...] = (tree, tree, inner, inner, values, values, values, renamed, dropped, body_flipped)
    done = [chance.choice(ways) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    for way in done:
        way(chance, body, index)
    if chance.random() < 0.85:
        rehashed(body, index)
    return " ".join(way.__name__ for way in done), resealed(bytes(body), index)


def parted(data: bytes) -> tuple[bytearray, dict[str, Any]]:
    """Return a sealed file's netCDF and its index."""
    size = int(sealed.SEALED.fullmatch(data[-sealed.LENGTH :])[2])  # type: ignore[index]
    end = len(data) - sealed.LENGTH
    return bytearray(data[: end - size]), json.loads(data[end - size : end])


def resealed(body: bytes, index: Any, version: int = sealed.VERSION) -> bytes:
    """Return a file with a right checksum."""
    about = json.dumps(index).replace(f'"{DEEP}"', "[" * 50_000 + "]" * 50_000).encode()
    size = len(body) + len(about) + sealed.LENGTH
    content = body + about + sealed.SEAL.format(version=version, index=len(about), size=size, digest="")[:-1].encode()
    return content + hashlib.sha256(content).hexdigest().encode() + b"\n"


def rehashed(body: bytearray, index: dict[str, Any]) -> None:
    """Make the hashes of the contents right too, if there is anything to hash."""
    with contextlib.suppress(Exception):
        data = sealed._dataset(index, memoryview(bytes(body)))
        index["attributes"]["parameters_hash"] = (
            hashlib.sha256(data["parameters"].values.tobytes()).hexdigest() if "parameters" in data else ""
        )
        index["attributes"]["content_hash"] = Tape(**dataset.fields(data)).content_hash


# --- ways ----------------------------------------------------------------------------------------------------------------


def tree(chance: random.Random, body: bytearray, index: Any) -> None:
    """Put something hostile in a place of the index."""
    node = index["attributes"] if chance.random() < 0.3 else index
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.85:
            node = node[key]
            continue
        if chance.random() < 0.2:
            del node[key]
        else:
            node[key] = chance.choice(HOSTILE)
        return


def inner(chance: random.Random, body: bytearray, index: Any) -> None:
    """Put something hostile into an attribute that is JSON itself; one that is nested too deep already stays as it is."""
    with contextlib.suppress(TypeError, AttributeError, KeyError, ValueError, IndexError, RecursionError):
        name = chance.choice([n for n, v in index["attributes"].items() if isinstance(v, str) and v[:1] in "[{n"])
        said = json.loads(index["attributes"][name])
        if isinstance(said, dict | list) and chance.random() < 0.9:
            tree(chance, body, {"attributes": {}, name: said})
        else:
            said = chance.choice(HOSTILE)
        index["attributes"][name] = json.dumps(said).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000)


def values(chance: random.Random, body: bytearray, index: Any) -> None:
    """Put hostile numbers into a variable, or another length or type."""
    with contextlib.suppress(TypeError, AttributeError, KeyError, ValueError, IndexError):
        each = chance.choice(index["variables"])
        if chance.random() < 0.15:
            each["type"] = chance.choice(sealed.TYPES)
        elif chance.random() < 0.15:
            each["shape"] = [max(0, size + chance.choice([-1, 1, -size])) for size in each["shape"]]
        else:
            kind, count = np.dtype(each["type"]), math.prod(each["shape"])
            found = np.frombuffer(memoryview(body)[each["offset"] :], kind, count)
            place = chance.randrange(count)
            with np.errstate(all="ignore"):
                found[place : place + chance.choice([1, 1, 5, count])] = np.array(chance.choice(VALUES)).astype(kind)


def renamed(chance: random.Random, body: bytearray, index: Any) -> None:
    """Give a variable the name of another, or its dimensions or place in the file."""
    with contextlib.suppress(TypeError, AttributeError, KeyError, IndexError):
        one, two = (chance.choice(index["variables"]) for _ in range(2))
        key = chance.choice(["name", "offset", "dimensions", "shape", "coordinate"])
        one[key], two[key] = two[key], one[key]


def dropped(chance: random.Random, body: bytearray, index: Any) -> None:
    """Leave out a variable, or have it twice."""
    with contextlib.suppress(TypeError, AttributeError, KeyError, IndexError):
        place = chance.randrange(len(index["variables"]))
        index["variables"][place : place + 1] = [index["variables"][place]] * chance.choice([0, 2])


def body_flipped(chance: random.Random, body: bytearray, index: Any) -> None:
    """Flip bits of the netCDF, of its structure as often as of its values."""
    for _ in range(chance.choice([1, 10, 100])):
        body[chance.randrange(min(len(body), 8000) if chance.random() < 0.5 else len(body))] ^= 1 << chance.randrange(8)


# --- clusters ------------------------------------------------------------------------------------------------------------

TOKENS = (
    "1e400",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e999999",
    "9" * 400,
    "9" * 5000,
    "0x" + "f" * 5000,
    "true",
    '""',
    '"1 s"',
    '"nan s"',
    '"-1 s"',
    '"1e400 s"',
    '"1 parsec"',
    '"1e-400 s"',
    "[]",
    "{}",
    "[1, [2]]",
    "[" * 5000,
    "{a=" * 5000,
    "1979-05-27",
    '"../../x"',
    '"/dev/zero"',
    '"x\\u0000y"',
    "1_000_000_000_000",
    "'''\n\n'''",
    '{kind = "Constant", seconds = "1 s"}',
    '{kind = "preset"}',
    '{kind = "Recorded", file = "/dev/zero", at_end = "stop"}',
    '{kind = "MeasuredLink", file = "rich.toml"}',
    '{file = "x"}',
    "a." * 500,
)


def toml(chance: random.Random, text: str) -> tuple[str, bytes]:
    """Return a cluster's file with something hostile in it; half of them do not say what they were saved as."""
    lines = text.splitlines()
    if chance.random() < 0.5:
        lines = [line for line in lines if not line.startswith("# checksum")]
    for _ in range(chance.choice([1, 1, 2, 3])):
        place = chance.randrange(len(lines))
        way = chance.randrange(5)
        if way == 0:
            lines.insert(chance.randrange(len(lines)), lines[place])
        elif way == 1:
            del lines[place]
        elif way == 2:
            lines[place] = re.sub(r"\d+", lambda _: chance.choice(["0", "1", "999999", "1e9", "-5"]), lines[place])
        else:
            lines[place] = re.sub(r"= .*", lambda _: f"= {chance.choice(TOKENS)}", lines[place])
    return "toml", "\n".join(lines or [""]).encode("utf-8", "surrogatepass")
