"""The protocols that the shared suites run over: the library's, and some of a user's own. To test another, add a row."""

from dataclasses import dataclass

import simsgd as sg


@dataclass(frozen=True)
class FirstOfMany(sg.Protocol):
    """K-sync: step with the first `needed` gradients, cancel the other jobs, hand out to all."""

    needed: int

    def on_gradient(self, server, gradient):
        server.accumulate(gradient, weight=1 / self.needed)
        if server.accumulated == self.needed:
            server.step()
            for worker in server.workers:
                if worker in server.busy:
                    server.cancel(worker)
                server.assign(worker)


@dataclass(frozen=True)
class EveryFew(sg.Protocol):
    """K-batch-async: step after every `needed` gradients, whoever they come from and however stale they are."""

    needed: int

    def on_gradient(self, server, gradient):
        server.accumulate(gradient, weight=1 / self.needed)
        if server.accumulated == self.needed:
            server.step()
        server.assign(gradient.worker)


@dataclass(frozen=True)
class Fresh(sg.Protocol):
    """Rennala: use only gradients of the current version, step with the mean of `needed` of them."""

    needed: int

    def on_gradient(self, server, gradient):
        if server.staleness(gradient) == 0:
            server.accumulate(gradient, weight=1 / self.needed)
            if server.accumulated == self.needed:
                server.step()
        server.assign(gradient.worker)


@dataclass(frozen=True)
class Picky(sg.Protocol):
    """Ringmaster: ignore gradients `threshold` or more versions old."""

    threshold: int

    def on_gradient(self, server, gradient):
        if server.staleness(gradient) < self.threshold:
            server.apply(gradient)
        server.assign(gradient.worker)


METHODS = {
    "sync": sg.MinibatchSGD(),
    "async": sg.AsyncSGD(),
    "first of many": FirstOfMany(1),
    "every few": EveryFew(3),
    "fresh": Fresh(5),
    "picky": Picky(2),
}
