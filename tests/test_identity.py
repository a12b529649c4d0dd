"""Who a run is: what could change a bit changes the key, and nothing else does; what cannot be identified is said to be so."""

import collections
import dataclasses
import enum
import functools
import importlib
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from methods import METHODS

import simsgd as sg
from simsgd.provenance import Identity, describe
from simsgd.provenance.identity import canonical
from simsgd.replaying import machine

CLUSTER = sg.Cluster(4, sg.times.Exponential(mean=0.1), sg.networks.Link(latency=0.01))
QUADRATIC = sg.problems.quadratic()


def identity(**changed):
    given = {"protocol": sg.AsyncSGD(), "problem": QUADRATIC, "cluster": CLUSTER, "optimizer": optax.sgd(0.1)}
    return sg.identity(**given | {"until": sg.Updates(50)} | changed)


def line(loss=None, data=None, **others):
    """Return a small problem of one's own, always of the same name."""
    data = np.arange(12.0).reshape(6, 2) if data is None else data
    return sg.Problem("line", lambda key: jnp.zeros(2), loss or (lambda w, x: jnp.mean((x @ w - 1.0) ** 2)), data, 2, **others)


# --- before, during and after a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [sg.Updates(40), sg.Seconds(3.0), sg.Target("loss", at_most=0.2, within=sg.Seconds(20))])
@pytest.mark.parametrize("method", ["sync", "async", "Rennala"])
def test_it_is_known_before_the_run_and_is_that_of_the_replay(method, until):
    given = METHODS[method], QUADRATIC, CLUSTER, optax.sgd(0.1), until
    before, run = sg.identity(*given, seed=3), sg.simulate(*given, seed=3)
    assert run.identity == before, run.identity.difference(before)
    assert before.unknown == ()
    bound = until.within if isinstance(until, sg.Target) else until
    tape = sg.record(METHODS[method], CLUSTER, bound, seed=3, message_bytes=QUADRATIC.message_bytes)
    assert tape.identity == before.tape
    again = sg.replay(tape, QUADRATIC, optax.sgd(0.1), until)
    assert again == run
    assert again.identity == before


def test_a_run_s_tape_is_the_recording_until_there():
    target = sg.Target("loss", at_most=0.2, within=sg.Seconds(200))
    run = sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, optax.sgd(0.1), target, evaluate_every=sg.Updates(7))
    assert run.status == "target reached"
    tape = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(run.tape.updates), message_bytes=QUADRATIC.message_bytes)
    assert run.tape == tape
    assert run.tape.identity == tape.identity != run.identity.tape
    again = sg.replay(run.tape, QUADRATIC, optax.sgd(0.1), target, evaluate_every=sg.Updates(7))
    assert (again, again.identity) == (run, run.identity)


def test_replay_to_the_end_of_a_tape_that_an_update_ended_is_not_the_run_until_that_second():
    """At that second more may have happened than until the update."""
    cluster = sg.Cluster(3, sg.times.Constant(1.0))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(4), message_bytes=QUADRATIC.message_bytes)
    run = sg.simulate(sg.AsyncSGD(), QUADRATIC, cluster, optax.sgd(0.1), sg.Seconds(tape.end))
    again = sg.replay(tape, QUADRATIC, optax.sgd(0.1))
    assert again.hashes != run.hashes
    assert again.identity.difference(run.identity) == {
        "tape.until.updates": (4, "absent"),
        "tape.until.seconds": ("absent", 2.0),
    }


def test_it_is_saved_with_run_and_tape(tmp_path):
    run = sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, optax.sgd(0.1), sg.Updates(20))
    run.save(tmp_path / "run.nc")
    run.tape.save(tmp_path / "tape.nc")
    loaded = sg.Run.load(tmp_path / "run.nc")
    assert (loaded, loaded.identity, loaded.configuration) == (run, run.identity, run.configuration)
    assert sg.Tape.load(tmp_path / "tape.nc").identity == run.tape.identity == run.identity.tape
    assert run.configuration["identity"] == run.identity.key
    assert run.identity.key[:12] in run.summary()
    assert {"python", "numpy", "simpy", "simsgd"} == set(run.tape.header["versions"])


def test_a_tape_recorded_by_code_of_one_s_own_is_saved_and_loaded(tmp_path):
    """However deep that code reaches."""
    tape = sg.record(made_of(PROTOCOL), CLUSTER, sg.Updates(5))
    tape.save(tmp_path / "tape.nc")
    assert sg.Tape.load(tmp_path / "tape.nc").identity == tape.identity


@pytest.mark.parametrize("text", [None, "", "[]", '{"a": NaN}', "[" * 100_000, 7])
def test_an_identity_that_cannot_be_read_is_unknown(text):
    run = sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, optax.sgd(0.1), sg.Updates(2))
    forged = sg.Run(run.dataset.assign_attrs(identity=text))
    assert forged.identity.unknown == ("nothing that can be read is said of it",)
    assert forged.configuration["identity"].startswith("?")
    assert dataclasses.replace(run.tape, header=run.tape.header | {"identity": text}).identity.description == {
        "content": run.tape.content_hash
    }


def test_a_tape_that_was_edited_is_known_by_its_content():
    tape = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(20))
    edited = dataclasses.replace(tape, weight=2 * tape.weight)
    assert edited.identity.description == {"content": edited.content_hash}
    run, other = (sg.replay(each, QUADRATIC, optax.sgd(0.1), sg.Updates(10)) for each in (tape, edited))
    assert "recording" in run.identity.tape.description
    assert other.identity.tape.description == {"content": edited.content_hash, "until": {"updates": 10}}
    assert other.tape.identity.description == other.identity.tape.description


@dataclass(frozen=True)
class Looking(sg.Protocol):
    """Asynchronous SGD whose time depends on the model, as it drops gradients once the loss is small."""

    def on_gradient(self, server, gradient):
        if server.observe("loss") > 0.3 or gradient.job % 2:
            server.apply(gradient)
        server.assign(gradient.worker)


def test_a_tape_that_depends_on_the_model_is_known_by_its_content():
    slow, fast = (sg.simulate(Looking(), QUADRATIC, CLUSTER, optax.sgd(size), sg.Updates(60)) for size in (0.01, 0.3))
    assert slow.tape != fast.tape
    assert slow.tape.identity != fast.tape.identity
    assert slow.identity != fast.identity
    assert slow.identity == sg.identity(Looking(), QUADRATIC, CLUSTER, optax.sgd(0.01), sg.Updates(60))


def test_a_run_that_broke_off_is_not_the_run_that_was_asked_for():
    @dataclass(frozen=True)
    class Failing(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            if server.version == 30:
                raise RuntimeError("enough")
            super().on_gradient(server, gradient)

    with pytest.raises(RuntimeError, match="enough") as caught:
        sg.simulate(Failing(), QUADRATIC, CLUSTER, optax.sgd(0.1), sg.Updates(50))
    partial = caught.value.partial.identity
    assert partial.difference(identity(protocol=Failing())).keys() == {"interrupted"}


# --- what could change a bit changes the key ------------------------------------------------------------------------------

OTHER_RUNS = {
    "protocol": {"protocol": sg.MinibatchSGD()},
    "a protocol's field": {"protocol": sg.protocols.KSyncSGD(2)},
    "another field": {"protocol": sg.protocols.KSyncSGD(3)},
    "step size": {"optimizer": optax.sgd(0.2)},
    "momentum": {"optimizer": optax.sgd(0.1, momentum=0.9)},
    "nesterov": {"optimizer": optax.sgd(0.1, momentum=0.9, nesterov=True)},
    "schedule": {"optimizer": optax.sgd(optax.cosine_decay_schedule(0.1, 100))},
    "longer schedule": {"optimizer": optax.sgd(optax.cosine_decay_schedule(0.1, 101))},
    "a schedule of one's own": {"optimizer": optax.sgd(lambda step: 0.1 / (1.0 + step))},
    "another schedule of one's own": {"optimizer": optax.sgd(lambda step: 0.2 / (1.0 + step))},
    "injected": {"optimizer": optax.inject_hyperparams(optax.sgd)(0.1)},
    "injected, another": {"optimizer": optax.inject_hyperparams(optax.sgd)(0.2)},
    "tunable": {"optimizer": sg.optimizers.sgd(0.1)},
    "tunable, another": {"optimizer": sg.optimizers.sgd(0.2)},
    "stateless": {"optimizer": optax.stateless(lambda g, p: jax.tree.map(lambda x: -0.1 * x, g))},
    "stateless, another": {"optimizer": optax.stateless(lambda g, p: jax.tree.map(lambda x: -0.2 * x, g))},
    "adam": {"optimizer": optax.adam(0.1)},
    "adam, another b2": {"optimizer": optax.adam(0.1, b2=0.99)},
    "evaluate_every": {"evaluate_every": sg.Updates(5)},
    "evaluate_every, nearly": {"evaluate_every": sg.Seconds(0.1)},
    "evaluate_every, a bit": {"evaluate_every": sg.Seconds(float(np.nextafter(0.1, 1)))},
    "until": {"until": sg.Updates(51)},
    "until seconds": {"until": sg.Seconds(50.0)},
    "until a target": {"until": sg.Target("loss", at_most=0.1, within=sg.Updates(50))},
    "until a target kept longer": {"until": sg.Target("loss", at_most=0.1, within=sg.Updates(50), kept=sg.Updates(20))},
    "seed": {"seed": 1},
    "message_bytes": {"message_bytes": 1e6},
    "dtype": {"dtype": "float64"},
    "width": {"width": 2},
    "quadratic": {"problem": sg.problems.quadratic((1.0, 0.3, 0.2))},
    "noise": {"problem": sg.problems.quadratic(noise=1e-9)},
    "batch size": {"problem": sg.problems.quadratic(batch_size=2)},
    "one's own problem": {"problem": line()},
    "other data": {"problem": line(data=np.arange(12.0).reshape(6, 2) + 1e-12)},
    "a constant": {"problem": line(lambda w, x: jnp.mean((x @ w - 1.0000001) ** 2))},
    "test data": {"problem": line(test_data=np.ones((3, 2)))},
    "a metric": {"problem": line(metrics={"size": lambda w, x: jnp.sum(w)})},
    "the same metric by name": {"problem": line(metrics={"size": lambda w, x: jnp.sum(2 * w)})},
    "a target of the problem's": {"problem": line(target=sg.Target("loss", at_most=0.1))},
    "law": {"cluster": sg.Cluster(4, sg.times.Exponential(mean=0.10000000000000002), CLUSTER.network)},
    "workers": {"cluster": sg.Cluster(5, CLUSTER.compute, CLUSTER.network)},
    "network": {"cluster": sg.Cluster(4, CLUSTER.compute)},
    "faults": {"cluster": sg.Cluster(4, CLUSTER.compute, CLUSTER.network, [sg.faults.Crash(worker=0, at=1.0, back=2.0)])},
    "a table": {"cluster": sg.Cluster(4, sg.times.Recorded([[0.1] * 50] * 4, at_end="repeat"))},
    "a table, one time of it": {
        "cluster": sg.Cluster(4, sg.times.Recorded([*[[0.1] * 50] * 3, [0.1] * 49 + [0.2]], at_end="repeat"))
    },
}


def test_every_difference_is_a_key_of_its_own():
    keys = {"plain": identity().key} | {name: identity(**changed).key for name, changed in OTHER_RUNS.items()}
    assert len(set(keys.values())) == len(keys), sorted(keys.items(), key=lambda item: item[1])
    assert not any(key.startswith("?") for key in keys.values())


def test_equal_is_equal_however_it_was_made():
    assert identity(optimizer=optax.sgd(0.1)) == identity()
    assert identity(problem=line()) == identity(problem=line())
    assert identity(message_bytes=QUADRATIC.message_bytes) == identity(message_bytes=12) == identity()
    assert identity(evaluate_every=sg.Updates(1)) == identity()  # which is what a hundredth of 50 updates is
    assert identity(cluster=dataclasses.replace(CLUSTER, faults=[])) == identity()
    numbers = sg.times.Recorded(np.full((4, 50), 0.1), at_end="repeat")
    assert identity(cluster=sg.Cluster(4, numbers)) == identity(**OTHER_RUNS["a table"])


def test_runs_that_differ_in_what_is_computed_share_their_tape():
    same = ("step size", "adam", "evaluate_every", "width", "schedule")
    assert {identity(**OTHER_RUNS[name]).tape.key for name in same} == {identity().tape.key}


def test_the_difference_says_where():
    assert identity().difference(identity()) == {}
    assert identity().difference(identity(evaluate_every=sg.Updates(5))) == {"evaluate_every.count": (1, 5)}
    law = identity(cluster=sg.Cluster(4, sg.times.Exponential(mean=0.2), CLUSTER.network))
    assert identity().difference(law) == {"tape.recording.cluster.compute.mean": (0.1, 0.2)}
    assert identity().difference(identity(optimizer=optax.sgd(0.2)))["optimizer.name"] == (
        "sgd(learning_rate=0.1)",
        "sgd(learning_rate=0.2)",
    )


def test_a_loss_that_closes_over_another_array_is_another():
    def problem(curvature):
        return line(lambda w, x: jnp.sum(curvature * w**2) + jnp.mean(x @ w))

    one, same, other = (identity(problem=problem(np.array(values))) for values in ([1.0, 2.0], [1.0, 2.0], [1.0, 2.5]))
    assert one == same != other
    changed = one.difference(other)
    assert set(changed) == {
        f"problem.{place}.constants[0].sha256" for place in ("loss and its gradient", "evaluated.loss")
    }  # the numbers, not the operations


def test_settings_of_jax_that_change_numbers_count(monkeypatch):
    with jax.default_matmul_precision("float32"):
        assert "environment.settings.jax_default_matmul_precision" in identity().difference(Identity({}))
        exact = identity(problem=line())
    assert exact != identity(problem=line())
    with jax.log_compiles(False), jax.debug_nans(True):
        assert identity() == sg.identity(sg.AsyncSGD(), QUADRATIC, CLUSTER, optax.sgd(0.1), sg.Updates(50))


def test_the_compiler_s_flags_are_a_set(tmp_path):
    flags = machine.compiler_flags
    assert flags("--xla_b=1 --xla_a=2") == flags("  --xla_a=2\n--xla_b=1 --xla_dump_to=here") == ["--xla_a=2", "--xla_b=1"]
    assert flags("--xla_a=2 --xla_a=1") == flags("--xla_a=1") != flags("--xla_a=1 --xla_a=2")
    (tmp_path / "flags").write_text("--xla_a=1")
    assert flags(str(tmp_path / "flags")) == ["--xla_a=1"]
    assert flags("") == []


def test_a_problem_s_data_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        line().data[0] = 7.0


# --- code -----------------------------------------------------------------------------------------------------------------

FACTOR = 2.0
PROTOCOL = """
    import math
    from dataclasses import dataclass
    import simsgd as sg
    FACTOR = 2.0
    @dataclass(frozen=True)
    class Mine(sg.Protocol):
        least: int = 1
        def on_gradient(self, server, gradient):
            if gradient.job in {1, 5, 9, 13} or "a" in {"a", "b", "c", "d"}:
                server.apply(gradient, weight=scale(server.staleness(gradient)))
            server.assign(gradient.worker)
    def scale(staleness, power=0.5):
        return 1 / math.pow(FACTOR + staleness, power) if staleness >= 0 else up(staleness)
    def up(staleness):
        return scale(staleness + 1)
"""


def made_of(source, name="Mine"):
    space = {"__name__": "a_module_of_mine"}
    exec(textwrap.dedent(source), space)
    return space[name]()


def test_a_protocol_edited_between_two_runs_is_another():
    edits = {
        "same": ("", ""),
        "a comment": ("FACTOR = 2.0", "FACTOR = 2.0  # twice"),
        "constant": ("{1, 5, 9, 13}", "{1, 5, 9, 14}"),
        "operator": (">= 0", "> 0"),
        "global": ("FACTOR = 2.0", "FACTOR = 2.5"),
        "helper of a helper": ("staleness + 1", "staleness + 2"),
        "default": ("power=0.5", "power=0.6"),
        "function of a library": ("math.pow(", "math.fmod("),
        "field": ("least: int = 1", "least: int = 2"),
        "base": ("(sg.Protocol)", "(sg.AsyncSGD)"),
    }
    keys = {name: identity(protocol=made_of(PROTOCOL.replace(*edit))).key for name, edit in edits.items()}
    assert keys.pop("a comment") == keys["same"]
    assert len(set(keys.values())) == len(keys)
    assert not any(key.startswith("?") for key in keys.values())


IN_ANOTHER_PROCESS = """
import json, sys
import simsgd as sg
from mine import Mine
cluster = sg.Cluster(4, sg.times.Weibull(mean=0.1, shape=0.7))
tape = sg.record(Mine(), cluster, sg.Updates(20))
said = {"tape": tape.identity.description, "hash": tape.content_hash, "jax": "jax" in sys.modules}
if "run" in sys.argv:
    import optax
    problem = sg.problems.quadratic(noise=0.1)
    optimizer = optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 100)))
    said["run"] = sg.identity(Mine(), problem, cluster, optimizer, sg.Updates(20)).description
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Return a function that returns the identities which another process gives, in another environment."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(textwrap.dedent(PROTOCOL))

    @functools.cache
    def said(*arguments, **variables):
        paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths} | variables
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *arguments]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    return said


def test_processes_agree_whatever_their_hash_seeds_but_for_the_compiler_s_flags(elsewhere):
    plain = elsewhere("run", PYTHONHASHSEED="1")
    flagged = elsewhere("run", PYTHONHASHSEED="2", XLA_FLAGS="--xla_cpu_enable_fast_math=true --xla_cpu_max_isa=SSE4_2")
    assert flagged["tape"] == plain["tape"]
    assert not Identity(plain["run"]).unknown
    assert Identity(plain["run"]).difference(Identity(flagged["run"])) == {
        "environment.compiler's flags": ([], "absent"),
        "environment.compiler's flags[0]": ("absent", "--xla_cpu_enable_fast_math=true"),
        "environment.compiler's flags[1]": ("absent", "--xla_cpu_max_isa=SSE4_2"),
    }
    assert plain["run"]["environment"]["device"]["cores"] == len(os.sched_getaffinity(0))


def test_a_tape_is_identified_without_jax(elsewhere):
    assert not elsewhere(PYTHONHASHSEED="3")["jax"]
    assert elsewhere(PYTHONHASHSEED="3")["tape"] == elsewhere("run", PYTHONHASHSEED="1")["tape"]


def test_what_numpy_may_use_of_the_processor_counts(elsewhere):
    plain, disabled = elsewhere(PYTHONHASHSEED="3"), elsewhere(NPY_DISABLE_CPU_FEATURES=optional_features())
    assert set(Identity(plain["tape"]).difference(Identity(disabled["tape"]))) == {"environment.numpy's features"}


def optional_features():
    """Return those features of NumPy that this processor has and that can be switched off."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])


def test_what_is_used_of_a_module_of_one_s_own_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helpers_of_mine.py").write_text("RATE = 0.5\ndef half(x):\n    return RATE * x\n")
    helpers = importlib.import_module("helpers_of_mine")

    def used(x):
        return helpers_of_mine.half(x)  # noqa: F821

    used.__globals__["helpers_of_mine"] = helpers
    before = describe(used)
    assert "unknown" not in canonical(before)
    monkeypatch.setattr(helpers, "RATE", 0.25)
    assert Identity(before).difference(Identity(describe(used))) == {
        "globals.helpers_of_mine.half.globals.RATE": (0.5, 0.25),
    }


def adds(x):
    return x + FACTOR


def adds_too(x, *, y=(1, 2)):
    return adds(x) + len(y)


class Adder:
    """A callable that holds a number."""

    def __init__(self, number):
        self.number = number

    def __call__(self, x):
        return x + self.number

    def more(self, x):
        return self(x) + 1

    @functools.cached_property
    def twice(self):
        return 2 * self.number


@dataclass
class Layer:
    """As flax and equinox make their models: a dataclass with arrays and functions in it."""

    weights: Any
    activation: Any = np.tanh


class Wrapper:
    """A decorator that computes something else than what it wraps."""

    def __init__(self, function, factor):
        functools.update_wrapper(self, function)
        self.factor = factor

    def __call__(self, x):
        return self.factor * self.__wrapped__(x)


def named(function):
    @functools.wraps(function)
    def call(x):
        return function(x)

    return call


class Colour(enum.Enum):
    """Two that only their names and values tell apart."""

    RED = 1
    BLUE = 2


class Holder:
    """One that can hold itself."""


def looped():
    """Return an object that holds itself."""
    holder = Holder()
    holder.inside = [holder]
    return holder


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


PAIRS = {
    "function": (lambda: adds, lambda: adds_too),
    "closure": (lambda: lambda x: adds(x), lambda: lambda x: adds_too(x)),
    "recursion": (lambda: even, lambda: odd),
    "partial": (lambda: functools.partial(adds, 1), lambda: functools.partial(adds, 2)),
    "named partial": (lambda: functools.partial(adds, x=1), lambda: functools.partial(adds, x=2)),
    "bound method": (lambda: Adder(1).more, lambda: Adder(2).more),
    "callable": (lambda: Adder(1), lambda: Adder(1.0)),
    "compiled": (lambda: jax.jit(adds), lambda: jax.jit(adds_too)),
    "cached": (lambda: functools.lru_cache(adds), lambda: functools.lru_cache(adds_too)),
    "ufunc": (lambda: np.sin, lambda: np.cos),
    "builtin": (lambda: len, lambda: sum),
    "dataclass": (lambda: Layer(np.ones(3)), lambda: Layer(np.ones(4))),
    "its function": (lambda: Layer(np.ones(3)), lambda: Layer(np.ones(3), np.sin)),
    "array's type": (lambda: np.ones(2, np.float32), lambda: np.ones(2, np.int32)),
    "array's shape": (lambda: np.ones((2, 3)), lambda: np.ones((3, 2))),
    "array on a device": (lambda: jnp.ones(2), lambda: jnp.ones(2).at[0].set(2)),
    "key": (lambda: jax.random.key(0), lambda: jax.random.key(1)),
    "generator of numbers": (lambda: np.random.default_rng(1), lambda: np.random.default_rng(2)),
    "set": (lambda: {"a", "b"}, lambda: {"a", "c"}),
    "list or tuple": (lambda: [1], lambda: (1,)),
    "int or float": (lambda: 1, lambda: 1.0),
    "zero's sign": (lambda: 0.0, lambda: -0.0),
    "infinite": (lambda: float("inf"), lambda: float("nan")),
    "text or number": (lambda: "1", lambda: 1),
    "dict": (lambda: {1: "a"}, lambda: {"1": "a"}),
    "itself": (looped, lambda: [Holder()]),
    "class": (lambda: Adder, lambda: Layer),
    "masked array": (lambda: np.ma.array([1, 2], mask=[0, 1]), lambda: np.ma.array([1, 2], mask=[1, 0])),
    "wrapper with a state": (lambda: Wrapper(adds, 1), lambda: Wrapper(adds, 2)),
    "large": (lambda: 10**5000, lambda: 10**5000 + 1),
    "member": (lambda: Colour.RED, lambda: Colour.BLUE),
    "ordered": (lambda: collections.OrderedDict(a=1), lambda: {"a": 1}),
    "table": (lambda: [0.1] * 99, lambda: [*[0.1] * 98, 0.2]),
    "decorated": (lambda: named(adds), lambda: named(adds_too)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_what_differs_has_another_description_and_what_does_not_the_same(pair):
    one, same, other = (canonical(describe(make())) for make in (PAIRS[pair][0], *PAIRS[pair]))
    assert one == same != other
    assert " at 0x" not in one
    assert "unknown" not in one


def test_what_an_object_remembers_of_its_own_work_does_not_count():
    used, new = Adder(3), Adder(3)
    assert used.twice == 6
    assert describe(used) == describe(new)


def clocked(x):
    import time

    return time.time() + x


UNKNOWN = {
    "generator": lambda: (i for i in range(3)),
    "lock": lambda: __import__("threading").Lock(),
    "file": lambda: lambda: open("somewhere"),  # noqa: SIM115
    "eval": lambda: lambda: eval("1"),
    "clock": lambda: clocked,
    "numpy's own state": lambda: lambda: np.random.normal(),  # noqa: NPY002
    "module": lambda: sys.modules[__name__],
    "inside of others": lambda: [(1, {"a": Layer(weights=iter(x for x in ()))})] * 40,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_identified_is_said_to_be_so(name):
    held = Identity({"held": describe(UNKNOWN[name]())})
    assert len(held.unknown) >= 1
    assert held.unknown[0].startswith("held")
    assert held.key.startswith("?")
    assert held != Identity({"held": describe(UNKNOWN[name]())})
    assert "unknown" in repr(held)


def test_a_run_says_what_of_it_is_unknown():
    def callback(x):
        return np.asarray(open("somewhere").read(), x.dtype)

    problem = line(lambda w, x: jnp.mean(x @ w) + jax.pure_callback(callback, jax.ShapeDtypeStruct((), w.dtype), w[0] * 0))
    assert not identity(problem=problem) == identity(problem=problem)  # noqa: SIM201
    assert all(place.startswith("problem.") for place in identity(problem=problem).unknown)
    assert len(identity(problem=problem).unknown) >= 1


def test_it_is_shown_as_a_table():
    shown = identity()._repr_html_()
    assert "tape.recording.cluster.compute.mean" in shown
    assert repr(identity()) == f"Identity({identity().key[:13]}…)"
    with pytest.raises(TypeError, match="other must be"):
        identity().difference("text")
