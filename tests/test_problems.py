"""Problems: what the ready-made ones claim of themselves, and refusals of a user's own that cannot work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg
from simsgd.problems import LOG_COLUMNS, RESERVED, draw


def mean_square(parameters, batch):
    return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)


def problem(**changes):
    x = np.random.default_rng(0).normal(size=(50, 3))
    parts = {"init": lambda key: jnp.zeros(3), "loss": mean_square, "data": {"x": x, "y": x @ [1.0, 2.0, 3.0]}} | changes
    return sg.Problem("line", **parts)


def test_a_problem_of_one_s_own_learns():
    """Least squares without noise: the parameters go to the true ones, to float32's rounding (2^-24 ≈ 6e-8, relative)."""
    run = sg.simulate(
        sg.AsyncSGD(), problem(), sg.Cluster(4, sg.times.Exponential(mean=1.0)), sg.optimizers.sgd(0.05), sg.Updates(500)
    )
    np.testing.assert_allclose(run.parameters, [1, 2, 3], atol=1e-5)
    assert run.metrics == ("loss",)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"loss": lambda p, b: (b["x"] @ p - b["y"]) ** 2},
            ValueError,
            r"loss must return one floating-point number, got shape \(32,\)",
        ),
        (
            {"loss": lambda p, b: jnp.int32(0)},
            ValueError,
            r"loss must return one floating-point number, got shape \(\) of int32",
        ),
        ({"loss": lambda p, b: None}, ValueError, "loss must return one floating-point number, got None"),
        ({"init": lambda key: {"w": jnp.zeros(3, int)}}, ValueError, r"\['w'\] is int32: use for example"),
        ({"init": lambda key: []}, ValueError, "at least one parameter array, got an empty pytree"),
        (
            {"data": {"x": np.ones((5, 3)), "y": np.ones(4)}},
            ValueError,
            r"common, non-zero number of samples first, got \[4, 5\]",
        ),
        ({"data": {"x": np.ones((0, 3)), "y": np.ones(0)}}, ValueError, r"got \[0\]"),
        ({"data": {"x": np.full((5, 3), np.nan), "y": np.ones(5)}}, ValueError, r"data\['x'\] must be finite"),
        ({"data": {"x": np.array(["a", "b"]), "y": np.ones(2)}}, ValueError, r"data\['x'\] must hold numbers, got <U1"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number of at least 1, got 0"),
        (
            {"metrics": {"residual": lambda p, b: b["y"]}},
            ValueError,
            "Problem's residual must return one floating-point number",
        ),
        ({"metrics": {"time": mean_square}}, ValueError, "other than those a run uses itself .* got 'time'"),
        ({"metrics": {"loss": mean_square}}, ValueError, "other than those a run uses itself .* got 'loss'"),
        ({"metrics": {"a/b": mean_square}}, ValueError, "must have names like variables', .* got 'a/b'"),
        ({"metrics": {"row_time": mean_square}}, ValueError, "got 'row_time'"),
        ({"data": {"x": np.full((5, 3), 2**40), "y": np.ones(5)}}, ValueError, r"\['x'\] must fit 32-bit integers"),
        ({"target": sg.Target("accuracy", at_least=0.9)}, ValueError, "target.metric must be one of 'loss', got 'accuracy'"),
    ],
)
def test_impossible_problems_are_refused_at_once(changes, error, message):
    with pytest.raises(error, match=message):
        problem(**changes)


def test_reserved_names_are_those_a_run_uses():
    run = sg.simulate(sg.AsyncSGD(), problem(), sg.Cluster(2, sg.times.Constant(1.0)), sg.optimizers.sgd(0.01), sg.Updates(5))
    names = {*map(str, run.dataset.variables), *map(str, run.dataset.dims)}
    assert {name for name in names if not name.startswith(LOG_COLUMNS)} | {"test_loss"} <= RESERVED


def test_what_the_caller_does_with_the_data_later_changes_nothing():
    x = np.ones((4, 3))
    mine = sg.Problem("mine", lambda key: jnp.zeros(3), lambda w, batch: jnp.mean(batch @ w), x)
    x[:] = np.nan
    assert (mine.data == 1).all()


def test_digits_are_split_and_scaled():
    digits = sg.problems.digits()
    assert (digits.samples, len(digits.test_data["label"])) == (1437, 360)
    assert 0 <= digits.data["x"].min() < digits.data["x"].max() == 1
    assert digits.metric_names == ("loss", "test_loss", "accuracy")
    assert set(np.unique(digits.test_data["label"])) == set(range(10))
    together = np.concatenate([digits.data["x"], digits.test_data["x"]])
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique((load_digits().data / 16).astype(np.float32), axis=0))


@pytest.mark.parametrize(("model", "accuracy"), [("mlp", 0.95), ("logistic", 0.93)])
def test_digits_can_be_learned(model, accuracy):
    """Plain sequential SGD (one worker) for 50 passes over the data reaches what the data are known to allow.

    The bounds are floors well above chance (0.1), not measurements: a broken model, split or gradient does not come near.
    """
    run = sg.simulate(
        sg.AsyncSGD(),
        sg.problems.digits(model),
        sg.Cluster(1, sg.times.Constant(1.0)),
        sg.optimizers.sgd(0.3),
        sg.Updates(2250),
    )
    assert run.final("accuracy") >= accuracy


def test_digits_problems_are_made_once():
    assert sg.problems.digits() is sg.problems.digits()
    with pytest.raises(ValueError, match="model must be one of 'mlp', 'logistic', 'convolutional', got 'cnn'"):
        sg.problems.digits("cnn")


def test_quadratic_is_what_it_says():
    """The full loss is ½ Σ h (w − 1)² exactly, samples' gradients are h⊙(w−1) + noise, with the noise's spread."""
    spectrum, noise, samples = (3.0, 1.0, 0.2), 0.5, 2000
    quadratic = sg.problems.quadratic(spectrum, noise=noise, samples=samples)
    h, w = np.array(spectrum), np.array([0.3, -2.0, 5.0])
    with jax.enable_x64(True):
        assert float(quadratic.loss(jnp.array(w), quadratic.data)) == pytest.approx(0.5 * (h * (w - 1) ** 2).sum(), rel=1e-12)
        at_optimum = float(quadratic.loss(jnp.ones(3), quadratic.data))
        each = jax.vmap(jax.grad(quadratic.loss), in_axes=(None, 0))(jnp.array(w), quadratic.data[:, None])
    assert at_optimum == 0
    np.testing.assert_allclose(np.mean(np.asarray(each), axis=0), h * (w - 1), rtol=1e-12, atol=1e-12)
    # a sample variance of normal draws has relative standard error √(2/N); five of them
    np.testing.assert_allclose(np.var(np.asarray(each), axis=0), noise**2, rtol=5 * np.sqrt(2 / samples))


def test_unravel_undoes_flattening():
    digits = sg.problems.digits()
    start = digits.start(0, "float32")
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(start)])
    jax.tree.map(np.testing.assert_array_equal, digits.unravel(flat), start)


def test_batches_are_uniform_over_the_samples():
    """Counts of 20 samples in 40,000 draws: chi-square with 19 degrees of freedom, 99.99% below 50.8."""
    key = jax.random.key(0)
    jobs = jnp.arange(5000)
    picks = jax.vmap(lambda job: draw(key, 3, job, 8, 20))(jobs)
    counts = np.bincount(np.asarray(picks).ravel(), minlength=20)
    assert ((counts - 2000) ** 2 / 2000).sum() < 50.8
