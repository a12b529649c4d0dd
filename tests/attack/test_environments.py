"""Settings of JAX in the environment: each leaves the bits as they are, because the player brings those that bits depend on.

`python -m pytest -m slow tests/attack/test_environments.py` tries them all, each in a process of its own.
"""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, optax, sys, simsgd as sg
cluster = sg.Cluster(3, sg.times.Exponential(mean=1.0))
hashes = []
everything = sys.argv[1] == "everything"
problems = [sg.problems.quadratic(noise=0.1), *([sg.problems.digits("mlp", hidden=8)] if everything else [])]
methods = [(sg.AsyncSGD(), optax.adam(0.01)), *([(sg.MinibatchSGD(), sg.optimizers.sgd(0.1))] if everything else [])]
for problem in problems:
    for protocol, optimizer in methods:
        for dtype in ("float32", "float64") if everything else ("float32",):
            run = sg.simulate(protocol, problem, cluster, optimizer, sg.Updates(20), dtype=dtype)
            hashes.append([run.hashes, [run.final(metric).hex() for metric in run.metrics]])
print(json.dumps(hashes))
"""
SETTINGS = {
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_DISABLE_JIT": "1",
    "JAX_ENABLE_X64": "1",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_CHECK_TRACER_LEAKS": "1",
    "JAX_ENABLE_CHECKS": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_LEGACY_PRNG_KEY": "error",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DEFAULT_DTYPE_BITS": "32",
    "JAX_SOFTMAX_CUSTOM_JVP": "0",
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": "0",
    "JAX_ENABLE_COMPILATION_CACHE": "0",
}
"""Each in turn; the precision of products is a choice that processors other than CPUs follow."""


def hashes(what, **settings):
    """Return what a process with these settings computes, warnings being errors there too."""
    code = [sys.executable, "-W", "error", "-c", CODE, what]
    done = subprocess.run(code, capture_output=True, text=True, env=os.environ | settings, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def usual():
    return hashes("everything")


def test_the_strictest_settings_together_change_no_bit():
    strict = dict(list(SETTINGS.items())[:5])
    assert hashes("little", **strict) == hashes("little")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_no_bit(name, usual):
    assert hashes("everything", **{name: SETTINGS[name]}) == usual
