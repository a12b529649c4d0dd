"""How local steps are said: in any sequence or array, and refused by the name that was given."""

import numpy as np
import pytest

import simsgd as sg
from simsgd import methods
from simsgd.works import LocalSteps


@pytest.mark.parametrize("each", [(2, 3), [2, 3], range(2, 4), np.array([2, 3]), np.array([2, 3], np.uint8)], ids=repr)
def test_the_steps_of_each_worker_in_any_sequence(each):
    assert LocalSteps(of_workers=each) == methods.fedavg(clients=1, steps=each).work == LocalSteps(of_workers=(2, 3))
    assert [type(steps) for steps in LocalSteps(of_workers=each).of_workers] == [int, int]


@pytest.mark.parametrize("each", [(2, 3), np.array([2, 3])], ids=repr)
def test_the_steps_of_each_worker_in_the_place_of_one_number(each):
    with pytest.raises(ValueError, match=r"LocalSteps\.steps must be one number for all workers, got .*of_workers=\(4, 8\)"):
        LocalSteps(steps=each)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 0}, r"^steps \(local steps of a round\) must be a whole number of at least 1, got 0"),
        ({"steps": "8"}, r"^steps \(local steps of a round\) must be a whole number of at least 1, got '8'"),
        (
            {"steps": np.array([2.5, 3])},
            r"^each of steps \(local steps of a round\) must be a whole number of at least 1, got .*2\.5",
        ),
        ({"steps": [2, 0]}, r"^each of steps \(local steps of a round\) must be a whole number of at least 1, got 0"),
        ({"seconds": 0}, r"^seconds \(of a round of local steps\) must be a finite number above 0 \(seconds\), got 0"),
        ({}, "steps, how many local steps make a round, or seconds"),
    ],
)
@pytest.mark.parametrize("preset", [methods.fedavg, methods.fedprox])
def test_what_a_preset_is_given_is_called_as_it_calls_it(preset, given, said):
    with pytest.raises(ValueError, match=said):
        preset(clients=2, **given)


def test_help_shows_no_address(capsys):
    help(sg.works.LocalSteps)
    assert "0x" not in capsys.readouterr().out
