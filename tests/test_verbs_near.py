"""A name that is mistyped is refused with the names that are near."""

import pytest

import simsgd as sg


@pytest.mark.parametrize(
    ("package", "name", "meant"),
    [
        ("methods", "fed_avg", "fedavg"),
        ("methods", "powersgd", "power_sgd"),
        ("compressions", "Topk", "TopK"),
        ("works", "LocalStep", "LocalSteps"),
        ("protocols", "AsynchSGD", "AsyncSGD"),
        ("problems", "digit", "digits"),
        ("times", "Exponental", "Exponential"),
        ("optimizers", "adam_w", "adamw"),
        ("networks", "Rings", "Ring"),
    ],
)
def test_what_is_near_is_said(package, name, meant):
    with pytest.raises(AttributeError, match=rf"simsgd\.{package} has no '{name}': did you mean .*\b{meant}\b.*\?"):
        getattr(getattr(sg, package), name)


def test_nothing_is_guessed_where_nothing_is_near():
    with pytest.raises(AttributeError, match=r"simsgd\.methods has no 'qqqqqq'$"):
        getattr(sg.methods, "qqqqqq")  # noqa: B009
    assert not hasattr(sg.methods, "__wrapped__")
