"""What the slow-downs do, a panel for each measure."""

from __future__ import annotations

import xarray
from drawing import panels, points
from matplotlib.figure import Figure

import simsgd as sg


def draw(measured: xarray.Dataset, target: sg.Target, title: str) -> Figure:
    """Draw each seed as a point, the medians as bars."""
    titles = {
        "gradients_per_second": "gradients per second",
        "waiting": "%:share of time spent waiting",
        "spread_of_staleness": "staleness (versions), standard deviation",
        "best_seconds": f"log:seconds to {target}",
        "best_gradients": f"gradients to {target}",
        "loss": "log:loss at the end",
    }
    return panels(measured, titles, points, 3, title)[0]
