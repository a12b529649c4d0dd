"""Synchronous rounds that begin with single steps and go on with several."""

from __future__ import annotations

from dataclasses import dataclass, field

from simsgd.protocols.base import Server
from simsgd.protocols.synchronous import MinibatchSGD
from simsgd.support import checks


@dataclass(frozen=True, repr=False)
class PostLocalSGD(MinibatchSGD):
    """Post-local SGD: minibatch SGD for some updates, then synchronous rounds of H local steps.

    A round has H_t = 1 local step while t ≤ t', and H afterwards; t counts updates, which are single steps until then. All
    workers take part in each round, and the server steps with the average of their messages. It needs a work of which a
    protocol may choose the steps, such as `works.LocalSteps`.

    Args:
        after: t', the updates made of single steps, at least 0.
        steps: H, the local steps of each later round, at least 1.
        wait, average: as in `MinibatchSGD`.

    Raises:
        ValueError: for numbers out of range.

    Source: Lin et al. (2020), "Don't use large mini-batches, use local SGD", post-local SGD; checked against the authors' code,
    which counts t' in epochs.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.post_local(after=2, steps=4)
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(4)).update_times.tolist()
        [1.0, 2.0, 6.0, 10.0]
    """

    after: int = field(kw_only=True)
    steps: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(
            self,
            after=checks.whole("PostLocalSGD.after", self.after, 0),
            steps=checks.whole("PostLocalSGD.steps", self.steps, 1),
        )

    def _local_steps(self, server: Server) -> int:
        return self.steps if server.version >= self.after else 1
