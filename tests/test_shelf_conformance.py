"""The exported shelf, row by row, through the suite that `sg.testing` offers for methods of one's own."""

import pytest

import simsgd as sg

ROWS = {f"{row.preset.__name__} {row.example or ''}".strip(): row for row in sg.methods.SHELF}


def test_each_row_has_a_name_of_its_own():
    assert len(ROWS) == len(sg.methods.SHELF)


@pytest.mark.parametrize("name", ROWS)
def test_the_shelf_conforms(name):
    sg.testing.check_method(ROWS[name].make(step_size=0.02), updates=10)
