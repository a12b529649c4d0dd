"""Variance-reduced methods of the shelf: models step by step, as computed by hand; identities; and the rates of theory.

By hand: w begins at 12 and η = ¼. Three samples, batches and blocks of one: fᵢ = ½·h·(w − x)² with h = 1, 2, 3 and x = 0, 3,
6, so the gradients are w, 2w − 6 and 3w − 18, and the full one is 2w − 8. On seed 0 the dice fall so: jobs 0, 1, 2 … of worker
0 draw the blocks 2 0 0 2 and the batches 0 1 2 1, those of worker 1 the blocks 1 0 and the batches 2 0 2 1.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import cluster

import simsgd as sg
from simsgd import methods, optimizers
from simsgd.problems.vectors import DistanceTo, Zeros

CURVATURES, OPTIMA = np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 6.0])


def _start(key):
    return jnp.asarray(12.0)


def _loss(w, batch):
    return jnp.mean(batch["h"] * (w - batch["x"]) ** 2) / 2


def _model(w, data):
    return w


def three(split=None):
    """The three samples; split, worker 0 has the first so many of them, worker 1 the others."""
    data = {"h": CURVATURES, "x": OPTIMA}
    made = sg.Problem("three", _start, _loss, data, batch_size=1, metrics={"w": _model})
    return made if split is None else made.partitioned(2, sg.problems.GivenShares([range(split), range(split, 3)]))


def run(method, seconds, updates, split=None, **more):
    """Simulate; on workers whose steps take always as long."""
    each = {"evaluate_every": sg.Updates(1), "dtype": "float64"}
    return sg.simulate(method, three(split), cluster(*seconds), until=sg.Updates(updates), **each, **more)


def models(*args, **more):
    """Return w after each update."""
    return run(*args, **more).dataset["w"].values.tolist()[1:]


def test_sag():
    """T₂ = 18, mean 6: w = 12 − 1.5; T₀ = 10.5, mean 9.5: w = 8.125; T₀ = 8.125, mean 209/24; T₂ = −5/32, mean 2.65625.

    Two workers: T₂ = T₁ = 18, mean 12: w = 9; both draw block 0, T₀ = 9, mean 15: w = 5.25.
    """
    method = methods.sag(0.25)
    by_hand = [10.5, 8.125, 8.125 - 209 / 96, 8.125 - 209 / 96 - 2.65625 / 4]
    assert models(method, (1.0,), 4) == pytest.approx(by_hand, rel=1e-14)
    assert models(methods.sag(0.25, asynchronous=True), (1.0,), 4) == pytest.approx(by_hand, rel=1e-14)
    assert models(method, (1.0, 1.0), 2) == [9, 5.25]


def test_saga():
    """18 − 0 + 0: w = 7.5, mean 6; 7.5 − 0 + 6: w = 4.125, mean 8.5; 4.125 − 7.5 + 8.5, mean 7.375; −9.46875 − 18 + 7.375.

    Two workers: (18 + (18 + 6))/2 = 21: w = 6.75, mean 12; (6.75 + 12) and, with the row just filled, 6.75 − 6.75 + 14.25.
    """
    method = methods.saga(0.25)
    assert models(method, (1.0,), 4) == [7.5, 4.125, 2.84375, 7.8671875]
    assert models(method, (1.0, 1.0), 2) == [6.75, 2.625]


def test_asynchronous_saga():
    """Worker 1, at 2.5 s, read w = 12: 18 − 0 + 8.5 = 26.5, mean 14.5; then worker 0, which read 4.125: 4.125 − 7.5 + 14.5."""
    assert models(methods.asynchronous_saga(0.25), (1.0, 2.5), 4) == [7.5, 4.125, -2.5, -5.28125]


def test_distributed_saga():
    """Worker 0 has samples 0 and 1, which count 4/3, and draws sample 0 three times; worker 1 has sample 2, which counts 2/3.

    d = 16: w = 12 − 4, ḡ = 16/4; d = 32/3 − 16: w = 8 + 1/3, ḡ = 8/3; worker 1, d = 12: w = 25/3 − 11/3, ḡ = 8/3 + 12/2;
    worker 0, which read 25/3, d = 100/9 − 32/3: w = 14/3 − (4/9 + 26/3)/4.
    """
    got = models(methods.distributed_saga(0.25), (1.0, 2.5), 4, split=2)
    assert got == pytest.approx([8, 25 / 3, 14 / 3, 43 / 18], rel=1e-14)


def test_svrg():
    """μ = 16 at 12: w = 8; 2·(8 − 12) + 16 and (8 − 12) + 16: w = 5.5; twice 3·(5.5 − 12) + 16: w = 6.375; μ = 4.75."""
    method = methods.svrg(0.25, updates=3, pass_steps=2)
    assert models(method, (1.0, 1.0), 4) == pytest.approx([8, 5.5, 6.375, 5.1875], rel=1e-14)
    assert run(method, (1.0, 1.0), 4).tape.update_times.tolist() == [2, 4, 6, 8]


def test_asynchronous_svrg():
    """μ = 16 at 5 s, when worker 1 is there: w = 8. Worker 0: 2·(8 − 12) + 16 and 3·(6 − 12) + 16; worker 1, which read 8: 12.

    With these three all inner steps are made; the next pass is at w = 3.5: μ = −1.
    """
    method = methods.asynchronous_svrg(0.25, updates=4, pass_steps=2)
    assert models(method, (1.0, 2.5), 5) == pytest.approx([8, 6, 6.5, 3.5, 3.75], rel=1e-14)
    assert run(method, (1.0, 2.5), 5).tape.update_times.tolist() == [5, 7, 9, 10, 15]


def test_distributed_svrg():
    """Two local steps. μ = 16 at 12. Worker 0 draws sample 0 twice: 12, 8, 5; worker 1, sample 2: 12, 8, 7; mean 6.

    μ = 4 at 6. Worker 0 draws sample 0, then 1: 6, 5, 4.5; worker 1: 6, 5, 4.75.
    """
    method = methods.distributed_svrg(0.25, local_steps=2, pass_steps=(2, 1))
    assert models(method, (1.0, 1.0), 4, split=2) == pytest.approx([12, 6, 6, 4.625], rel=1e-14)


def test_loopless_svrg():
    """The coin says no, then yes: w = 8 and 5.5 as `svrg`; μ = 3 at 5.5: w = 4.75; twice 2·(4.75 − 5.5) + 3."""
    method = methods.loopless_svrg(0.25, probability=0.5, pass_steps=2)
    tape = run(method, (1.0, 1.0), 4).tape
    assert tape.kind[::2].tolist() == [1, 0, 1, 0]
    assert models(method, (1.0, 1.0), 4) == pytest.approx([8, 5.5, 4.75, 4.375], rel=1e-14)


def test_storm():
    """From d = 12, w = 9; 12 + ½·(12 − 18) = 9: w = 6.75; 2.25 + ½·(9 − 9): w = 6.1875; 6.375 + ½·(2.25 − 7.5) = 3.75.

    Asynchronous, worker 1, at 2.5 s, read 12: d = 18; worker 0 carries on its own: 2.25, then −2.625 + ½·(2.25 − 7.5).
    """
    assert models(methods.storm(0.25, momentum=0.5), (1.0,), 4) == [9, 6.75, 6.1875, 5.25]
    method = methods.storm(0.25, momentum=0.5, asynchronous=True)
    assert models(method, (1.0, 2.5), 5) == [9, 6.75, 2.25, 1.6875, 3.0]


# --- identities ----------------------------------------------------------------------------------------------------------


def ends(method, seconds=(1.0, 2.5), updates=20, split=None):
    """Return w after each of many updates, as an array."""
    return np.array(models(method, seconds, updates, split=split))


def descent(updates, step_size=0.25):
    """Return w after each step of full gradient descent, by arithmetic: 4 + (12 − 4)·(1 − 2η)^k."""
    return 4 + 8 * (1 - 2 * step_size) ** np.arange(1, updates + 1)


@pytest.mark.parametrize("split", [None, 2])
def test_svrg_whose_snapshot_is_renewed_at_each_step_is_full_gradient_descent(split):
    """So is the asynchronous one, and loopless SVRG with p = 1; and distributed SVRG with one local step, at every other."""
    renewed = methods.svrg(0.25, updates=1, pass_steps=2)
    np.testing.assert_allclose(ends(renewed, split=split), descent(20), rtol=1e-13)
    others = [
        methods.loopless_svrg(0.25, probability=1.0, pass_steps=2),
        methods.asynchronous_svrg(0.25, updates=1, pass_steps=2),
    ]
    for other in others:
        np.testing.assert_array_equal(ends(other, split=split), ends(renewed, split=split))
    if split:
        local = methods.distributed_svrg(0.25, local_steps=1, pass_steps=2)
        np.testing.assert_allclose(ends(local, split=split)[1::2], descent(10), rtol=1e-13)


def test_with_one_worker_asynchronous_is_synchronous():
    """To the bit."""
    pairs = [
        (methods.saga(0.1), methods.asynchronous_saga(0.1)),
        (methods.sag(0.1), methods.sag(0.1, asynchronous=True)),
        (methods.svrg(0.1, updates=5, pass_steps=3), methods.asynchronous_svrg(0.1, updates=5, pass_steps=3)),
        (methods.storm(0.1), methods.storm(0.1, asynchronous=True)),
    ]
    for one, other in pairs:
        np.testing.assert_array_equal(ends(one, (1.0,)), ends(other, (1.0,)))


@pytest.mark.parametrize("split", [1, 2])
def test_it_does_not_matter_where_the_table_is(split):
    """Rows at the workers, or at the server: shares of one and two samples."""
    at_workers, at_server = methods.distributed_saga(0.1), methods.asynchronous_saga(0.1)
    np.testing.assert_allclose(ends(at_workers, split=split), ends(at_server, split=split), rtol=1e-12)


def test_storm_that_forgets_all_is_plain():
    """With a = 1, on the same batches."""
    np.testing.assert_allclose(ends(methods.storm(0.1, momentum=1.0)), ends(methods.minibatch(0.1)), rtol=1e-13)


def test_saga_is_without_bias_whatever_stands_in_the_table():
    """The mean over the blocks of what goes on is the mean of the blocks' gradients; that of SAG's changes is not."""
    random = np.random.default_rng(0)
    gradients, rows = random.normal(size=(2, 5, 3))
    state = optimizers.finite_sums.BlockTable(jnp.asarray(rows), jnp.asarray(rows.mean(axis=0)))
    told = [{"block": jnp.asarray(block), "blocks": jnp.asarray(5)} for block in range(5)]

    def sent(table, state):
        return np.mean(
            [table.update(jnp.asarray(g), state, **each)[0] for g, each in zip(gradients, told, strict=True)], axis=0
        )

    np.testing.assert_allclose(sent(optimizers.saga_table(), state), gradients.mean(axis=0), atol=1e-6)
    assert np.abs(sent(optimizers.sag_table(), state._replace(mean=())) - gradients.mean(axis=0)).max() > 0.1


# --- rates ---------------------------------------------------------------------------------------------------------------

BLOCKS = 10
RANDOM = np.random.default_rng(1)
SPREAD = {
    "h": RANDOM.uniform([2.0, 0.5], [4.0, 1.0], size=(BLOCKS, 2)),
    "x": RANDOM.normal(size=(BLOCKS, 2)),
}
SMOOTH, STRONG = SPREAD["h"].max(), SPREAD["h"].mean(axis=0).min()
BEST = (SPREAD["h"] * SPREAD["x"]).mean(axis=0) / SPREAD["h"].mean(axis=0)
SEEDS = 5


def _quadratic(w, batch):
    return jnp.mean(jnp.sum(batch["h"] * (w - batch["x"]) ** 2, axis=1)) / 2


def squares(method, updates, every):
    """Return ‖w − w*‖², the mean over the seeds, every so many updates."""
    metrics = {"distance": DistanceTo(tuple(BEST.tolist()))}
    problem = sg.Problem("spread", Zeros(2), _quadratic, SPREAD, batch_size=1, metrics=metrics)
    until = {"until": sg.Updates(updates), "evaluate_every": sg.Updates(every), "dtype": "float64"}
    one = sg.Cluster(1, sg.times.Constant(1.0))
    runs = [sg.simulate(method, problem, one, seed=seed, **until) for seed in range(SEEDS)]
    return np.mean([run.dataset["distance"].values ** 2 for run in runs], axis=0)


def test_saga_goes_to_the_optimum_as_fast_as_theory_says():
    """E‖w_k − w*‖² ≤ ρᵏ·V₀ at η = 1/(6L), ρ = 1 − min{ημ, 1/(2B)}, V = ‖w − w*‖² + 4Bη²·(1/B) Σ ‖T_b − ∇f_b(w*)‖².

    For B convex, L-smooth f_b whose mean is μ-strongly convex, and any table: E‖v‖² ≤ 4L·D + 2σ², D the Bregman distance of the
    mean from w to w* and σ² the table's mean square error, of which a step leaves (1 − 1/B)·σ² + 2L·D/B in the mean. (Gorbunov,
    Hanzely and Richtárik 2020, "A unified theory of SGD", from memory; derived again here.) Plain SGD with the same
    step does not keep it.
    """
    eta, updates, every = 1 / (6 * SMOOTH), 400, 50
    errors = np.sum((SPREAD["h"] * (BEST - SPREAD["x"])) ** 2, axis=1).mean()  # of the empty table
    start = BEST @ BEST + 4 * BLOCKS * eta**2 * errors
    bound = start * (1 - min(eta * STRONG, 1 / (2 * BLOCKS))) ** np.arange(0, updates + 1, every)
    assert bound[-1] < 1e-4 * start
    assert (squares(methods.saga(eta), updates, every) <= bound).all()
    assert squares(methods.minibatch(eta), updates, every)[-1] > 10 * bound[-1]


def test_svrg_goes_to_the_optimum_as_fast_as_theory_says():
    """E‖w̃ₛ − w*‖² ≤ αˢ·‖w₀ − w*‖² at η = μ/(8L²), α = (1 − ημ)ᵐ + 2L²η/μ, for m steps an epoch and the last as snapshot.

    From E‖v‖² ≤ 4L·D(w) + 2·E‖∇f_ξ(w̃) − ∇f_ξ(w*)‖² ≤ 4L·D(w) + 2L²‖w̃ − w*‖², so that a step takes e = ‖w − w*‖² to at most
    (1 − ημ)·e + 2L²η²·ẽ in the mean. (Johnson and Zhang prove a faster rate for a snapshot taken at random.)
    """
    eta, epochs = STRONG / (8 * SMOOTH**2), 6
    steps = round(2 / (eta * STRONG))
    rate = (1 - eta * STRONG) ** steps + 2 * SMOOTH**2 * eta / STRONG
    assert 0.3 < rate < 0.5
    bound = BEST @ BEST * rate ** np.arange(epochs + 1)
    found = squares(methods.svrg(eta, updates=steps, pass_steps=BLOCKS), epochs * steps, steps)
    assert (found[1:] <= bound[1:]).all()
    assert squares(methods.minibatch(eta), epochs * steps, steps)[-1] > found[-1] * 100
