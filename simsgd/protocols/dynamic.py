"""Asynchronous methods in which a worker's local steps follow its speed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simsgd.protocols.asynchronous import AsyncSGD
from simsgd.protocols.base import Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class DynamicLocalSGD(AsyncSGD):
    """Asynchronous local SGD with dynamic local updates: the slower a worker, the fewer local steps its jobs have.

    H_i = max(1, ⌊H · v_i / max_j v_j⌋), with v_i the local steps per second of computing in worker i's last job, and the
    maximum over all workers whose speed is known. So jobs of all workers take about as long, and none is much staler than the
    others. A worker's first job has H steps, as its speed is not known yet. Each message is stepped with as it arrives.

    It needs a work of which a protocol may choose the steps, such as `works.LocalSteps`.

    Args:
        steps: H, of the fastest worker, at least 1.

    Raises:
        ValueError: if `steps` is not a whole number of at least 1.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", dynamic local updates (DyLU); that the
    speed is that of the last job, and H steps for the first, are ours.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(2.5)]))
        >>> method = sg.methods.async_local_sgd_dynamic(steps=10, messages=2)
        >>> tape = sg.record(method, cluster, until=sg.Updates(6))
        >>> tape.worker.tolist(), tape.steps.tolist(), tape.time.tolist()
        ([0, 0, 1, 0, 1, 0], [10, 10, 10, 10, 4, 10], [10.0, 20.0, 25.0, 30.0, 35.0, 40.0])
    """

    steps: int

    def __post_init__(self) -> None:
        checks.store(self, steps=checks.whole("DynamicLocalSGD.steps", self.steps, 1))

    def start(self, server: Server) -> None:
        """Hand a job of H steps to each worker."""
        server.notes["speeds"] = {}
        for worker in server.workers:
            server.assign(worker, steps=self.steps)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply it, note its worker's speed, and send the worker on with as many steps as that allows."""
        server.apply(gradient)
        seconds = gradient.ended - gradient.began
        if seconds > 0:
            server.notes["speeds"][gradient.worker] = gradient.steps / seconds
        server.assign(gradient.worker, steps=self._steps(server, gradient.worker))

    def on_leave(self, server: Server, worker: int) -> None:
        """Forget its speed: it may have been the fastest."""
        server.notes["speeds"].pop(worker, None)

    def on_join(self, server: Server, worker: int) -> None:
        """Hand it a job of H steps."""
        server.assign(worker, steps=self.steps)

    def _steps(self, server: Server, worker: int) -> int:
        speeds: dict[int, float] = server.notes["speeds"]
        if worker not in speeds:
            return self.steps
        share = speeds[worker] / max(speeds.values())
        return max(1, math.floor(self.steps * share + 1e-9))  # times are sums, and rounded
