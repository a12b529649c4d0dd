"""Whole studies on executors: the README's lines on a real Dask cluster, a worker killed in the middle, the same bits."""

import os
import pathlib
import re
import signal
import threading
import time

import pytest
from test_studies_executors_real import dask, loky, spawned

import simsgd as sg
from simsgd.executing import ExecutorError

ROOT = pathlib.Path(__file__).parent.parent
AXES = {"method": {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}, "step_size": [0.05, 0.1], "seed": range(4)}
CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))


def make(method, step_size, seed):
    """Return a cell of the study that all executors make."""
    return sg.Cell(method(step_size), sg.problems.quadratic(noise=0.1), CLUSTER, until=sg.Updates(200), seed=seed)


def study(folder=None, **options):
    return sg.Study(make, AXES, folder=folder, lanes=4, **options)


@pytest.fixture(scope="module")
def here():
    """What threads of this process make of it."""
    return study().run(progress=False).outcomes


@pytest.mark.slow
@pytest.mark.parametrize("executor", [spawned, loky, dask])
def test_a_study_has_the_same_bits_on_every_executor(here, executor, tmp_path):
    with executor() as pool:
        results = study(tmp_path / "kept").run(executor=pool, progress=False)
    assert results.outcomes == here
    assert not list((tmp_path / "kept" / "running").iterdir())


@pytest.mark.slow
def test_the_lines_of_the_readme_with_a_worker_killed_in_the_middle(here, tmp_path, monkeypatch, capsys):
    """Nothing lost, nothing doubled, the same bits."""
    import dask.distributed

    (block,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    killed = []
    with dask.distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:

        class Client(dask.distributed.Client):
            """A client that connects to this cluster, whatever the address."""

            def __init__(self, address):
                super().__init__(cluster)

        monkeypatch.setattr(dask.distributed, "Client", Client)

        def kill():
            """Kill a worker as soon as one is at work."""
            while not list(pathlib.Path("my-study").glob("running/*.alive")):
                time.sleep(0.02)
            pids = names["client"].run(os.getpid)
            os.kill(min(pids.values()), signal.SIGKILL)
            killed.append(pids)

        names = {"study": study("my-study")}
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        exec(compile(block, "README.md", "exec"), names)
        killer.join()
        names["client"].close()
    assert killed
    assert names["results"].failed == {}
    assert names["results"].outcomes == here
    assert study("my-study").results().outcomes == here


@pytest.mark.slow
def test_a_pool_killed_in_the_middle_and_a_second_run(here, tmp_path):
    """What was finished is not made again."""
    kept = study(tmp_path)
    with spawned() as pool:

        def kill():
            while not list(tmp_path.glob("running/*.alive")):
                time.sleep(0.02)
            for process in list(pool._processes.values())[:1]:
                process.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with pytest.raises(ExecutorError, match="Run again, with a new executor") as broken:
            kept.run(executor=pool, progress=False)
        killer.join()
    done = broken.value.partial.outcomes
    assert len(done) < len(here)
    with spawned() as pool:
        assert study(tmp_path).run(executor=pool, progress=False).outcomes == here
