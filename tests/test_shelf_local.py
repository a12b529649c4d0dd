"""Methods of local steps: models step by step, as computed by hand, through the simulator.

w begins at 16 and η = ½, so a local step of plain SGD goes half the way to the worker's optimum x, 0 where nothing else is
said.
"""

import pytest
from by_hand import cluster, models, problem

import simsgd as sg
from simsgd import methods

APART = (0.0, 16.0)


def test_local_sgd():
    """With x = (0, 16) and two steps worker 0 goes from 16 to 4 and worker 1 stays: (4 + 16)/2. Then (2.5 + 14.5)/2."""
    assert models(methods.local_sgd(0.5, steps=2), (1.0, 1.5), 2, optima=APART) == [10, 8.5]


def test_local_sgd_with_a_number_of_steps_for_each():
    """One step and two: (8 + 16)/2, then (6 + 15)/2. A round takes as long as the slower worker, 1 s or 2·1.5 s."""
    method = methods.local_sgd(0.5, steps=(1, 2))
    assert models(method, (1.0, 1.5), 2, optima=APART) == [12, 10.5]
    assert sg.record(method, cluster(1.0, 1.5), until=sg.Updates(2)).update_times.tolist() == [3, 6]


def test_local_sgd_for_a_fixed_time():
    """In 2 s a worker makes two steps, another, of 1.5 s each, one: (4 + 8)/2, then (1.5 + 3)/2."""
    assert models(methods.local_sgd(0.5, seconds=2.0), (1.0, 1.5), 2) == [6, 2.25]


def test_fedavg():
    """Two of three workers, x = (0, 16, 32), two steps: each goes to x + (w − x)/4, the model to their mean.

    With half the server's step size, only half the way there.
    """
    optima = (0.0, 16.0, 32.0)
    for size in (1.0, 0.5):
        method = methods.fedavg(0.5, clients=2, steps=2, server_step_size=size)
        tape = sg.record(method, cluster(1.0, 1.5, 2.0), until=sg.Updates(6))
        w, expected = 16.0, []
        for first, second in tape.worker.reshape(6, 2):
            mean = sum(optima[worker] + (w - optima[worker]) / 4 for worker in (first, second)) / 2
            w += size * (mean - w)
            expected.append(w)
        assert len(set(tape.worker.tolist())) == 3
        assert models(method, (1.0, 1.5, 2.0), 6, optima=optima) == pytest.approx(expected, rel=1e-14)


def test_fedprox():
    """μ = 1, x = (0, 16): worker 0 goes 16 → 8, and 8 − ½·(8 + (8 − 16)) = 8; worker 1 stays: (8 + 16)/2 = 12.

    Then 12 → 6 → 6 − ½·(6 + (6 − 12)) = 6, and 12 → 14 → 14 − ½·(−2 + 2) = 14: 10.
    """
    method = methods.fedprox(0.5, clients=2, strength=1.0, steps=2)
    assert models(method, (1.0, 1.5), 2, optima=APART) == [12, 10]


def of_unequal_shares(method, updates):
    """Return w after each update where worker 0 has one sample, at 0, and worker 1 three, at 16; and whose the messages were."""
    one_and_three = sg.problems.GivenShares([[0], [1, 2, 3]])
    shared = problem((0.0, 16.0, 16.0, 16.0)).partitioned(2, by=one_and_three)
    until = {"until": sg.Updates(updates), "evaluate_every": sg.Updates(1), "dtype": "float64"}
    run = sg.simulate(method, shared, cluster(1.0, 1.5), **until)
    return run.dataset["w"].values.tolist()[1:], run.tape.worker.tolist()


def test_fedavg_weighed_by_samples():
    """Weights 2·¼ and 2·¾. Of both: ¼·4 + ¾·16 = 13, then ¼·(13/4) + ¾·(16 − 3/4) = 12.25; unweighed (4 + 16)/2 = 10.

    Of one client a round: w ← w − ½·(w − w/4), or w ← w − 3/2·(w − (16 − (16 − w)/4)).
    """
    given = {"clients": 2, "steps": 2}
    assert of_unequal_shares(methods.fedavg(0.5, **given, weigh_by_samples=True), 2)[0] == [13, 12.25]
    assert of_unequal_shares(methods.fedavg(0.5, **given), 1)[0] == [10]
    got, workers = of_unequal_shares(methods.fedavg(0.5, clients=1, steps=2, weigh_by_samples=True), 8)
    w, expected = 16.0, []
    for worker in workers:
        w -= 0.5 * (w - w / 4) if worker == 0 else 1.5 * (w - (16 - (16 - w) / 4))
        expected.append(w)
    assert set(workers) == {0, 1}
    assert got == pytest.approx(expected, rel=1e-14)


def test_fedprox_weighed_by_samples():
    """As `test_fedprox`: worker 0 goes 16 → 8 → 8, worker 1 stays: ¼·8 + ¾·16 = 14."""
    method = methods.fedprox(0.5, clients=2, strength=1.0, steps=2, weigh_by_samples=True)
    assert of_unequal_shares(method, 1)[0] == [14]


def test_weighed_where_all_have_all_samples():
    plain, weighed = (methods.fedavg(0.5, clients=1, steps=2, weigh_by_samples=each) for each in (False, True))
    assert models(weighed, (1.0, 1.5), 3) == models(plain, (1.0, 1.5), 3) == [4, 1, 0.25]
    with pytest.raises(TypeError, match="weigh_by_samples must be True or False, got 'samples'"):
        methods.fedavg(clients=1, steps=2, weigh_by_samples="samples")


def test_the_player_weighs_as_the_slow_one_does():
    sg.testing.check_method(methods.fedavg(clients=2, steps=2, weigh_by_samples=True))


def test_scaffold():
    """With x = (0, 16) and two steps w goes to the mean and cᵢ to the mean gradient on the way.

    1: c = cᵢ = 0, 16 → 8 → 4 with gradients 16, 8; 16 → 16. w = 10, cᵢ = (12, 0), c = 6.
    2: 10 − ½·(10 + 6 − 12) = 8, 8 − ½·(8 − 6) = 7; 10 − ½·(−6 + 6) = 10 → 10. w = 8.5, cᵢ = (9, −6), c = 1.5.
    3: 8.5 − ½·(8.5 − 7.5) = 8, 8 − ½·½ = 7.75; 8.5 − ½·(−7.5 + 7.5) = 8.5. w = 8.125: to the optimum of both, 8.
    """
    assert models(methods.scaffold(0.5, steps=2), (1.0, 1.5), 3, optima=APART) == [10, 8.5, 8.125]


def test_fedasync():
    """Jobs of 2 and 3 s, two steps, local models a quarter of what was read; α = ½, a = 1: α_τ = ½/(1 + τ).

    2 s: (16 + 4)/2. 3 s, τ = 1: ¾·10 + ¼·4 = 8.5. 4 s, worker 0 read 10, τ = 1: ¾·8.5 + ¼·2.5 = 7.
    """
    method = methods.fedasync(0.5, steps=2, mixing=0.5, power=1.0)
    assert models(method, (1.0, 1.5), 3) == [10, 8.5, 7]


def test_fedasync_hinge():
    """As above. a = 3, b = 0: α_τ = ½/(1 + 3τ), ⅛ for τ = 1: ⅞·10 + 4/8, then ⅞·9.25 + 2.5/8.

    With b = 1 nothing is damped: ½·10 + ½·4, then ½·7 + ½·2.5.
    """
    method = methods.fedasync_hinge(0.5, steps=2, mixing=0.5, slope=3.0, threshold=0.0)
    assert models(method, (1.0, 1.5), 3) == [10, 9.25, 8.40625]
    method = methods.fedasync_hinge(0.5, steps=2, mixing=0.5, slope=3.0, threshold=1.0)
    assert models(method, (1.0, 1.5), 3) == [10, 7, 4.75]


def test_fedbuff():
    """K = 2, a = 1, jobs of 2 and 2.5 s. 2 and 2.5 s: both send 12, fresh: 16 − (12 + 12)/2 = 4.

    4 s: worker 0 read 16, τ = 1: 12/2 = 6; 5 s: worker 1 read 4: 3. w = 4 − (6 + 3)/2 = −½. With η_s = ½ half of each step: 10,
    then worker 0 sends 12/2, worker 1 ¾·10: 10 − ½·(6 + 7.5)/2 = 6.625.
    """
    assert models(methods.fedbuff(0.5, buffer=2, steps=2, power=1.0), (1.0, 1.25), 2) == [4, -0.5]
    method = methods.fedbuff(0.5, buffer=2, steps=2, power=1.0, server_step_size=0.5)
    assert models(method, (1.0, 1.25), 2) == [10, 6.625]


def test_adacomm():
    """With η = ¼ √F falls to ¾ with each local step. H₀ = 4, looks after 3 s: at 4 s 4·(¾)⁴ = 1.27, so H = 2.

    The next look is at 8 s: 4·(¾)⁸ = 0.4, so H = 1.
    """
    run = sg.simulate(
        methods.adacomm(0.25, every=3.0, steps=4),
        problem(),
        cluster(1.0, 1.0),
        until=sg.Updates(4),
        evaluate_every=sg.Updates(1),
        dtype="float64",
    )
    assert run.tape.steps.tolist() == [4, 4, 2, 2, 2, 2, 1, 1]
    assert run.dataset["w"].values.tolist() == [16 * 0.75**steps for steps in (0, 4, 6, 8, 9)]


def test_adacomm_that_shrinks():
    """Where the loss never falls, as w stays at the worker's x = 16, H ← ⌈H/2⌉ after each interval, or H₀ for ever."""
    for shrink, steps in ((0.5, [5, 3, 2, 1]), (None, [5, 5, 5, 5])):
        run = sg.simulate(
            methods.adacomm(0.5, every=0.5, steps=5, shrink=shrink),
            problem((0.0, 16.0)).partitioned(1, by=sg.problems.GivenShares([[1]])),
            cluster(1.0),
            until=sg.Updates(4),
        )
        assert run.tape.steps.tolist() == steps
