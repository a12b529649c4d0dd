"""The compilation cache: a second process compiles nothing, and computes the same bits."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import simsgd as sg

CODE = """
import json, sys, simsgd as sg
sg.compilation_cache(sys.argv[1])
cluster = sg.Cluster(3, sg.times.Exponential(mean=1.0))
run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(noise=0.1), cluster, sg.optimizers.sgd(0.1), sg.Updates(50))
print(json.dumps(run.hashes))
"""


def test_a_second_process_adds_nothing_and_gives_the_same_bits(tmp_path):
    seen = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", CODE, tmp_path], capture_output=True, text=True, check=True)
        seen.append((json.loads(done.stdout), {path.name for path in pathlib.Path(tmp_path).rglob("*-cache")}))
    (cold, entries), (warm, entries_after) = seen
    assert any("play" in entry for entry in entries)
    assert entries_after == entries
    cluster = sg.Cluster(3, sg.times.Exponential(mean=1.0))
    here = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(noise=0.1), cluster, sg.optimizers.sgd(0.1), sg.Updates(50))
    assert cold == warm == here.hashes


def test_it_is_off_unless_asked_for():
    code = "import jax, simsgd as sg; sg.replay; sg.simulate; print(jax.config.jax_compilation_cache_dir)"
    alone = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=alone)
    assert done.stdout.strip() == "None"


def test_no_folder_is_refused():
    with pytest.raises(TypeError, match=r'folder must be an instance such as "compiled", got 3'):
        sg.compilation_cache(3)
