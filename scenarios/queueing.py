"""What can be known beforehand of a parameter server that all workers share: bounds, the knee, and fair sharing exactly.

A worker's round without anybody else takes Z + D_down + D_up + D_update seconds: Z its computing and the latencies, D what its
model, its gradient and its update need of each shared resource. n workers make at most n / (Z + ΣD) updates per second, and
never more than 1 / max D. The two bounds cross at n* = (Z + ΣD) / max D: there the knee begins (asymptotic bounds of a closed
queue: Denning and Buzen, "The operational analysis of queueing network models", 1978).

Fair sharing has an exact answer: with processor-sharing links the network has a product form, and its throughput depends
on the times by their means alone (Baskett, Chandy, Muntz and Palacios, "Open, closed, and mixed networks of queues with
different classes of customers", 1975). First in, first out with messages of one size has no such formula.

Synchronous SGD on the same server: all pull at once and push at nearly the same time (incast). If every job took its mean,
fair sharing would make all wait for the last byte of all models, Z + n·D_down + n·D_up + n·D_update. First in, first out lets
the first workers compute and push while the last models are still on their way: Z + ΣD + (n − 1)·max D.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Needs(NamedTuple):
    """What a worker's round needs of each resource, seconds."""

    own: float
    """Computing and latencies."""
    message: float
    """Of a link of the server, each way, when enough others share it to keep it full."""
    alone: float
    """For how long one message occupies the link by itself, each way; the worker's own link may make it longer."""
    update: float

    @property
    def round(self) -> float:
        """Seconds of a round without anybody else."""
        return self.own + 2 * self.alone + self.update

    def longest(self, sharing: str) -> float:
        """Return what a round needs of the busiest shared resource.

        First in, first out, a message that its worker's own link slows down blocks the server's; fair, others use the rest.
        """
        return max(self.alone if sharing == "first in, first out" else self.message, self.update)

    def crossing(self, sharing: str) -> float:
        """Return n*, the number of workers at which the two bounds on the throughput cross."""
        return self.round / self.longest(sharing)

    def bound(self, sharing: str, workers: int) -> float:
        """Return the updates/second that so many workers cannot exceed."""
        return min(workers / self.round, 1 / self.longest(sharing))

    def synchronous(self, sharing: str, workers: int) -> float:
        """Return the seconds of a synchronous update if every job took its mean."""
        if sharing == "first in, first out":
            return self.round + (workers - 1) * self.longest(sharing)
        return self.own + 2 * max(self.alone, workers * self.message) + workers * self.update

    def theory(self, workers: int) -> float:
        """Return the updates/second of fair sharing, exactly: the product form, by Buzen's convolution.

        A station that serves k customers at the total rate μ(k) has the factors f(k) = Π_{j≤k} 1/μ(j), where 1/μ(j) is own / j
        for what workers do on their own, and max(alone / j, message) for a link. With G(n) the n-th term of the factors'
        convolution, the throughput is G(n−1) / G(n). Times are in units of the longest, so that nothing overflows.
        """
        unit, k = max(self.longest("fair"), self.own / workers), np.arange(1, workers + 1)
        link = np.maximum(self.alone / k, self.message)
        total = np.array([1.0])
        for seconds in (self.own / k, link, link, np.full(workers, self.update)):
            total = np.convolve(total, np.cumprod([1.0, *(seconds / unit)]))[: workers + 1]
        return float(total[-2] / total[-1] / unit)
