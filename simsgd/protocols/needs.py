"""What a protocol needs of the cluster that carries it: refused when a recording starts, rather than stuck later."""

from __future__ import annotations

from simsgd.protocols.base import Server


def need_workers(server: Server, argument: str, needed: int, why: str) -> None:
    """Raise ValueError, naming both sides, unless there are at least `needed` workers when a recording starts.

    Args:
        server: whose workers are counted.
        argument: what asks for them, for example "KSyncSGD.gradients".
        needed: how many it asks for.
        why: why fewer would not do.
    """
    if needed > len(server.workers):
        raise ValueError(
            f"{argument}={needed} asks for more workers than there are when the recording starts, {len(server.workers)} "
            f"({why}): use at most {len(server.workers)}, or a Cluster with more workers"
        )
