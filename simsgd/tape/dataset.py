"""A tape as an xarray Dataset, which is how it is saved: every column of every log a variable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.support import checks, sealed
from simsgd.support.bounds import bounds
from simsgd.tape.rules import TapeError
from simsgd.tape.schema import CHARGES, LOGS, Discarded, Down, Jobs, Ties

if TYPE_CHECKING:
    import xarray

    from simsgd.tape.tape import Tape


def columns(tape: Tape) -> dict[tuple[str, str], np.ndarray]:
    """Return every column of the logs by (log, name)."""
    logs: dict[str, Jobs | Down | Ties] = {name: log for name, log, _ in tape.jobs_and_ends()}
    logs |= {"down_spell": tape.down, "tie": tape.ties}
    found = {(log, name): getattr(logs[log], name) for log, schema in LOGS.items() for name in schema}
    return found | {("update", "time"): tape.update_times}


def plain_charges(tape: Tape) -> set[str]:
    """Return the columns of charges that say nothing of their own: all have one step, one kind, one size, and no time."""
    logs = [log for _, log, _ in tape.jobs_and_ends()]
    one_step = all((log.steps == 1).all() for log in logs)
    sizes = [column for log in logs for column in (log.bytes_down, log.bytes_up) if len(column)]
    one_size = all((column == sizes[0][0]).all() for column in sizes)
    nothing = {name for name in ("kind", "seconds", "dropped") if all((getattr(log, name) == 0).all() for log in logs)}
    return nothing | ({"steps"} if one_step else set()) | ({"bytes_down", "bytes_up"} if one_size else set())


def to_dataset(tape: Tape) -> xarray.Dataset:
    """Return the tape as a Dataset; see `Tape.to_dataset`."""
    import xarray

    return xarray.Dataset(
        {f"{log}_{name}": (log, column) for (log, name), column in columns(tape).items()},
        attrs={
            "workers": tape.workers,
            "end": tape.end,
            "collective": int(tape.collective),
            "content_hash": tape.content_hash,
            "header": json.dumps(tape.header, ensure_ascii=False),
        },
    )


def fields(data: xarray.Dataset) -> dict[str, Any]:
    """Return the arguments of the `Tape` that `to_dataset` put into a Dataset.

    Raises:
        TapeError: if a column or an attribute is missing, or is not what it should be.
    """
    header = _header(_attribute(data, "header", str))
    size = header.get("message_bytes", 0)
    plain = dict(zip((*CHARGES, "dropped"), (1, size, size, 0, 0, 0), strict=True))  # of tapes from before there were these
    logs = {log: {name: _column(data, log, name, plain.get(name)) for name in schema} for log, schema in LOGS.items()}
    return logs["row"] | {
        "update_times": _column(data, "update", "time"),
        "workers": _workers(data),
        "end": _attribute(data, "end", float),
        "discarded": Discarded(**logs["discarded"]),
        "in_flight": Jobs(**logs["in_flight"]),
        "down": Down(**logs["down_spell"]),
        "ties": Ties(**logs["tie"]),
        "collective": _collective(data),
        "header": header,
    }


def _column(data: xarray.Dataset, log: str, name: str, plain: float | None = None) -> np.ndarray:
    """Return a column of a log, or, where there is none, what it would plainly hold; its type is the tape's own to check."""
    variable = f"{log}_{name}"
    if variable not in data.variables and plain is not None and log in data.sizes:
        return np.full(data.sizes[log], plain, LOGS[log][name])
    if variable not in data.variables or data[variable].dims != (log,):
        raise TapeError(f"not a tape: there is no column {variable!r} along {log!r}")
    return data[variable].values


def _attribute(data: xarray.Dataset, name: str, kind: type) -> Any:
    """Return an attribute of a kind, which other readers of the file may have made a NumPy scalar."""
    value = data.attrs.get(name)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TapeError(f"not a tape: the attribute {name!r} must be {kind.__name__}, got {value!r:.60}")
    return value


def _workers(data: xarray.Dataset) -> int:
    """Return how many workers there are, no more than are allowed: each takes memory, whether it did something or not."""
    workers: int = _attribute(data, "workers", int)
    bounds.check("workers", workers, f"the attribute 'workers', {workers!r:.60},")
    return workers


def _collective(data: xarray.Dataset) -> bool:
    found = _attribute(data, "collective", int)
    if found not in (0, 1):
        raise TapeError(f"not a tape: the attribute 'collective' must be 0 or 1, got {found!r:.60}")
    return bool(found)


def _header(text: str) -> dict[str, Any]:
    """Return where a tape says that it comes from: what a replay takes from there is checked, the rest is to be read."""
    header: dict[str, Any] = sealed.plain_json("the header", text, dict)
    checks.whole("the header's seed", header.get("seed", 0), 0)
    checks.not_negative("the header's message_bytes", header.get("message_bytes", 0), "bytes")
    sealed.plain_json("the header's identity", str(header.get("identity", "{}")), dict)
    return header
