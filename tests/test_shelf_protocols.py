"""Methods of the shelf whose protocol decides: their tapes, as worked out by hand, and the step that they make.

Three workers, whose jobs take always 1, 2.25 and 5.3 s, and messages no time.
"""

import pytest
from by_hand import cluster, end, models, problem

import simsgd as sg
from simsgd import methods

SECONDS = (1.0, 2.25, 5.3)


def recorded(method, updates, *seconds):
    return sg.record(method, cluster(*(seconds or SECONDS)), sg.Updates(updates))


def rows(tape):
    """Who, when, and how stale: the gradients used, in order."""
    return list(zip(tape.worker.tolist(), tape.time.tolist(), tape.staleness.tolist(), strict=True))


def weights(tape):
    return tape.weight.tolist()


def test_minibatch():
    """Every step waits for the slowest, and averages: w = 16 − ½·16 for three equal gradients."""
    tape = recorded(methods.minibatch(), 2)
    assert tape.update_times.tolist() == [5.3, 10.6]
    assert sorted(tape.worker.tolist()) == [0, 0, 1, 1, 2, 2]
    assert weights(tape) == [1 / 3] * 6
    assert models(methods.minibatch(0.5), SECONDS, 2) == pytest.approx([8, 4], rel=1e-15)


def test_k_sync():
    """K = 2 of 3: steps at X_{2:3} = 2.25, 4.5; worker 2 never ends."""
    tape = recorded(methods.k_sync(gradients=2), 2)
    assert rows(tape) == [(0, 1, 0), (1, 2.25, 0), (0, 3.25, 0), (1, 4.5, 0)]
    assert weights(tape) == [1 / 2] * 4
    assert models(methods.k_sync(0.5, gradients=2), SECONDS, 2) == [8, 4]


def test_backup_workers():
    """One of three is a backup: that is K-sync with K = 2."""
    method = methods.backup_workers(workers=3, backups=1)
    assert rows(recorded(method, 3)) == rows(recorded(methods.k_sync(gradients=2), 3))
    with pytest.raises(ValueError, match="backups must be fewer than the 3 workers, got 3"):
        methods.backup_workers(workers=3, backups=3)


def test_k_batch_sync():
    """K = 3: two of worker 0 and one of worker 1 at 2.25 s, the smallest t with Σ⌊t/h⌋ ≥ 3; then all begin anew."""
    tape = recorded(methods.k_batch_sync(gradients=3), 2)
    assert rows(tape) == [(0, 1, 0), (0, 2, 0), (1, 2.25, 0), (0, 3.25, 0), (0, 4.25, 0), (1, 4.5, 0)]
    assert weights(tape) == [1 / 3] * 6


def test_first_m():
    """With m = 2 a step takes h₂ = 2.25 s, and worker 2 never computes."""
    tape = recorded(methods.first_m(workers=2), 2)
    assert rows(tape) == [(0, 1, 0), (1, 2.25, 0), (0, 3.25, 0), (1, 4.5, 0)]
    assert weights(tape) == [1 / 2] * 4
    assert 2 not in tape.in_flight.worker


RENNALA = [(0, 1, 0), (0, 2, 0), (1, 2.25, 0), (0, 4, 0), (1, 4.5, 0), (0, 5, 0)]


def test_rennala():
    """B = 3: as K-batch-sync at first; then worker 0 still computes for version 0 until 3 s, which is thrown away."""
    tape = recorded(methods.rennala(gradients=3), 2)
    assert rows(tape) == RENNALA
    assert weights(tape) == [1 / 3] * 6
    assert list(zip(tape.discarded.worker.tolist(), tape.discarded.time.tolist(), strict=True)) == [(0, 3.0)]


def test_asynchronous_mini_batching():
    """Stale gradients are filtered out, three of the current version make a batch: Rennala's tape."""
    assert rows(recorded(methods.asynchronous_mini_batching(gradients=3), 2)) == RENNALA


def test_mind_flayer():
    """A limit of 2.5 s, two trials: worker 2 fails both, at 2.5 and 5 s, and the round lasts max(2, 4.5, 5) s."""
    tape = recorded(methods.mind_flayer(limit=2.5, trials=2), 2)
    assert rows(tape)[:4] == [(0, 1, 0), (0, 2, 0), (1, 2.25, 0), (1, 4.5, 0)]
    assert tape.update_times.tolist() == [5, 10]
    assert weights(tape) == [1 / 4] * 8
    # p = (1, 1, 0), so B = 4 as well; with half as many expected the step is twice as long
    assert weights(recorded(methods.mind_flayer(limit=2.5, trials=2, expected=4.0), 1)) == [1 / 4] * 4
    assert weights(recorded(methods.mind_flayer(limit=2.5, trials=2, expected=2.0), 1)) == [1 / 2] * 4


def test_malenia():
    """Step when ((1/n) Σ 1/B)⁻¹ ≥ S/n, with weights 1/(n·B).

    S = 3: once each has given one, at 5.3 s, B = (5, 2, 1). S = 6: Σ 1/B ≤ 9/6 needs B = (6, 3, 1), at 6.75 s.
    """
    for gradients, counts, second in ((3, (5, 2, 1), 5.3), (6, (6, 3, 1), 6.75)):
        tape = recorded(methods.malenia(gradients=gradients), 1)
        assert tape.update_times.tolist() == [second]
        assert tuple((tape.worker == worker).sum() for worker in range(3)) == counts
        for worker, count in enumerate(counts):
            assert tape.weight[tape.worker == worker] == pytest.approx(1 / (3 * count), rel=1e-15)
    # with optima (0, 12, 24): w = 16 − ½·((16 − 0) + (16 − 12) + (16 − 24))/3
    assert models(methods.malenia(0.5, gradients=3), SECONDS, 1, optima=(0.0, 12.0, 24.0)) == pytest.approx([14], rel=1e-15)


def test_asynchronous():
    """Each gradient is a step: worker 1's, read at version 0, meets version 2; then worker 0's, read at 2, meets 3."""
    tape = recorded(methods.asynchronous(), 5)
    assert rows(tape) == [(0, 1, 0), (0, 2, 0), (1, 2.25, 2), (0, 3, 1), (0, 4, 0)]
    assert weights(tape) == [1] * 5
    # w = 16 − ½·16, 8 − ½·8, 4 − ½·16, −4 − ½·4, −6 − ½·(−6)
    assert models(methods.asynchronous(0.5), SECONDS, 5) == [8, 4, -4, -6, -3]


def test_k_async():
    """K = 2: workers 0 and 1 wait for each other, worker 2 joins the third step with what it read two versions ago."""
    tape = recorded(methods.k_async(gradients=2), 3)
    assert rows(tape) == [(0, 1, 0), (1, 2.25, 0), (0, 3.25, 0), (1, 4.5, 0), (2, 5.3, 2), (0, 5.5, 0)]
    assert weights(tape) == [1 / 2] * 6
    # 16 − ½·16, 8 − ½·8, 4 − ½·(16 + 4)/2
    assert models(methods.k_async(0.5, gradients=2), SECONDS, 3) == [8, 4, -1]


def test_k_batch_async():
    """K = 2: the first two are both of worker 0; worker 1's was read a version ago, twice."""
    tape = recorded(methods.k_batch_async(gradients=2), 3)
    assert rows(tape) == [(0, 1, 0), (0, 2, 0), (1, 2.25, 1), (0, 3, 0), (0, 4, 0), (1, 4.5, 1)]
    assert weights(tape) == [1 / 2] * 6


def test_softsync():
    """⌊3/c⌋ gradients a step: three for c = 1; one for c = 2 and 3, which is asynchronous SGD."""
    assert weights(recorded(methods.softsync(workers=3, splits=1), 2)) == [1 / 3] * 6
    for splits in (2, 3):
        assert rows(recorded(methods.softsync(workers=3, splits=splits), 20)) == rows(recorded(methods.asynchronous(), 20))
    with pytest.raises(ValueError, match="splits must be at most the 3 workers, got 4"):
        methods.softsync(workers=3, splits=4)


def test_stale_synchronous():
    """With s = 1 worker 0 waits after its second gradient, worker 1 too, until worker 2 has given its first at 5.3 s."""
    tape = recorded(methods.stale_synchronous(bound=1), 5)
    assert tape.time[tape.worker == 0].tolist()[:3] == [1, 2, 6.3]
    assert tape.time[tape.worker == 1].tolist()[:3] == [2.25, 4.5, 5.3 + 2.25][: (tape.worker == 1).sum()]
    assert set(weights(tape)) == {1 / 3}
    # bound 0 is synchronous SGD
    assert rows(recorded(methods.stale_synchronous(bound=0), 4)) == rows(recorded(methods.minibatch(), 4))


def test_bounded_concurrency():
    """Two jobs in flight among three, in turn: worker 2 begins at 1 s, in the place of worker 0, who begins again at 2.25 s."""
    tape = recorded(methods.bounded_concurrency(jobs=2, choose="in turn"), 4)
    assert rows(tape) == [(0, 1, 0), (1, 2.25, 1), (0, 3.25, 0), (1, 5.5, 0)]
    for choose in ("in turn", "random"):  # Σ τ used + Σ τ in flight = (K − 1)·T
        tape = recorded(methods.bounded_concurrency(jobs=2, choose=choose), 100)
        assert int(tape.staleness.sum() + (tape.updates - tape.in_flight.read).sum()) == 100


def test_ringmaster():
    """R = 2: worker 1's gradients meet a model two versions on, at 2.25 and 4.5 s, and are ignored."""
    tape = recorded(methods.ringmaster(threshold=2), 4)
    assert rows(tape) == [(0, 1, 0), (0, 2, 0), (0, 3, 0), (0, 4, 0)]
    assert tape.discarded.worker.tolist() == [1]
    assert weights(tape) == [1] * 4
    # R = ∞ is asynchronous SGD
    assert rows(recorded(methods.ringmaster(threshold=10**6), 50)) == rows(recorded(methods.asynchronous(), 50))


def test_ringmaster_with_stops():
    """R = 2: with version 2, at 2 s, the jobs of workers 1 and 2 have staleness 2: both are stopped, and again at 4 s."""
    tape = recorded(methods.ringmaster(threshold=2, stops=True), 5)
    assert rows(tape) == [(0, float(t), 0) for t in (1, 2, 3, 4, 5)]
    stopped = list(zip(tape.discarded.worker.tolist(), tape.discarded.time.tolist(), strict=True))
    assert sorted(stopped) == [(1, 2), (1, 4), (2, 2), (2, 4)]


def test_ada_sync():
    """K = √(F(w₀)/F(w)), F = ½w²: K = 1, w = 8; √(128/32) = 2, w = 8 − ½·(8 + 16)/2 = 2; √(128/2) = 8, at most 3."""
    run = sg.simulate(methods.ada_sync(0.5, every=1.0), problem(), cluster(*SECONDS), until=sg.Updates(3), dtype="float64")
    assert rows(run.tape)[:3] == [(0, 1, 0), (0, 2, 0), (1, 2.25, 1)]
    assert weights(run.tape) == [1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]
    assert models(methods.ada_sync(0.5, every=1.0), SECONDS, 2) == [8, 2]


def test_rescaled():
    """Job times {1, 10}, optima {0, 1}: weights hᵢ·(1/2)(1 + 1/10) = 0.55 and 5.5; plain ends at 1/11, rescaled at ½."""
    tape = recorded(methods.rescaled(seconds=(1.0, 10.0)), 12, 1.0, 10.5)
    assert {(w, round(v, 12)) for w, v in zip(tape.worker.tolist(), weights(tape), strict=True)} == {(0, 0.55), (1, 5.5)}
    about = {
        "abs": 0.022
    }  # η = 0.002: in the 11 steps of a cycle the model swings by about 11 gradients, each at most 1, times η
    assert end(methods.asynchronous(0.002), (1.0, 10.0), 10_000, optima=(0.0, 1.0)) == pytest.approx(1 / 11, **about)
    for method in (methods.rescaled(0.002, seconds=(1.0, 10.0)), methods.rescaled(0.002)):
        assert end(method, (1.0, 10.0), 10_000, optima=(0.0, 1.0)) == pytest.approx(1 / 2, **about)
