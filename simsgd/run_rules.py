"""What a run's dataset must hold, so that everything a run offers works: a file that lacks any of it is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsgd.support import sealed
from simsgd.tape.intervals import SHARES

if TYPE_CHECKING:
    import xarray

MADE_OF = {"problem": str, "dtype": str, "device": str, "batch_size": int}
"""What a run's configuration says, of what types, for the run's own methods."""
OF_WORKERS = (*SHARES, "gradients", "discarded_gradients", "mean_staleness")
"""The variables with a value for each worker."""


def check(dataset: xarray.Dataset, axes: Sequence[str]) -> None:
    """Raise ValueError unless a dataset is that of a run; the tape in it has checks of its own.

    Args:
        dataset: see `Run.dataset`.
        axes: what metrics are followed along.
    """
    for name in ("status", "metrics", "target", "configuration", "parameters_hash"):
        if not isinstance(dataset.attrs.get(name), str):
            raise ValueError(f"the attribute {name!r} must be a text, got {dataset.attrs.get(name)!r:.60}")
    metrics = sealed.plain_json("metrics", dataset.attrs["metrics"], list)
    if not metrics or not all(isinstance(name, str) for name in metrics):
        raise ValueError(f"metrics must be the names of what was evaluated, got {metrics!r:.60}")
    of_evaluations = dict.fromkeys((*axes, *metrics), ("evaluation",))
    shapes = of_evaluations | dict.fromkeys(OF_WORKERS, ("worker",)) | {"staleness": ("worker", "quantile")}
    for name, dimensions in (shapes | {"quantile": ("quantile",), "parameters": ("parameter",)}).items():
        _check_numbers(dataset, name, dimensions)
    if dataset.sizes["evaluation"] < 1 or dataset.sizes["worker"] != dataset.attrs.get("workers"):
        raise ValueError("there must be at least one evaluation, and as many workers as the tape has")
    sealed.plain_json("identity", str(dataset.attrs.get("identity", "{}")), dict)
    made = sealed.plain_json("configuration", dataset.attrs["configuration"], dict)
    for name, kind in MADE_OF.items():
        if not isinstance(made.get(name), kind) or isinstance(made[name], bool):
            raise ValueError(f"the configuration's {name} must be {kind.__name__}, got {made.get(name)!r:.60}")
    if hashlib.sha256(dataset["parameters"].values.tobytes()).hexdigest() != dataset.attrs["parameters_hash"]:
        raise ValueError("the parameters do not fit the hash saved with them")


def _check_numbers(dataset: xarray.Dataset, name: str, dimensions: tuple[str, ...]) -> None:
    """Raise ValueError unless there is a variable of numbers along these dimensions."""
    found = dataset.variables.get(name)
    if found is None or found.dims != dimensions or found.dtype.kind not in "iuf":
        there = "nothing" if found is None else f"{found.dtype} along {', '.join(map(str, found.dims)) or 'nothing'}"
        raise ValueError(f"there must be numbers {name!r} along {', '.join(dimensions)}, got {there:.60}")
