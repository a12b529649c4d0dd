"""Data divided between workers: what each way to divide promises, refusals, and the loss over each share."""

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
