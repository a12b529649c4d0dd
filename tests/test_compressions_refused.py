"""Compressions that make no sense where they stand are refused before anything is computed, and the error says the way out."""

import optax
import pytest

import simsgd as sg
from simsgd import compressions, protocols, times
from simsgd.compressions import BytesOfSum, ErrorFeedback, PowerSGD, TopK, compress_sum

SGD = sg.optimizers.sgd(0.1)
CLUSTER = sg.Cluster(3, times.Constant(1.0))


# --- the bytes of a sum, and its other half -------------------------------------------------------------------------------


def summing(learning_rate):
    return optax.chain(compress_sum(TopK(share=0.1)), optax.sgd(learning_rate))


def cyclic():
    """Return an optimizer whose update knows itself."""

    def update(updates, state, params=None):
        return (update and updates), state

    return optax.GradientTransformation(lambda params: (), update)


@pytest.mark.parametrize("optimizer", [SGD, optax.adam(0.1), optax.chain(optax.trace(0.9), optax.scale(-0.1)), cyclic()])
@pytest.mark.parametrize("wrapped", [lambda c: c, ErrorFeedback], ids=["bare", "in another"])
def test_the_bytes_of_a_sum_that_nobody_compresses(optimizer, wrapped):
    said = (
        r"compress_up=BytesOfSum.*TopK\(share=0\.1\).* says the bytes only.*does not compress the sum: put compress_sum\(TopK"
    )
    with pytest.raises(ValueError, match=said):
        sg.Method(sg.MinibatchSGD(), optimizer, compress_up=wrapped(BytesOfSum(TopK(share=0.1))))


def test_the_bytes_of_another_sum():
    with pytest.raises(
        ValueError, match=r"compresses the sum with TopK\(share=0\.1\): put compress_sum\(TopK\(share=0\.01\)\)"
    ):
        sg.Method(sg.MinibatchSGD(), summing(0.1), compress_up=BytesOfSum(TopK(share=0.01)))


@pytest.mark.parametrize("protocol", [sg.AsyncSGD(), protocols.KSyncSGD(2), protocols.SampledSGD(2)])
def test_the_bytes_of_a_sum_over_some_workers(protocol):
    with pytest.raises(ValueError, match=rf"needs a synchronous protocol, .* got {type(protocol).__name__}.*MinibatchSGD"):
        sg.Method(protocol, summing(0.1), compress_up=BytesOfSum(TopK(share=0.1)))


def test_the_bytes_of_a_sum_on_the_way_down():
    with pytest.raises(ValueError, match=r"compress_down must not be BytesOfSum.*it is for compress_up"):
        sg.Method(sg.MinibatchSGD(), summing(0.1), compress_down=BytesOfSum(TopK(share=0.1)))


REMEMBERING = [
    (ErrorFeedback(TopK(share=0.1)), r"TopK\(share=0\.1\)"),
    (compressions.EF21(TopK(share=0.1)), r"TopK\(share=0\.1\)"),
    (compressions.DIANA(compressions.RandomK(share=0.1), step=0.1), r"RandomK\(share=0\.1\)"),
    (compressions.DeepGradientCompression(TopK(share=0.1)), r"TopK\(share=0\.1\)"),
    (compressions.DeMo(), r"TopK\(share=0\.1\)"),
]


@pytest.mark.parametrize(("remembering", "way_out"), REMEMBERING)
def test_what_feeds_back_on_the_way_down(remembering, way_out):
    with pytest.raises(ValueError, match=rf"compress_down must not be .* give compress_down={way_out}$"):
        sg.Method(sg.AsyncSGD(), SGD, compress_down=remembering)
    assert sg.Method(sg.AsyncSGD(), SGD, compress_up=remembering).compress_up == remembering


@pytest.mark.parametrize(
    "optimizer",
    [summing(0.1), sg.optimizers.tunable(summing, learning_rate=0.1), optax.chain(summing(1.0), optax.trace(0.9))],
    ids=["chain", "tunable", "chain of chains"],
)
def test_with_its_other_half_it_runs(optimizer):
    method = sg.Method(sg.MinibatchSGD(), optimizer, compress_up=BytesOfSum(TopK(share=0.1)))
    assert sg.simulate(method, sg.problems.quadratic(), CLUSTER, until=sg.Updates(2)).tape.updates == 2


# --- ranks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        sg.methods.power_sgd(rank=50),
        sg.Method(sg.AsyncSGD(), SGD, compress_up=PowerSGD(50)),
        sg.Method(sg.AsyncSGD(), SGD, compress_down=PowerSGD(50)),
        sg.Method(sg.AsyncSGD(), optax.chain(compress_sum(PowerSGD(50)), optax.sgd(0.1))),
        sg.Method(sg.AsyncSGD(), SGD, on_message=compress_sum(PowerSGD(50))),
    ],
    ids=["power_sgd", "up", "down", "optimizer", "on_message"],
)
@pytest.mark.parametrize("verb", ["simulate", "replay"])
def test_a_rank_beyond_a_matrix_is_named_wherever_it_stands(method, verb):
    problem, until = sg.problems.digits(), sg.Updates(2)
    tape = sg.record(method.protocol, CLUSTER, until)
    calls = {
        "simulate": lambda: sg.simulate(method, problem, CLUSTER, until=until),
        "replay": lambda: sg.replay(tape, problem, method),
    }
    said = r"PowerSGD\.rank must be at most 32 for the array of shape \(64, 32\), a matrix of 64 × 32, got 50"
    with pytest.raises(ValueError, match=said):
        calls[verb]()


# --- the time of compressing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [{}, {"compress_down": TopK(share=0.1)}, {"at_worker": optax.trace(0.9)}])
def test_the_time_of_compressing_where_workers_compress_nothing(parts):
    with pytest.raises(
        ValueError, match=r"compressing=Constant\(.* must be left out where workers compress nothing: give compress_up"
    ):
        sg.Method(sg.AsyncSGD(), SGD, compressing=times.Constant(0.5), **parts)


@pytest.mark.parametrize(
    "parts", [{"compress_up": TopK(share=0.1)}, {"work": sg.works.Marina(compression=TopK(share=0.1), full_steps=1)}]
)
def test_the_time_of_compressing_where_they_do(parts):
    sg.Method(protocols.MarinaRounds(0.5), SGD, compressing=times.Constant(0.5), **parts)


# --- sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [TopK, compressions.RandomK])
@pytest.mark.parametrize("size", [{"message_bytes": 100}, {"message_shapes": ((5, 5),)}], ids=["bytes", "shapes"])
def test_more_places_than_there_are_numbers(sparse, size):
    def bytes_up(count):
        method = sg.Method(sg.AsyncSGD(), SGD, compress_up=ErrorFeedback(sparse(count=count)))
        return sg.record(method, CLUSTER, sg.Updates(1), **size).bytes_up.tolist()

    with pytest.raises(ValueError, match=rf"{sparse.__name__}\.count must be at most the 25 numbers of a message, got 26"):
        bytes_up(26)
    assert bytes_up(25) == [100]


@pytest.mark.parametrize(
    "method",
    [
        sg.methods.top_k(share=0.1),
        sg.Method(sg.AsyncSGD(), SGD, compress_down=TopK(share=0.1)),
        sg.methods.marina(full_steps=1, compression=TopK(share=0.1), probability=0.5),
    ],
    ids=["up", "down", "work"],
)
def test_bytes_that_nobody_said_are_asked_for(method):
    with pytest.raises(ValueError, match=r"message_bytes or message_shapes is needed for a method that compresses.*=problem"):
        sg.record(method, CLUSTER, sg.Updates(3))
    assert sg.record(method, CLUSTER, sg.Updates(3), message_shapes=((25,),)).updates == 3
    assert sg.record(method, CLUSTER, sg.Updates(3), message_bytes=100).updates == 3
    assert sg.record(sg.methods.minibatch(), CLUSTER, sg.Updates(3)).bytes_up.tolist() == [0] * 9


# --- settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["5%", "0.1", True, [0.1]])
def test_a_share_that_is_no_number(share):
    with pytest.raises(
        TypeError, match=r"TopK\.share must be a share of the numbers, above 0 and at most 1, such as 0\.01, got"
    ):
        TopK(share=share)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_share_out_of_range(share):
    with pytest.raises(
        ValueError, match=r"RandomK\.share must be a share of the numbers, above 0 and at most 1, such as 0\.01, got"
    ):
        compressions.RandomK(share=share)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (TopK, r"TopK itself: call it, as in compressions\.TopK\(share=0\.01\)$"),
        (compressions.RandomK, r"RandomK itself: call it, as in RandomK\(share=…\)$"),
        (PowerSGD, r"PowerSGD itself: call it, as in PowerSGD\(rank=…\)$"),
        (compressions.Sign, r"Sign itself: add \(\)$"),
    ],
)
def test_a_class_is_called(kind, said):
    with pytest.raises(TypeError, match=said):
        sg.Method(sg.AsyncSGD(), SGD, compress_up=kind)
