"""Data divided between workers: what each way to divide promises, refusals, and the loss over each share."""

import dataclasses
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd.problems import worker_losses
from simsgd.problems.vectors import Zeros

DIGITS = sg.problems.digits("logistic")
LABELS = DIGITS.data["label"]
WAYS = [
    sg.problems.EqualShares(),
    sg.problems.LabelSkew(alpha=0.3),
    sg.problems.LabelsPerWorker(labels=2),
    sg.problems.QuantitySkew(alpha=0.3),
]


def parts(problem):
    """The samples of each worker."""
    indices, starts, sizes = problem.shares
    return [indices[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def labelled(labels):
    """A problem with such labels, and hardly anything to learn."""
    return sg.Problem(
        "labelled", lambda key: jnp.zeros(1), lambda w, batch: jnp.mean(w**2), {"label": np.asarray(labels)}, batch_size=1
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_sample_has_one_owner_and_nobody_is_without(data):
    samples = data.draw(st.integers(1, 60))
    labels = data.draw(st.lists(st.integers(0, 4), min_size=samples, max_size=samples))
    workers = data.draw(st.integers(1, samples))
    alpha = 10.0 ** data.draw(st.integers(-6, 12))
    ways = [sg.problems.EqualShares(), sg.problems.LabelSkew(alpha), sg.problems.QuantitySkew(alpha)]
    problem = labelled(labels).partitioned(workers, by=data.draw(st.sampled_from(ways)))
    np.testing.assert_array_equal(np.sort(problem.shares.indices), np.arange(samples))
    assert problem.shares.sizes.min() >= 1
    assert len(problem.shares.sizes) == workers


@pytest.mark.parametrize("by", WAYS, ids=repr)
def test_the_same_shares_come_out_again_and_another_seed_s_are_others(by):
    problem = DIGITS.partitioned(16, by=by)
    again = DIGITS.partitioned(16, by=by)
    assert problem == again
    assert hash(problem) == hash(again)
    travelled = pickle.loads(pickle.dumps(problem))
    assert travelled == problem
    assert hash(travelled) == hash(problem)
    assert problem != DIGITS
    assert problem != DIGITS.partitioned(16, by=type(by)(**{**vars(by), "seed": 1}))
    assert problem != DIGITS.partitioned(16, by=by, replacement=False)
    assert repr(by) in repr(problem)


def test_equal_shares_differ_by_one_sample_at_most_and_are_alike():
    problem = DIGITS.partitioned(4, by=sg.problems.EqualShares())
    assert np.ptp(problem.shares.sizes) <= 1
    for part in parts(problem):
        """Each label's count is hypergeometric, with a standard deviation below √(36·0.75·0.9) < 5: five of them."""
        expected = np.bincount(LABELS) * len(part) / len(LABELS)
        assert (np.abs(np.bincount(LABELS[part], minlength=10) - expected) < 25).all()


def test_label_skew_grows_as_alpha_falls():
    """The largest label's part of a share: a tenth where all are alike, and nearly one at a small α."""
    largest = []
    for alpha in (0.01, 0.3, 1000.0):
        shares = parts(DIGITS.partitioned(10, by=sg.problems.LabelSkew(alpha)))
        largest.append(np.mean([np.bincount(LABELS[part]).max() / len(part) for part in shares]))
    assert largest[0] > 0.8 > 0.6 > largest[1] > 0.25 > 0.15 > largest[2] > 0.1


@pytest.mark.parametrize(("workers", "labels"), [(16, 1), (16, 2), (5, 2), (7, 3), (3, 10), (10, 1)])
def test_labels_per_worker_are_so_many_and_all_have_owners(workers, labels):
    shares = parts(DIGITS.partitioned(workers, by=sg.problems.LabelsPerWorker(labels)))
    assert [len(np.unique(LABELS[part])) for part in shares] == [labels] * workers
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.arange(len(LABELS)))
    owners = np.bincount(np.concatenate([np.unique(LABELS[part]) for part in shares]))
    assert np.ptp(owners) <= 1


def test_given_shares_may_overlap_and_leave_samples_out():
    problem = labelled(range(10)).partitioned(2, by=sg.problems.GivenShares([[3, 1], np.arange(1, 4)]))
    assert [part.tolist() for part in parts(problem)] == [[3, 1], [1, 2, 3]]
    assert problem.samples == 10


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DIGITS.partitioned(0), ValueError, "workers must be a whole number of at least 1, got 0"),
        (lambda: DIGITS.partitioned(1438), ValueError, "workers must be at most the number of samples, 1437, .* got 1438"),
        (lambda: DIGITS.partitioned(4, by="label"), TypeError, "by must be an instance such as problems.LabelSkew"),
        (lambda: DIGITS.partitioned(4, by=sg.problems.EqualShares), TypeError, "got the class EqualShares itself: add"),
        (lambda: DIGITS.partitioned(4, replacement=0), TypeError, "replacement must be True or False, got 0"),
        (lambda: DIGITS.partitioned(4, worker_losses=None), TypeError, "worker_losses must be True or False, got None"),
        (lambda: sg.problems.LabelSkew(0), ValueError, "LabelSkew.alpha must be a finite number above 0, got 0"),
        (lambda: sg.problems.QuantitySkew(1e13), ValueError, r"QuantitySkew.alpha must be from 1e-06 to 1e\+12, got"),
        (lambda: sg.problems.LabelsPerWorker(0), ValueError, "LabelsPerWorker.labels must be a whole number of at least 1"),
        (
            lambda: DIGITS.partitioned(4, by=sg.problems.LabelsPerWorker(2)),
            ValueError,
            "LabelsPerWorker.labels must be from 3 to 10, so that 4 workers have all 10 labels between them, got 2",
        ),
        (
            lambda: labelled([0, 1, 1, 1]).partitioned(4, by=sg.problems.LabelsPerWorker(1)),
            ValueError,
            "must give each worker a sample, but gave worker . none",
        ),
        (
            lambda: DIGITS.partitioned(4, by=sg.problems.LabelSkew(0.1, label="y")),
            ValueError,
            "LabelSkew.label must name an array of whole numbers, .* got 'y': the names in data are 'label', 'x'",
        ),
        (
            lambda: sg.problems.quadratic().partitioned(1, by=sg.problems.LabelSkew(0.1)),
            ValueError,
            "got 'label': data is not a dict",
        ),
        (lambda: sg.problems.GivenShares([[0.5]]), TypeError, r"GivenShares.indices\[0\] must hold whole numbers .* got"),
        (lambda: sg.problems.GivenShares(3), TypeError, "GivenShares.indices must be a sequence such as .* got 3"),
        (
            lambda: DIGITS.partitioned(3, by=sg.problems.GivenShares([[0], [1]])),
            ValueError,
            "must give a share to each of 3 workers, gave 2",
        ),
        (
            lambda: DIGITS.partitioned(2, by=sg.problems.GivenShares([[0], []])),
            ValueError,
            "must give each worker a sample, but gave worker 1 none",
        ),
        (
            lambda: DIGITS.partitioned(2, by=sg.problems.GivenShares([[0], [1437]])),
            ValueError,
            "must give numbers of samples from 0 to 1436, gave 0 to 1437",
        ),
        (
            lambda: dataclasses.replace(DIGITS.partitioned(2), data=DIGITS.test_data),
            ValueError,
            "must give numbers of samples from 0 to 359, gave 0 to 1436",
        ),
        (
            lambda: dataclasses.replace(DIGITS.partitioned(2, replacement=False), batch_size=2**23),
            ValueError,
            "the largest share, 719 samples, times the batch size, 8,388,608, must be below 2.32; use replacement=True",
        ),
        (lambda: dataclasses.replace(DIGITS, partition=2), TypeError, "Problem.partition must be an instance such as that of"),
    ],
)
def test_impossible_divisions_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_cluster_of_another_size_is_refused():
    DIGITS.check_workers(5)
    problem = DIGITS.partitioned(4)
    problem.check_workers(4)
    with pytest.raises(ValueError, match=re.escape("use problem.partitioned(5, by=EqualShares(seed=0)), or a cluster of 4")):
        problem.check_workers(5)


@pytest.mark.parametrize("by", [*WAYS, sg.problems.GivenShares([[5, 5, 7], range(30), *([9],) * 14])], ids=repr)
def test_losses_of_workers_are_those_of_their_shares(by):
    """In float64, against cross-entropies written in NumPy; the sums are of at most 1,437 losses, in another order."""
    problem = DIGITS.partitioned(16, by=by, worker_losses=True)
    assert problem.worker_losses
    with jax.enable_x64(True):
        (layer,) = jax.tree.map(lambda leaf: np.asarray(leaf, "float64"), problem.start(3, "float64"))
        found = worker_losses(problem.loss, [layer], problem.data, problem.shares)
    outputs = problem.data["x"].astype("float64") @ layer["weights"] + layer["biases"]
    losses = np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(len(LABELS)), LABELS]
    np.testing.assert_allclose(found, [losses[part].mean() for part in parts(problem)], rtol=1e-12)


def noisy(parameters, batch, key):
    noise = 0.0 if key is None else jax.random.normal(key)
    return jnp.mean((batch - parameters) ** 2) + noise * parameters.sum()


def test_a_loss_that_draws_is_known_by_its_third_argument():
    def problem(loss):
        return sg.Problem("noisy", lambda key: jnp.zeros(2), loss, np.ones((4, 2)))

    assert problem(noisy).loss_draws
    assert problem(jax.jit(noisy)).loss_draws
    assert problem(lambda parameters, batch, key=None: noisy(parameters, batch, key)).loss_draws
    assert not problem(lambda parameters, batch, scale=1.0: scale * jnp.mean(parameters)).loss_draws
    assert not problem(lambda *both: jnp.mean(both[0])).loss_draws
    with pytest.raises(TypeError, match=r"must work without one too, .* key None, but it raised TypeError"):
        problem(lambda parameters, batch, key: jax.random.normal(key) * parameters.sum())
    with pytest.raises(ValueError, match=r"loss must return one floating-point number, got shape \(2,\)"):
        problem(lambda parameters, batch, key: parameters if key is None else parameters.sum())


def test_losses_of_workers_are_evaluated_without_a_key():
    problem = sg.Problem("noisy", lambda key: jnp.zeros(2), noisy, np.arange(8.0).reshape(4, 2)).partitioned(4)
    found = worker_losses(noisy, jnp.zeros(2), problem.data, problem.shares)
    np.testing.assert_allclose(found, np.mean(problem.data[problem.shares.indices] ** 2, axis=1), rtol=1e-6)


# --- played -----------------------------------------------------------------------------------------------------------------


def counting(samples, batch_size):
    """A problem whose parameters, with the step size 1, count how often each sample was used, over the batch size."""
    return sg.Problem("counting", Zeros(samples), minus_mean, np.eye(samples, dtype=np.float32), batch_size)


def minus_mean(w, batch):
    return -jnp.mean(batch @ w)


@pytest.mark.parametrize("replacement", [True, False])
def test_jobs_use_samples_of_their_worker_s_own_share(replacement):
    """Three workers of different speeds: what each one's share was used for adds up to its gradients, exactly."""
    by = sg.problems.GivenShares([range(4), range(4, 5), range(5, 12)])
    problem = counting(12, batch_size=4).partitioned(3, by, replacement)
    cluster = sg.Cluster(3, sg.times.PerWorker([sg.times.Constant(seconds) for seconds in (1.0, 2.5, 3.5)]))
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(1.0), sg.Updates(100))
    used = np.rint(run.parameters * 4)
    np.testing.assert_array_equal(used, run.parameters * 4)  # quarters are exact
    jobs = np.bincount(run.tape.worker, minlength=3)
    np.testing.assert_array_equal([used[part].sum() for part in parts(problem)], 4 * jobs)
    if not replacement:  # epochs: within a share no sample is used more than once oftener than another
        assert [np.ptp(used[part]) for part in parts(problem)] == [0, 0, np.sign(4 * jobs[2] % 7)]


def test_the_same_batches_whatever_the_method_and_the_timing():
    """Common random numbers: after as many jobs of each worker, the samples used are the same."""
    problem = counting(30, batch_size=2).partitioned(3, replacement=False)
    slow = sg.Cluster(3, sg.times.Exponential(mean=1.0))
    waiting = sg.simulate(sg.MinibatchSGD(), problem, slow, sg.optimizers.sgd(3.0), sg.Updates(20))
    even = sg.simulate(sg.AsyncSGD(), problem, sg.Cluster(3, sg.times.Constant(1.0)), sg.optimizers.sgd(1.0), sg.Updates(60))
    np.testing.assert_allclose(waiting.parameters, even.parameters, rtol=1e-5)


def test_the_losses_of_workers_are_along_each_evaluation():
    problem = DIGITS.partitioned(4, by=sg.problems.LabelsPerWorker(3), replacement=False, worker_losses=True)
    cluster = sg.Cluster(4, sg.times.Speeds(sg.times.Constant(1.0), speeds=(1.0, 1.0, 1.0, 0.01)))
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(200), evaluate_every=sg.Updates(100))
    losses = run.dataset["worker_loss"]
    assert losses.dims == ("evaluation", "worker")
    assert losses.shape == (len(run.dataset.evaluation), 4)
    final = worker_losses(problem.loss, problem.unravel(run.parameters), problem.data, problem.shares)
    np.testing.assert_allclose(losses.values[-1], final, rtol=1e-5)
    assert losses.values[-1].argmax() == 3  # whose labels hardly anybody has sent gradients of


def test_who_has_what_is_in_the_identity():
    cluster = sg.Cluster(4, sg.times.Constant(1.0))

    def identity(problem):
        return sg.identity(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), until=sg.Updates(10))

    problem = DIGITS.partitioned(4)
    assert identity(problem) == identity(DIGITS.partitioned(4))
    others = [DIGITS, DIGITS.partitioned(4, replacement=False), DIGITS.partitioned(4, sg.problems.EqualShares(seed=1))]
    for other in others:
        assert identity(problem) != identity(other)
        assert identity(problem).unknown == ()


def test_a_drawing_loss_has_other_numbers_in_each_job_and_the_same_in_each_run():
    """The noise's sum over 400 jobs of two workers: normal with standard deviation √400·step size, five of them."""
    problem = sg.Problem("noise", Zeros(1000), noise_alone, np.zeros((1, 1)), batch_size=1)
    cluster = sg.Cluster(2, sg.times.Exponential(mean=1.0))
    runs = [
        sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(400), seed=seed) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0].parameters, runs[1].parameters)
    for run in (runs[0], runs[2]):
        assert np.std(run.parameters) == pytest.approx(0.1 * np.sqrt(400), rel=5 / np.sqrt(2000))
    assert abs(np.corrcoef(runs[0].parameters, runs[2].parameters)[0, 1]) < 5 / np.sqrt(1000)
    assert runs[0].final("loss") == 0


def noise_alone(w, batch, key):
    return 0.0 * w.sum() if key is None else jax.random.normal(key, w.shape) @ w
