"""Methods of the shelf that keep at home what they did not send: models step by step, through the simulator.

They are computed by hand, or by the paper's algorithm written out for each worker.
The loss is ½‖w − xᵢ‖², so that worker i's gradient is w_read − xᵢ; workers are equally fast and are numbered by their optima.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import cluster

import simsgd as sg
from simsgd import compressions, methods

RNG = np.random.default_rng(7)
OPTIMA = RNG.normal(size=(3, 4))
"""Of three workers, in four numbers; no two magnitudes alike, so that the largest is never in doubt."""
ROUNDING = 1e-12


def start_at(w):
    return lambda key: jnp.asarray(w, "float32")


def half_square(w, batch):
    return jnp.mean(jnp.sum((w.reshape(-1) - batch) ** 2, axis=-1)) / 2


def coordinate(place):
    return lambda w, batch: w.reshape(-1)[place]


def problem(start, optima):
    """Return it, w beginning at `start`, worker i's only sample being its optimum."""
    optima, start = np.asarray(optima, "float64").reshape(len(optima), -1), np.asarray(start)
    metrics = {f"w{place}": coordinate(place) for place in range(start.size)}
    made = sg.Problem("numbers", start_at(start), half_square, optima, batch_size=1, metrics=metrics)
    return made.partitioned(len(optima), by=sg.problems.GivenShares([[worker] for worker in range(len(optima))]))


def run_of(method, start, updates, optima):
    return sg.simulate(
        method,
        problem(start, optima),
        cluster(*[1.0] * len(optima)),
        until=sg.Updates(updates),
        evaluate_every=sg.Updates(1),
        dtype="float64",
    )


def models(method, start, updates, optima=((0.0, 0.0), (0.0, 0.0))):
    """Return w after each update, (updates, numbers)."""
    run = run_of(method, start, updates, optima)
    return np.stack([run.dataset[f"w{place}"].values for place in range(np.size(start))], axis=1)[1:]


def top(x, k=1):
    """The k largest numbers of x, 0 elsewhere."""
    kept = np.argsort(-np.abs(x))[:k]
    return np.where(np.isin(np.arange(len(x)), kept), x, 0)


def test_power_sgd():
    """The paper's algorithm with its n workers, each with an error of its own, P and Q averaged: 2 × 2 matrices, rank 1."""
    rank, eta, decay, start = 1, 0.1, 0.5, np.array([[1.0, -2.0], [0.5, 3.0]])
    with jax.enable_x64(True):
        right = np.asarray(compressions.PowerSGD(rank).init(jnp.zeros((2, 2)))[0])
    optima, model, momentum = OPTIMA.reshape(3, 2, 2), start, np.zeros((2, 2))
    errors, expected = np.zeros((3, 2, 2)), []
    for _ in range(6):
        messages = [model - x + e for x, e in zip(optima, errors, strict=True)]
        left = np.mean([m @ right for m in messages], axis=0)
        left = left / np.linalg.norm(left)
        right = np.mean([m.T @ left for m in messages], axis=0)
        delta = left @ right.T
        errors = [m - delta for m in messages]
        momentum = decay * momentum + delta
        model = model - eta * (delta + momentum)
        expected.append(model.ravel())
    got = models(methods.power_sgd(eta, rank=rank, momentum=decay), start, 6, OPTIMA)
    assert got == pytest.approx(np.array(expected), rel=1e-10)


def test_demo():
    """η = 1, β = ½, chunks of two: components (a + b)/√2 and (a − b)/√2, of which the larger is sent.

    m = (6, 1): the sum, 7 against 5, sent (3.5, 3.5), left (2.5, −2.5), w = (5, 0). m = (6.25, −1.25): the difference, 7.5
    against 5, sent (3.75, −3.75), left (2.5, 2.5), w = (4, 1). m = (5.25, 2.25): the sum, sent (3.75, 3.75), w = (3, 0).
    """
    method = methods.demo(1.0, keep=1, chunk=2, momentum=0.5)
    assert models(method, (6.0, 1.0), 3).tolist() == [[5, 0], [4, 1], [3, 0]]


def test_deep_gradient_compression():
    """Take η = ½, m = ½, one number of two.

    u = v = (16, 8): 16 is sent, w = (8, 8). u = (8, 12), v = (8, 20): 20 is sent, w =
    (8, −2). u = (12, −2), v = (20, −2): 20 is sent, w = (−2, −2).
    """
    method = methods.deep_gradient_compression(0.5, share=0.5, momentum=0.5)
    assert models(method, (16.0, 8.0), 3).tolist() == [[8, 8], [8, -2], [-2, -2]]


def test_deep_gradient_compression_clips_at_the_worker():
    """The gradient (3, 4) has norm 5; clipped to 1 it is (0.6, 0.8), of which 0.8 is sent."""
    method = methods.deep_gradient_compression(0.5, share=0.5, clip=1.0)
    assert models(method, (3.0, 4.0), 1)[0] == pytest.approx([3, 3.6], rel=ROUNDING)


def test_ef21():
    """Take η = ¼, one number of two.

    g = (16, 0), w = (12, 8); off by (−4, 8): g = (16, 8), w = (8, 6); off by (−8, −2): g =
    (8, 8), w = (6, 4).
    """
    method = methods.ef21(0.25, compression=compressions.TopK(count=1))
    assert models(method, (16.0, 8.0), 3).tolist() == [[12, 8], [8, 6], [6, 4]]


def test_diana():
    """Take η = ¼, α = ½, one number of two.

    Δ = (16, 0) is the message, h = (8, 0), w = (12, 6). Δ = (0, 6), the message
    (8, 6), h = (8, 3), w = (10, 4.5). Δ = (2, 0), the message (10, 3), w = (7.5, 3.75).
    """
    method = methods.diana(0.25, compression=compressions.TopK(count=1), step=0.5)
    assert models(method, (16.0, 6.0), 3).tolist() == [[12, 6], [10, 4.5], [7.5, 3.75]]


def test_marina():
    """Take η = ¼, one number of two.

    A full gradient: g = (16, 6), w = (12, 4.5). Differences, if the coin says so: (−4, −1.5), of
    which −4 is sent, g = (12, 6), w = (9, 3); (−3, −1.5): g = (9, 6), w = (6.75, 1.5). Then another full one: w = ¾·w.
    """
    method = methods.marina(0.25, full_steps=4, compression=compressions.TopK(count=1), probability=0.15)
    run = run_of(method, (16.0, 6.0), 12, ((0.0, 0.0), (0.0, 0.0)))
    kinds = run.tape.kind.reshape(12, 2)
    assert (kinds[:, 0] == kinds[:, 1]).all()  # one coin for all
    assert kinds[:3, 0].tolist() == [1, 0, 0]
    assert 1 in kinds[3:, 0]
    got = models(method, (16.0, 6.0), 12)
    assert got[:3].tolist() == [[12, 4.5], [9, 3], [6.75, 1.5]]
    model, estimate, before = np.array([16.0, 6.0]), np.zeros(2), None
    for kind, after in zip(kinds[:, 0], got, strict=True):
        estimate = model if kind == 1 else estimate + top(model - before)
        before, model = model, model - estimate / 4
        assert after == pytest.approx(model, rel=ROUNDING)
    seconds = np.where(kinds[:, 0] == 1, 4, 2)
    assert run.tape.update_times.tolist() == np.cumsum(seconds).tolist()


def test_double_squeeze():
    """The paper's algorithm, an error at each worker and one at the server; evaluated is w̃ less η times what is unsent."""
    eta, sent_model = 0.3, np.array([1.0, -2.0, 0.5, 3.0])
    errors, servers, expected = np.zeros((3, 4)), np.zeros(4), []
    for _ in range(8):
        whole = sent_model - OPTIMA + errors
        sent = np.stack([top(v) for v in whole])
        errors, total = whole - sent, sent.mean(axis=0) + servers
        servers = total - top(total)
        sent_model = sent_model - eta * top(total)
        expected.append(sent_model - eta * servers)
    method = methods.double_squeeze(eta, compression=compressions.TopK(count=1))
    assert models(method, (1.0, -2.0, 0.5, 3.0), 8, OPTIMA) == pytest.approx(np.array(expected), rel=1e-11)


def test_ef21_p_diana():
    """Gradients at w̃, DIANA's messages, and w̃ ← w̃ + C(w − w̃)."""
    eta, alpha, model = 0.3, 0.5, np.array([1.0, -2.0, 0.5, 3.0])
    sent_model, learned, expected = model, np.zeros((3, 4)), []
    for _ in range(8):
        change = np.stack([top(v, 2) for v in sent_model - OPTIMA - learned])
        model = model - eta * (learned + change).mean(axis=0)
        learned = learned + alpha * change
        sent_model = sent_model + top(model - sent_model)
        expected.append(model)
    method = methods.ef21_p_diana(eta, up=compressions.TopK(count=2), down=compressions.TopK(count=1), step=alpha)
    assert models(method, (1.0, -2.0, 0.5, 3.0), 8, OPTIMA) == pytest.approx(np.array(expected), rel=1e-11)


def test_bytes_go_over_the_wire_both_ways():
    """PowerSGD of a 2 × 2 matrix 4·(2 + 2) up; top-1 8 bytes, down too; of MARINA's whole model 16, of its difference 8.

    The first model goes down whole.
    """

    def tape_of(method, *shapes):
        return sg.record(method, cluster(1.0, 1.0), until=sg.Updates(20), message_shapes=shapes)

    for method, up, down in [
        (methods.power_sgd(rank=1), 16, 16),
        (methods.double_squeeze(compression=compressions.TopK(count=1)), 8, 8),
        (methods.ef21_p_diana(up=compressions.TopK(count=1), down=compressions.RandomK(count=1, shared=True)), 8, 4),
    ]:
        tape = tape_of(method, (2, 2))
        assert set(tape.bytes_up.tolist()) == {up}
        assert tape.bytes_down.tolist() == np.where(tape.job == 0, 16, down).tolist()
    method = methods.marina(full_steps=1, compression=compressions.TopK(count=1), probability=0.3)
    tape = tape_of(method, (4,))
    assert tape.bytes_up.tolist() == np.where(tape.kind == 1, 16, 8).tolist()
    assert set(tape.kind.tolist()) == {0, 1}


@pytest.mark.slow
def test_matrices_and_vectors_conform():
    """The conformance suite's own problem has no matrix."""
    made = sg.Problem("matrices", begin, cubic, RNG.normal(size=(32, 5)), batch_size=3)
    for method in (methods.power_sgd(0.02, rank=2), methods.demo(0.01, keep=2, chunk=2)):
        sg.testing.check_method(method, made, updates=6, only="reference")


def begin(key):
    return {"weights": 0.5 * jax.random.normal(key, (5, 4)), "filters": jnp.ones((2, 3, 4)), "biases": jnp.zeros(4)}


def cubic(w, batch):
    outputs = batch @ w["weights"] + w["biases"]
    return jnp.mean((outputs - 1) ** 2) + jnp.mean(jnp.einsum("abc,nc->nab", w["filters"], jnp.tanh(outputs)) ** 2)
