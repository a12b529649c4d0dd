"""The contended parameter server: as a closed queue against exact theory, its shards against p links, and where its knee is."""

import math

import numpy as np
import pytest
import simpy

import simsgd as sg
from simsgd.networks import Duplex, Jittery, Link, MeasuredLink, ParameterServer, PerWorker
from simsgd.support import rng
from simsgd.times import Constant, Exponential, Gamma

FIFO = "first in, first out"
WARM_UP = 2_000
BATCHES = 50


# --- a closed queue ------------------------------------------------------------------------------------------------------


def mean_values(workers, thinking, *services):
    """Exact mean-value analysis of a closed queue: (throughput, mean number at each station, those in service included).

    One customer per worker, who thinks and then visits each station once, R = s(1 + Q of one customer less), X = k/(Z + ΣR),
    Q = XR. Exact for exponential services first in, first out, and for services of any law whose customers share the station.
    """
    numbers = np.zeros(len(services))
    throughput = 0.0
    for customers in range(1, workers + 1):
        stays = np.array(services) * (1 + numbers)
        throughput = customers / (thinking + stays.sum())
        numbers = throughput * stays
    return throughput, *numbers


def throughput_of_constant_services(workers, thinking, service):
    """Exact throughput if service takes constant time: by the Markov chain of the numbers left behind by those who leave.

    With j left behind, service begins with max(j, 1) there; each of the others comes back while it lasts with probability
    1 − exp(−D/Z), independently. If none was left behind, the first comes back after Z/n on average.
    """
    back = -math.expm1(-service / thinking)
    moves = np.zeros((workers, workers))
    for left in range(workers):
        there = max(left, 1)
        away = workers - there
        for come in range(away + 1):
            moves[left, there - 1 + come] += math.comb(away, come) * back**come * (1 - back) ** (away - come)
    equations = np.vstack([moves.T - np.eye(workers), np.ones(workers)])
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(workers), 1.0), rcond=None)[0]
    return 1 / (service + stationary[0] * thinking / workers)


def measured(tape, entered, left):
    """Return (throughput, its standard error), and (mean number at a station, its standard error), by batch means.

    Gradients enter and leave the station at the moments in these columns of the tape; those in flight have entered, maybe.
    """
    edges = tape.time[np.linspace(WARM_UP, len(tape) - 1, BATCHES + 1).astype(int)]
    rates = np.diff(np.searchsorted(tape.time, edges)) / np.diff(edges)
    inside = tape.in_flight.columns()[entered]
    entries = np.sort(np.concatenate([getattr(tape, entered), inside[~np.isnan(inside)]]))
    areas = spent_until(edges, entries) - spent_until(edges, np.sort(getattr(tape, left)))
    numbers = np.diff(areas) / np.diff(edges)
    return [(values.mean(), values.std(ddof=1) / math.sqrt(BATCHES)) for values in (rates, numbers)]


def spent_until(edges, moments):
    """Σ over `moments` before each edge of (edge − moment): the integral of how many there have been."""
    count = np.searchsorted(moments, edges)
    return edges * count - np.append(0.0, np.cumsum(moments))[count]


def assert_is(measurement, exact, within=0.01):
    """Within 1%, which is to be at least 3.5 standard errors; and within 4 standard errors, whatever these are."""
    value, error = measurement
    assert 3.5 * error < within * exact
    assert abs(value - exact) < min(within * exact, 4 * error + 1e-9 * exact)


# Standard errors at 100,000 updates: 0.25% to 0.35% of the throughput, and 0.4% of the number at 2 workers, less at more.
@pytest.mark.parametrize(("workers", "updates"), [(2, 320_000), (8, 200_000), (16, 150_000), (32, 150_000)])
def test_an_exponential_server_is_what_mean_value_analysis_says(workers, updates):
    """Compute Exponential(3), update Exponential(1), links free: the knee is at 4 workers."""
    cluster = sg.Cluster(workers, Exponential(3.0), ParameterServer(update=Exponential(1.0)))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates), seed=1, message_bytes=0)
    throughput, number = measured(tape, "arrived", "time")
    exact = mean_values(workers, 3.0, 1.0)
    assert_is(throughput, exact[0])
    assert_is(number, exact[1])


@pytest.mark.parametrize(("workers", "updates"), [(2, 150_000), (4, 100_000), (8, 50_000), (16, 20_000), (32, 20_000)])
def test_constant_transfers_first_in_first_out(workers, updates):
    """Between the asymptotic bounds and the exponential server's throughput; and equal to that of the exact Markov chain."""
    network = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=8.0)), sharing=FIFO)
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers, Exponential(3.0), network), sg.Updates(updates), 2, message_bytes=8)
    throughput, number = measured(tape, "ended", "arrived")
    rounding = 1 + 1e-9
    assert mean_values(workers, 3.0, 1.0)[0] < throughput[0] * rounding
    assert throughput[0] < min(workers / (3.0 + 1.0), 1 / 1.0) * rounding
    assert_is(throughput, throughput_of_constant_services(workers, 3.0, 1.0))
    # by Little's law, all who are not at the server think, for 3 s on average: so for its number too there is an exact value
    assert number[0] == pytest.approx(workers - 3.0 * throughput_of_constant_services(workers, 3.0, 1.0), rel=0.01)


@pytest.mark.parametrize(("workers", "updates"), [(2, 250_000), (8, 100_000), (32, 100_000)])
def test_fair_sharing_does_not_care_about_the_law_of_service(workers, updates):
    """Processor sharing is insensitive: constant transfers, shared fairly, have the exponential server's exact means."""
    network = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=8.0)), sharing="fair")
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers, Exponential(3.0), network), sg.Updates(updates), 3, message_bytes=8)
    throughput, number = measured(tape, "ended", "arrived")
    exact = mean_values(workers, 3.0, 1.0)
    assert_is(throughput, exact[0])
    assert_is(number, exact[1])


def test_both_directions_and_the_server_are_three_queues():
    """Models share the way out, gradients the way in, and an exponential server handles them: product form, three stations."""
    network = ParameterServer(Duplex(down=Link(bandwidth=16.0), up=Link(bandwidth=8.0)), update=Exponential(0.75))
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(8, Exponential(3.0), network), sg.Updates(150_000), 4, message_bytes=8)
    exact = mean_values(8, 3.0, 0.5, 1.0, 0.75)
    throughput, handled = measured(tape, "arrived", "time")
    assert_is(throughput, exact[0])
    for number, expected in zip((("assigned", "began"), ("ended", "arrived")), exact[1:3], strict=True):
        assert_is(measured(tape, *number)[1], expected, within=0.02)
    assert_is(handled, exact[3], within=0.02)


# --- shards --------------------------------------------------------------------------------------------------------------


class SlowFairLink:
    """One link that its flows share at max-min fair rates, found anew by filling at every event. Slow, and independent."""

    def __init__(self, environment, bandwidth):
        self.environment, self.bandwidth, self.flows, self.last = environment, bandwidth, [], 0.0
        self.changed = environment.event()
        environment.process(self.run())

    def transfer(self, size, cap):
        """Return the event of a message's having come through."""
        self.pass_time()
        flow = {"left": size, "cap": cap, "rate": 0.0, "through": self.environment.event()}
        self.flows.append(flow)
        self.changed.succeed()
        self.changed = self.environment.event()
        return flow["through"]

    def pass_time(self):
        for flow in self.flows:
            flow["left"] -= flow["rate"] * (self.environment.now - self.last)
        self.last = self.environment.now

    def run(self):
        while True:
            room, flows = self.bandwidth, sorted(self.flows, key=lambda flow: flow["cap"])
            for number, flow in enumerate(flows):
                flow["rate"] = min(flow["cap"], room / (len(flows) - number))
                room -= flow["rate"]
            changed = self.changed
            soonest = min([flow["left"] / flow["rate"] for flow in flows], default=math.inf)
            wait = [changed] + ([self.environment.timeout(max(0.0, soonest))] if flows else [])
            yield self.environment.any_of(wait)
            if not changed.triggered:
                self.pass_time()
                first = min(self.flows, key=lambda flow: flow["left"] / flow["rate"])
                self.flows.remove(first)
                first["through"].succeed()


class SlowLine:
    """One link that serves first in, first out."""

    def __init__(self, environment, bandwidth):
        self.environment, self.bandwidth, self.place = environment, bandwidth, simpy.Resource(environment)

    def transfer(self, size, cap):
        return self.environment.process(self.hold(size / min(cap, self.bandwidth)))

    def hold(self, seconds):
        with self.place.request() as turn:
            yield turn
            yield self.environment.timeout(seconds)


def by_brute_force(cluster, jobs, seed, message_bytes):
    """Asynchronous SGD with p servers of their own links: (began, arrived, time) of each worker's first `jobs` jobs.

    Each message goes in p equal pieces over p links, and is there when the last one is; so is an update, of p pieces.
    """
    network, environment = cluster.network, simpy.Environment()
    shards, link = network.shards, (SlowLine if network.sharing == FIFO else SlowFairLink)
    out, into = ([link(environment, wire.bandwidth) for _ in range(shards)] for wire in (network.link.down, network.link.up))
    servers = [simpy.Resource(environment) for _ in range(shards)]
    lives = np.full((cluster.workers, jobs, 3), math.nan)

    def handled(server, seconds):
        with server.request() as turn:
            yield turn
            yield environment.timeout(seconds)

    def work(worker):
        access = network.access.networks[worker]
        compute = cluster.compute.sampler(rng.stream(seed, "compute time", worker), worker)
        update = network.update.sampler(rng.stream(seed, "server update", worker), worker)
        for job in range(jobs):
            yield environment.all_of([shard.transfer(message_bytes / shards, access.bandwidth / shards) for shard in out])
            yield environment.timeout(network.link.down.latency + access.latency)
            lives[worker, job, 0] = environment.now
            yield environment.timeout(compute(environment.now))
            yield environment.all_of([shard.transfer(message_bytes / shards, access.bandwidth / shards) for shard in into])
            yield environment.timeout(network.link.up.latency + access.latency)
            lives[worker, job, 1] = environment.now
            seconds = update(environment.now) / shards
            yield environment.all_of([environment.process(handled(server, seconds)) for server in servers])
            lives[worker, job, 2] = environment.now

    for worker in range(cluster.workers):
        environment.process(work(worker))
    environment.run(until=environment.timeout(60.0))
    return lives


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.parametrize("sharing", ["fair", FIFO])
def test_shards_are_so_many_servers_with_links_of_their_own(sharing, shards):
    """The claim that "no approximation is made": p links, each message in p pieces, played piece by piece."""
    access = [Link(0.01 * worker, (90.0, 25.0, math.inf, 400.0)[worker % 4]) for worker in range(6)]
    network = ParameterServer(
        link=Duplex(down=Link(0.03, 120.0), up=Link(0.02, 60.0)),
        sharing=sharing,
        shards=shards,
        update=Gamma(0.3, 0.8),
        access=PerWorker(access),
    )
    cluster = sg.Cluster(6, Exponential(1.0), network)
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(60.0), seed=5, message_bytes=20.0)
    lives = by_brute_force(cluster, int(tape.job.max()) + 1, 5, 20.0)
    found = np.column_stack([tape.began, tape.arrived, tape.time])
    assert len(tape) > 60
    assert len(tape) == np.count_nonzero(lives[:, :, 2] <= 60.0)
    np.testing.assert_allclose(found, lives[tape.worker, tape.job], rtol=1e-9)


# --- links of other kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_measured_link_as_the_server_s(shards):
    """A message that has it alone takes what was measured for its piece; one behind it, that without the latency more."""
    wire = MeasuredLink(sizes=(1e3, 1e5, 1e6), times=(1e-3, 4e-3, 3e-2))
    network = ParameterServer(wire, sharing=FIFO, shards=shards)
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(3, Constant(1.0), network), sg.Updates(1), message_bytes=4e5)
    alone = wire.seconds(4e5 / shards)
    np.testing.assert_allclose(tape.began, alone + (alone - wire.latency) * np.arange(3), rtol=1e-12)
    np.testing.assert_allclose(tape.departed, (alone - wire.latency) * np.arange(3), rtol=1e-12)


def test_latencies_of_both_links_add_up_and_directions_differ():
    """Down 0.5 + 0.25 s and 8/16 s; up 1 + 2 s and 8/8 s; exact, as all numbers are dyadic."""
    network = ParameterServer(Duplex(Link(0.5, 16.0), Link(1.0, 8.0)), access=Duplex(Link(0.25), Link(2.0)))
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, Constant(1.0), network), sg.Updates(2), message_bytes=8)
    assert tape.began.tolist() == [1.25, 7.5]
    assert tape.arrived.tolist() == [6.25, 12.5]


def test_jitter_is_on_top_and_occupies_no_link():
    """1 s of bandwidth, then 0.25 s of latency and 0.5 s of jitter: messages leave 1 s apart all the same."""
    network = ParameterServer(Jittery(Link(0.25, 8.0), Constant(0.5)), sharing=FIFO)
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(3, Constant(1.0), network), sg.Updates(1), message_bytes=8)
    assert tape.began.tolist() == [1.75, 2.75, 3.75]
    assert tape.arrived.tolist() == [4.5, 5.5, 6.5]


def test_jitter_is_the_same_whatever_the_sharing():
    """A job's messages draw what its worker's stream has for it, contended or not; on average the law's mean."""
    wire = Jittery(Link(0.25, 8.0), Exponential(2.0))
    drawn = []
    for network in (wire, ParameterServer(wire, sharing=FIFO), ParameterServer(wire, sharing="fair")):
        tape = sg.record(sg.AsyncSGD(), sg.Cluster(4, Exponential(9.0), network), sg.Updates(2_000), 6, message_bytes=8)
        own = 1.25 if network is not wire else 0.25 + 1.0
        down, up = tape.began - tape.departed - own, tape.arrived - tape.sent - own
        jobs = zip(tape.worker.tolist(), tape.job.tolist(), strict=True)
        drawn.append(dict(zip(jobs, zip(down.tolist(), up.tolist(), strict=True), strict=True)))
    common = [key for key in drawn[0] if key in drawn[1] and key in drawn[2]]
    assert len(common) > 1_800
    values = np.array([[jitters[key] for key in common] for jitters in drawn])
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-8)
    assert values[0].mean() == pytest.approx(2.0, abs=4 * 2.0 / math.sqrt(values[0].size))
    assert abs(np.corrcoef(values[0].T)[0, 1]) < 4 / math.sqrt(len(common))


# --- where the knee is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["fair", FIFO])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_throughput_saturates_at_capacity_over_message_size(sharing, shards):
    """8 bytes up at p × 8 bytes/s, down four times as fast, 8 s of computing: beyond 8p + 1.25 workers p gradients/s.

    Well below, a job waits for nobody, or at the very worst for all others' messages, both ways.
    """
    network = ParameterServer(Duplex(Link(bandwidth=32.0), Link(bandwidth=8.0)), sharing=sharing, shards=shards)
    knee, messages = 8 * shards + 2, 1.25 / shards

    def played(workers, updates):
        """Return (gradients after the first 1,000, seconds that they took)."""
        cluster = sg.Cluster(workers, Exponential(8.0), network)
        tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(1_000 + updates), seed=7, message_bytes=8)
        return updates, tape.time[-1] - tape.time[999]

    gradients, seconds = played(4 * knee, 7_000)
    # never idle; shared fairly, there are parts of others' messages too in what it carries between two gradients' arrivals
    assert abs(gradients - shards * seconds) < (4 * knee if sharing == "fair" else 1e-6)
    noise = 4 / math.sqrt(19_000)
    gradients, seconds = played(1, 19_000)
    assert gradients / seconds == pytest.approx(1 / (8 + messages), rel=noise)
    for workers in (2, knee // 4):
        gradients, seconds = played(workers, 19_000)
        assert workers / (8 + messages * workers) < gradients / seconds < workers / (8 + messages) * (1 + noise)
