"""What people call a cell by, and what changed from one to another, in short texts made of canonical descriptions.

Nothing is found by these texts: they stand beside keys, in `contents.txt`, in the files of groups and in explanations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from simsgd.provenance.identity import ABSENT

DIGEST = re.compile(r"[0-9a-f]{64}")
"""What hashes of code, programs and data look like."""
LONGEST = 80
"""Characters of a text of a value, at most."""
STEP_SIZE = re.compile(r"\blearning_rate=([^,()]+)(?:, )?")
"""Where the name of an optimizer says its step size."""
ROW = ("problem", "protocol", "optimizer", "workers", "compute", "network", "until", "lanes")
"""What cells share that stand in one row of `contents.txt`."""
OVER = ("step_size", "seed")
"""What the cells of a row are spread over."""
BARE = frozenset(("seconds", "count"))
"""Fields that are written without their names, where they are alone: `Seconds(30.0)`."""
NOT_PARTS = frozenset(
    ("tape", "problem", "optimizer", "until", "evaluate_every", "seed", "dtype", "width", "environment", "unknown")
)
"""What stands in a run's description that is no further part of its method."""


def about(description: Mapping[str, Any]) -> dict[str, str | int]:
    """Return what people call a cell by, as far as its description says it.

    Example:
        >>> from simsgd.studies.store import saying
        >>> saying.about({"cell": {"optimizer": {"name": "sgd(learning_rate=0.1)"}, "seed": 3}, "lanes": 2})["step_size"]
        '0.1'
    """
    cell = description["cell"]
    recording = _at(cell, "tape", "recording") or {}
    named = str(_at(cell, "optimizer", "name") or "?")
    sizes = STEP_SIZE.findall(named)
    parts = [f"{name} {each['name']}" for name, each in cell.items() if name not in NOT_PARTS and _at(each, "name")]
    network = _at(recording, "cluster", "network")
    return {
        "problem": str(_at(cell, "problem", "name") or "?"),
        "protocol": _said(recording, "protocol") or "?",
        "optimizer": ", ".join([STEP_SIZE.sub("", named, 1).replace("()", "").replace(", )", ")"), *parts]),
        "step_size": sizes[0] if sizes else "",
        "workers": _at(recording, "cluster", "workers") or 0,
        "compute": _said(recording, "cluster", "compute"),
        "network": "" if _is_free(network) else text(network),
        "until": _said(cell, "until"),
        "seed": _at(cell, "seed") if isinstance(_at(cell, "seed"), int) else "",
        "lanes": description["lanes"],
    }


def line(said: Mapping[str, str | int]) -> str:
    """Return in one line what a cell is called by; parts that are not known are left out.

    Example:
        >>> from simsgd.studies.store import saying
        >>> saying.line({"protocol": "AsyncSGD", "optimizer": "sgd", "workers": 4, "seed": 3})
        'AsyncSGD, sgd, 4 workers, seed 3'
    """
    forms = {"step_size": "step size {}", "workers": "{} workers", "until": "until {}", "seed": "seed {}", "lanes": "{} lanes"}
    order = ("protocol", "optimizer", "step_size", "problem", "workers", "compute", "network", "until", "seed", "lanes")
    there = [(name, said[name]) for name in order if said.get(name, "") not in ("", "?") and (name, said[name]) != ("lanes", 0)]
    return ", ".join(forms.get(name, "{}").format(value) for name, value in there)


def spread(values: list[str]) -> str:
    """Return which values there are: a few as they are, of many numbers the least and the greatest.

    Example:
        >>> from simsgd.studies.store import saying
        >>> saying.spread(["0.1", "0.05"]), saying.spread([str(seed) for seed in range(30)])
        ('0.05, 0.1', '0 to 29 (30)')
    """
    try:
        values = sorted(values, key=float)
    except ValueError:
        values = sorted(values)
    return ", ".join(values) if len(values) <= 4 else f"{values[0]} to {values[-1]} ({len(values):,})"


def text(value: Any) -> str:
    """Return a described value in short, an object as its class with its fields.

    Example:
        >>> from simsgd.studies.store import saying
        >>> saying.text({"class": "simsgd.times.textbook.Exponential", "mean": {"float": "0x1.0000000000000p-1"}})
        'Exponential(mean=0.5)'
    """
    said = _text(value)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def changes(there: Any, here: Any) -> list[str]:
    """Return what differs between two descriptions, a line for each place; what a tape and its run both say is said once.

    Example:
        >>> from simsgd.studies.store import saying
        >>> saying.changes({"cell": {"seed": 1, "tape": {"recording": {"seed": 1}}}}, {"cell": {"seed": 2}})[0]
        'seed: 1 -> 2'
    """
    return list(dict.fromkeys(_changes(there, here, (), "")))


def _changes(there: Any, here: Any, place: tuple[str, ...], function: str) -> Iterator[str]:
    if there == here:
        return
    nested = isinstance(there, Mapping) and isinstance(here, Mapping) and not _is_float(there) and not _is_float(here)
    if nested and _class(there) == _class(here):
        inside = _name(here.get("function")) or function
        start = () if inside != function else place
        for name in [*here, *(each for each in there if each not in here)]:
            if place == ("cell",) and name == "tape" and isinstance(here.get(name), Mapping):
                yield from _of_tapes(there.get(name, ABSENT), here[name], _is_until_other(there, here))
            elif not (name == "name" and there.get("numbers") != here.get("numbers")):  # an optimizer's, which says them again
                yield from _changes(there.get(name, ABSENT), here.get(name, ABSENT), (*start, str(name)), inside)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _changes(one, other, (*place[:-1], f"{place[-1] if place else ''}[{i}]"), function)
    else:
        yield _change(there, here, place, function)


def _of_tapes(there: Any, here: Any, until_is_said: bool) -> Iterator[str]:
    """Yield what differs between two tapes, as if their parts stood in the run."""
    there = there if isinstance(there, Mapping) else {}
    for name in here:
        if name == "recording":
            yield from _changes(there.get(name, {}), here[name], ("cell",), "")
        elif not (name == "until" and until_is_said):
            yield from _changes(there.get(name, ABSENT), here[name], ("cell", name), "")


def _is_until_other(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    return bool(there.get("until") != here.get("until"))


def _change(there: Any, here: Any, place: tuple[str, ...], function: str) -> str:
    """Return one line: where, and what; of hashes, which tell people nothing, only that they are others."""
    at = [name for name in place if name not in ("cell", "class", "attributes", "globals", "closure")]
    if _is_hash(there) and _is_hash(here):
        if function and at == ["code"]:
            return f"the code of {function} changed"
        last = {"sha256": "the data of ", "operations": "the code of "}.get(at[-1], "") if at else ""
        return f"{last}{'.'.join(at[:-1] if last else at)} changed"
    where = f"{'.'.join(at)}, which {function} uses" if function else ".".join(at)
    return f"{where}: {text(there)} -> {text(here)}"


def _text(value: Any) -> str:
    if _is_float(value):
        return repr(_number(value))
    if isinstance(value, Mapping):
        if set(value) == {"dict"}:
            return "{" + ", ".join(f"{_text(name)}: {_text(each)}" for name, each in value["dict"]) + "}"
        name = _class(value) or _name(value.get("function")) or _name(value.get("name"))
        if not name:
            return "{" + ", ".join(f"{each}: {_text(value[each])}" for each in value) + "}" if value else "{}"
        fields = {
            each: _text(value[each]) for each in value if each not in ("class", "function", "name", "code", "by", "globals")
        }
        fields = {each: said for each, said in fields.items() if said != "None"}
        if len(fields) == 1 and set(fields) <= BARE:
            return f"{name}({', '.join(fields.values())})"
        return f"{name}({', '.join(f'{each}={said}' for each, said in fields.items())})" if fields else name
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value[:8]}…" if _is_hash(value) else str(value)


def _class(value: Any) -> str:
    """Return the name of a described object's class, or of a described class, without its modules; or nothing."""
    while isinstance(value, Mapping):
        value = value.get("class")
    return _name(value)


def _name(value: Any) -> str:
    """Return a dotted name without its modules: `Damped`, `Damped.on_gradient`."""
    *others, last = value.split(".") if isinstance(value, str) else [""]
    return f"{others[-1]}.{last}" if others and others[-1][:1].isupper() else last


def _number(value: Any) -> Any:
    """Return a float that is written in hexadecimal; anything else as it is."""
    return float.fromhex(value["float"]) if _is_float(value) else value


def _is_free(network: Any) -> bool:
    """Whether a network is none, or one on which nothing takes time."""
    if not isinstance(network, Mapping):
        return True
    return (_number(network.get("bandwidth")), _number(network.get("latency"))) == (math.inf, 0.0)


def _is_float(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"float"}


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _said(value: Any, *names: str) -> str:
    found = _at(value, *names)
    return "" if found is None else text(found)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
