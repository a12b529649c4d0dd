"""Files: whole or not at all, sealed, read without hanging; strangers' files; and a small attack on all of it."""

import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings

import h5py
import numpy as np
import pytest
import xarray
from attack import damage, disks, forging, samples

import simsgd as sg
from simsgd.support import files, sealed

ROOT = pathlib.Path(__file__).parents[1]
LOADS = {
    "tape": sg.Tape.load,
    "run": sg.Run.load,
    "cluster": sg.Cluster.load,
    "times": lambda path: sg.times.Recorded.load(path, at_end="stop"),
    "link": sg.networks.MeasuredLink.load,
}


@pytest.fixture(scope="module")
def tape():
    return sg.record(sg.AsyncSGD(), samples.clusters()["rich"], sg.Updates(200), seed=3, message_bytes=1e4)


# --- sealed files --------------------------------------------------------------------------------------------------------


def test_other_programs_read_a_sealed_file_as_netcdf(tape, tmp_path):
    tape.save(tmp_path / "tape.nc")
    with xarray.open_dataset(tmp_path / "tape.nc", engine="h5netcdf") as found:
        assert (found.attrs["format"], found.attrs["format_version"]) == ("simsgd tape", 4)
        assert found.drop_attrs().identical(tape.to_dataset().drop_attrs())
    with h5py.File(tmp_path / "tape.nc") as found:
        np.testing.assert_array_equal(found["row_time"], tape.time)


def test_equal_tapes_make_equal_bytes(tape, tmp_path):
    tape.save(tmp_path / "a.nc")
    sg.Tape.load(tmp_path / "a.nc").save(tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_loading_asks_no_library_to_read_the_bytes(tape, tmp_path, monkeypatch):
    """A file with a right checksum may have been made to hang or crash a parser."""
    tape.save(tmp_path / "tape.nc")
    monkeypatch.setattr(h5py, "File", None)
    monkeypatch.setattr(xarray, "open_dataset", None)
    assert sg.Tape.load(tmp_path / "tape.nc") == tape


def test_a_file_of_an_older_format_is_refused_with_a_way_out(tape, tmp_path):
    marks = {"format": "simsgd tape", "format_version": 2, "checksum": "0" * 64}
    tape.to_dataset().assign_attrs(marks).to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    with pytest.raises(sg.FileFormatError, match=r"old\.nc has no seal .* format version 1 or 2 .* record anew from its seed"):
        sg.Tape.load(tmp_path / "old.nc")


def test_what_a_file_cannot_hold_is_refused_before_it_is_touched(tape, tmp_path):
    data = tape.to_dataset()
    with pytest.raises(TypeError, match=r"cannot save 'names' of .*: a file holds numbers, truth values and bytes only"):
        sealed.save(tmp_path / "a.nc", data.assign(names=("x", np.array(["a", "b"]))), "tape")
    assert not list(tmp_path.iterdir())


FORGERIES = {
    "workers are an array": (lambda index: index["attributes"].update(workers=[1, 2]), "'workers' must be a text or a number"),
    "no workers": (lambda index: index["attributes"].pop("workers"), "'workers' must be int, got None"),
    "far too many workers": (lambda index: index["attributes"].update(workers=10**12), "would take 1e+12 workers"),
    "more workers than netCDF counts": (lambda index: index["attributes"].update(workers=10**400), "'workers' is nothing that"),
    "the end is text": (lambda index: index["attributes"].update(end="soon"), "'end' must be float"),
    "neither all-reduce nor server": (lambda index: index["attributes"].update(collective=2), "'collective' must be 0 or 1"),
    "a deep header": (lambda index: index["attributes"].update(header="[" * 10_000), "the header cannot be read as JSON"),
    "a header that nests": (lambda index: index["attributes"].update(header='{"a":' * 150 + "1" + "}" * 150), "100 deep"),
    "a header that is a list": (lambda index: index["attributes"].update(header="[]"), "the header must be an object"),
    "an identity that is none": (
        lambda index: index["attributes"].update(header='{"identity": "["}'),
        "header's identity cannot",
    ),
    "a seed that is text": (lambda index: index["attributes"].update(header='{"seed": "x"}'), "header's seed must be a whole"),
    "a variable short": (lambda index: index["variables"].pop(), "there is no column"),
    "a variable twice": (lambda index: index["variables"].append({**index["variables"][0], "shape": [1]}), ""),
    "an attribute that is none": (lambda index: index["attributes"].update(more=None), "'more' must be a text or a number"),
    "an attribute of half a character": (lambda index: index["attributes"].update(more="\ud800"), "index makes no sense"),
    "a name that netCDF cannot have": (lambda index: index["variables"][0].update(name="a/b"), "must be texts"),
    "objects": (lambda index: index["variables"][0].update(type="|O"), "there is no type"),
    "another type": (lambda index: index["variables"][1].update(type="<i8"), ""),
    "a negative size": (lambda index: index["variables"][0].update(shape=[-1]), "whole numbers of at least 0"),
    "a huge shape": (lambda index: index["variables"][0].update(shape=[2**61]), "more values than the file holds"),
    "beyond the end": (lambda index: index["variables"][0].update(offset=2**40), "more values than the file holds"),
    "another dimension": (lambda index: index["variables"][0].update(dimensions=["x", "x"]), "dimension"),
    "a name that is a list": (lambda index: index["variables"][0].update(name=["x"]), "must be texts"),
    "no variables": (lambda index: index.update(variables={}), "there is no column"),
    "an index in a list": (lambda index: index.update(variables=[forging.DEEP]), "index makes no sense"),
    "no kind": (lambda index: index.pop("kind"), "index makes no sense"),
    "another kind": (lambda index: index.update(kind=[1]), "it is a simsgd [1]"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_tapes_are_refused(tape, tmp_path, name):
    change, said = FORGERIES[name]
    tape.save(tmp_path / "tape.nc")
    body, index = forging.parted((tmp_path / "tape.nc").read_bytes())
    change(index)
    forging.rehashed(body, index)
    (tmp_path / "tape.nc").write_bytes(forging.resealed(bytes(body), index))
    with pytest.raises(sg.FileFormatError) as refusal:
        sg.Tape.load(tmp_path / "tape.nc")
    assert str(refusal.value).startswith(str(tmp_path / "tape.nc"))
    assert said in str(refusal.value)


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run.nc"
    samples.run().save(path)
    return path.read_bytes()


def without_problem(index):
    made = json.loads(index["attributes"]["configuration"])
    del made["problem"]
    index["attributes"]["configuration"] = json.dumps(made)


FORGED_RUNS = {
    "no configuration": (lambda index: index["attributes"].pop("configuration"), "'configuration' must be a text, got None"),
    "a configuration without a problem": (without_problem, "the configuration's problem must be str"),
    "no metrics": (lambda index: index["attributes"].update(metrics="[]"), "metrics must be the names"),
    "a metric that was not evaluated": (lambda index: index["attributes"].update(metrics='["x"]'), "there must be numbers 'x'"),
    "a target of nothing": (lambda index: index["attributes"].update(target='{"metric": "x", "at_most": 1}'), "target.metric"),
    "a target that is none": (lambda index: index["attributes"].update(target="[1]"), "the target makes no sense"),
    "a status that is none": (lambda index: index["attributes"].update(status=3), "'status' must be a text"),
    "other parameters": (lambda index: index["attributes"].update(parameters_hash=""), "the parameters do not fit the hash"),
}


@pytest.mark.parametrize("name", FORGED_RUNS)
def test_forged_runs_are_refused(saved_run, tmp_path, name):
    change, said = FORGED_RUNS[name]
    body, index = forging.parted(saved_run)
    change(index)
    (tmp_path / "run.nc").write_bytes(forging.resealed(bytes(body), index))
    with pytest.raises(sg.FileFormatError) as refusal:
        sg.Run.load(tmp_path / "run.nc")
    assert str(refusal.value).startswith(f"{tmp_path / 'run.nc'} is damaged: ")
    assert said in str(refusal.value)


# --- reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOADS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.csv"))
        for name, said in (("fifo", "a pipe"), ("zero", "a device"), ("folder", "a folder"), ("socket", "a socket")):
            with pytest.raises(sg.FileFormatError, match=rf"{name}\.csv is .*{said.split()[1]}"):
                LOADS[kind](tmp_path / f"{name}.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.csv"):
        LOADS[kind](tmp_path / "nowhere.csv")


@pytest.mark.parametrize("kind", ["tape", "run", "times", "link"])
def test_files_are_read_up_to_a_bound_that_can_be_raised(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(sg.bounds, "file_bytes", 1000)
    with open(tmp_path / "sparse.csv", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(sg.FileFormatError, match=r"1,000,000,000,000 bytes.* sg\.bounds\.file_bytes = 1000000000000"):
        LOADS[kind](tmp_path / "sparse.csv")


# --- writing -------------------------------------------------------------------------------------------------------------


def write(path, content=b"new"):
    with sg.writing(path) as file:
        file.write(content)


def test_the_mode_is_kept_and_that_of_a_new_file_is_the_usual_one(tmp_path):
    write(tmp_path / "new")
    (tmp_path / "usual").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "new").chmod(0o604)
    write(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_no_name_can_be_prepared(tmp_path, monkeypatch):
    """A link planted under the very name is neither followed nor replaced: the file is opened as a new one only."""
    names = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: next(names))
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / f".simsgd-{'0' * 16}.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        write(tmp_path / "a")
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert not (tmp_path / "a").exists()


def hold(path, pipe):
    with sg.writing(path) as file:
        file.write(b"half")
        pipe.send("writing")
        pipe.recv()
    pipe.send("written")


def test_the_next_save_sweeps_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = []
    for name in ("killed", "living"):
        pipe, theirs = context.Pipe()
        process = context.Process(target=hold, args=(tmp_path / name, theirs), daemon=True)
        process.start()
        writers.append((process, pipe))
    (killed, killed_pipe), (living, living_pipe) = writers
    assert killed_pipe.poll(60)
    assert living_pipe.poll(60)
    living_pipe.recv()
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    (tmp_path / ".simsgd-notes.partial").touch()  # somebody's own, named alike
    assert len(list(tmp_path.iterdir())) == 3
    write(tmp_path / "next")
    assert len(list(tmp_path.iterdir())) == 3
    living_pipe.send("go on")
    assert living_pipe.poll(60)
    living.join()
    assert {path.name for path in tmp_path.iterdir()} == {".simsgd-notes.partial", "living", "next"}
    assert (tmp_path / "living").read_bytes() == b"half"


def test_an_error_of_another_file_is_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*missing"), sg.writing(tmp_path / "a"):
        open(tmp_path / "missing").close()
    assert not list(tmp_path.iterdir())


def test_many_threads_save_under_one_name(tmp_path):
    wrong = []

    def many(number):
        for each in range(30):
            write(tmp_path / "a", bytes([number, each]) * 5000)
            content = (tmp_path / "a").read_bytes()
            if len(content) != 10_000 or content != content[:2] * 5000:
                wrong.append(content)

    threads = [threading.Thread(target=many, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_folder_is_on_the_disk_before_a_save_returns(tmp_path, monkeypatch):
    synchronised = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda it: (synchronised.append(os.readlink(f"/proc/self/fd/{it}")), sync(it)))
    write(tmp_path / "a")
    assert [pathlib.Path(each).name.startswith(".simsgd-") for each in synchronised] == [True, False]
    assert synchronised[1] == str(tmp_path.resolve())


# --- clusters from strangers ---------------------------------------------------------------------------------------------

HEAD = 'format = "simsgd cluster 1"\nworkers = 2\n'


def recorded(name):
    return f"{HEAD}[compute]\nkind = 'Recorded'\nat_end = 'stop'\nfile = '{name}'\n"


@pytest.fixture
def cluster_of(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.csv").write_text("worker,step,password\n0,0,swordfish\n")
    (tmp_path / "good.csv").write_text("worker,step,seconds\n0,0,0.5\n1,0,0.5\n")
    (tmp_path / "inner" / "out.csv").symlink_to(tmp_path / "good.csv")

    def loaded(text, **options):
        (tmp_path / "inner" / "cluster.toml").write_text(text)
        return sg.Cluster.load(tmp_path / "inner" / "cluster.toml", **options)

    return loaded


@pytest.mark.parametrize("name", ["../good.csv", "out.csv", "/etc/hosts", "/dev/zero", "x/../../good.csv", "\\u0000.csv"])
def test_a_stranger_s_cluster_reads_no_file_outside_its_folder(cluster_of, tmp_path, name):
    text = recorded(name).replace(f"'{name}'", f'"{name}"')
    with pytest.raises(sg.FileFormatError, match=r"compute\.file must be a file in .*inner or below, .*files_within"):
        cluster_of(text)


def test_a_caller_may_allow_more(cluster_of, tmp_path):
    wanted = sg.times.Recorded([[0.5], [0.5]], at_end="stop")
    assert cluster_of(recorded("../good.csv"), files_within=tmp_path).compute == wanted
    assert cluster_of(recorded(tmp_path / "good.csv"), files_within="/").compute == wanted
    with pytest.raises(sg.FileFormatError, match="must be a file in"):
        cluster_of(recorded("/etc/hosts"), files_within=tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("secret,swordfish\n1,2\n", "column 'worker' is missing: there must be worker, step, seconds, got 2 columns"),
        ("worker,step,seconds\n0,0,swordfish\n", "row 2: seconds must be a finite number of at least 0, got str, which is no"),
        ("worker,step,seconds\n0,0,-1.5\n", "got '-1.5'"),
        ("worker,step,seconds\nswordfish\n", "row 2: there must be 3 values, got list"),
    ],
)
def test_errors_quote_only_numbers_of_a_file_that_a_stranger_named(cluster_of, tmp_path, table, said):
    (tmp_path / "inner" / "table.csv").write_text(table)
    with pytest.raises(sg.FileFormatError) as refusal:
        cluster_of(recorded("table.csv"))
    assert said in str(refusal.value)
    assert "swordfish" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    ['{"args": ["swordfish"]}', '{"swordfish', "\u00ffswordfish", '{"args": ["sendrecv_perf"], "results": "swordfish"}',
     '{"args": ["sendrecv_perf"], "results": ["swordfish"]}', "[" * 100_000, '{"args": 1' + "0" * 5000 + "}",
     '{"args": ["sendrecv_perf"], "results": [{"size": "swordfish"}]}'],
)  # fmt: skip
def test_reports_that_a_stranger_named_are_not_quoted_either(cluster_of, tmp_path, content):
    (tmp_path / "inner" / "link.json").write_text(content, encoding="latin-1")
    with pytest.raises(sg.FileFormatError) as refusal:
        cluster_of(
            f"{HEAD}compute = {{kind = 'Constant', seconds = '1 s'}}\nnetwork = {{kind = 'MeasuredLink', file = 'link.json'}}\n"
        )
    assert "link.json" in str(refusal.value)
    assert "swordfish" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers = 2\nworkers = 3\n", "workers is there already"),
        ("[compute]\nkind = 'x'\nkind = 'y'\n[network]\n", "kind is there already"),
        ("[compute]\n[compute]\n", "[compute] is there already"),
        ("a." * 20_000 + "a = 1\n", "line 1: a key of more than 50 parts"),
        ("x = " + "[" * 100_000, "cannot be read as TOML"),
        (HEAD + "wrokers = 1\n", "wrokers is unknown (did you mean workers?)"),
        (HEAD.replace("2", "1" + "0" * 400) + "compute = {kind = 'Constant', seconds = '1 s'}", "would take 10**400 workers"),
    ],
)
def test_keys_there_twice_unknown_or_too_deep_are_named(cluster_of, text, said):
    began = time.process_time()
    with pytest.raises(sg.FileFormatError) as refusal:
        cluster_of(text)
    assert said in str(refusal.value)
    assert time.process_time() - began < 2


def endings_of_flips(path, bits):
    """Load a cluster's file with each of these bits flipped; return how often it loads as another without a word."""
    data, wanted, silent = path.read_bytes(), sg.Cluster.load(path), []
    for bit in bits(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                if sg.Cluster.load(path) != wanted and not said:
                    silent.append(bit)
            except sg.FileFormatError:
                pass
    return silent


def test_a_flipped_bit_of_a_cluster_s_file_is_noticed(tmp_path):
    samples.clusters()["rich"].save(tmp_path / "cluster.toml")
    assert not endings_of_flips(tmp_path / "cluster.toml", lambda size: random.Random(0).sample(range(size), 300))


@pytest.mark.slow
def test_every_flipped_bit_of_a_cluster_s_file_is_noticed(tmp_path):
    samples.clusters()["rich"].save(tmp_path / "cluster.toml")
    assert not endings_of_flips(tmp_path / "cluster.toml", range)


def test_a_cluster_s_file_may_be_edited(tmp_path):
    """A changed value is loaded, and warned of until the checksum is deleted; comments, order and layout are no change."""
    cluster, path = samples.clusters()["plain"], tmp_path / "cluster.toml"
    cluster.save(path)
    text = path.read_text()
    path.write_text(text.replace("\n", "\r\n").replace("[network]", "# of our rack\n[network]") + "\n# the end\n")
    assert sg.Cluster.load(path) == cluster
    path.write_text(text.replace("workers = 4", "workers = 5"))
    with pytest.warns(UserWarning, match=r"cluster\.toml does not say what it said when it was saved: .* delete its line"):
        assert sg.Cluster.load(path).workers == 5
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "# checksum" not in line))
    assert sg.Cluster.load(path).workers == 5


# --- the attack ----------------------------------------------------------------------------------------------------------


def test_damaged_and_forged_files_are_refused_or_load_equal():
    assert not damage.main(100, seed=0)


def test_killed_processes_leave_whole_files():
    """In a process of its own: it forks, which JAX does not allow."""
    few = "import sys; from tests.attack import kills; sys.exit(bool(kills.main(10, 0, kills.LIGHT)))"
    done = subprocess.run([sys.executable, "-c", few], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_full_disks_are_said_and_spare_what_was_there():
    assert not disks.main(30, seed=0)


@pytest.mark.slow
def test_thousands_of_damaged_files():
    assert not damage.main(4000, seed=10_000)


@pytest.mark.slow
def test_hundreds_of_kills():
    command = [sys.executable, "-W", "ignore", "-m", "tests.attack", "kills", "--count", "300", "--seed", "10000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_many_full_disks():
    assert not disks.main(500, seed=10_000)


def test_a_digest_in_the_seal_is_of_all_that_stands_before_it(tape, tmp_path):
    tape.save(tmp_path / "tape.nc")
    content = (tmp_path / "tape.nc").read_bytes()
    assert content.endswith(hashlib.sha256(content[:-65]).hexdigest().encode() + b"\n")
