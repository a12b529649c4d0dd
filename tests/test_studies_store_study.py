"""A study with a folder: what is there is not made again, whatever happened to the rest."""

import dataclasses
import errno
import pathlib
import time
import warnings

import pytest

import simsgd as sg
from simsgd.recording import attempt as attempts
from simsgd.studies import study as studies
from simsgd.studies.store import DamagedFileWarning, NotStorableError, Store, keys

CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
PROBLEM = sg.problems.quadratic()
UNTIL = sg.Updates(30)


def usual(seed, step_size=0.1, until=UNTIL):
    return sg.Cell(sg.methods.asynchronous(step_size), PROBLEM, CLUSTER, until=until, seed=seed)


def study(folder, seeds=range(4), make=usual, keep_tapes=False):
    return sg.Study(make, {"seed": seeds}, folder=folder, lanes=2, keep_tapes=keep_tapes)


@pytest.fixture
def made(monkeypatch):
    """The seeds of the cells that are played from now on."""
    seeds = []

    def play_group(cells, *rest, play=studies.play_group):
        seeds.extend(cell.seed for cell in cells)
        return play(cells, *rest)

    monkeypatch.setattr(studies, "play_group", play_group)
    return seeds


def groups_of(folder):
    return sorted((folder / "cells").glob("*.nc"))


def test_what_is_there_is_not_made_again(tmp_path, made):
    first = study(tmp_path).run()
    assert sorted(made) == [0, 1, 2, 3]
    made.clear()
    again = study(tmp_path).run()
    assert made == []
    assert again.outcomes == first.outcomes
    assert study(tmp_path).explain(seed=3).state == "done"
    assert "4 cells in 2 files: 4 completed" in (tmp_path / "contents.txt").read_text()
    extended = study(tmp_path, range(2, 7)).run()
    assert sorted(made) == [4, 5, 6]
    assert [extended.outcome(seed=seed) for seed in (2, 3)] == [first.outcome(seed=seed) for seed in (2, 3)]


def test_a_folder_equals_memory(tmp_path):
    assert study(tmp_path).run().outcomes == study(None).run().outcomes


@pytest.mark.parametrize("until", [sg.Updates(30), sg.Samples(30)])
def test_what_was_recorded_is_not_recorded_again(tmp_path, monkeypatch, until):
    recorded = []

    def record(ask, record=attempts._recorded):
        recorded.append(ask.seed)
        return record(ask)

    monkeypatch.setattr(attempts, "_recorded", record)
    monkeypatch.setattr(attempts, "WORTH", 0.0)

    def run(folder, size):
        return study(folder, range(2), lambda seed: usual(seed, size, until), keep_tapes=True).run().outcomes

    several = [run(tmp_path, size) for size in (0.1, 0.2, 0.05)]
    assert sorted(recorded) == [0, 1]
    recorded.clear()
    damaged, _ = sorted((tmp_path / "tapes").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = run(tmp_path, 0.3)
    assert len(recorded) == 1
    assert sg.Tape.load(damaged).identity.key
    assert again == run(None, 0.3)
    assert again != several[0]


def test_a_damaged_file_is_made_again(tmp_path, made):
    first = study(tmp_path).run()
    made.clear()
    path = groups_of(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(DamagedFileWarning, match=rf"{path.name} .*set aside as {path.name}\.damaged"):
        again = study(tmp_path).run()
    assert len(made) == 2
    assert again.outcomes == first.outcomes
    assert path in groups_of(tmp_path)


def test_other_bits_make_it_stale_and_delete_nothing(tmp_path, made, monkeypatch):
    study(tmp_path, range(2)).run()
    old = groups_of(tmp_path)
    ours = keys.BITS
    monkeypatch.setattr(keys, "BITS", 99)
    stale = study(tmp_path, range(2))
    assert stale.explain(seed=0).differences == {"bits": (ours, 99)}
    assert "is stale" in str(stale.explain(seed=0))
    stale.run()
    assert sorted(made) == [0, 0, 1, 1]
    assert stale.explain(seed=0).state == "done"
    assert set(old) < set(groups_of(tmp_path))


def test_failed_cells_are_kept_and_tried_again_on_request_only(tmp_path, made, monkeypatch):
    def failing(cells, *rest, play=studies.play_group):
        if 3 in [cell.seed for cell in cells]:
            raise ValueError("nothing left")
        return play(cells, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(studies, "play_group", failing)
        found = study(tmp_path).run()
    failed = {place[0] for place in found.failed}
    assert (len(failed), len(found.outcomes)) == (2, 4)
    seed = min(failed)
    explained = study(tmp_path).explain(seed=seed)
    assert "failed: ValueError: nothing left" in str(explained)
    assert 'raise ValueError("nothing left")\n' in explained.trace
    assert explained.trace.splitlines()[-1] in str(explained)
    made.clear()
    assert {place[0] for place in study(tmp_path).run().failed} == failed
    assert made == []
    again = study(tmp_path).run(retry_failed=True)
    assert set(made) == failed
    assert study(tmp_path).run().failed == again.failed == {}
    assert again.outcomes == study(None).run().outcomes


def test_a_disk_that_fills_up_in_mid_study_keeps_what_was_kept(tmp_path, made, monkeypatch):
    save, saved = Store.save, []

    def full(store, outcomes):
        if saved:
            raise OSError(errno.ENOSPC, "cannot save …: No space left on device; free some space. What was there is unchanged")
        saved.append(save(store, outcomes))

    monkeypatch.setattr(Store, "save", full)
    with pytest.raises(OSError, match="No space left"):
        study(tmp_path).run()
    monkeypatch.undo()
    assert len(groups_of(tmp_path)) == 1
    assert study(tmp_path).run().outcomes == study(None).run().outcomes


def test_foreign_folders_are_refused_when_the_study_is_made(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"holds something else \(thesis\.tex\)"):
        study(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file"):
        study(tmp_path / "thesis.tex")


@dataclasses.dataclass(frozen=True)
class Reading(sg.Protocol):
    """Asks the clock of the machine, which nothing identifies."""

    def on_gradient(self, server, gradient):
        server.apply(gradient, weight=1.0 if time.time() else 0.0)
        server.assign(gradient.worker)


def test_a_method_that_cannot_be_described_needs_a_study_without_a_folder(tmp_path):
    def make(seed):
        return sg.Cell(Reading(), PROBLEM, CLUSTER, sg.optimizers.sgd(0.1), until=sg.Updates(5), seed=seed)

    with pytest.raises(NotStorableError, match=r"protocol.*time.*run the study without a folder"):
        study(tmp_path, [0], make).run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study(None, [0], make).run().outcome(seed=0).status == "completed"


LIMIT = 1


@dataclasses.dataclass(frozen=True)
class Damped(sg.AsyncSGD):
    damping: float = 0.5

    def on_gradient(self, server, gradient):
        if LIMIT:
            super().on_gradient(server, gradient)


def of_my_own(seed, protocol=None, until=UNTIL):
    optimizer = sg.optimizers.sgd(0.1)
    return sg.Cell(protocol or Damped(), PROBLEM, CLUSTER, optimizer, until=until, seed=seed)


def test_a_protocol_of_ones_own_is_called_by_its_name(tmp_path):
    study(tmp_path, range(2), of_my_own).run()
    text = (tmp_path / "contents.txt").read_text()
    assert (
        "Damped(damping=0.5)  sgd        4        Exponential(mean=0.1)  Updates(30)  2      0.1         0, 1   2 completed"
        in text
    )
    assert text.endswith("last study: seed (0, 1)\n")


def test_explain_says_in_what_the_nearest_kept_cell_differs(tmp_path, monkeypatch):
    study(tmp_path, range(2), of_my_own).run()

    def explained(make, seed=1):
        return study(tmp_path, range(9), make).explain(seed=seed)

    assert explained(of_my_own, 4).changes == ("seed: 1 -> 4",)
    assert "\n  seed=4\n  Damped(damping=0.5), sgd, step size 0.1, " in str(explained(of_my_own, 4))
    later = explained(lambda seed: of_my_own(seed, until=sg.Updates(31)))
    assert "until.count: 30 -> 31" in later.changes
    assert len(later.changes) <= 2  # and how often it is evaluated
    assert explained(lambda seed: of_my_own(seed, Damped(0.25))).changes == ("protocol.damping: 0.5 -> 0.25",)
    faster = explained(
        lambda seed: dataclasses.replace(
            of_my_own(seed), method=of_my_own(seed).whole.protocol, optimizer=sg.optimizers.sgd(0.2)
        )
    )
    assert faster.changes == ("optimizer.numbers.learning_rate: 0.1 -> 0.2",)
    named = explained(lambda seed: of_my_own(seed, sg.AsyncSGD()))
    assert named.changes == ("protocol: Damped(damping=0.5) -> AsyncSGD",)
    monkeypatch.setitem(globals(), "LIMIT", 2)
    assert explained(of_my_own).changes == ("LIMIT, which Damped.on_gradient uses: 1 -> 2",)


def test_explain_names_the_code_that_changed(tmp_path, monkeypatch):
    study(tmp_path, range(2), of_my_own).run()

    def on_gradient(self, server, gradient):
        sg.AsyncSGD.on_gradient(self, server, gradient)

    on_gradient.__qualname__, on_gradient.__globals__["__name__"] = "Damped.on_gradient", __name__
    monkeypatch.setattr(Damped, "on_gradient", on_gradient)
    found = study(tmp_path, range(2), of_my_own).explain(seed=1)
    assert "the code of Damped.on_gradient changed" in found.changes


def test_the_text_is_up_to_date_after_an_interruption(tmp_path, monkeypatch):
    def interrupted(*rest, signs, **named):
        (tmp_path / "tapes").mkdir(exist_ok=True)
        for name in "ab":
            (tmp_path / "tapes" / f"{name}.nc").touch()
        pathlib.Path(signs.sign("in hand")[0]).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(studies.executing, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, keep_tapes=True).run()
    assert list((tmp_path / "running").iterdir()) == []
    assert "\n2 tapes\n" in (tmp_path / "contents.txt").read_text()
