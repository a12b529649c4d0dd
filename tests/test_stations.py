"""Where messages queue: fair sharing and first in, first out, by hand to the last bit and against slow, obviously right play."""

import math

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import FirstOfMany

import simsgd as sg
from simsgd.networks import Duplex, Link, ParameterServer, PerWorker
from simsgd.protocols import Gradient
from simsgd.stations import FairLink, Free, Line, after, delay

# In the cases worked by hand all moments and rates are dyadic numbers, so every sum on the clock is exact: they are compared with ==.


class Played:
    """A station in an event loop of its own, what was done to it, and what came out: (worker, when, since when alone)."""

    def __init__(self, make):
        self.environment = simpy.Environment()
        self.done = []
        self.jobs = {}
        self.station = make(self.environment, lambda job, since: self.done.append((job.worker, self.environment.now, since)))

    def at(self, moment, verb, worker):
        """Have a worker's message put in, or dropped, at a moment."""
        after(self.environment, moment - self.environment.now, lambda event: getattr(self, verb)(worker), None)
        return self

    def put(self, worker):
        self.jobs[worker] = Gradient(worker, 0, 0, self.environment.now)
        self.station.put(self.jobs[worker])

    def drop(self, worker):
        self.station.drop(self.jobs[worker])

    def out(self):
        self.environment.run()
        return self.done


def fair(capacity, caps, message_bytes=8.0):
    return Played(lambda environment, done: FairLink(environment, capacity, caps, message_bytes, done))


def line(seconds):
    return Played(lambda environment, done: Line(environment, lambda job: seconds[job.worker], done))


FREE = math.inf


# --- fair sharing by hand ------------------------------------------------------------------------------------------------


def test_a_flow_alone_has_the_whole_link():
    assert fair(8.0, [FREE]).at(0.5, "put", 0).out() == [(0, 1.5, 0.5)]


def test_a_flow_that_joins_midway():
    """8 bytes each through 8 bytes/s. Until 0.5 the first has 4 of its bytes, then both get 4 bytes/s.

    The first is through at 1.5; the second has had 4 by then, and needs 0.5 s more alone. Alone each would take 1 s.
    """
    link = fair(8.0, [FREE, FREE]).at(0.0, "put", 0).at(0.5, "put", 1)
    assert link.out() == [(0, 1.5, 0.5), (1, 2.0, 1.0)]


def test_three_flows_that_join_and_leave_one_after_the_other():
    """16 bytes each through 16 bytes/s; joining at 0, 0.5, 1.

    Until 0.5 the first has 8; at 8 bytes/s until 1 it has 12, the second 4. Then three share, 16/3 each: to stay dyadic the
    fourth joins at 1 too and each gets 4 bytes/s: the first is through after its 4 bytes, at 2, when the others have 8, 4, 4.
    The fourth leaves at 2: 8 bytes/s each for the second and third, and the second is through at 3; the third has 12
    then, and the last 4 take 0.25 s.
    """
    link = fair(16.0, [FREE] * 4, 16.0).at(0.0, "put", 0).at(0.5, "put", 1).at(1.0, "put", 2).at(1.0, "put", 3)
    link.at(2.0, "drop", 3)
    assert [(worker, moment) for worker, moment, _ in link.out()] == [(0, 2.0), (1, 3.0), (2, 3.25)]


def test_a_cap_leaves_its_rest_to_the_others():
    """Three flows of 8 bytes through 8 bytes/s, the first capped at 2: rates 2, 3, 3 would add up, so here 2 of them: 2 and 6.

    Both uncapped begin at 0 with the capped one: (8 − 2)/2 = 3 bytes/s each. At 2 they have 6 each and the capped one 4. One of
    them is dropped: the other gets 6 bytes/s, and is through after 2/6 s … not dyadic; so drop it at 8/3 − …: see the numbers
    below, with 10 bytes/s in all: 4 each, through at 2, when the capped one has 4 and goes on at its 2 bytes/s until 4.
    """
    link = fair(10.0, [2.0, FREE, FREE]).at(0.0, "put", 0).at(0.0, "put", 1).at(0.0, "put", 2)
    assert [(worker, moment) for worker, moment, _ in link.out()] == [(1, 2.0), (2, 2.0), (0, 4.0)]
