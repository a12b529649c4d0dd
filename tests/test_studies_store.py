"""A study's folder: what is saved loads back to the bit, is found by its key only, and survives what happens to folders."""

import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import xarray
from attack import disks

import simsgd as sg
from simsgd.provenance import Identity, bits
from simsgd.studies import Outcome
from simsgd.studies.store import (
    DamagedFileWarning,
    DisagreementWarning,
    NotStorableError,
    Store,
    described,
    folders,
    groups,
    keys,
    of_group,
)
from simsgd.studies.store.groups import _fields as fields
from simsgd.support import files

ROOT = pathlib.Path(__file__).parents[1]
PROMISED = dict.fromkeys((1, 2), "bca407520f14f8a6ac3b596fef46280e230fb9c6ba8a17a11162151bd5d1f4b7")
"""By version of the bits the SHA-256 of the golden file, which does not see all: 2 changed compressed and local steps alone."""
ENVIRONMENT = {"versions": {"python": "3.13", "simsgd": "1", "jax": "0.12.0"}, "code": "a" * 64, "device": {"cores": 2}}


def cell(seed=0, lanes=0, **changed):
    """A cell that costs nothing to make."""
    environment = {**ENVIRONMENT, **changed.pop("environment", {})}
    tape = {"recording": {"protocol": {"class": "a.Async"}, "cluster": {"workers": 4}, "seed": seed}}
    said = {"problem": {"name": "p", "loss": "b" * 64}, "optimizer": {"name": "sgd(0.1)", "numbers": {"step": 0.1}}}
    return described(
        Identity({"tape": {**tape, "environment": environment}, **said, "seed": seed, "environment": environment, **changed}),
        lanes,
    )


def outcome(seed=0, status="completed", **changed):
    chance = np.random.default_rng(seed)
    times = np.cumsum(chance.exponential(size=int(chance.integers(0, 20))))
    columns = {"time": times, "updates": np.arange(len(times)), "loss": chance.normal(size=len(times))}
    measures = {"updates": seed, "mean_staleness": float("nan"), "waiting": -0.0}
    return dataclasses.replace(Outcome(status, columns, measures, "t" * 64, f"{seed:064x}", seconds=chance.random()), **changed)


FAILED = Outcome.failure(ValueError("loss must be\na number"))


# --- keys ----------------------------------------------------------------------------------------------------------------


def test_whoever_changes_the_golden_bits_declares_other_bits():
    golden = (ROOT / "tests" / "golden" / "bits.json").read_bytes()
    assert PROMISED.get(bits.BITS) == hashlib.sha256(golden).hexdigest(), (
        "the golden bits have changed: add one to BITS in simsgd/provenance/bits.py, and the file's SHA-256 to PROMISED; "
        "what studies have kept is stale from then on"
    )
    assert max(PROMISED) == bits.BITS


def test_keys_follow_what_bits_depend_on():
    base = cell()
    for other in [
        cell(seed=1),
        cell(lanes=8),
        cell(dtype="float64"),
        cell(environment={"versions": {**ENVIRONMENT["versions"], "jax": "0.12.1"}}),
        cell(environment={"device": {"cores": 4}}),
        cell(optimizer={"name": "sgd(0.1)", "numbers": {"step": np.nextafter(0.1, 1).item()}}),
    ]:
        assert other.key != base.key
    assert cell().key == base.key
    assert cell() == base


def test_keys_follow_neither_simsgd_s_code_nor_its_version(monkeypatch):
    newer = {"code": "c" * 64, "versions": {**ENVIRONMENT["versions"], "simsgd": "2"}}
    assert cell(environment=newer).key == cell().key
    assert cell(work={"function": "simsgd.a.b", "code": "1"}).key == cell(work={"function": "simsgd.a.b", "code": "2"}).key
    assert cell(work={"function": "mine.b", "code": "1"}).key != cell(work={"function": "mine.b", "code": "2"}).key
    mine = [cell(work={"class": "mine.A", "versions": 1, "code": code, "function": "simsgd."}).key for code in "12"]
    assert mine[0] != mine[1]
    before = cell().key
    monkeypatch.setattr(keys, "BITS", bits.BITS + 1)
    assert cell().key != before


def test_descriptions_have_no_float_and_no_two_floats_share_a_text():
    numbers = [0.1, np.nextafter(0.1, 1).item(), -0.0, 0.0, 5e-324, 1e308, 1.0, 1]
    texts = [keys.written(number) for number in numbers]
    assert len({json.dumps(text) for text in texts}) == len(numbers)
    assert [keys.read(text) for text in texts] == numbers
    assert "." not in json.dumps(cell().description["cell"]["optimizer"]["numbers"]).replace("0x1.", "")


def test_a_real_cell_is_described(recorded_cell):
    found = described(recorded_cell.identity, lanes=4)
    text = json.dumps(found.description)
    assert recorded_cell.identity.description["environment"]["code"] not in text
    assert found.description["cell"]["environment"]["device"]["platform"] == "cpu"
    problem = {"problem": recorded_cell.problem.name}
    method = {"protocol": "AsyncSGD", "optimizer": "sgd", "step_size": "0.1", "until": "Updates(20)", "seed": 0, "lanes": 4}
    assert found.about == problem | method | {"workers": 4, "compute": "Exponential(mean=0.1)", "network": ""}


def test_what_cannot_be_identified_is_refused_with_the_way_out(monkeypatch):
    with pytest.raises(NotStorableError, match=r"folder: work\.law: it reads a file\. .*without a folder"):
        cell(work={"law": {"unknown": "it reads a file"}})
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(NotStorableError, match=r"code at work\.globals makes or holds a set .* PYTHONHASHSEED=0"):
        cell(work={"globals": {"hash seed": "0x1"}})
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cell(work={"globals": {"hash seed": "0x1"}})


# --- cells there and back ------------------------------------------------------------------------------------------------


def test_outcomes_load_back_equal_to_the_bit(tmp_path):
    cells = {cell(seed): outcome(seed) for seed in range(20)} | {cell(20): FAILED}
    cells[cell(21)] = outcome(21, "diverged", lanes=8, evaluations={"time": [0.0, np.inf], "loss": [-0.0, np.nan]})
    path = Store(tmp_path).save(cells)
    found = Store(tmp_path).outcomes(each.key for each in [*cells, cell(99)])
    assert found == {each.key: one for each, one in cells.items()}
    for each, one in cells.items():
        assert found[each.key].seconds == one.seconds or np.isnan(one.seconds)
        assert {name: column.dtype for name, column in found[each.key].evaluations.items()} == dict.fromkeys(
            one.evaluations, np.float64
        )
    group = groups.load(path)
    assert {group.described(row).key for row in range(22)} == {each.key for each in cells}
    for row in range(22):
        assert group.described(row).key == group.cells[row]["key"]


def test_digests_tell_outcomes_apart_as_equality_does():
    one = outcome(3)
    changes = {"status": "diverged", "tape_hash": "", "lanes": 3, "error": "x", "measures": {"updates": 3.0}}
    changes["evaluations"] = {**one.evaluations, "loss": -one.evaluations["loss"]}
    for name, value in changes.items():
        other = dataclasses.replace(one, **{name: value})
        assert other != one
        assert groups.digest(other) != groups.digest(one)
    same = dataclasses.replace(one, seconds=7.0, trace="line 3", measures=dict(reversed(one.measures.items())))
    assert same == one
    assert groups.digest(same) == groups.digest(one)


def test_parts_that_cells_share_are_kept_once(tmp_path):
    long = {"settings": {f"setting {i}": "value" for i in range(500)}}
    path = Store(tmp_path).save({cell(seed, environment=long): outcome(seed) for seed in range(50)})
    assert path.stat().st_size < 150_000
    assert path.read_bytes().count(b"setting 499") == 1
    assert groups.load(path).described(49).description["cell"]["environment"]["settings"] == long["settings"]


def test_other_programs_read_a_group(tmp_path):
    path = Store(tmp_path).save({cell(seed): outcome(seed) for seed in range(3)})
    with xarray.open_dataset(path) as data:
        text = json.loads(data.text.values.tobytes())
        begin, end = text["cells"][0]["evaluations"]["loss"]
        assert any(data.evaluations.values[begin:end].tobytes() == outcome(i).evaluations["loss"].tobytes() for i in range(3))


def test_equal_work_has_an_equal_name_and_other_work_another(tmp_path):
    store = Store(tmp_path)
    first = store.save({cell(0): outcome(0), cell(1): outcome(1)})
    assert store.save({cell(1): outcome(1, seconds=9.0), cell(0): outcome(0)}) == first
    with pytest.warns(DisagreementWarning):
        second = store.save({cell(0): outcome(0), cell(1): outcome(2)})
    assert second != first
    assert first.exists()


def test_a_failed_cell_is_kept_as_failed_until_another_try_succeeds(tmp_path):
    store = Store(tmp_path)
    store.save({cell(0): FAILED, cell(1): outcome(1)})
    assert store.failed == {cell(0).key: "ValueError: loss must be a number"}
    assert str(store.explain(cell(0))).startswith(f"cell {cell(0).key[:16]} failed: ValueError: loss must be a number (")
    store.save({cell(0): outcome(0)})
    for each in (store, Store(tmp_path)):
        assert each.failed == {}
        assert each.outcomes([cell(0).key])[cell(0).key] == outcome(0)
        assert each.explain(cell(0)).state == "done"


def test_overlapping_groups_are_harmless_if_they_agree(tmp_path):
    Store(tmp_path).save({cell(0): outcome(0), cell(1): outcome(1)})
    Store(tmp_path).save({cell(1): outcome(1), cell(2): outcome(2)})
    found = Store(tmp_path).outcomes(cell(seed).key for seed in range(3))
    assert found == {cell(seed).key: outcome(seed) for seed in range(3)}


def test_files_that_disagree_are_both_named(tmp_path):
    store = Store(tmp_path)
    first = store.save({cell(0): outcome(0), cell(1): outcome(1)})
    with pytest.warns(DisagreementWarning, match="hold other bits for the cell") as caught:
        second = store.save({cell(1): outcome(5), cell(2): outcome(2)})
    assert all(str(path) in str(caught[0].message) for path in (first, second))
    with pytest.warns(DisagreementWarning):
        assert Store(tmp_path).outcomes([cell(2).key])


def test_a_warning_that_is_made_an_error_leaves_the_rest_in_order(tmp_path):
    """Also where a file is taken in the middle of others."""
    store, others = Store(tmp_path), [cell(seed).key for seed in (1, 2, 3, 4)]
    store.save({cell(0): outcome(0), cell(1): outcome(1)})
    with pytest.warns(DisagreementWarning):
        store.save({cell(0): outcome(9), cell(2): outcome(2), cell(3): outcome(3)})
    damage(store.save({cell(4): outcome(4)}))
    damage(store.save({cell(5): outcome(5)}))
    later = Store(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            with pytest.raises((DisagreementWarning, DamagedFileWarning)):
                later.outcomes(others)
        assert later.outcomes(others) == {cell(seed).key: outcome(seed) for seed in (1, 2, 3)}


# --- explain -------------------------------------------------------------------------------------------------------------


def test_explain_says_what_differs_from_a_stale_cell(tmp_path):
    store = Store(tmp_path)
    old = {**ENVIRONMENT["versions"], "jax": "0.11.9"}
    store.save({cell(0, environment={"versions": old, "device": {"cores": 8}}): outcome(0)})
    path = store.save({cell(0, environment={"versions": old}): outcome(0), cell(1): outcome(1)})
    found = store.explain(cell(0))
    assert (found.state, found.file) == ("stale", path)
    versions = {f"cell.{place}environment.versions.jax": ("0.11.9", "0.12.0") for place in ("tape.", "")}
    assert found.differences == versions
    assert "\n    environment.versions.jax: 0.11.9 -> 0.12.0" in str(found)
    assert str(path) in str(found)
    assert store.explain(cell(1)).state == "done"
    other = store.explain(cell(2))
    assert (other.state, other.nearest, other.changes) == ("missing", cell(1).key, ("seed: 1 -> 2",))
    assert f"nearest: cell {cell(1).key[:16]} ({path}) differs in 1 place:\n    seed: 1 -> 2" in str(other)
    assert not Store(tmp_path / "empty").explain(cell(2)).nearest


def test_explain_sees_other_lanes_bits_and_code(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.save({cell(0, lanes=8): outcome(0)})
    assert store.explain(cell(0, lanes=4)).differences == {"lanes": (8, 4)}
    changed = cell(0, lanes=8, problem={"name": "p", "loss": "d" * 64})
    assert store.explain(changed).differences == {"cell.problem.loss": ("b" * 64, "d" * 64)}
    monkeypatch.setattr(keys, "BITS", bits.BITS + 1)
    assert store.explain(cell(0, lanes=8)).differences == {"bits": (bits.BITS, bits.BITS + 1)}


# --- the folder ----------------------------------------------------------------------------------------------------------


def test_a_folder_says_in_plain_text_what_it_holds(tmp_path):
    store = Store(tmp_path / "results" / "study")
    assert (store.folder / "README.txt").read_text().startswith(folders.MARK)
    store.save({cell(seed, lanes=2): outcome(seed) for seed in range(5)} | {cell(7): FAILED})
    text = (store.folder / "contents.txt").read_text()
    assert text.startswith("6 cells in 1 file: 5 completed, 1 failed\n")
    assert "p        Async     sgd(0.1)   4        2      0 to 4 (5)  5 completed" in text
    assert "ValueError: loss must be a number" in text
    assert "\n        Async, sgd(0.1), p, 4 workers, seed 7\n" in text
    Store(store.folder).check_writable()
    assert (store.folder / "contents.txt").read_text() == text


def test_the_text_says_the_last_study_whoever_writes_it(tmp_path):
    store = Store(tmp_path)
    store.note({"method": ["sync", "async"], "seed": range(30)})
    store.save({cell(0): outcome(0)})
    Store(tmp_path).save({cell(1): outcome(1)})
    assert "last study: method (async, sync) × seed (0 to 29 (30))\n" in (tmp_path / "contents.txt").read_text()


def test_signs_of_life_of_the_dead_are_swept(tmp_path):
    store, running = Store(tmp_path), tmp_path / "running"
    running.mkdir()
    for name, age in (("old", 7200.0), ("new", 60.0)):
        (running / f"{name}.alive").touch()
        os.utime(running / f"{name}.alive", (time.time() - age,) * 2)
    store.finish()
    assert [path.name for path in running.iterdir()] == ["new.alive"]


def test_foreign_folders_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"holds something else \(thesis\.tex\).* choose a new or an empty folder"):
        Store(tmp_path)
    (tmp_path / "README.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"README\.txt, thesis\.tex"):
        Store(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.txt", "thesis.tex"]
    with pytest.raises(NotADirectoryError, match=r"folder must be a folder, but .*tex is a file: choose another name"):
        Store(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match=r"cannot use .*Not a directory"):
        Store(tmp_path / "thesis.tex" / "study")
    with pytest.raises(TypeError, match="folder must be an instance such as"):
        Store(3)
    with pytest.raises(ValueError, match="without a null character"):
        Store("a\0b")


def test_a_folder_of_a_newer_format_is_refused(tmp_path):
    Store(tmp_path)
    (tmp_path / "README.txt").write_text(folders.TEXT.replace("format 1.", "format 2."))
    with pytest.raises(FileExistsError, match="another format, 2: use a newer simsgd"):
        Store(tmp_path)


def test_a_folder_that_lost_its_readme_is_known_by_the_rest(tmp_path):
    store = Store(tmp_path)
    store.save({cell(0): outcome(0)})
    (tmp_path / "README.txt").unlink()
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "notes of mine.txt").write_text("")
    with pytest.raises(FileExistsError):
        Store(tmp_path)
    (tmp_path / "notes of mine.txt").unlink()
    assert len(Store(tmp_path).outcomes([cell(0).key])) == 1
    (tmp_path / "notes of mine.txt").write_text("in a marked folder it disturbs nobody")
    Store(tmp_path)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_said_before_anything_is_computed(tmp_path, monkeypatch, error):
    store = Store(tmp_path)
    store.save({cell(0): outcome(0)})

    def refuse(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT:
            raise OSError(error, os.strerror(error), path)
        return os_open(path, flags, mode, **options)

    os_open = os.open
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=r"cannot save .*contents\.txt: .*; choose a folder that you can write to"):
        store.check_writable()
    with pytest.raises(OSError, match="choose a folder that you can write to"):
        store.save({cell(1): outcome(1)})
    assert set(Store(tmp_path).outcomes([cell(0).key, cell(1).key])) == {cell(0).key}


def damage(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_reported_set_aside_and_its_cells_are_missing(tmp_path):
    store = Store(tmp_path)
    whole = store.save({cell(0): outcome(0)})
    path = store.save({cell(1): outcome(1)})
    damage(path)
    for each in (store, Store(tmp_path)):  # one has seen it whole
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedFileWarning)
            assert each.outcomes([cell(0).key, cell(1).key]) == {cell(0).key: outcome(0)}
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").exists()
    store.save({cell(1): outcome(1)})
    assert whole.exists()
    damage(path)
    with pytest.warns(DamagedFileWarning, match=rf"{path.name} is damaged.*set aside as {path.name}\.2\.damaged"):
        Store(tmp_path).outcomes([])
    assert "2 damaged files, set aside" in Store(tmp_path).summary()


def test_a_cell_of_a_damaged_file_is_taken_from_another(tmp_path):
    store = Store(tmp_path)
    one = store.save({cell(0): outcome(0), cell(1): outcome(1)})
    other = store.save({cell(0): outcome(0), cell(2): outcome(2)})
    for path in (one, other):
        damage(path)
        with pytest.warns(DamagedFileWarning):
            found = store.outcomes([cell(0).key])
        assert found == ({cell(0).key: outcome(0)} if path == one else {})


@pytest.mark.parametrize("what", ["empty", "cut", "rubbish", "tape", "renamed", "text"])
def test_files_that_hold_something_else_are_set_aside(tmp_path, what, recorded_tape):
    store = Store(tmp_path)
    path, other = store.save({cell(0): outcome(0)}), store.save({cell(1): outcome(1)})
    content = path.read_bytes()
    if what == "tape":
        recorded_tape.save(path)
    elif what == "text":
        data = xarray.Dataset({"text": ("byte", np.frombuffer(b"[]", np.uint8)), "evaluations": ("e", np.empty(0))})
        groups.sealed.save(path, data, groups.KIND)
    else:
        path.write_bytes({"empty": b"", "cut": content[:-9], "rubbish": b"x" * 999, "renamed": other.read_bytes()}[what])
    with pytest.warns(DamagedFileWarning, match=f"set aside as {path.name}"):
        found = Store(tmp_path).outcomes([cell(0).key, cell(1).key])
    assert set(found) == {cell(1).key}


def test_a_file_of_another_version_stays_where_it_is_and_is_warned_of_once(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr(groups, "SCHEMA", 2)
    path = store.save({cell(0): outcome(0)})
    monkeypatch.undo()
    later = Store(tmp_path)
    with pytest.warns(DamagedFileWarning, match="has schema 2, this simsgd reads 1: use the simsgd that wrote it"):
        assert later.outcomes([cell(0).key]) == {}
    assert later.outcomes([cell(0).key]) == {}
    assert path.exists()
    assert later.save({cell(0): outcome(0)}) == path
    assert set(later.outcomes([cell(0).key])) == {cell(0).key}


def test_a_file_that_says_more_than_is_known_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "_fields", lambda outcome: {**fields(outcome), "mood": "good"})
    path = Store(tmp_path).save({cell(0): outcome(0)})
    monkeypatch.undo()
    with pytest.warns(DamagedFileWarning, match=r"says more \(mood\) than is known here: use a newer simsgd"):
        assert Store(tmp_path).outcomes([cell(0).key]) == {}
    assert path.exists()


def test_every_flipped_bit_of_a_group_is_noticed(tmp_path):
    path = Store(tmp_path).save({cell(0): outcome(0)})
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 100):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(sg.FileFormatError):
            groups.load(path)


def test_a_full_disk_is_said_and_spares_what_was_there(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.save({cell(0): outcome(0)})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    for write in (
        lambda: store.save({cell(1): outcome(1)}),
        lambda: store.checkpoint("a").save({"x": np.zeros(3)}),
        store.check_writable,
    ):
        with pytest.raises(OSError, match=r"cannot save .*No space left.*free some space"):
            write()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert store.explain(cell(1)).state == "missing"


def test_a_disk_that_fills_up_keeps_what_was_kept(tmp_path):
    small = tmp_path / "small"
    if not disks.mounted(small):
        pytest.skip("no filesystem can be mounted here")
    try:
        store, kept = Store(small), 0
        while os.statvfs(small).f_bavail * os.statvfs(small).f_frsize > 30_000:
            store.save({cell(kept): outcome(kept)})
            kept += 1
        assert kept > 3
        with pytest.raises(OSError, match=r"cannot save .*No space left.*What was there before is unchanged"):
            store.save({cell(seed): outcome(seed) for seed in range(50, 100)})
        found = Store(small).outcomes(cell(seed).key for seed in range(100))
        assert found == {cell(seed).key: outcome(seed) for seed in range(kept)}
        assert not list(small.rglob("*.partial"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_text_of_contents_may_fail_alone(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def full(path, text):
        raise OSError(errno.ENOSPC, "cannot save contents.txt: full")

    monkeypatch.setattr(folders, "write", full)
    with pytest.warns(DamagedFileWarning, match="the cells are kept"):
        store.save({cell(0): outcome(0)})
    assert set(Store(tmp_path).outcomes([cell(0).key])) == {cell(0).key}


def test_what_a_killed_process_left_disturbs_nobody(tmp_path):
    (tmp_path / f".simsgd-{'0' * 16}.partial").write_bytes(b"half")
    store = Store(tmp_path)
    store.save({cell(0): outcome(0)})
    (tmp_path / "cells" / f".simsgd-{'1' * 16}.partial").write_bytes(b"half")
    store.save({cell(1): outcome(1)})
    assert len(Store(tmp_path).outcomes([cell(0).key, cell(1).key])) == 2
    assert not [path for path in tmp_path.rglob("*.partial")]


def test_a_store_sees_what_another_adds_and_reads_each_file_once(tmp_path, monkeypatch):
    one, other = Store(tmp_path), Store(tmp_path)
    loaded = []
    monkeypatch.setattr(groups, "load", lambda path, load=groups.load: (loaded.append(path.name), load(path))[1])
    names = [one.save({cell(seed): outcome(seed)}).name for seed in range(5)]
    assert loaded == []
    for _ in range(3):
        assert other.explain(cell(0)).state == "done"
    assert sorted(loaded) == sorted(names)


# --- tapes and checkpoints -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded_cell():
    cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
    return sg.Cell(sg.methods.asynchronous(0.1), sg.problems.quadratic(), cluster, until=sg.Updates(20))


@pytest.fixture(scope="module")
def recorded_tape(recorded_cell):
    one = recorded_cell
    return sg.record(one.method, one.cluster, sg.Updates(20), message_bytes=one.problem.message_bytes)


def test_a_tape_has_a_place_of_its_own(tmp_path, recorded_cell, recorded_tape):
    store, wanted = Store(tmp_path), recorded_cell.identity.tape
    path = store.tape_path(wanted)
    recorded_tape.save(path)
    assert store.tape_path(recorded_tape.identity) == Store(tmp_path).tape_path(wanted) == path
    for other in (dataclasses.replace(recorded_cell, seed=1), dataclasses.replace(recorded_cell, until=sg.Updates(21))):
        assert not store.tape_path(other.identity.tape).exists()
    assert "\n1 tape\n" in store.summary()
    with pytest.raises(NotStorableError):
        store.tape_path(Identity({"unknown": "what it is"}))


STATE = {
    "carry": np.arange(12, dtype=np.uint32).reshape(3, 4),
    "a scalar": np.float32(0.1),
    "nothing": np.empty((0, 3), np.float64),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "alive": np.array([True, False]),
    "text": "§ – {}",
}


def test_checkpoints_load_back_to_the_bit(tmp_path):
    checkpoint = Store(tmp_path).checkpoint("group-1")
    assert checkpoint.load() is None
    checkpoint.save(STATE)
    found = checkpoint.load()
    assert list(found) == list(STATE)
    for name, value in STATE.items():
        np.testing.assert_array_equal(found[name], value, strict=not isinstance(value, str))
    found["carry"][0] = 7  # writable, and its own
    assert checkpoint.load()["carry"][0, 0] == 0
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None
    assert not list((tmp_path / "running").iterdir())


def test_checkpoints_of_what_is_done_are_swept(tmp_path):
    """Their process was killed after it had kept the group, and before it had deleted its checkpoint."""
    store, several = Store(tmp_path), {"done": [cell(0), cell(1)], "failed": [cell(2)], "begun": [cell(3), cell(4)]}
    checkpoints = {name: store.checkpoint(of_group(each.key for each in cells)) for name, cells in several.items()}
    for checkpoint in checkpoints.values():
        checkpoint.save(STATE)
    store.save({each: outcome(0) for each in several["done"]})
    store.save(dict.fromkeys(several["failed"], FAILED))
    Store(tmp_path).check_writable()
    assert [name for name, checkpoint in checkpoints.items() if checkpoint.path.exists()] == ["failed", "begun"]
    assert "2 groups begun (running/)" in (tmp_path / "contents.txt").read_text()


def test_a_checkpoint_of_other_code_is_none(tmp_path, monkeypatch):
    checkpoint = Store(tmp_path).checkpoint("a")
    checkpoint.save(STATE)
    monkeypatch.setattr("simsgd.provenance.surroundings.own_code", lambda: "other")
    assert checkpoint.load() is None
    assert checkpoint.path.exists()


@pytest.mark.parametrize("position", [0, 25, 60, 200, -40, -1])
def test_a_damaged_checkpoint_is_set_aside(tmp_path, position):
    checkpoint = Store(tmp_path).checkpoint("a")
    checkpoint.save(STATE)
    damage(checkpoint.path, position)
    with pytest.warns(DamagedFileWarning, match=r"a\.ckpt is a damaged checkpoint; it was set aside as a\.ckpt\.damaged"):
        assert checkpoint.load() is None


def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(TypeError, match="texts and arrays of numbers, got 'x' of object"):
        store.checkpoint("a").save({"x": np.array([object()])})
    for name in ("", "../a", ".a", "a/b", "x" * 101, 3):
        with pytest.raises(ValueError, match="name must be letters"):
            store.checkpoint(name)


# --- several processes ---------------------------------------------------------------------------------------------------

WRITER = """
import sys, warnings
sys.path.insert(0, {tests!r})
warnings.simplefilter("error")
import test_studies_store
test_studies_store.keep_many({folder!r}, 1)
"""


def keep_many(folder, begin):
    """Keep groups that overlap with those of the other process; half of them have one name in both."""
    ready = pathlib.Path(f"{folder}.{begin}")
    ready.touch()
    while len(list(ready.parent.glob("study.*"))) < 2:
        time.sleep(0.01)
    store = Store(folder)
    for start in range(begin, 24, 2):
        store.save({cell(seed): outcome(seed) for seed in range(start, start + 4)})
        store.save({cell(seed): outcome(seed) for seed in (start // 2, start // 2 + 30)})
        store.checkpoint("shared").save({"x": outcome(start).evaluations["time"], "who": str(begin)})
        store.outcomes(cell(seed).key for seed in range(24))


def test_two_processes_on_one_folder_do_no_harm(tmp_path):
    """They begin together."""
    code = WRITER.format(tests=str(ROOT / "tests"), folder=str(tmp_path / "study"))
    other = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    keep_many(tmp_path / "study", 0)
    said = other.communicate()[1]
    assert other.returncode == 0, said
    store = Store(tmp_path / "study")
    seeds = [*range(27), *range(30, 42)]
    assert store.outcomes(cell(seed).key for seed in seeds) == {cell(seed).key: outcome(seed) for seed in seeds}
    assert len(list((tmp_path / "study" / "cells").iterdir())) == 24 + 12
    assert store.checkpoint("shared").load()["who"] in "01"
    assert " cells in " in (tmp_path / "study" / "contents.txt").read_text()
    left = [path for path in (tmp_path / "study").rglob("*") if path.name.endswith((".partial", ".damaged"))]
    assert left == []
