"""Some of each attack in the default suite, thousands under the slow marker; and tests of the attack itself."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest

import simsgd as sg
from simsgd.cluster import descriptions

from . import recordings, rubbish, simulations, themes
from .budget import OverBudget, budget
from .expressions import Call, make, parts, text
from .generate import Generator, classes
from .judging import Failure, judge

ROOT = pathlib.Path(__file__).parents[2]
FEW = {recordings: 100, simulations: 20}


@pytest.mark.parametrize("theme", FEW, ids=lambda theme: theme.__name__.rpartition(".")[2])
def test_a_few(theme):
    failed = themes.main(theme, FEW[theme], seed=0)
    assert not failed, "\n\n".join(f"# {result.outcome}\n{result.script}" for result in failed)


def test_a_few_interruptions():
    """In a process of its own, as signals belong to a process."""
    attacked("signals", 40, seed=0)


def test_the_same_tapes_with_other_hash_seeds():
    """A fresh process, whose sets and dictionaries have other orders, records the same."""
    code = "import sys; from tests.attack import recordings; print(recordings.hashes(range(25)))"
    commands = [[sys.executable, "-c", code]] * 2
    said = [
        subprocess.run(each, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        for each, seed in zip(commands, ("1", "2"), strict=True)
    ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stdout.count("None") < 20


def attacked(theme, count, seed):
    command = [sys.executable, "-m", "tests.attack", theme, "--count", str(count), "--seed", str(seed), "--processes", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "count"), [("recordings", 5000), ("simulations", 300), ("signals", 500), ("studies", 100)])
def test_thousands(theme, count):
    attacked(theme, count, seed=1000)


# --- the attack itself ---------------------------------------------------------------------------------------------------


def calls(theme, seeds):
    return {each.name for seed in seeds for each in parts(theme.case(seed)[0].call) if isinstance(each, Call)}


def test_everything_takes_part():
    """Each public law, fabric, fault and protocol, and all rubbish, is in some configuration."""
    bases = (sg.times.Law, sg.networks.Fabric, sg.faults.Fault, sg.Protocol)
    assert set(classes(*bases)) - calls(recordings, range(300)) == set()


def test_a_new_law_takes_part_at_once(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Fresh(sg.times.Law):
        seconds: float

        def sample(self, rng, worker, now):
            return 1.0

        def moments(self, worker=0):
            return sg.times.Moments(1.0, 0.0)

    monkeypatch.setattr(sg.times, "Fresh", Fresh, raising=False)
    monkeypatch.setattr(sg.times, "__all__", [*sg.times.__all__, "Fresh"])
    descriptions.classes.cache_clear()
    try:
        assert "sg.times.Fresh" in calls(recordings, range(60))
    finally:
        descriptions.classes.cache_clear()


def test_a_seed_names_one_configuration():
    for theme in FEW:
        for seed in range(5):
            case, _ = theme.case(seed)
            assert theme.case(seed)[0] == case
            for _, value in case.call.arguments:
                if "object()" not in text(value) and "nan" not in text(value) and not text(value).startswith("optax"):
                    assert make(value) == make(value)


def test_a_script_does_what_was_attacked():
    case, _ = recordings.case(3)
    assert case.script().count("\n") < 20
    compile(case.script(recordings.again), "script", "exec")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: [][0], "raw IndexError"),
        (lambda: float("no"), "not raised by simsgd"),
        (lambda: sg.Seconds(-1), None),
        (lambda: sg.Cluster(2, sg.times.Speeds(sg.times.Constant(1.0), (1.0,))), None),
        (
            lambda: (_ for _ in ()).throw(type("Odd", (sg.StuckError,), {"__module__": "simsgd.odd"})("")),
            "not raised by simsgd",
        ),
    ],
)
def test_errors_are_judged(call, reason):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    if reason is None:
        assert judge(caught.value, "Seconds(seconds=-1) Speeds(speeds=1)") == "ValueError"
    else:
        with pytest.raises(Failure, match=reason):
            judge(caught.value, "nothing")


def test_what_users_raise_must_come_out_itself():
    error = rubbish.OwnError(1, second="draw")
    assert judge(error, "") == "the user's own"
    rubbish.raised.clear()
    with pytest.raises(Failure, match="copied"):
        judge(error, "")


def without_end():
    while True:
        pass


def test_a_hang_is_noticed():
    with budget(0.2), pytest.raises(OverBudget):
        without_end()


def test_a_wrong_tape_is_noticed():
    """The oracles can fail: a tape of another seed is not the recording."""
    given = {"protocol": sg.AsyncSGD(), "cluster": sg.Cluster(2, sg.times.Exponential(1.0)), "until": sg.Updates(5)}
    given |= {"seed": 1, "message_bytes": 0.0}
    other = sg.record(**given | {"seed": 2})
    for oracle in (recordings.again, recordings.in_pieces, recordings.cut_short, recordings.common_random_numbers):
        with pytest.raises(Failure):
            recordings.consult((oracle,), other, given, seed=0)


def test_failures_become_simpler():
    """A failure of one class is reported with hardly anything but that class."""
    case = themes.Case(
        0, Call("sg.record", (("protocol", Call("sg.AsyncSGD")), ("cluster", Generator("large").cluster(False))))
    )
    reason = lambda call: "short: (a.py:1)" if "cluster" in text(call) else None  # noqa: E731
    assert len(text(themes.shrink(case.call, reason))) < 90
