"""Rounds of methods that send a model in fragments: with all workers, or with a quorum and a grace window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.asynchronous import forget_waiting
from simsgd.protocols.base import Protocol, Server
from simsgd.protocols.needs import need_workers
from simsgd.protocols.rounds import Rounds
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class FragmentsSGD(Rounds):
    """Synchronous rounds in which workers send one of P fragments of the model, in turn.

    Version v is stepped with fragment v mod P: w ← w − η · (1/n) Σᵢ mᵢ. It waits for all workers as `MinibatchSGD` does, and
    tells each the kind of its job: `works.Fragments` says what it is. With P = 1 it is `MinibatchSGD`. A worker that crashes is
    waited for.

    Args:
        fragments: P, at least 1, that of the work.

    Raises:
        ValueError: if it is not a whole number of at least 1.

    Source: Douillard et al. (2025), "Streaming DiLoCo with overlapping communication: towards a distributed free lunch",
    algorithm 2.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.streaming_diloco(steps=2, fragments=3)
        >>> method.protocol
        FragmentsSGD(fragments=3)
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(4), message_bytes=12.0, message_shapes=[(3,)]).kind.tolist()
        [6, 6, 1, 1, 2, 2, 0, 0]
    """

    fragments: int
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(self, fragments=checks.whole("FragmentsSGD.fragments", self.fragments, 1))

    def start(self, server: Server) -> None:
        """Hand a job to each worker."""
        server.notes["had"] = {}
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Note what the worker has now, and accumulate; with the last that was asked for, step and hand out."""
        server.notes["had"][gradient.worker] = gradient.read
        super().on_gradient(server, gradient)

    def _hand_out(self, server: Server) -> None:
        for worker in server.workers:
            hand_out_in_turn(server, worker, self.fragments)


@dataclass(frozen=True, repr=False)
class QuorumSGD(Protocol):
    """Rounds that wait for K workers, and for others g seconds more; who is later still misses the round, not its work.

    w ← w − η · (1/k) Σ m over the k ≥ K messages there are when the step is made: g seconds after the K-th, or before, once
    nobody else is under way. Those who have delivered wait for the step, and are handed the new model with it; nobody is
    cancelled. A late message, of a version before, is used in the round in which it arrives, where it counts like the others,
    if that round is one of the same fragment, as with one fragment it always is; otherwise, and where late messages are not
    used, it is thrown away, and its worker handed the current model at once. With g = 0, P = 1 and late messages used it is
    `KAsyncSGD`; with K = n it is `FragmentsSGD`.

    A worker that crashes is not waited for: its job is called off, and it is handed the then current model when it is back.
    Where fewer than K workers are left, no step is made any more.

    Args:
        quorum: K, how many messages make a step, at least 1.
        grace: g, simulated seconds, at least 0.
        late: whether late messages are used.
        fragments: P, at least 1, that of the work: version v is stepped with fragment v mod P; see `works.Fragments`.

    Raises:
        TypeError, ValueError: for arguments out of range; when a recording starts, if K is more than there are workers.

    Source: Douillard et al. (2026), "Decoupled DiLoCo for resilient distributed pre-training", its quorum and grace window
    (from its abstract; the rule for late messages, and the plain mean, are ours).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.PerWorker([sg.times.Constant(s) for s in (1.0, 1.5, 4.0)]))
        >>> tape = sg.record(sg.protocols.QuorumSGD(quorum=1, grace=0.75), cluster, until=sg.Updates(3))
        >>> tape.update_times.tolist(), tape.worker.tolist(), tape.staleness.tolist()
        ([1.75, 3.5, 4.75], [0, 1, 0, 1, 2, 0], [0, 0, 0, 0, 2, 0])
    """

    quorum: int
    grace: float = 0.0
    late: bool = True
    fragments: int = 1

    def __post_init__(self) -> None:
        checks.truth("QuorumSGD.late", self.late)
        checks.store(
            self,
            quorum=checks.whole("QuorumSGD.quorum", self.quorum, 1),
            grace=checks.not_negative("QuorumSGD.grace", self.grace, "seconds"),
            fragments=checks.whole("QuorumSGD.fragments", self.fragments, 1),
        )

    def start(self, server: Server) -> None:
        """Hand a job to each worker, if they are enough."""
        need_workers(server, "QuorumSGD.quorum", self.quorum, "each gives at most one message to a step")
        server.notes.update(had={}, waiting=[], alarms=deque())
        for worker in server.workers:
            hand_out_in_turn(server, worker, self.fragments)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate and let the worker wait, or send it on; with the K-th, begin to count the grace window."""
        server.notes["had"][gradient.worker] = gradient.read
        same = (server.version - gradient.kind) % self.fragments == 0
        if same and (self.late or server.staleness(gradient) == 0):
            server.accumulate(gradient)
            server.notes["waiting"].append(gradient.worker)
            self._step_if_enough(server)
        else:
            hand_out_in_turn(server, gradient.worker, self.fragments)

    def on_alarm(self, server: Server) -> None:
        """Step, if the round whose grace window ends is not over already."""
        if server.notes["alarms"].popleft() == server.version:
            self._step(server)

    def on_lost(self, server: Server, worker: int) -> None:
        """Go on without the worker."""
        server.cancel(worker)
        self._step_if_enough(server)

    def on_return(self, server: Server, worker: int) -> None:
        """Hand the worker the current model, unless it waits for the step."""
        if worker not in server.busy and worker not in server.notes["waiting"]:
            hand_out_in_turn(server, worker, self.fragments)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on without the worker; what it has delivered stays."""
        forget_waiting(server, worker)
        self._step_if_enough(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Hand the worker the current model."""
        hand_out_in_turn(server, worker, self.fragments)

    def _step_if_enough(self, server: Server) -> None:
        """Step if there is a quorum and nobody to wait for, or set the alarm that ends the waiting."""
        alarms = server.notes["alarms"]
        if server.accumulated < self.quorum:
            return
        if not self.grace or not server.busy:
            self._step(server)
        elif not alarms or alarms[-1] != server.version:
            alarms.append(server.version)
            server.alarm(self.grace)

    def _step(self, server: Server) -> None:
        server.step(scale=1 / server.accumulated)
        ready, server.notes["waiting"] = sorted(server.notes["waiting"]), []
        for worker in ready:
            if worker not in server.down:
                hand_out_in_turn(server, worker, self.fragments)


def hand_out_in_turn(server: Server, worker: int, fragments: int) -> None:
    """Hand a worker the model, and with it the kind of its job: whose turn it is, and how many fragments it is sent.

    `server.notes["had"]` says which version was that of each worker's last job that arrived: what has changed since then it
    is sent, or the whole model where there is none.
    """
    missed = server.version - server.notes["had"].get(worker, server.version - fragments)
    sent = min(max(missed, 1), fragments)
    server.assign(worker, kind=server.version % fragments + fragments * (sent - 1))
