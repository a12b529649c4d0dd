"""Low rank, local momentum and compressed differences: what comes out at the other end, what it weighs, and where it leads."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import cluster

import simsgd as sg
from simsgd.compressions import (
    DIANA,
    EF21,
    BytesOfSum,
    DeepGradientCompression,
    DeMo,
    ErrorFeedback,
    PowerSGD,
    RandomK,
    TopK,
    compress_sum,
)

RNG = np.random.default_rng(3)
KEY = jax.random.key(0)
SHAPES = {"matrix": (7, 5), "filters": (3, 3, 2, 4), "vector": (6,), "number": ()}
DOUBLE = 1e-13
"""Of float64, some dozens of whose roundings, 1.1e-16 each, a message goes through."""


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def message(rank=None):
    """One of every kind of array; with a rank, the matrix has it."""
    made = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
    if rank is not None:
        made["matrix"] = RNG.normal(size=(7, rank)) @ RNG.normal(size=(rank, 5))
    return jax.tree.map(jnp.asarray, made)


def sent_of(compression, messages):
    """Return what the other end makes of messages, one after the other, and what is remembered in the end."""
    state, sent = compression.init(jax.tree.map(jnp.zeros_like, messages[0])), []
    compress = jax.jit(compression.compress)
    for number, each in enumerate(messages):
        key = jax.random.fold_in(KEY, number)
        one, state = compress(each, state, key, key)
        sent.append(one)
    return sent, state


def off(one, other):
    """How far two messages are apart, of the second's norm."""
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (one, other)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


# --- low rank -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "warm_start"), [(1, True), (4, True), (2, False)])
def test_a_matrix_of_no_higher_rank_comes_out_as_it_went_in(rank, warm_start):
    """P = M·Q spans what M does, unless Q is orthogonal to a part of it; to rounding, times the condition of M·Q, below 1e4."""
    given = [message(rank) for _ in range(3)]
    for each, sent in zip(given, sent_of(PowerSGD(rank, warm_start), given)[0], strict=True):
        assert off(sent["matrix"], each["matrix"]) < 1e4 * DOUBLE
        assert np.array_equal(sent["vector"], each["vector"])
        assert np.array_equal(sent["number"], each["number"])


def test_a_matrix_that_stays_comes_out_as_its_best_approximation():
    """A power iteration per message: the error goes to that of the truncated singular values (Eckart and Young), from above.

    The distance to it falls by (σ₃/σ₂)² with each message.
    """
    left, _ = np.linalg.qr(RNG.normal(size=(7, 5)))
    right, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    values = np.array([5.0, 3.0, 1.5, 1.0, 0.5])
    given = {"matrix": jnp.asarray(left @ np.diag(values) @ right.T)}
    best = np.linalg.norm(values[2:]) / np.linalg.norm(values)
    errors = [off(sent, given) for sent in sent_of(PowerSGD(2), [given] * 40)[0]]
    assert (np.diff(errors) < DOUBLE).all()
    assert errors[0] > 1.01 * best
    assert errors[-1] == pytest.approx(best, rel=1e-12)
    cold = [off(sent, given) for sent in sent_of(PowerSGD(2, warm_start=False), [given] * 40)[0]]
    assert np.mean(cold) > 1.01 * best  # it begins anew each time


def test_filters_are_a_matrix_of_outputs_against_the_rest():
    """The same numbers with outputs first, as PyTorch has them, give the transposed matrix, of as many bytes."""
    last, first = PowerSGD(2), PowerSGD(2, outputs="first")
    assert last.matrix((3, 3, 2, 4)) == (18, 4)
    assert first.matrix((4, 2, 3, 3)) == (4, 18)
    assert last.bytes(((3, 3, 2, 4),)) == first.bytes(((4, 2, 3, 3),)) == 4 * 2 * (18 + 4)
    (sent,), _ = sent_of(first, [{"filters": jnp.asarray(RNG.normal(size=(4, 2, 3, 3)))}])
    assert np.linalg.matrix_rank(sent["filters"].reshape(4, 18)) == 2


def test_what_was_lost_of_q_begins_anew():
    """After nothing at all, or rank 1, both columns of a rank-2 matrix come through; and nothing stays of rounding."""
    for before in (message(rank=1), jax.tree.map(jnp.zeros_like, message())):
        (_, after), _ = sent_of(PowerSGD(2), [before, given := message(rank=2)])
        assert off(after["matrix"], given["matrix"]) < 1e4 * DOUBLE


def test_error_feedback_around_low_rank_loses_nothing():
    """What was sent and what is kept are together all that there was."""
    given = [message() for _ in range(10)]
    sent, (error, _) = sent_of(ErrorFeedback(PowerSGD(1)), given)
    total = jax.tree.map(lambda *leaves: sum(leaves), *given)
    assert off(jax.tree.map(lambda *leaves: sum(leaves), error, *sent), total) < 10 * DOUBLE
    assert off(jax.tree.map(lambda *leaves: sum(leaves), *sent), total) > 1e-3


def test_a_worker_alone_may_as_well_compress_the_sum():
    """Of one worker the mean is its message: `compress_sum` is then `ErrorFeedback`."""
    given = [message() for _ in range(5)]
    expected, _ = sent_of(ErrorFeedback(PowerSGD(2)), given)
    made = compress_sum(PowerSGD(2))
    state = made.init(given[0])
    for each, wanted in zip(given, expected, strict=True):
        sent, state = made.update(each, state)
        assert off(sent, wanted) < DOUBLE


# --- local momentum -------------------------------------------------------------------------------------------------------


def test_deep_gradient_compression_sends_all_that_it_masks_once():
    """The sum of what was sent and what waits is that of the momenta, each counted until it was masked."""
    given = [{"vector": jnp.asarray(RNG.normal(size=20))} for _ in range(30)]
    sent, state = sent_of(DeepGradientCompression(TopK(count=3), momentum=0.7), given)
    u, total = np.zeros(20), np.zeros(20)
    for each, one in zip(given, sent, strict=True):
        u = 0.7 * u + np.asarray(each["vector"])
        total += u
        u = np.where(np.asarray(one["vector"]) != 0, 0, u)
    gone = sum(np.asarray(one["vector"]) for one in sent)
    assert gone + state.waiting["vector"] == pytest.approx(total, rel=1e-11)
    assert state.momentum["vector"] == pytest.approx(u, rel=1e-12)
    assert all(np.count_nonzero(one["vector"]) == 3 for one in sent)


def test_demo_sends_the_largest_components_and_keeps_the_rest():
    """The transform is orthonormal: what is sent has the squares of the components kept, what stays those of the others."""
    from scipy.fft import dctn

    given = {"matrix": jnp.asarray(RNG.normal(size=(8, 6)))}  # four chunks of 4 × 3
    (sent,), left = sent_of(DeMo(keep=5, chunk=4, momentum=0.5), [given])
    assert off(jax.tree.map(jnp.add, sent, left), given) < DOUBLE
    for rows in (slice(0, 4), slice(4, 8)):
        for columns in (slice(0, 3), slice(3, 6)):
            components, kept, rest = (
                dctn(np.asarray(tree["matrix"])[rows, columns], norm="ortho") for tree in (given, sent, left)
            )
            largest = np.sort(np.abs(components).ravel())[-5]
            assert kept == pytest.approx(np.where(np.abs(components) >= largest, components, 0), abs=1e-12)
            assert rest == pytest.approx(components - kept, abs=1e-12)


@pytest.mark.parametrize("shape", [(7,), (), (2, 3, 11), (13, 1)])
def test_demo_takes_arrays_that_chunks_do_not_fit(shape):
    """A component of each chunk is sent, and as chunk by chunk the sent is a projection of it, the rest is no longer."""
    given = {"array": jnp.asarray(RNG.normal(size=shape))}
    sent, left = sent_of(DeMo(keep=1, chunk=3, momentum=0.0), [given])
    assert off(jax.tree.map(jnp.add, sent[0], left), given) < DOUBLE
    assert np.linalg.norm(left["array"]) < np.linalg.norm(given["array"])


# --- compressed differences -----------------------------------------------------------------------------------------------


def test_what_stays_the_same_is_learned():
    """EF21's error falls by √(1 − k/d) with each message at least, DIANA's in the mean by 1 − α; to rounding in the end."""
    given = {"vector": jnp.asarray(RNG.normal(size=20))}
    errors = np.array([off(sent, given) for sent in sent_of(EF21(TopK(count=4)), [given] * 6)[0]])
    assert (errors <= math.sqrt(1 - 4 / 20) ** np.arange(1, 7)).all()
    assert errors[4] < DOUBLE  # five times four places
    learned = sent_of(DIANA(RandomK(count=4), step=4 / 20), [given] * 400)[0]
    assert off(learned[0], given) > 0.5
    assert off(learned[-1], given) < 1e-10


@pytest.mark.parametrize(
    "whole",
    [
        EF21(TopK(share=1.0)),
        DIANA(TopK(share=1.0), step=0.3),
        DeepGradientCompression(TopK(share=1.0), momentum=0.9),
        DeMo(keep=64**2, momentum=0.9),
        BytesOfSum(PowerSGD(1)),
        ErrorFeedback(EF21(TopK(share=1.0))),
    ],
    ids=repr,
)
def test_all_of_a_message_is_the_message(whole):
    """Ratio 1 ≡ none, to rounding; and takes as many bytes."""
    given = [message() for _ in range(3)]
    for sent, each in zip(sent_of(whole, given)[0], given, strict=True):
        assert off(sent, each) < DOUBLE
    if not isinstance(whole, BytesOfSum):
        assert whole.bytes(tuple(SHAPES.values())) == 4 * (35 + 72 + 6 + 1)


def two_workers(start=(0.0, 0.0)):
    """Optima (10, 1) and (−10, 1), so that of all it is (0, 1); a gradient is exact, w − xᵢ."""
    made = sg.Problem(
        *("two", Start(start), half_square, np.array([[10.0, 1.0], [-10.0, 1.0]])),
        batch_size=1,
        metrics={"w0": first, "w1": second},
    )
    return made.partitioned(2, by=sg.problems.GivenShares([[0], [1]]))


@dataclasses.dataclass(frozen=True)
class Start:
    at: tuple[float, ...]

    def __call__(self, key):
        return jnp.asarray(self.at)


def half_square(w, batch):
    return jnp.mean(jnp.sum((w - batch) ** 2, axis=-1)) / 2


def first(w, batch):
    return w[0]


def second(w, batch):
    return w[1]


def path(compression, step_size, updates, start=(0.0, 0.0), every=1, **parts):
    """Return w after each update, or each so many, (updates/every, 2)."""
    method = sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(step_size), compress_up=compression, **parts)
    ends = {"until": sg.Updates(updates), "evaluate_every": sg.Updates(every), "dtype": "float64"}
    run = sg.simulate(method, two_workers(start), cluster(1.0, 1.0), **ends)
    return np.stack([run.dataset[name].values for name in ("w0", "w1")], axis=1)[1:]


def test_differences_go_to_the_optimum_where_the_largest_numbers_stall():
    """Top-1 of (−10, −1) and (10, −1) is (∓10, 0), whose mean is 0: (0, 0) is left never, though the optimum is (0, 1).

    EF21 goes there linearly: f − f* ≤ (1 − γ)^T·(f₀ − f* + γ/θ·G₀) with μ = L = 1, θ = 1 − √(1 − k/d), γ ≤ θ/2 and
    γ ≤ 1/(1 + √(2β/θ)), β = (1 − k/d)/θ, and G₀ the mean squared error of the first messages (theorem 2, from memory).
    """
    assert (path(TopK(count=1), 0.14, 50) == 0).all()
    theta = 1 - math.sqrt(1 / 2)
    assert min(theta / 2, 1 / (1 + math.sqrt(2 * (1 / 2 / theta) / theta))) >= 0.14
    gap = ((path(EF21(TopK(count=1)), 0.14, 200) - [0, 1]) ** 2).sum(axis=1) / 2
    bound = (1 - 0.14) ** np.arange(1, 201) * (0.5 + 0.14 / theta * 1.0)
    assert (gap <= bound).all()
    assert gap[-1] < 1e-13


def test_differences_go_to_the_optimum_where_random_numbers_stay_noisy():
    """Random-1 of 2 has variance ω = d/k − 1 = 1 times the square of what it is of: at the optimum zᵢ = ±10, not 0.

    With y = w₀ and masks of their own, E y⁺² = ((1 − η)² + η²ω/n)·E y² + η²ω/n²·Σ zᵢ²: it comes to rest at 3.125/0.40625 for
    η = ¼ and n = 2. Every fourth of 4,000 rounds, correlated by 0.594⁴, is worth 780 values: 4 standard deviations of
    √(2/780) are 20%. DIANA learns zᵢ.
    """
    noisy = path(RandomK(count=1), 0.25, 4000, every=4)[25:, 0]
    assert np.mean(noisy**2) == pytest.approx(3.125 / 0.40625, rel=0.2)
    learned = path(DIANA(RandomK(count=1), step=0.5), 0.25, 400, start=(3.0, 0.0))
    assert np.abs(learned[-1] - [0, 1]).max() < 1e-12
    early, late = np.abs(learned[[40, 80], 0])
    assert late < 0.1 * early


def test_marina_with_full_gradients_alone_is_synchronous_sgd_with_full_gradients():
    """With p = 1; and with p below it, where nothing is left out of a difference and batches are whole shares."""
    full = path(None, 0.3, 8, work=sg.works.FullGradient(steps=3))
    every = {"until": sg.Updates(8), "evaluate_every": sg.Updates(1), "dtype": "float64"}
    for probability in (1.0, 0.2):
        method = sg.methods.marina(0.3, full_steps=3, compression=TopK(share=1.0), probability=probability)
        run = sg.simulate(method, two_workers(), cluster(1.0, 1.0), **every)
        got = np.stack([run.dataset[name].values for name in ("w0", "w1")], axis=1)[1:]
        assert got == pytest.approx(full, rel=1e-13, abs=1e-13)
        assert set(run.tape.kind.tolist()) == ({1} if probability == 1 else {0, 1})


def test_the_coin_of_marina_falls_as_often_as_it_should():
    """With p = 0.3 in 2,000 rounds: 5 standard deviations of √(p(1 − p)/2000) are 0.051. All workers see the same."""
    method = sg.methods.marina(full_steps=1, probability=0.3)
    kinds = sg.record(method, cluster(1.0, 2.0, 1.5), until=sg.Updates(2000), message_bytes=8).kind.reshape(2000, 3)
    assert (kinds == kinds[:, :1]).all()
    assert abs(kinds[:, 0].mean() - 0.3) < 0.051


def test_marina_asks_for_full_gradients_when_a_worker_joins():
    """It has no estimate yet."""
    joins = sg.faults.Join(worker=2, at=10.5)
    method = sg.methods.marina(full_steps=1, probability=1e-9)
    tape = sg.record(method, cluster(1.0, 1.0, 1.0, faults=[joins]), until=sg.Updates(12), message_bytes=8)
    assert tape.kind[tape.worker == 2].tolist()[:2] == [1, 0]
    assert set(tape.worker[(tape.kind == 1) & (tape.time > 5)].tolist()) == {0, 1, 2}


# --- what they weigh ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "shapes", "size"),
    [
        (PowerSGD(1), ((64, 32),), 4 * (64 + 32)),
        (PowerSGD(4), ((64, 32), (32,), ()), 4 * (4 * (64 + 32) + 32 + 1)),
        (PowerSGD(2), ((3, 3, 16, 32),), 4 * 2 * (144 + 32)),
        (EF21(TopK(count=3)), ((64, 32),), 3 * 8),
        (DIANA(RandomK(count=3, shared=True), step=0.1), ((64, 32), ()), 3 * 4),
        (DeepGradientCompression(TopK(share=0.01)), ((100,), (10, 10)), 2 * 8),
        (DeMo(keep=2, chunk=16), ((32, 32),), 4 * 2 * (4 + 1)),  # 256 numbers in a chunk: a byte counts them
        (DeMo(keep=2, chunk=17), ((34, 34),), 4 * 2 * (4 + 2)),  # 289: two do
        (DeMo(keep=2, chunk=300), ((300, 300),), 2 * (4 + 4)),
        (DeMo(keep=2, chunk=64), ((100,), (), (2,)), 2 * 2 * (4 + 1) + 4 + 2 * 4),
        (BytesOfSum(PowerSGD(1)), ((64, 32), (32,)), 4 * (64 + 32 + 32)),
        (ErrorFeedback(PowerSGD(1)), ((64, 32), (32,)), 4 * (64 + 32 + 32)),
    ],
    ids=repr,
)
def test_bytes(compression, shapes, size):
    assert compression.bytes(shapes) == size


def test_power_sgd_sends_as_much_less_as_the_paper_says():
    """Of ResNet18 for CIFAR10 rank 1 sends 1/243, rank 2 1/136 and rank 4 1/72 (table 3, from memory; outputs come first)."""
    shapes, before = [(64, 3, 3, 3)], 64
    for width in (64, 128, 256, 512):
        shapes += [(width, before, 3, 3), *[(width, width, 3, 3)] * 3]
        shapes += [(width, before, 1, 1)] if width > before else []
        before = width
    shapes = [*shapes, *[(shape[0],) for shape in shapes for _ in range(2)], (10, 512), (10,)]  # scales and shifts of norms
    whole = 4 * sum(map(math.prod, shapes))
    ratios = [whole / PowerSGD(rank, outputs="first").bytes(tuple(shapes)) for rank in (1, 2, 4)]
    assert [round(ratio) for ratio in ratios] == [243, 136, 72]


@pytest.mark.parametrize(
    ("compression", "sums"),
    [
        (PowerSGD(1), False),
        (BytesOfSum(PowerSGD(1)), True),
        (DeMo(), False),
        (EF21(TopK(count=1)), False),
        (EF21(RandomK(count=1, shared=True)), True),
        (DIANA(RandomK(count=1, shared=True), step=0.1), True),
        (DeepGradientCompression(TopK(count=1)), False),
    ],
    ids=repr,
)
def test_who_can_be_summed_on_the_way(compression, sums):
    assert compression.sums is sums


def test_a_message_that_is_not_finite_is_seen_to_be_so():
    for compression in (PowerSGD(1), DeMo(keep=1), EF21(TopK(count=1)), DIANA(RandomK(count=1), 0.5)):
        given = {"matrix": jnp.full((7, 5), jnp.nan)}
        assert not np.isfinite(np.asarray(sent_of(compression, [given])[0][0]["matrix"])).all(), compression


# --- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: PowerSGD(0), ValueError, r"PowerSGD\.rank must be a whole number of at least 1, got 0"),
        (lambda: PowerSGD(1.5), ValueError, r"PowerSGD\.rank .* got 1\.5"),
        (lambda: PowerSGD(1, warm_start=1), TypeError, r"PowerSGD\.warm_start must be True or False, got 1"),
        (lambda: PowerSGD(1, outputs="middle"), ValueError, r"PowerSGD\.outputs must be one of 'first', 'last', got 'middle'"),
        (lambda: DeMo(keep=0), ValueError, r"DeMo\.keep must be a whole number of at least 1, got 0"),
        (lambda: DeMo(chunk=-1), ValueError, r"DeMo\.chunk must be a whole number of at least 1, got -1"),
        (lambda: DeMo(momentum=1.0), ValueError, r"DeMo\.momentum must be at least 0 and below 1, got 1\.0"),
        (lambda: DIANA(TopK(share=0.1), step=0), ValueError, r"DIANA\.step must be a finite number above 0, got 0"),
        (lambda: DIANA(TopK(share=0.1), step=1.5), ValueError, r"DIANA\.step must be above 0 and at most 1, got 1\.5"),
        (
            lambda: EF21(TopK),
            TypeError,
            r"EF21\.compression must be an instance such as .* got the class TopK itself: call it, as in compressions\.TopK\(share=0\.01\)",
        ),
        (lambda: DIANA(0.1, step=0.1), TypeError, r"DIANA\.compression must be an instance such as .* got 0\.1"),
        (lambda: BytesOfSum(PowerSGD), TypeError, r"BytesOfSum\.compression .* the class PowerSGD itself"),
        (lambda: compress_sum(PowerSGD), TypeError, r"compression must be an instance such as .* the class PowerSGD itself"),
        (lambda: DeepGradientCompression(None), TypeError, r"DeepGradientCompression\.compression .* got None"),
        (
            lambda: DeepGradientCompression(TopK(count=1), momentum=-0.1),
            ValueError,
            r"DeepGradientCompression\.momentum must be at least 0 and below 1, got -0\.1",
        ),
        (lambda: sg.works.Marina(compression=TopK, full_steps=1), TypeError, r"Marina\.compression .* the class TopK itself"),
        (lambda: sg.works.Marina(compression=TopK(count=1), full_steps=0), ValueError, r"Marina\.full_steps .* got 0"),
        (
            lambda: sg.protocols.MarinaRounds(0.0),
            ValueError,
            r"MarinaRounds\.probability must be a finite number above 0, got 0",
        ),
        (
            lambda: sg.protocols.MarinaRounds(1.1),
            ValueError,
            r"MarinaRounds\.probability must be above 0 and at most 1, got 1\.1",
        ),
        (lambda: sg.methods.power_sgd(momentum=1.0), ValueError, r"momentum must be at least 0 and below 1, got 1\.0"),
        (lambda: sg.methods.deep_gradient_compression(clip=0.0), ValueError, r"clip must be a finite number above 0, got 0\.0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()


def recorded(compression, **known):
    half = [compress_sum(compression.compression)] if isinstance(compression, BytesOfSum) else []
    method = sg.Method(sg.MinibatchSGD(), optax.chain(*half, optax.sgd(0.1)), compress_up=compression)
    return sg.record(method, cluster(1.0), until=sg.Updates(1), **known)


def alone(compression):
    return compression


@pytest.mark.parametrize(
    "wrapped", [alone, EF21, ErrorFeedback, BytesOfSum, DeepGradientCompression], ids=lambda kind: kind.__name__
)
def test_a_rank_beyond_a_matrix_is_refused_before_anything_is_computed(wrapped):
    shapes = ((64, 32), (3, 3, 1, 16))
    said = r"PowerSGD\.rank must be at most 9 for the array of shape \(3, 3, 1, 16\), a matrix of 9 × 16, got 10"
    with pytest.raises(ValueError, match=said):
        recorded(wrapped(PowerSGD(10)), message_shapes=shapes)
    assert recorded(wrapped(PowerSGD(9)), message_shapes=shapes).updates == 1


@pytest.mark.parametrize("needs", [PowerSGD(1), DeMo(), EF21(PowerSGD(1)), BytesOfSum(PowerSGD(1))], ids=repr)
def test_shapes_that_are_needed_are_asked_for(needs):
    with pytest.raises(ValueError, match=r"message_shapes is needed where .* compresses: record"):
        recorded(needs, message_bytes=400.0)


def test_marina_asks_its_compression_too():
    method = sg.methods.marina(full_steps=1, compression=PowerSGD(3), probability=0.5)
    with pytest.raises(ValueError, match=r"PowerSGD\.rank must be at most 2 for the array of shape \(2, 8\)"):
        sg.record(method, cluster(1.0), until=sg.Updates(50), message_shapes=((2, 8),))


@pytest.mark.parametrize(
    "compression", [PowerSGD(1), DeMo(), EF21(TopK(count=1)), DIANA(TopK(count=1), 0.1), DeepGradientCompression(TopK(count=1))]
)
def test_whole_numbers_are_not_compressed(compression):
    with pytest.raises(TypeError, match=r"compresses floating-point numbers, got an array of int32 at message\['places'\]"):
        compression.init({"places": jnp.zeros((3, 3), jnp.int32)})
