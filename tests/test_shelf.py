"""The shelf as a whole: every preset is on the list, in the README's table, tested by hand, and a method like any other."""

import inspect
import pathlib
import pickle
import re

import pytest

import simsgd as sg
from simsgd import optimizers
from simsgd.methods import SHELF
from simsgd.replaying import parts

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
NAMES = [entry.name for entry in SHELF]


def row(entry):
    """The README's line about a method."""
    settings = ", ".join(f"{name}={value!r}" for name, value in entry.example.items() if value is True)
    call = f"{entry.preset.__name__}({settings})" if settings else entry.preset.__name__
    plain = {
        part: re.sub(r"\w+=(?!True)[^,()]+(?:, |(?=\)))", "", text).replace(", )", ")") for part, text in entry.parts.items()
    }
    parts = "; ".join(f"{part}: `{text.replace('()', '')}`" for part, text in plain.items())  # without numbers
    return f"| {entry.name} | `{call}` | {entry.paper} | `{entry.protocol}` | {parts} | `tests/{entry.test.split('::')[0]}` |"


def test_the_list_has_every_preset():
    presets = {name for name in sg.methods.__all__ if inspect.isfunction(getattr(sg.methods, name))}
    assert {entry.preset.__name__ for entry in SHELF} == presets
    assert len(set(NAMES)) == len(NAMES)


def test_the_readme_has_the_list():
    section = README[README.index("## The shelf") : README.index("## What there is")]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert rows == [row(entry) for entry in SHELF]


@pytest.mark.parametrize("entry", SHELF, ids=NAMES)
def test_every_preset_is_tested_by_hand_and_cites_its_source(entry):
    file, test = entry.test.split("::")
    assert re.search(rf"^def {test}\(\):$", (ROOT / "tests" / file).read_text(), re.MULTILINE)
    assert test == f"test_{entry.preset.__name__}" + ("_with_stops" if "stops" in entry.example else "")
    text = " ".join(inspect.getdoc(entry.preset).split())
    assert "Source: " in text
    assert entry.paper in text
    assert ">>>" in text
    if "(from memory" in entry.make().source:
        assert "from memory" in text


@pytest.mark.parametrize("entry", SHELF, ids=NAMES)
def test_presets_are_methods_like_any_other(entry):
    """They compare by what they are, pickle, and print as the code that makes them; the step size is that of the step."""
    made = entry.make(0.25)
    assert made == entry.make(0.25) != entry.make(0.5)
    assert pickle.loads(pickle.dumps(made)) == made
    assert made.step_size == 0.25
    assert made.title == entry.name
    assert repr(made).startswith(f"Method({made.protocol!r}, ")
    assert made.description != entry.make(0.5).description
    for number in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="step_size must be a finite number above 0"):
            entry.make(number)


@pytest.mark.parametrize("entry", SHELF, ids=NAMES)
def test_a_preset_asks_for_a_step_size_first_and_for_the_rest_by_name(entry):
    first, *others = inspect.signature(entry.preset).parameters.values()
    assert first.name == "step_size"
    made = entry.make()
    steps = optimizers.describe(made.inner or made.optimizer)
    of_a_length_of_its_own = any(word in steps for word in ("adamw", "vote", "sign_sgd"))  # whatever the gradient's is
    assert first.default == (0.01 if of_a_length_of_its_own else 0.1)
    assert all(each.kind is each.KEYWORD_ONLY for each in others)
    assert set(entry.example) <= {each.name for each in others}


@pytest.mark.parametrize("entry", SHELF, ids=NAMES)
def test_step_sizes_share_one_compiled_player(entry):
    """Also where the step size is in a rule or in what is handed out."""
    parameters = sg.problems.quadratic().start(0, "float32")
    one, other = (parts.split(entry.make(step_size), parameters, workers=4) for step_size in (0.1, 0.3))
    assert one[0] == other[0]
    assert one[1] != other[1]
