"""A jaxlib that computes wrongly, or is too old, is refused loudly before anything is computed with it."""

import jax
import jax.numpy as jnp
import pytest

import simsgd as sg
from simsgd.replaying import selftest


@pytest.fixture
def traced_anew():
    """What JAX has traced before hides what is put in an operation's place."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def wrong(operation):
    """Return an operation with 1 added to the first number of each of its results."""

    def spoilt(result):
        return result.at[(0,) * result.ndim].add(jnp.ones((), result.dtype))

    return lambda *arguments, **settings: jax.tree.map(spoilt, operation(*arguments, **settings))


def test_this_installation_passes():
    selftest.run_once.__wrapped__()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("dot", "transposed matrix products"),
        ("matmul", "large matrix products"),
        ("sum", r"sums on .*\(1 of 1: got 2097153\.0, right is 2097152\.0\)"),
    ],
)
def test_a_wrong_function_of_jax_numpy_is_refused(name, what, monkeypatch, traced_anew):
    monkeypatch.setattr(jnp, name, wrong(getattr(jnp, name)))
    with pytest.raises(selftest.BrokenInstallationError, match=f"returns wrong {what}"):
        selftest.run_once.__wrapped__()


@pytest.mark.parametrize(
    ("primitive", "what"),
    [
        (jax.lax.dot_general_p, "matrix products"),
        (jax.lax.reduce_sum_p, "sums"),
        (jax.lax.gather_p, "gathered rows"),
        (jax.lax.dynamic_slice_p, "rows moved in a loop"),
        (jax.lax.scatter_p, "rows moved in a loop"),
        (jax.lax.while_p, "rows moved in a loop"),
        (jax.lax.cond_p, "rows moved in a loop"),
    ],
    ids=str,
)
def test_a_wrong_operation_is_refused(primitive, what, monkeypatch, traced_anew):
    """One number in the whole result is off by one."""
    right, inside = primitive.bind, []

    def bind(*arguments, **settings):
        if inside:  # what makes the result wrong may itself use the operation
            return right(*arguments, **settings)
        inside.append(1)
        try:
            return wrong(right)(*arguments, **settings)
        finally:
            inside.clear()

    monkeypatch.setattr(primitive, "bind", bind)
    with pytest.raises(selftest.BrokenInstallationError, match=f"returns wrong {what}"):
        selftest.run_once.__wrapped__()


def test_old_versions_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    with pytest.raises(selftest.BrokenInstallationError, match=r"is too old, at least 0\.12 is needed"):
        selftest.run_once.__wrapped__()


def test_simulating_runs_the_self_test(monkeypatch):
    def refuse():
        raise selftest.BrokenInstallationError("broken")

    monkeypatch.setattr(selftest, "run_once", refuse)
    cluster = sg.Cluster(1, sg.times.Constant(1.0))
    with pytest.raises(selftest.BrokenInstallationError):
        sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(1))
