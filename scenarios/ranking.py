"""What is said of many methods, ranked by their time to a target on several kinds of data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray
from measuring import number, spread, table


def ranks(measured: xarray.Dataset) -> xarray.DataArray:
    """Return each method's place on each kind of data, from 0: by median seconds, then arrivals, then the loss at the end."""
    middle, loss = (measured[name].median("seed").transpose("data", "method") for name in ("seconds", "final"))
    arrived = np.isfinite(measured.seconds).sum("seed").transpose("data", "method")
    order = np.array([np.lexsort(keys) for keys in zip(loss.values, -arrived.values, middle.values, strict=True)])
    return xarray.DataArray(np.argsort(order, axis=1), dims=("data", "method"))


def ranked(here: xarray.Dataset) -> str:
    """Return the ranking on one kind of data as a table; who does not arrive on most seeds has no place, but an order."""
    rows = []
    for name in here.sortby("rank").method.values:
        method = here.sel({"method": name})
        loss = number(float(method.final.median()))
        place = f"{len(rows) + 1}" if np.isfinite(method.seconds.median("seed")) else "–"
        rows.append([place, name, f"{float(method.step_size):.3g}", spread(method.seconds), loss])
    times, above = "seconds to the target\nmedian (range over the seeds)", "loss above the least\nat the end, median"
    return table(["", "method", "step\nsize", times, above], rows)


def findings(measured: xarray.Dataset) -> str:
    """Return who is first, what the seeds tell apart, who arrives, and which methods are one and the same here."""
    lines, arrive = [], np.isfinite(measured.seconds).all("seed")
    for kind in measured.data.values:
        here = measured.sel(data=kind).sortby("rank")
        names, arrived = here.method.values, np.isfinite(here.seconds).all("seed").values
        lines.append(f"{kind}:")
        if np.isfinite(here.seconds[0].median("seed")):
            close = (np.isfinite(here.seconds) & (here.seconds <= here.seconds.isel(method=0))).any("seed").values
            lines.append(f"  first is {names[0]}; at least as quick on some seed: {said(names[1:][close[1:]])};")
        there, missing = names[arrived], names[~arrived]
        few = f"only {said(there)}" if len(there) < len(missing) else f"all but {said(missing)}"
        lines += [f"  there on every seed: {few};", f"  the same numbers: {said(twins(here))}."]
    lost = int((arrive.isel(data=0) & ~arrive.isel(data=-1)).sum())
    lines.append(
        f"There on every seed where data are alike, but not where they differ: {lost} of {arrive.sizes['method']} methods."
    )
    return "\n".join(lines)


def twins(here: xarray.Dataset) -> list[str]:
    """Return which methods had the same loss, but for rounding, at every moment of every seed."""
    groups: list[list[str]] = []
    for name in here.method.values:
        loss = here.loss.sel({"method": name})
        for group in groups:
            if np.allclose(loss, here.loss.sel({"method": group[0]}), rtol=1e-3):
                group.append(name)
                break
        else:
            groups.append([name])
    return [" = ".join(group) for group in groups if len(group) > 1]


def said(names: Iterable[str]) -> str:
    """Return names in a row, or "none"."""
    return ", ".join(names) or "none"
