"""A model sent in fragments: who steps with what, whose turn it is, bytes to the byte, rounds with a quorum."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import cluster

import simsgd as sg
from simsgd import faults, methods, optimizers, protocols, works
from simsgd.optimizers.fragments import fragment_of
from simsgd.support.pieces import borders


def begins(key):
    return {"a": jnp.asarray([16.0]), "b": jnp.asarray([[16.0, 16.0]])}


def squares(parameters, batch):
    """Half of the sum of (w − x)² over three numbers, so that each has the gradient w − x."""
    return jnp.mean((parameters["a"][0] - batch) ** 2 + jnp.sum((parameters["b"] - batch[:, None, None]) ** 2, (1, 2))) / 2


METRICS = {
    "first": lambda parameters, data: parameters["a"][0],
    "second": lambda parameters, data: parameters["b"][0, 0],
    "third": lambda parameters, data: parameters["b"][0, 1],
}


def three(optima=(0.0,)):
    """Three numbers, of which a worker's optimum is its own where there are several."""
    made = sg.Problem("three numbers", begins, squares, np.asarray(optima), batch_size=1, metrics=METRICS)
    shares = sg.problems.GivenShares([[worker] for worker in range(len(optima))])
    return made if len(optima) == 1 else made.partitioned(len(optima), by=shares)


def versions(method, problem, where, updates):
    """The model after each update, rows of three numbers."""
    run = sg.simulate(method, problem, where, until=sg.Updates(updates), evaluate_every=sg.Updates(1), dtype="float64")
    return np.stack([run.dataset[name].values for name in METRICS], 1).tolist()[1:]


def streaming(steps, fragments, **more):
    """Streaming DiLoCo with SGD of step size ½ at the workers, and plain steps at the server."""
    plain = {"outer_step_size": 1.0, "momentum": 0.0}
    method = methods.streaming_diloco(steps=steps, fragments=fragments, **plain, **more)
    return dataclasses.replace(method, inner=optimizers.sgd(0.5))


def test_a_row_is_cut_into_equal_pieces():
    assert borders(7, 3) == (0, 3, 5, 7)
    own = fragment_of({"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}, 3)
    assert [*own["a"].tolist(), *own["b"].ravel().tolist()] == [0, 0, 0, 1, 1, 2, 2]
    for numbers, pieces in ((1, 1), (12, 5)):
        sizes = np.diff(borders(numbers, pieces))
        assert sizes.sum() == numbers
        assert set(sizes) <= {numbers // pieces, -(-numbers // pieces)}
        counted = np.bincount(fragment_of(jnp.zeros(numbers), pieces), minlength=pieces)
        assert counted.tolist() == sizes.tolist()


def test_streaming_by_hand():
    """One worker, P = 2 (two numbers, then one), one step a round, w ← w/2; the server takes what it is sent.

    Round 0: x = 8, 8, 8, sent 8, 8: w = 8, 8, 16. Round 1: x takes in 8, 8, goes to 4, 4, 4, sends the last: w = 8, 8, 4.
    Round 2: x = 2, 2, 2 and sends the first two: w = 2, 2, 4.
    """
    assert versions(streaming(1, 2, mixing=1.0), three(), cluster(1.0), 3) == [[8, 8, 16], [8, 8, 4], [2, 2, 4]]


@pytest.mark.slow
@pytest.mark.parametrize(("overlap", "second"), [(0, 8.5), (1, 8.75)])
def test_mixing_and_overlap_by_hand(overlap, second):
    """Optima 0 and 16, P = 1, H = 2, mixing ½: x and w meet half way, after `overlap` steps.

    Round 0: 16 → 4 and 16 → 16, w = 10. Worker 0: (4 + 10)/2 = 7 → 7/4, worker 1: (16 + 10)/2 = 13 → 16 − ¾: w = 8½. With an
    overlap of 1: 4 → 2, (2 + 10)/2 = 6 → 3, and 16 → 16, 13 → 14½: w = 8¾.
    """
    got = versions(streaming(2, 1, mixing=0.5, overlap=overlap), three((0.0, 16.0)), cluster(1.0, 2.0), 2)
    assert got == [[10] * 3, [second] * 3]


def test_one_fragment_mixed_fully_is_diloco():
    """The same times and bytes, and the same models."""
    given = {"steps": 3, "weight_decay": 0.01}
    problem, where = sg.problems.quadratic(noise=0.5), cluster(1.0, 1.5, 2.5)
    runs = [
        sg.simulate(method, problem, where, until=sg.Updates(8), dtype="float64")
        for method in (methods.diloco(**given), methods.streaming_diloco(fragments=1, mixing=1.0, **given))
    ]
    assert runs[0].tape.time.tolist() == runs[1].tape.time.tolist()
    assert (runs[0].tape.bytes_up == runs[1].tape.bytes_up).all()
    np.testing.assert_allclose(runs[1].parameters, runs[0].parameters, rtol=1e-12)


def test_bytes_are_those_of_the_fragments():
    """Ten numbers of 4 bytes in pieces of 4, 3 and 3; down goes what the step before has changed, at first all."""
    tape = sg.record(streaming(1, 3), cluster(1.0, 2.0), until=sg.Updates(7), message_shapes=[(2, 3), (4,)])
    assert tape.bytes_up[tape.worker == 0].tolist() == [16, 12, 12, 16, 12, 12, 16]
    assert tape.bytes_down[tape.worker == 0].tolist() == [40, 16, 12, 12, 16, 12, 12]


def test_who_misses_rounds_is_sent_what_has_changed():
    """Worker 2 needs 2.5 rounds of the others: its second job is sent the fragments of two steps, or all."""
    method = methods.decoupled_diloco(steps=1, fragments=3, quorum=2)
    tape = sg.record(method, cluster(1.0, 1.0, 2.5), until=sg.Updates(9), message_shapes=[(10,)])
    jobs = {name: tape.of_all_jobs(name) for name in ("worker", "read", "bytes_down", "bytes_up", "kind")}
    mine = jobs["worker"] == 2
    read, down, up, kind = (jobs[name][mine].tolist() for name in ("read", "bytes_down", "bytes_up", "kind"))
    order = np.argsort(read)
    sizes = (16, 12, 12)
    for last, this in itertools.pairwise(order):
        assert down[this] == sum(sizes[step % 3] for step in range(read[last], read[this])[-3:])
    assert [up[k] for k in order] == [sizes[read[k] % 3] for k in order]
    assert [kind[k] % 3 for k in order] == [read[k] % 3 for k in order]
    assert max(np.diff(sorted(read))) >= 2


def test_late_fragments_wait_for_their_turn_or_are_thrown_away():
    """Worker 2's jobs take 2.5 s, rounds 1 s: with two fragments a message is of use if it misses an even number of rounds."""
    for late, fragments in ((True, 1), (True, 2), (False, 1)):
        method = methods.decoupled_diloco(steps=1, fragments=fragments, quorum=2, late=late)
        tape = sg.record(method, cluster(1.0, 1.0, 2.5), until=sg.Updates(30))
        used = tape.staleness[tape.worker == 2]
        thrown = tape.discarded.version - tape.discarded.read
        assert (used % fragments == 0).all()
        assert len(used) == 0 or late
        assert len(thrown) == 0 or fragments == 2 or not late
        assert (thrown > 0).all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (protocols.QuorumSGD(2), protocols.KAsyncSGD(2)),
        (protocols.QuorumSGD(4), protocols.MinibatchSGD()),
        (protocols.QuorumSGD(4, grace=3.0), protocols.MinibatchSGD()),
        (protocols.FragmentsSGD(1), protocols.MinibatchSGD()),
    ],
)
def test_rounds_that_are_those_of_others(ours, theirs):
    where = sg.Cluster(4, sg.times.Speeds(sg.times.Exponential(1.0), (1.0, 2.0, 0.5, 1.5)))
    one, other = (sg.record(protocol, where, until=sg.Updates(40)) for protocol in (ours, theirs))
    for name in ("worker", "job", "read", "step", "time"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def test_the_grace_window_by_hand():
    """K = 1, g = ¾, jobs of 1, 1.5 and 4 s: steps at 1.75 and 3.5 s with workers 0 and 1; worker 2's at 4 s begins a window.

    So the third step comes at 4.75 s, with worker 0's of 4.5 s, and worker 1's of 5 s is late: it begins the fourth.
    """
    tape = sg.record(protocols.QuorumSGD(1, grace=0.75), cluster(1.0, 1.5, 4.0), until=sg.Updates(4))
    assert tape.update_times.tolist() == [1.75, 3.5, 4.75, 5.75]
    assert tape.worker.tolist() == [0, 1, 0, 1, 2, 0, 1, 0]
    assert tape.staleness.tolist() == [0, 0, 0, 0, 2, 0, 1, 0]


def test_a_window_ends_when_all_are_in():
    """And its alarm, which rings in the next round, ends nothing: steps come at 2, 4, 6 s."""
    tape = sg.record(protocols.QuorumSGD(1, grace=1.5), cluster(1.0, 2.0), until=sg.Updates(3))
    assert tape.update_times.tolist() == [2, 4, 6]


def test_a_quorum_goes_on_without_who_crashes():
    """Worker 1 is down from 2.5 to 4.25 s: nobody waits, and when it is back it is handed the current model."""
    down = faults.Crash(worker=1, at=2.5, back=4.25)
    method = methods.decoupled_diloco(steps=1, fragments=2, quorum=1, grace=10.0)
    tape = sg.record(method, cluster(1.0, 2.0, faults=[down]), until=sg.Updates(5))
    assert tape.update_times.tolist() == [2, 3, 4, 6.25, 8.25]
    mine = tape.worker == 1
    assert tape.read[mine].tolist() == [0, 3, 4]
    assert (tape.kind[mine] % 2).tolist() == [0, 1, 0]


def test_what_was_not_sent_keeps_its_momentum():
    """Two numbers in two fragments: each has the momentum of every second step alone."""
    rule = optimizers.in_fragments(optax.sgd(1.0, momentum=0.5), 2)
    w = jnp.zeros(2)
    state, alone = rule.init(w), [0.0, 0.0]
    velocity = [0.0, 0.0]
    for number, message in enumerate([1.0, 2.0, 4.0, 8.0]):
        updates, state = rule.update(jnp.full(2, message), state, w)
        w = optax.apply_updates(w, updates)
        velocity[number % 2] = velocity[number % 2] / 2 + message
        alone[number % 2] -= velocity[number % 2]
        assert w.tolist() == alone


def test_all_of_adam_that_is_like_the_parameters_stays():
    rule = optimizers.in_fragments(optax.adam(0.1), 3)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(4)}
    state = rule.init(params)
    _, after = rule.update({"a": jnp.ones(2), "b": jnp.ones(4)}, state, params)
    for moment in (after.optimizer[0].mu, after.optimizer[0].nu):
        assert (np.asarray(moment["a"]) != 0).all()
        assert not np.asarray(moment["b"]).any()
    assert int(after.optimizer[0].count) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: works.Fragments(2, fragments=0), "Fragments.fragments must be"),
        (lambda: works.Fragments(0), "Fragments.steps must be at least 1, got 0"),
        (lambda: works.Fragments(2, overlap=2), "Fragments.overlap must be below steps, 2, got 2"),
        (lambda: works.Fragments(2, overlap=-1), "Fragments.overlap must be"),
        (lambda: works.Fragments(2, mixing=0.0), "Fragments.mixing must be"),
        (lambda: works.Fragments(2, mixing=1.5), "Fragments.mixing must be above 0 and at most 1"),
        (lambda: protocols.FragmentsSGD(0), "FragmentsSGD.fragments must be"),
        (lambda: protocols.QuorumSGD(0), "QuorumSGD.quorum must be"),
        (lambda: protocols.QuorumSGD(2, grace=-0.5), "QuorumSGD.grace must be .*at least 0.*got -0.5"),
        (lambda: protocols.QuorumSGD(2, fragments=0), "QuorumSGD.fragments must be"),
        (lambda: optimizers.fragment_nesterov(0.1, fragments=0), "fragments must be"),
    ],
)
def test_what_makes_no_sense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_quorum_of_more_than_all_is_refused():
    with pytest.raises(ValueError, match=r"QuorumSGD\.quorum=3 asks for more workers"):
        sg.record(protocols.QuorumSGD(3), cluster(1.0, 1.0), until=sg.Updates(1))
    with pytest.raises(TypeError, match=r"QuorumSGD\.late must be True or False"):
        protocols.QuorumSGD(2, late="yes")


def test_more_fragments_than_numbers_are_refused_before_anything_is_played():
    method = methods.streaming_diloco(steps=1, fragments=4)
    with pytest.raises(ValueError, match="fragments must be at most as many as the model has numbers, 3, got 4"):
        sg.simulate(method, three(), cluster(1.0), until=sg.Updates(1))


def test_messages_travel_while_workers_compute_on():
    """Four steps of 1 s, messages of 1 s each way: a round takes 6 s, with two steps made meanwhile 4 s, with one 5 s."""
    for overlap, seconds in ((0, 6.0), (1, 5.0), (2, 4.0), (3, 4.0)):
        where = sg.Cluster(3, sg.times.Constant(1.0), sg.networks.Link(latency=1.0))
        tape = sg.record(streaming(4, 2, overlap=overlap), where, until=sg.Updates(5), message_shapes=[(10,)])
        assert np.diff(tape.update_times).tolist() == [seconds] * 4
        assert tape.update_times[0] == 6.0  # before the first round there is nothing to overlap with


def test_a_fragment_takes_its_share_of_a_slow_link():
    """Of 1,000 bytes a second: a round of the whole model of 4,000 bytes takes 8 s on its way, in four fragments 2 s."""
    where = sg.Cluster(1, sg.times.Constant(1.0), sg.networks.Link(bandwidth=1000.0))
    for fragments, seconds in ((1, 9.0), (4, 3.0)):
        tape = sg.record(streaming(1, fragments), where, until=sg.Updates(4), message_shapes=[(10, 100)])
        assert np.diff(tape.update_times).tolist() == [seconds] * 3


@pytest.mark.parametrize(("after_crash", "second"), [("keep", 1.5), ("reset", 1.0)])
def test_after_a_crash_the_first_steps_are_made_on_the_old_model_unless_that_is_forgotten(after_crash, second):
    """H = 2, overlap 1, mixing ½, steps that halve the model; 1 s a step and 1 s each way.

    16 → 8 → 4 makes version 1, 4, at 4 s. Its job would have begun at 5 s and ended at 6 s, one step having been made before.
    It is lost at 5.5 s, and the next begins at 7 s: both steps follow. The first is made on the 4 that the worker had, → 2,
    then ½·2 + ½·4 = 3 → 1.5; a worker that has forgotten it goes 4 → 2 → 1.
    """
    method = dataclasses.replace(streaming(2, 1, overlap=1, mixing=0.5), after_crash=after_crash)
    where = sg.Cluster(1, sg.times.Constant(1.0), sg.networks.Link(latency=1.0), [faults.Crash(0, at=5.5, back=6.0)])
    tape = sg.record(method, where, sg.Updates(2))
    assert (tape.began.tolist(), tape.ended.tolist()) == ([1.0, 7.0], [3.0, 9.0])
    assert [version[0] for version in versions(method, three(), where, 2)] == [4.0, second]
