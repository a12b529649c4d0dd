"""A tape as an xarray Dataset, which is how it is saved: every column of every log a variable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.tape.rules import TapeError
from simsgd.tape.schema import LOGS, Discarded, Down, Jobs

if TYPE_CHECKING:
    import xarray

    from simsgd.tape.tape import Tape


def columns(tape: Tape) -> dict[tuple[str, str], np.ndarray]:
    """Return every column of the logs by (log, name)."""
    logs: dict[str, Jobs | Down] = {name: log for name, log, _ in tape.jobs_and_ends()} | {"down_spell": tape.down}
    found = {(log, name): getattr(logs[log], name) for log, schema in LOGS.items() for name in schema}
    return found | {("update", "time"): tape.update_times}


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
    try:
        logs: dict[str, dict[str, Any]] = {
            log: {name: data[f"{log}_{name}"].values.astype(kind) for name, kind in schema.items()}
            for log, schema in LOGS.items()
        }
        return logs["row"] | {
            "update_times": data["update_time"].values.astype(np.float64),
            "workers": int(data.attrs["workers"]),
            "end": float(data.attrs["end"]),
            "discarded": Discarded(**logs["discarded"]),
            "in_flight": Jobs(**logs["in_flight"]),
            "down": Down(**logs["down_spell"]),
            "collective": bool(data.attrs["collective"]),
            "header": json.loads(data.attrs["header"]),
        }
    except (KeyError, ValueError) as error:
        raise TapeError(f"not a tape: {error}") from error
