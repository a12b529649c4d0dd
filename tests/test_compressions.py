"""Compressions: what is sent, on average and at most; what it weighs; what is remembered; and what is refused.

Expectations are means over many keys, or sums over all that can be drawn, in one compiled call each.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg
from simsgd.compressions import QSGD, ErrorFeedback, Half, NaturalRounding, RandomK, ScaledSign, Sign, TernGrad, TopK
from simsgd.compressions.sparse import largest

KEY = jax.random.key(7)
DRAWS = 20_000
STANDARD_ERRORS = 5  # passed by chance with a probability below 1e-6 for each number
MESSAGE = np.array([3.0, -1.0, 0.5, 0.0, 1.25, -2.0, 0.125], np.float32)
ALL = [
    *(TopK(share=0.3), TopK(count=2), RandomK(share=0.3), RandomK(count=2, shared=True), Sign(), ScaledSign(), TernGrad()),
    *(TernGrad(clip=2.0), QSGD(levels=4), NaturalRounding(), NaturalRounding(bits=8), Half(), Half("bfloat16")),
    *(ErrorFeedback(TopK(count=2)), ErrorFeedback(ScaledSign(), decay=0.5)),
]
UNBIASED = [RandomK(count=2), RandomK(count=3, shared=True), QSGD(levels=1), QSGD(levels=4), TernGrad(), NaturalRounding()]
DIGITS = ((64, 32), (32,), (32, 10), (10,))  # 2,410 numbers


def send(compression, message, state=None):
    """Return what is sent of one message."""
    message = jax.tree.map(jnp.asarray, message)
    state = compression.init(jax.tree.map(jnp.zeros_like, message)) if state is None else state
    return compression.compress(message, state, KEY, KEY)[0]


def draws(compression, message=MESSAGE):
    """Return what is sent of one message by many keys, (DRAWS, d)."""
    keys = jax.random.split(KEY, DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda key: compression.compress(message, (), key, key)[0]))(keys), np.float64)


def mean_and_error(values):
    return values.mean(axis=0), STANDARD_ERRORS * values.std(axis=0) / math.sqrt(len(values)) + 1e-6


@pytest.mark.parametrize("compression", UNBIASED, ids=repr)
def test_nothing_is_lost_on_average(compression):
    mean, error = mean_and_error(draws(compression))
    assert np.all(np.abs(mean - MESSAGE) <= error)


def test_what_is_left_out_of_random_k():
    """E‖C(x) − x‖² = (d/k − 1)·‖x‖², exactly; without the factor (1 − k/d)·‖x‖²."""
    d, square = MESSAGE.size, float(np.sum(MESSAGE**2))
    for k in (1, 2, 5):
        for scaled, expected in ((True, d / k - 1), (False, 1 - k / d)):
            off = np.sum((draws(RandomK(count=k, scaled=scaled)) - MESSAGE) ** 2, axis=1)
            mean, error = mean_and_error(off)
            assert abs(mean - expected * square) <= error


def test_each_choice_of_random_k_is_equally_likely():
    """The ten pairs of five places, and always two."""
    sent = draws(RandomK(count=2), np.ones(5, np.float32)) > 0
    assert np.all(sent.sum(axis=1) == 2)
    _, counts = np.unique(sent, axis=0, return_counts=True)
    assert len(counts) == 10
    assert np.all(np.abs(counts / DRAWS - 0.1) < STANDARD_ERRORS * math.sqrt(0.09 / DRAWS))


@pytest.mark.parametrize("levels", [1, 2, 4, 16])
def test_the_noise_of_qsgd_is_within_its_bound(levels):
    """E‖Q(x) − x‖² ≤ min(d/s², √d/s)·‖x‖², and exactly Σ (‖x‖/s)²·p(1 − p), p how far a number is above its level."""
    d, length = MESSAGE.size, float(np.linalg.norm(MESSAGE.astype(np.float64)))
    mean, error = mean_and_error(np.sum((draws(QSGD(levels)) - MESSAGE) ** 2, axis=1))
    above = (np.abs(MESSAGE.astype(np.float64)) / length * levels) % 1
    assert abs(mean - np.sum((length / levels) ** 2 * above * (1 - above))) <= error
    assert mean <= min(d / levels**2, math.sqrt(d) / levels) * length**2 + error


def test_the_noise_of_ternary_and_natural_rounding():
    """s‖x‖₁ − ‖x‖²; and at most x²/8 for each number, which 4/3 of a power of two has."""
    mean, error = mean_and_error(np.sum((draws(TernGrad()) - MESSAGE) ** 2, axis=1))
    assert abs(mean - (3.0 * np.abs(MESSAGE).sum() - np.sum(MESSAGE**2))) <= error
    numbers = np.array([4 / 3, 1.1, 1.5, 1.9, 1.0, -8 / 3, 1e-30], np.float32)
    off = (draws(NaturalRounding(), numbers) / numbers - 1) ** 2
    mean, error = mean_and_error(off)
    assert np.all(mean <= 1 / 8 + error)
    assert abs(mean[0] - 1 / 8) <= error[0]
    assert mean[4] == 0


@pytest.mark.parametrize("numbers", [1, 2, 60, 5000])
def test_top_k_is_a_contraction_with_exactly_k_places(numbers):
    """As a stable sort by magnitude has it, ties, infinities and NaN too: ‖x − C(x)‖² ≤ (1 − k/d)·‖x‖²."""
    rng = np.random.default_rng(numbers)
    for k in sorted({1, numbers // 3 + 1, numbers}):
        for message in (rng.normal(size=numbers), rng.integers(-3, 4, numbers), np.zeros(numbers)):
            message = message.astype(np.float32)
            sent = np.asarray(send(TopK(count=k), message))
            kept = np.argsort(-np.abs(message), kind="stable")[:k]
            assert np.array_equal(np.flatnonzero(sent), np.sort(kept[message[kept] != 0]))
            assert np.array_equal(sent[kept], message[kept])
            left = float(np.sum((message - sent).astype(np.float64) ** 2))
            assert left <= (1 - k / numbers) * np.sum(message.astype(np.float64) ** 2) * (1 + 1e-6)


def test_exactly_k_places_are_chosen_whatever_they_hold():
    for values in ([0, 0, 0, 0], [5, 5, 5, 5], [2**32 - 2, 0, 2**32 - 2, 1]):
        for k in (1, 2, 3, 4):
            assert int(largest(jnp.asarray(values, jnp.uint32), k).sum()) == k
    broken = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    assert np.array_equal(send(TopK(count=1), broken), [0, np.nan, 0, 0], equal_nan=True)
    assert np.array_equal(send(TopK(count=3), broken), [0, np.nan, np.inf, -np.inf], equal_nan=True)


@pytest.mark.parametrize("compression", ALL, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_messages_of_any_form(compression, dtype):
    """Scalars, empty arrays, all precisions: form and type are kept, zeros make no NaN, and the whole is one message."""
    with jax.enable_x64(dtype == "float64"):
        numbers = {"a": [[1.0, -2.0], [0.5, 4.0]], "b": 3.0, "c": np.zeros((0, 2))}
        message = {name: jnp.asarray(values, dtype) for name, values in numbers.items()}
        for given in (message, jax.tree.map(jnp.zeros_like, message)):
            sent = send(compression, given)
            assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), sent) == jax.tree.map(
                lambda x: (x.shape, x.dtype), given
            )
            assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(sent))


@pytest.mark.parametrize("compression", ALL, ids=repr)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(compression, broken):
    for place in (0, 6):
        message = MESSAGE.copy()
        message[place] = broken
        assert not np.all(np.isfinite(send(compression, message)))


@pytest.mark.parametrize("compression", [Sign(), RandomK(count=1), ErrorFeedback(TopK(count=1))], ids=repr)
def test_a_run_whose_gradients_are_not_finite_diverges(compression):
    """The derivative of √w is NaN below 0, where steps of 0.6 lead."""
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.6), compress_up=compression)
    problem = sg.Problem("root", _one, _root, np.zeros((4, 1)), batch_size=1)
    run = sg.simulate(method, problem, sg.Cluster(2, sg.times.Constant(1.0)), until=sg.Updates(30))
    assert run.status == "diverged"


def _one(key):
    return jnp.ones(3)


def _root(parameters, batch):
    return jnp.mean(jnp.sqrt(parameters)) * 3 + 0 * jnp.mean(batch)


def test_powers_of_two_and_halves():
    numbers = np.array([2.0**-126, -(2.0**127), 2.0**-60, 1.0, 0.0], np.float32)
    assert np.array_equal(send(NaturalRounding(), numbers), numbers)
    assert np.array_equal(send(NaturalRounding(bits=8), numbers)[1:], [-np.inf, 2.0**-60, 1.0, 0.0])
    numbers = np.array([1e-7, 1 + 2.0**-11, 65_504.0, 1e6], np.float32)
    for sending in (send, jax.jit(send, static_argnums=0)):
        assert np.array_equal(sending(Half(), numbers), [2.0**-23, 1, 65_504, np.inf])


BYTES = {
    TopK(share=0.01): 24 * 8,
    TopK(count=100): 100 * 8,
    TopK(share=0.6): 2410 * 4,  # 1,446 numbers with their places are more than all
    RandomK(share=0.01): 24 * 8,
    RandomK(share=0.01, shared=True): 24 * 4,
    Sign(): 302,  # 301.25
    ScaledSign(): 306,
    TernGrad(): 603 + 4 * 4,  # 602.5
    QSGD(levels=1): 4 + 603,  # two bits
    QSGD(levels=127): 4 + 2410,
    QSGD(levels=128): 4 + 2712,  # nine bits, 2,711.25
    NaturalRounding(): 2712,
    NaturalRounding(bits=8): 2410,
    Half(): 4820,
    ErrorFeedback(TopK(share=0.01)): 24 * 8,
}


@pytest.mark.parametrize("compression", BYTES, ids=repr)
def test_bytes_are_counted_to_the_byte_on_the_tape(compression):
    """Of the digits' 2,410 numbers."""
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=compression)
    cluster = sg.Cluster(2, sg.times.Constant(1.0))
    shapes = {"message_bytes": 4.0 * 2410, "message_shapes": DIGITS}
    tape = sg.record(method, cluster, until=sg.Updates(3), **shapes)
    assert set(tape.bytes_up.tolist()) == {BYTES[compression]}
    assert set(tape.bytes_down.tolist()) == {4.0 * 2410}


def test_which_messages_can_be_summed():
    assert all(each.sums for each in (Half(), RandomK(0.1, shared=True), ErrorFeedback(Half())))
    assert not any(each.sums for each in (TopK(0.1), RandomK(0.1), Sign(), ErrorFeedback(TopK(0.1))))


def test_shared_places_are_the_same_for_all_and_others_are_not():
    """By the key that the jobs of a version have in common, whatever their own."""
    message, others = jnp.arange(1.0, 101.0), jax.random.split(KEY, 8)
    for shared, different in ((True, 1), (False, 8)):
        sent = [RandomK(count=5, shared=shared).compress(message, (), key, KEY)[0] for key in others]
        assert len({tuple(np.flatnonzero(each)) for each in sent}) == different


def test_what_was_sent_and_the_error_are_the_sum_of_all_messages():
    """In float64, to rounding; and with decay 0 nothing is remembered."""
    with jax.enable_x64(True):
        messages = jax.random.normal(KEY, (30, 50), "float64")
        for inner in (TopK(count=3), ScaledSign(), RandomK(count=5, scaled=False), Half()):
            memory = ErrorFeedback(inner)
            state, total = memory.init(jnp.zeros(50)), 0.0
            for number, message in enumerate(messages):
                sent, state = memory.compress(message, state, jax.random.fold_in(KEY, number), KEY)
                total = total + sent
            np.testing.assert_allclose(total + state[0], messages.sum(axis=0), atol=1e-12)
        forgetful = ErrorFeedback(TopK(count=3), decay=0.0)
        _, state = forgetful.compress(messages[0], forgetful.init(jnp.zeros(50)), KEY, KEY)
        again, _ = forgetful.compress(messages[1], state, KEY, KEY)
        assert np.array_equal(again, send(TopK(count=3), messages[1]))


@pytest.mark.parametrize("compression", [TopK(share=1.0), RandomK(share=1.0), ErrorFeedback(TopK(share=1.0))], ids=repr)
def test_a_ratio_of_one_is_no_compression(compression):
    """The same tape and the same bits as with a compression that does nothing; as much as one executable can promise."""
    runs = []
    for up in (compression, Nothing()):
        method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=up)
        cluster = sg.Cluster(3, sg.times.Exponential(1.0), sg.networks.Link(0.01, 1e4))
        runs.append(sg.simulate(method, sg.problems.quadratic(noise=0.1), cluster, until=sg.Updates(50)))
    assert np.array_equal(runs[0].tape.time, runs[1].tape.time)
    np.testing.assert_allclose(runs[0].parameters, runs[1].parameters, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Nothing(sg.Compression):
    """All is sent as it is."""

    def bytes(self, shapes):
        return 4 * sum(map(math.prod, shapes))

    def compress(self, message, state, key, shared_key):
        return message, state


def descend(compression, gradient, start, step_size, steps):
    """Return the model after so many steps with compressed gradients, a key for each."""
    start = jnp.asarray(start)

    def step(number, at):
        model, state = at
        key = jax.random.fold_in(KEY, number)
        sent, state = compression.compress(gradient(model, key), state, key, key)
        return model - step_size * sent, state

    return np.asarray(jax.lax.fori_loop(0, steps, step, (start, compression.init(jnp.zeros_like(start))))[0])


def test_signs_drift_the_wrong_way_and_error_feedback_mends_it():
    """Karimireddy et al. (2019), counterexample 1: f(x) = x/4 on [−1, 1], whose gradient is 4 with probability ¼, else −1.

    E[g] = ¼, so x should fall; E[sign(g)] = −½, so it rises, by η/2 a step. With error feedback it falls by η/4 a step.
    """
    gradient = lambda x, key: jnp.where(jax.random.uniform(key, x.shape) < 0.25, 4.0, -1.0)  # noqa: E731
    steps, step_size = 4000, 1e-3
    up = descend(Sign(), gradient, [0.0], step_size, steps)[0]
    down = descend(ErrorFeedback(ScaledSign()), gradient, [0.0], step_size, steps)[0]
    assert up == pytest.approx(0.5 * steps * step_size, rel=0.15)
    assert down == pytest.approx(-0.25 * steps * step_size, rel=0.6)
    assert down < -0.3


def test_signs_never_leave_a_line_that_error_feedback_leaves():
    """Karimireddy et al. (2019), counterexample 3: f(x) = ½⟨a, x⟩²-like least squares whose gradients are all ±s·a.

    Samples a₁ = (1.1, −0.9)·…: signs of all gradients lie along (1, −1), so x₁ + x₂ never changes; the optimum is at 0.
    """
    samples = jnp.array([[0.6, -0.4], [-0.4, 0.6]])  # ε = 0.2: ±(1, −1) + ε·(1, 1), halved

    def gradient(x, key):
        a = samples[jax.random.randint(key, (), 0, 2)]
        return 2 * jnp.dot(a, x) * a

    start = [1.0, 1.0]
    stuck = descend(Sign(), gradient, start, 1e-3, 5000)
    mended = descend(ErrorFeedback(ScaledSign()), gradient, start, 0.05, 5000)
    assert stuck.sum() == pytest.approx(2.0, abs=1e-2)
    assert np.abs(mended).max() < 0.02


def test_bad_numbers_are_refused_with_the_way_out():
    for wrong, match in (
        (lambda: TopK(), "either share"),
        (lambda: TopK(0.1, count=3), "both"),
        (lambda: TopK(share=0.0), "TopK.share must be"),
        (lambda: TopK(share=1.5), r"at most 1, .* got 1\.5"),
        (lambda: TopK(count=0), "TopK.count must be a whole number of at least 1"),
        (lambda: RandomK(count=2.5), "RandomK.count must be a whole number"),
        (lambda: QSGD(levels=0), "QSGD.levels must be a whole number of at least 1"),
        (lambda: NaturalRounding(bits=7), "NaturalRounding.bits must be one of 8, 9"),
        (lambda: Half("float8"), "Half.kind must be one of"),
        (lambda: TernGrad(clip=0), "TernGrad.clip must be"),
        (lambda: ErrorFeedback(Sign(), decay=1.5), "ErrorFeedback.decay must be"),
        (lambda: send(TopK(count=8), MESSAGE), "at most the 7 numbers"),
    ):
        with pytest.raises(ValueError, match=match):
            wrong()


def test_wrong_kinds_are_refused_with_the_way_out():
    for wrong, match in (
        (lambda: ErrorFeedback(TopK), r"the class TopK itself: call it, as in compressions\.TopK\(share=0\.01\)"),
        (lambda: ErrorFeedback(0.1), "must be an instance such as"),
        (lambda: RandomK(0.1, shared=1), "RandomK.shared must be True or False"),
        (lambda: sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=TopK), "compress_up must be an instance"),
    ):
        with pytest.raises(TypeError, match=match):
            wrong()


@pytest.mark.parametrize("compression", ALL, ids=repr)
def test_whole_numbers_are_no_messages(compression):
    """The array is named; also in a tree with others."""
    with pytest.raises(TypeError, match=r"floating-point numbers, got an array of int32 at message\['b'\]"):
        send(compression, {"a": jnp.zeros(3), "b": jnp.zeros(3, jnp.int32)}, compression_state(compression))


def compression_state(compression):
    """What would be remembered, of arrays that are right."""
    right = {"a": jnp.zeros(3), "b": jnp.zeros(3)}
    return compression.init(right)


def test_more_places_than_a_known_message_has_are_refused_when_it_is_recorded():
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=ErrorFeedback(TopK(count=5)))
    with pytest.raises(ValueError, match=r"TopK\.count must be at most the 3 numbers of a message, got 5"):
        sg.record(method, sg.Cluster(2, sg.times.Constant(1.0)), until=sg.Updates(1), message_shapes=((3,),))
