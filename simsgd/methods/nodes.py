"""Methods for clusters of nodes, and local steps that begin late: averages inside often, across rarely.

A worker stands here for a node of several devices, which average their gradients at each local step: `Cluster.of_nodes` has
the time of that, and the problem's batch is that of all devices of a node. How the nodes average, at a server or by an
all-reduce, is the cluster's network.
"""

from __future__ import annotations

from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import MinibatchSGD, PostLocalSGD
from simsgd.works import LocalSteps


@preset("Hierarchical local SGD")
def hierarchical(step_size: float = 0.1, *, steps: int) -> Method:
    """Return hierarchical local SGD: devices average inside their node at each step, nodes across every H steps.

    In node j, wⱼ ← wⱼ − η · (1/m) Σᵢ g_{ji}(wⱼ), H times from w; then w ← (1/n) Σⱼ wⱼ over the n nodes. It is the paper's with
    one local step between averages inside a node, H = 1, and H between those across, H^b.

    Source: Lin et al. (2020), "Don't use large mini-batches, use local SGD", hierarchical local SGD (from memory).

    Args:
        step_size: η, of a local step.
        steps: H, the local steps of a node between two averages across; with 1 it is `minibatch`.

    Example:
        >>> import simsgd as sg
        >>> inside, across = (sg.networks.Ring(sg.networks.preset(name)) for name in ("nvlink 4", "ethernet 10g"))
        >>> cluster = sg.Cluster.of_nodes(4, 8, sg.times.Constant(0.1), inside, 1e8, across)
        >>> tape = sg.record(sg.methods.hierarchical(steps=8), cluster, until=sg.Updates(1), message_bytes=1e8)
        >>> round(float(tape.ended[0]), 3), round(tape.end, 3)  # 8 steps, and 100 MB round a ring of 4 nodes
        (0.803, 0.924)
    """
    return Method(MinibatchSGD(), sgd(1.0), work=LocalSteps(steps=steps), inner=sgd(step_size))


@preset("Post-local SGD")
def post_local(step_size: float = 0.1, *, after: int, steps: int) -> Method:
    """Return post-local SGD: minibatch SGD for t' updates, then local SGD with H local steps.

    wᵢ ← wᵢ − η · g(wᵢ), H_t times from w, then w ← (1/n) Σᵢ wᵢ; H_t = 1 while t ≤ t', and H afterwards.

    Source: Lin et al. (2020), "Don't use large mini-batches, use local SGD", post-local SGD; checked against the authors' code.

    Args:
        step_size: η, of a local step.
        after: t', the updates with a single step; with 0 it is `local_sgd`.
        steps: H, the local steps afterwards; with 1 it is `minibatch`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.post_local(step_size=0.1, after=100, steps=8).protocol
        PostLocalSGD(after=100, steps=8)
    """
    return Method(PostLocalSGD(after=after, steps=steps), sgd(1.0), work=LocalSteps(), inner=sgd(step_size))


ENTRIES: tuple[Entry, ...] = (
    Entry(hierarchical, {"steps": 4}, "test_shelf_hierarchical.py::test_hierarchical"),
    Entry(post_local, {"after": 5, "steps": 4}, "test_shelf_hierarchical.py::test_post_local"),
)
"""The rows of the shelf."""
