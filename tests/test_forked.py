"""A process forked after JAX had started says so at once, where it would hang; recordings work there."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

CODE = """
import multiprocessing, sys, warnings
from concurrent.futures import ProcessPoolExecutor
import simsgd as sg

warnings.filterwarnings("ignore", message="os.fork")  # JAX's own, and Python's
warnings.filterwarnings("ignore", category=DeprecationWarning)
CLUSTER = sg.Cluster(3, sg.times.Exponential(mean=1.0))
PROBLEM = sg.problems.quadratic()
FORK = multiprocessing.get_context("fork")

def simulate(step_size):
    return sg.simulate(sg.AsyncSGD(), PROBLEM, CLUSTER, sg.optimizers.sgd(step_size), sg.Updates(9)).final("loss")

def make(samples):
    return sg.problems.quadratic(noise=0.1, samples=samples + 9)

def go_on(updates):
    return PLAYER.evaluate()

def within(step_size):
    with FORK.Pool(1) as pool:
        return pool.map(simulate, [step_size])

def record(problem):
    return sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(9), message_bytes=problem.message_bytes).content_hash

def tried(function, argument):
    with ProcessPoolExecutor(1, mp_context=FORK) as pool:
        try:
            return pool.submit(function, argument).result(timeout=60)
        except sg.ForkedProcessError as error:
            return str(error)[:40]
"""
REFUSED = "this process was forked after JAX had st"


def run(code):
    done = subprocess.run([sys.executable, "-c", CODE + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_after_jax_has_started_what_needs_it_is_refused_and_recordings_go_on():
    code = """
from simsgd.replaying.player import Player
simulate(0.1)
PLAYER = Player(PROBLEM, sg.optimizers.sgd(0.1), 3)
for function in (simulate, make, go_on, within):
    print(tried(function, 1))
print(tried(record, PROBLEM) == record(PROBLEM))
"""
    assert run(code) == [REFUSED] * 4 + ["True"]


@pytest.mark.slow
def test_jax_started_by_somebody_else_counts_too():
    assert run("import jax; jax.numpy.ones(3).sum(); print(tried(simulate, 0.1))") == [REFUSED]


@pytest.mark.slow
def test_before_jax_has_started_a_forked_process_computes():
    """Making a problem does not start it."""
    assert run("print(tried(simulate, 0.1) == simulate(0.1))") == ["True"]


@pytest.mark.slow
def test_the_way_out_that_the_error_names(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        CODE
        + """
if __name__ == "__main__":
    here = [simulate(step_size) for step_size in (0.1, 0.2)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(list(pool.map(simulate, [0.1, 0.2])) == here)
"""
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "True\n", done.stderr
