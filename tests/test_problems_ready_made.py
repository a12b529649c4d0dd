"""Problems worth running: each says the truth about itself, is equal when made twice, and reaches its target by plain SGD."""

import hashlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

import simsgd as sg
from simsgd.problems import language, networks

PROBLEMS = sg.problems
LEARNED = {  # step size and updates in which it reaches its target, with room
    "characters": (lambda: PROBLEMS.characters(), 0.3, 1000),
    "convolutional": (lambda: PROBLEMS.digits("convolutional", hidden=16), 0.1, 300),
    "least squares": (lambda: PROBLEMS.least_squares(dimensions=10), 0.05, 600),
    "logistic": (lambda: PROBLEMS.logistic_regression(dimensions=10), 0.5, 1500),
    "iris": (lambda: PROBLEMS.tabular("iris"), 0.1, 300),
    "wine": (lambda: PROBLEMS.tabular("wine"), 0.1, 300),
    "breast cancer": (lambda: PROBLEMS.tabular("breast cancer", hidden=8), 0.1, 300),
    "diabetes": (lambda: PROBLEMS.tabular("diabetes"), 0.01, 300),
}
QUICK = "diabetes"  # the examples of most others are run as doctests


@pytest.mark.parametrize("name", [n if n == QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LEARNED])
def test_sgd_reaches_its_target(name):
    """Two workers, so gradients are about one update old."""
    make, step_size, updates = LEARNED[name]
    cluster = sg.Cluster(2, sg.times.Exponential(mean=1.0))
    run = sg.simulate(
        sg.AsyncSGD(), make(), cluster, sg.optimizers.sgd(step_size), sg.Updates(updates), evaluate_every=sg.Updates(100)
    )
    assert run.final("loss") < float(run.dataset["loss"][0])
    assert run.to_target().seconds < run.dataset.time.values[-1]


@pytest.mark.parametrize("name", LEARNED)
def test_made_twice_it_is_equal_and_it_pickles(name):
    make = LEARNED[name][0]
    problem = make()
    for cached in (
        PROBLEMS.characters,
        PROBLEMS.digits,
        PROBLEMS.least_squares,
        PROBLEMS.logistic_regression,
        PROBLEMS.tabular,
    ):
        cached.cache_clear()
    again = make()
    assert again is not problem
    assert again == problem
    assert hash(again) == hash(problem)
    assert pickle.loads(pickle.dumps(problem)) == problem


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PROBLEMS.least_squares(samples=5), "samples must be a whole number of at least 20, got 5"),
        (lambda: PROBLEMS.least_squares(condition=0.5), "condition must be at least 1, got 0.5"),
        (lambda: PROBLEMS.least_squares(noise=-1.0), "noise must be a finite number of at least 0, got -1"),
        (lambda: PROBLEMS.logistic_regression(margin=0), "margin must be a finite number above 0, got 0"),
        (lambda: PROBLEMS.logistic_regression(penalty=0), "penalty must be a finite number above 0, got 0"),
        (lambda: PROBLEMS.tabular("titanic"), "name must be one of 'iris', 'wine', 'breast cancer', 'diabetes', got 'titanic'"),
        (lambda: PROBLEMS.tabular("iris", hidden=-1), "hidden must be a whole number of at least 0, got -1"),
        (lambda: PROBLEMS.characters(width=30), "width must be a multiple of heads=4, got 30"),
        (lambda: PROBLEMS.characters(length=600), "length must be a whole number of at least 660, got 600"),
        (lambda: PROBLEMS.generated_text(0), "length must be a whole number of at least 1, got 0"),
        (lambda: PROBLEMS.quadratics([]), "optima must be finite numbers of shape"),
        (lambda: PROBLEMS.quadratics([0.0, np.inf]), "optima must be finite numbers of shape"),
        (
            lambda: PROBLEMS.quadratics([0.0, 1.0], curvatures=[1, 2, 3]),
            r"curvatures must broadcast to the optima's shape \(2,\)",
        ),
        (lambda: PROBLEMS.quadratics([0.0, 1.0], curvatures=0), "curvatures must be finite numbers above 0, got 0"),
        (lambda: PROBLEMS.quadratics([0.0, 1.0], noise=-1), "noise must be a finite number of at least 0, got -1"),
        (
            lambda: PROBLEMS.weighted_optimum([0.0, 1.0], weights=[1.0]),
            "weights must be 2 finite numbers of at least 0, not all 0",
        ),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- generated ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [{}, {"dimensions": 1, "samples": 1}, {"dimensions": 60, "samples": 300, "condition": 1e4, "noise": 2.0}]
)
def test_least_squares_has_the_condition_and_the_optimum_that_it_says(size):
    """In float64, to rounding: the Hessian's eigenvalues, the gradient at w*, and the least loss."""
    problem = PROBLEMS.least_squares(**size)
    condition = size.get("condition", 10.0) if size.get("dimensions") != 1 else 1.0
    with jax.enable_x64(True):
        optimum = jnp.array(problem.metrics["distance"].optimum)
        least, slope = jax.jit(jax.value_and_grad(problem.loss))(optimum, problem.data)
    eigenvalues = np.linalg.eigvalsh(problem.data["x"].T @ problem.data["x"] / problem.samples)
    assert float(eigenvalues[-1]) == pytest.approx(1.0, rel=1e-10)
    assert float(eigenvalues[0]) == pytest.approx(1 / condition, rel=1e-8)
    np.testing.assert_allclose(slope, 0, atol=1e-13)
    assert np.linalg.norm(optimum) == pytest.approx(1.0, rel=1e-12)
    residuals = problem.data["y"] - problem.data["x"] @ np.asarray(optimum)
    assert float(least) == pytest.approx(0.5 * np.mean(residuals**2), rel=1e-10, abs=1e-25)


def test_the_spread_of_residuals_is_the_noise():
    """5,000 residuals with standard deviation ½: the sample's has a relative standard error of 1/√(2·5000), five of them."""
    problem = PROBLEMS.least_squares(samples=5000, noise=0.5)
    residuals = problem.data["y"] - problem.data["x"] @ np.array(problem.metrics["distance"].optimum)
    assert np.std(residuals) == pytest.approx(0.5, rel=5 / np.sqrt(2 * 5000))


@pytest.mark.parametrize(
    "size", [{}, {"dimensions": 1, "samples": 2}, {"dimensions": 40, "margin": 100.0, "penalty": 1e-6, "condition": 100.0}]
)
def test_logistic_regression_has_the_optimum_that_it_says(size):
    """The gradient there is below what Newton's method was to reach, 1e-10, and the loss at w = 0 is log 2."""
    problem = PROBLEMS.logistic_regression(**size)
    with jax.enable_x64(True):
        optimum = jnp.array(problem.metrics["distance"].optimum)
        both = jax.jit(jax.value_and_grad(problem.loss))
        least, slope = both(optimum, problem.data)
        start = float(both(jnp.zeros_like(optimum), problem.data)[0])
    assert np.linalg.norm(slope) < 1e-10
    assert start == pytest.approx(np.log(2), rel=1e-12)
    assert problem.target.at_most == pytest.approx(float(least) + 0.01 * (start - float(least)), rel=1e-9)


# --- a quadratic of each worker's own ---------------------------------------------------------------------------------------

OPTIMA, CURVATURES = np.array([[0.0, 2.0], [1.0, -1.0], [4.0, 0.0]]), np.array([[1.0, 3.0], [2.0, 0.5], [0.5, 1.0]])


def test_the_weighted_optimum_is_that_of_the_linear_system():
    for weights in (None, [1.0, 2.0, 0.0]):
        p = np.ones(3) if weights is None else np.array(weights)
        matrix = sum(p_i * np.diag(h) for p_i, h in zip(p, CURVATURES, strict=True))
        right = sum(p_i * h * x for p_i, h, x in zip(p, CURVATURES, OPTIMA, strict=True))
        found = PROBLEMS.weighted_optimum(OPTIMA, CURVATURES, weights)
        np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-14)


def test_each_worker_has_its_own_quadratic():
    problem = PROBLEMS.quadratics(OPTIMA, CURVATURES, noise=0.3)
    w = np.array([0.5, -2.0])
    with jax.enable_x64(True):
        each = np.asarray(PROBLEMS.worker_losses(problem.loss, jnp.array(w), problem.data, problem.shares))
        whole = float(problem.loss(jnp.array(w), problem.data, None))
        slope = jax.grad(problem.loss)(jnp.array(PROBLEMS.weighted_optimum(OPTIMA, CURVATURES)), problem.data, None)
    np.testing.assert_allclose(each, 0.5 * (CURVATURES * (w - OPTIMA) ** 2).sum(axis=1), rtol=1e-14)
    assert whole == pytest.approx(np.mean(each), rel=1e-14)
    np.testing.assert_allclose(slope, 0, atol=1e-14)


def test_its_noise_is_drawn_by_key_with_the_spread_that_it_says():
    """20,000 keys: a standard deviation has the relative standard error 1/√(2·20000), a mean 1/√20000; five of each."""
    batch_size = 4
    problem = PROBLEMS.quadratics(OPTIMA, CURVATURES, noise=0.3, batch_size=batch_size)
    batch = jax.tree.map(lambda a: np.repeat(a[1:2], batch_size, axis=0), problem.data)
    w, keys = jnp.array([0.5, -2.0]), jax.random.split(jax.random.key(0), 20_000)
    gradients = np.asarray(jax.vmap(jax.grad(problem.loss), in_axes=(None, None, 0))(w, batch, keys))
    spread = 0.3 / np.sqrt(batch_size)
    np.testing.assert_allclose(gradients.std(axis=0), spread, rtol=5 / np.sqrt(40_000))
    np.testing.assert_allclose(gradients.mean(axis=0), CURVATURES[1] * (w - OPTIMA[1]), atol=5 * spread / np.sqrt(20_000))


def test_asynchronous_sgd_ends_at_the_rate_weighted_optimum_and_minibatch_at_the_true_one():
    """Job times 1, 2 and 5, so 10, 5 and 2 steps in 10 seconds.

    In these the model moves by at most 17·step size·curvature·distance = 17·0.001·3·3 < 0.2, between ends that the optimum
    lies within; a quarter of that is allowed.
    """
    cluster = sg.Cluster(3, sg.times.PerWorker([sg.times.Constant(seconds) for seconds in (1.0, 2.0, 5.0)]))
    problem = PROBLEMS.quadratics(OPTIMA, CURVATURES)
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(1e-3), sg.Updates(30_000))
    rates = PROBLEMS.weighted_optimum(OPTIMA, CURVATURES, weights=[1, 1 / 2, 1 / 5])
    np.testing.assert_allclose(run.parameters, rates, atol=0.05)
    truth = PROBLEMS.weighted_optimum(OPTIMA, CURVATURES)
    assert np.abs(rates - truth).min() > 0.2
    run = sg.simulate(sg.MinibatchSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(1000))
    np.testing.assert_allclose(run.parameters, truth, atol=1e-5)
    assert run.final("distance") < 1e-5


# --- networks ---------------------------------------------------------------------------------------------------------------


def test_the_convolutional_network_is_the_one_written_in_numpy():
    """Correlation with zeros around, bias, ReLU, the largest of 2×2, twice, and a linear layer; in float64."""
    init = networks.InitialFilters((3, 4), side=8, classes=10)
    x = np.random.default_rng(0).normal(size=(2, 64))
    with jax.enable_x64(True):
        parameters = jax.tree.map(lambda a: np.asarray(a, "float64") + 0.1, init(jax.random.key(0)))
        found = np.asarray(jax.jit(networks.convolutional)(parameters, jnp.asarray(x)))
    for image, outputs in zip(x.reshape(2, 8, 8, 1), found, strict=True):
        for layer in parameters["filters"]:
            planes = [
                sum(
                    signal.correlate2d(image[:, :, i], layer["weights"][:, :, i, o], mode="same") for i in range(image.shape[2])
                )
                + layer["biases"][o]
                for o in range(layer["weights"].shape[3])
            ]
            image = np.maximum(np.stack(planes, axis=2), 0)
            image = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, -1).max(axis=(1, 3))
        np.testing.assert_allclose(outputs, image.ravel() @ parameters["last"]["weights"] + 0.1, rtol=1e-10)


def test_the_transformer_sees_what_came_before_and_nothing_else():
    """Another character at place 5 changes the scores there and behind, and not a bit before."""
    problem = PROBLEMS.characters(width=16, context=12, length=1000)
    parameters, text = problem.start(0, "float32"), problem.data[:1, :-1]
    other = text.copy()
    other[0, 5] = (text[0, 5] + 1) % 29
    score = jax.jit(lambda parameters, text: language.transformer(parameters, text, 4))
    one, two = (np.asarray(score(parameters, each)) for each in (text, other))
    np.testing.assert_array_equal(one[0, :5], two[0, :5])
    assert (one[0, 5:] != two[0, 5:]).any(axis=1).all()
    moved = dict(parameters, position=parameters["position"][::-1])
    assert (np.asarray(score(moved, text)) != one).any()


def test_the_generated_text_is_the_same_everywhere():
    """Its hash was taken on Python 3.12 with NumPy 2.5; another seed writes another text."""
    text = PROBLEMS.generated_text(65_536)
    assert hashlib.sha256(text.encode()).hexdigest() == "0596bd1bd3f54d41b23379b465ae940e458dc28a5ffcc221d456531ffd5d4a2e"
    assert set(text) <= set(language.CHARACTERS)
    assert PROBLEMS.generated_text(100) == text[:100]
    assert PROBLEMS.generated_text(100, seed=1) != text[:100]


@pytest.mark.parametrize(("name", "samples", "columns"), [("iris", 150, 4), ("wine", 178, 13), ("diabetes", 442, 10)])
def test_tables_are_scaled_on_their_training_samples(name, samples, columns):
    problem = PROBLEMS.tabular(name)
    x, tests = problem.data["x"], problem.test_data["x"]
    assert (len(x) + len(tests), x.shape[1]) == (samples, columns)
    assert len(tests) == samples // 5
    np.testing.assert_allclose(x.mean(axis=0, dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0, dtype=float), 1, atol=1e-6)


def test_explained_is_one_where_all_is_and_zero_for_the_mean():
    problem = PROBLEMS.tabular("diabetes")
    explained, y = problem.metrics["explained"], np.array([1.0, -1.0, 3.0], np.float32)
    layer = {"weights": jnp.ones((1, 1)), "biases": jnp.zeros(1)}
    assert float(explained([layer], {"x": y[:, None], "y": y})) == 1
    mean = {"weights": jnp.zeros((1, 1)), "biases": jnp.ones(1)}
    assert float(explained([mean], {"x": y[:, None], "y": y})) == pytest.approx(0, abs=1e-6)
