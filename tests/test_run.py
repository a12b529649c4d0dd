"""What a run tells: targets, status, summaries; files written whole or not at all, and refused when damaged."""

import dataclasses
import errno
import os

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import simsgd as sg
from simsgd.support import sealed


@pytest.fixture(scope="module")
def run():
    cluster = sg.Cluster(4, sg.times.Exponential(mean=0.1), sg.networks.Link(latency=0.01, bandwidth=1e6))
    return sg.simulate(sg.AsyncSGD(), sg.problems.digits("logistic"), cluster, sg.optimizers.sgd(0.1), sg.Seconds(20))


def test_saves_and_loads_equal(run, tmp_path):
    run.save(tmp_path / "run.nc")
    loaded = sg.Run.load(tmp_path / "run.nc")
    assert loaded == run
    assert loaded.tape.content_hash == run.hashes["tape"]
    assert loaded.summary() == run.summary()
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_metrics_are_those_of_the_final_model(run):
    problem = sg.problems.digits("logistic")
    parameters = problem.unravel(run.parameters)
    assert run.final("loss") == pytest.approx(float(problem.loss(parameters, problem.data)), rel=1e-5)
    assert run.final("test_loss") == pytest.approx(float(problem.loss(parameters, problem.test_data)), rel=1e-5)


def test_to_target_can_be_the_first_evaluation_there(run):
    target = sg.Target("accuracy", at_least=0.8, kept=0)
    cost = run.to_target(target)
    before = run.dataset.where(run.dataset.time < cost.seconds, drop=True)["accuracy"]
    at = run.dataset.where(run.dataset.time == cost.seconds, drop=True)
    assert (before < 0.8).all()
    assert float(at["accuracy"][0]) >= 0.8
    used = run.tape.time <= cost.seconds
    assert (cost.updates, cost.samples) == (used.sum(), 32 * used.sum())


def test_bytes_count_messages_that_have_arrived(run):
    """By hand: each job moves a model down and, later, a gradient up, 650 parameters of 4 bytes each."""
    tape, moment = run.tape, float(run.dataset.time[50])
    messages = sum(int((log.began <= moment).sum() + (log.arrived <= moment).sum()) for log in (tape, tape.in_flight))
    assert float(run.dataset.bytes[50]) == 2600 * messages


def test_each_worker_s_staleness_is_told_by_its_quantiles(run):
    """A share q of the worker's gradients is at most as stale as its quantile q says, and not all of them are less."""
    for worker in range(4):
        own = run.tape.staleness[run.tape.worker == worker]
        assert float(run.dataset["mean_staleness"][worker]) == pytest.approx(own.mean())
        for q, value in zip(run.dataset["quantile"].values, run.dataset["staleness"][worker].values, strict=True):
            assert value == np.quantile(own, q, method="inverted_cdf")


def test_never_reached_is_not_a_number(run):
    assert all(np.isnan(run.to_target(sg.Target("loss", at_most=1e-9))))
    assert "not reached in 20 s" in run.summary(sg.Target("loss", at_most=1e-9))


def test_summary_and_table_say_what_matters(run):
    text = run.summary()
    for part in (
        "AsyncSGD(), 4 workers",
        "accuracy ≥ 0.9, kept to the end: after",
        "; evaluated every 0.2 s",
        "updates/s",
        f"mean {run.tape.staleness.mean():.3g},",
        "computing",
        "waiting",
        "wasted",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120
    assert run._repr_html_().count("<tr>") == len(text.splitlines())


def test_a_summary_says_the_parts_of_a_method_without_a_name():
    """Two compressions of one protocol look different; what is long is cut."""
    compressions, sgd = sg.compressions, sg.optimizers.sgd(0.1)
    given = sg.problems.quadratic(), sg.Cluster(2, sg.times.Constant(1.0))
    top = sg.Method(sg.AsyncSGD(), sgd, compress_up=compressions.TopK(share=0.5))
    assert sg.simulate(top, *given, until=sg.Updates(2)).summary().startswith("AsyncSGD(), compress_up=TopK(share=0.5), 2 w")
    named = dataclasses.replace(top, name="mine")
    assert sg.simulate(named, *given, until=sg.Updates(2)).summary().startswith("mine, 2 workers")
    many = dataclasses.replace(
        top, compress_up=compressions.ErrorFeedback(compressions.TopK(share=0.5), decay=0.123456789012345)
    )
    assert "…, 2 workers" in sg.simulate(many, *given, until=sg.Updates(2)).summary()


def test_divergence_is_a_result():
    cluster = sg.Cluster(4, sg.times.Constant(0.1))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(5.0), sg.Updates(5000))
    assert run.status == "diverged"
    assert not np.isfinite(run.final("loss"))
    assert np.isfinite(run.dataset["loss"].values[:-1]).all()
    assert 0 < run.tape.updates < 5000
    assert "diverged" in run.summary()


def test_a_model_that_starts_without_a_finite_loss_is_a_result(tmp_path):
    problem = sg.Problem(
        "log", lambda key: jnp.zeros(1), lambda w, batch: jnp.sum(jnp.log(w - 1)) + 0 * batch.mean(), np.ones((4, 1))
    )
    run = sg.simulate(sg.AsyncSGD(), problem, sg.Cluster(2, sg.times.Constant(1.0)), sg.optimizers.sgd(0.1), sg.Updates(10))
    assert (run.status, run.tape.end, run.tape.updates) == ("diverged", 0.0, 0)
    assert "diverged" in run.summary()
    run.save(tmp_path / "run.nc")
    assert sg.Run.load(tmp_path / "run.nc") == run


def test_diverged_runs_save_and_load_equal(tmp_path):
    cluster = sg.Cluster(4, sg.times.Constant(0.1))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(5.0), sg.Updates(5000))
    run.save(tmp_path / "run.nc")
    assert sg.Run.load(tmp_path / "run.nc") == run


def test_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    run.save(tmp_path / "run.nc")
    before = (tmp_path / "run.nc").read_bytes()

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in ("run.nc", "other.nc"):
        with pytest.raises(
            OSError, match=rf"cannot save .*{name}: No space left on device; free some space, or choose another"
        ):
            run.save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]
    assert (tmp_path / "run.nc").read_bytes() == before


def test_saving_goes_through_links_and_spares_what_is_no_file(run, tmp_path):
    (tmp_path / "real.nc").write_bytes(b"old")
    (tmp_path / "link.nc").symlink_to(tmp_path / "real.nc")
    run.save(tmp_path / "link.nc")
    assert (tmp_path / "link.nc").is_symlink()
    assert sg.Run.load(tmp_path / "real.nc") == run
    with pytest.raises(FileExistsError, match="it is there already and is a folder"):
        run.save(tmp_path)
    run.save(tmp_path / ("n" * 250 + ".nc"))


def test_damaged_and_foreign_files_are_refused(run, tmp_path):
    path = tmp_path / "file.nc"
    with pytest.raises(FileNotFoundError, match=r"no file .*file\.nc"):
        sg.Run.load(path)
    path.write_bytes(b"not netCDF")
    with pytest.raises(sg.FileFormatError, match=r"file\.nc cannot be read as a simsgd run: damaged, or not netCDF"):
        sg.Run.load(path)
    xarray.Dataset({"x": ("y", [1.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(sg.FileFormatError, match=r"file\.nc is not a simsgd run: it is not a simsgd file"):
        sg.Run.load(path)
    run.tape.save(path)
    with pytest.raises(sg.FileFormatError, match="is not a simsgd run: it is a simsgd tape"):
        sg.Run.load(path)
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist; make it first"):
        run.save(tmp_path / "missing" / "run.nc")


@pytest.mark.parametrize("variable", ["row_time", "row_read", "parameters", "in_flight_began", "loss", "time", "computing"])
def test_edited_files_are_refused(run, tmp_path, variable):
    run.save(tmp_path / "run.nc")
    with h5py.File(tmp_path / "run.nc", "r+") as file:
        file[variable][0] += 1
    with pytest.raises(sg.FileFormatError, match=r"run\.nc (is damaged: its bytes were changed|has no seal at its end)"):
        sg.Run.load(tmp_path / "run.nc")


def test_a_tape_that_breaks_a_law_is_refused(run, tmp_path):
    dataset = run.dataset.copy(deep=True)
    dataset["row_worker"].values[0] += 9
    sealed.save(tmp_path / "run.nc", dataset, kind="run")
    with pytest.raises(sg.FileFormatError, match=r"run\.nc is damaged: the columns do not fit the content hash"):
        sg.Run.load(tmp_path / "run.nc")


def test_a_run_that_ends_before_its_first_update():
    cluster = sg.Cluster(3, sg.times.Constant(1.0))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Seconds(0.5))
    assert (run.tape.updates, run.final("distance"), len(run.dataset.time)) == (0, pytest.approx(3**0.5), 101)
    assert "0 updates/s" in run.summary()


def test_truncated_files_are_refused(run, tmp_path):
    run.save(tmp_path / "run.nc")
    whole = (tmp_path / "run.nc").read_bytes()
    (tmp_path / "run.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(sg.FileFormatError, match=r"has no seal at its end: it is damaged \(cut short, or added to\)"):
        sg.Run.load(tmp_path / "run.nc")


def test_files_of_a_newer_format_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "VERSION", 5)
    run.save(tmp_path / "run.nc")
    monkeypatch.undo()
    with pytest.raises(sg.FileFormatError, match="has format version 5, this simsgd reads versions 3 and 4: use a newer"):
        sg.Run.load(tmp_path / "run.nc")


def test_a_run_says_where_it_comes_from(run):
    made = run.configuration
    assert made["protocol"] == "AsyncSGD()"
    assert made["message_bytes"] == 2600
    assert {"python", "jax", "jaxlib", "numpy", "optax", "simpy"} <= set(made["versions"])
    assert (made["width"], made["dtype"], made["seed"]) == (1, "float32", 0)
    assert made["device"].startswith("cpu")
