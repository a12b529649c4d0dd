"""The host goes only a moment ahead of the device, so Ctrl-C is heard at once; and no bit depends on how far."""

import subprocess
import sys
import time

import pytest

import simsgd as sg
from simsgd.replaying import pace
from simsgd.replaying.pace import IN_WAIT, LONGEST, Pace


class Device:
    """A device that takes so many seconds for each block, by a clock of the test's own."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.free, self.seconds, self.asleep = 0.0, 0.0, seconds, 0.0
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(pace.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds

    def play(self, blocks):
        self.free = max(self.free, self.now) + blocks * self.seconds
        return Result(self, self.free)


class Result:
    def __init__(self, device, ready):
        self.device, self.ready = device, ready

    def is_ready(self):
        return self.device.now >= self.ready

    def block_until_ready(self):
        self.device.asleep = max(self.device.asleep, self.ready - self.device.now)
        self.device.now = max(self.device.now, self.ready)


@pytest.mark.parametrize(("seconds", "length"), [(1e-6, LONGEST), (1e-4, 512), (1e-2, 8), (0.08, 1), (2.0, 1)])
def test_what_waits_is_a_moment_of_work(seconds, length, monkeypatch):
    device, its = Device(monkeypatch, seconds), Pace()
    played = behind = 0
    for start, stop in its.pieces(0, 100_000 if seconds < 1 else 100):
        its.handed(stop - start, device.play(stop - start))
        played += stop - start
        behind = max(behind, device.free - device.now)
    assert played == (100_000 if seconds < 1 else 100)
    assert behind <= IN_WAIT * max(seconds, 0.31)
    assert device.asleep <= max(seconds, 0.31)
    assert its.length == length


def test_a_piece_ends_anywhere_and_no_bit_changes(cluster, noisy, monkeypatch):
    def run():
        return sg.simulate(sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(0.05), sg.Updates(300))

    whole = run()
    for longest in (1, 7, 100):
        monkeypatch.setattr(pace, "LONGEST", longest)
        assert run() == whole


LARGE = """
import jax, jax.numpy as jnp, numpy as np, simsgd as sg

def init(key):
    return jax.random.normal(key, (900, 900)) / 900

def loss(parameters, batch):
    return jnp.mean((jnp.tanh(batch @ parameters @ parameters) - batch) ** 2)

problem = sg.Problem("large", init, loss, np.random.default_rng(0).normal(size=(256, 900)), batch_size=256)
cluster, sgd = sg.Cluster(4, sg.times.Exponential(0.1)), sg.optimizers.sgd(0.01)
sg.simulate(sg.AsyncSGD(), problem, cluster, sgd, sg.Updates(30))
print("begun", flush=True)
try:
    sg.simulate(sg.AsyncSGD(), problem, cluster, sgd, sg.Updates(100_000))
except KeyboardInterrupt as error:
    print("heard", flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_is_heard_where_each_gradient_takes_long():
    import signal

    with subprocess.Popen([sys.executable, "-c", LARGE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert process.stdout.readline() == "heard\n"
        assert time.monotonic() - sent < 2  # a second, and as much for a machine that does other things
