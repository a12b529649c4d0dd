"""Random simulations: each is the replay of its recording, comes back from a file, and is played again by its own tape."""

from __future__ import annotations

import random
from typing import Any

import simsgd as sg
from simsgd.stopping import bound

from .expressions import Call, Expression, make, text
from .generate import Generator, Refusal
from .judging import Failure, judge
from .recordings import attempt, consult, loaded_again, recorded, same
from .themes import Case

COMPILING = 40.0
"""Processor seconds that compiling may take, beside the budget of the events."""
QUADRATICS = ("sg.problems.quadratic()", "sg.problems.quadratic(noise=0.5)", "sg.problems.quadratic()")
ODD_QUADRATICS = (
    "sg.problems.quadratic(spectrum=(1e-30, 1e30))",
    "sg.problems.quadratic(spectrum=(5e-324,))",
    "sg.problems.quadratic(noise=1e30)",
    "sg.problems.quadratic(samples=2, noise=0.1, batch_size=1000)",
    "sg.problems.quadratic",
    "None",
)
OPTIMIZERS = (
    "sg.optimizers.sgd(0.1)",
    "sg.optimizers.sgd(1.0)",
    "optax.sgd(0.05)",
    "optax.adam(0.1)",
    "optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(0.1))",
)
ODD_OPTIMIZERS = (
    "sg.optimizers.sgd(1e30)",
    "sg.optimizers.sgd(5e-324)",
    "sg.optimizers.sgd(np.float32(0.1))",
    "sg.optimizers.sgd(0.1, momentum=0.99)",
    "optax.sgd(0.0)",
    "optax.sgd(-1.0)",
    "optax.sgd(math.nan)",
    "optax.sgd(3.0)",
    "optax.sgd",
    "optax.lbfgs()",
    "0.1",
    "None",
)
STATUSES = ("completed", "target reached", "diverged")


def case(seed: int) -> tuple[Case, list[Refusal]]:
    """Return a random simulation, and what was refused on the way."""
    draw = Generator(f"simulations {seed}")
    draw.workers = draw.random.choice((1, 2, 3))  # few shapes, which share what is compiled
    odd = draw.wild / 2
    protocol = draw.protocol()
    given: dict[str, Expression] = {
        "protocol": protocol,
        "problem": draw.random.choice(ODD_QUADRATICS if draw.likely(odd) else QUADRATICS),
        "cluster": draw.cluster(make(protocol).synchronous),
        "optimizer": draw.random.choice(ODD_OPTIMIZERS if draw.likely(odd) else OPTIMIZERS),
    }
    until = draw.end(updates=20)
    given["until"] = target(draw, until) if draw.likely(0.4) else until
    given["seed"] = draw.seed()
    options: dict[str, Expression] = {
        "evaluate_every": draw.random.choice(
            (
                until,
                "sg.Updates(1)",
                "sg.Updates(3)",
                "sg.Gradients(2)",
                "sg.Samples(7)",
                f"sg.Seconds({draw.seconds()})",
                "None",
            )
        ),
        "message_bytes": draw.message_bytes(),
        "dtype": draw.random.choice(("'float64'", "'float16'", "None", "float")) if draw.likely(odd + 0.05) else "'float32'",
        "width": draw.random.choice(("1", "2", "3", "0", "1.0", "10**3")) if draw.likely(odd + 0.05) else "None",
    }
    given |= {name: value for name, value in options.items() if value not in ("None", "'float32'")}
    return Case(seed, Call("sg.simulate", tuple(given.items()))), draw.refusals


def target(draw: Generator, within: Call) -> Call:
    """Return a target: met at once, later, or never; kept for no time or for some."""
    kept = draw.random.choice(("0", "0", "None", "sg.Updates(1)", "sg.Updates(2)", f"sg.Seconds({draw.seconds()})", within))
    level = draw.random.choice(("1e9", "0.5", "0.1", "0.01", "0.001", "0.0", "-1.0"))
    metric = draw.random.choice(("'loss'", "'distance'", "'loss'", "'accuracy'" if draw.likely(draw.wild) else "'loss'"))
    call = Call("sg.Target", (("metric", metric), ("at_most", level), ("within", within), ("kept", kept)))
    try:
        make(call)
    except Exception:
        return call.given(kept="0")
    return call


def play(attacked: Case) -> str:
    """Attack one simulation and return how it ended: the run's status, or the kind of the error.

    Raises:
        Failure: if something does not hold.
    """
    written = text(attacked.call)
    given, error = attempt("making the arguments", lambda: {n: make(v) for n, v in attacked.call.arguments}, COMPILING)
    if error is not None:
        return f"refused before: {judge(error, written)}"
    run, error = attempt("simulate", lambda: sg.simulate(**given, progress=False), COMPILING)
    if error is not None:
        kind = judge(error, written)
        _, repeated = attempt("simulate again", lambda: sg.simulate(**given, progress=False), COMPILING)
        if type(repeated) is not type(error):
            raise Failure(f"another error the second time: {error!r:.200} and {repeated!r:.200}")
        consult((handed_back,), error, given, attacked.seed, COMPILING)
        return kind
    if run.status not in STATUSES or (run.status == "target reached") > isinstance(given["until"], sg.Target):
        raise Failure(f"status {run.status!r} with until={given['until']!r}")
    consult(ORACLES, run, given, attacked.seed, COMPILING)
    return run.status


def replaying(given: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of a simulation that a replay takes."""
    return {
        name: given[name] for name in ("problem", "optimizer", "until", "evaluate_every", "dtype", "width") if name in given
    }


def same_run(what: str, one: sg.Run, other: sg.Run) -> None:
    """Raise Failure unless two runs are equal, saying in what they differ."""
    if one == other:
        return
    names = [
        name
        for name in one.dataset.variables
        if name not in other.dataset or not one.dataset[name].identical(other.dataset[name])
    ]
    about = [name for name in one.dataset.attrs if one.dataset.attrs[name] != other.dataset.attrs.get(name)]
    raise Failure(f"{what}: {one!r} is not {other!r}; variables {names}, attributes {about}")


# --- what must hold of a run ---------------------------------------------------------------------------------------------


def again(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    run.tape.check()
    if chance.random() < 0.3:
        same_run("again", sg.simulate(**given, progress=False), run)


def of_its_recording(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    """The replay of the recording is the simulation, also where a target ended it early."""
    size = given["problem"].message_bytes_in(given.get("dtype", "float32"))
    of_time = {name: given[name] for name in ("protocol", "cluster", "seed", "message_bytes") if name in given}
    try:
        batch = {"batch_size": given["problem"].batch_size}
        tape = recorded({"message_bytes": size} | batch | of_time, bound(given["until"]))
    except sg.ProtocolError as error:
        if "observes" in str(error):
            return
        if run.status == "completed":
            raise
        return
    except Exception:
        if run.status == "completed":
            raise
        return  # beyond the end of the run
    same_run("replay of the recording", sg.replay(tape, **replaying(given), progress=False), run)


def of_its_own_tape(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    """The run's tape plays the run again."""
    if run.status == "completed" or (isinstance(given["until"], sg.Target) and run.status == "target reached"):
        same_run("replay of its own tape", sg.replay(run.tape, **replaying(given), progress=False), run)
    elif run.tape.end > 0:
        whole = sg.replay(run.tape, **(replaying(given) | {"until": None, "evaluate_every": None}), progress=False)
        if whole.status == "completed":  # who looks more often may see earlier that it diverges
            same("parameters by its own tape", whole.hashes, run.hashes)


def handed_back(error: BaseException, given: dict[str, Any], chance: random.Random) -> None:
    """What an error hands back is a run that loads, can be looked at, and whose tape gives its parameters again."""
    run = getattr(error, "partial", None)
    if run is None:
        return
    if run.status != "interrupted":
        raise Failure(f"partial: status {run.status!r}")
    in_a_file(run, given, chance)
    seen(run, given, chance)
    if run.tape.end > 0:
        whole = sg.replay(run.tape, **(replaying(given) | {"until": None, "evaluate_every": None}), progress=False)
        if whole.status == "completed":
            same("parameters by the partial tape", whole.hashes, run.hashes)


def in_a_file(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    """A run comes back from its file as it was."""
    loaded = loaded_again(run, chance)
    if loaded is not None:
        same_run("file", loaded, run)


def seen(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    """What one looks at does not raise."""
    run.summary(), run.to_dataframe(), repr(run), run._repr_html_(), run.throughput, run.target and run.to_target()
    same("shares", bool(run.dataset.computing.min() >= 0), True)


def evaluated_otherwise(run: sg.Run, given: dict[str, Any], chance: random.Random) -> None:
    """Evaluating more or less often changes no bit of the model."""
    if run.status == "completed" and not isinstance(given["until"], sg.Target):
        other = sg.simulate(**(given | {"evaluate_every": sg.Updates(chance.choice((1, 2, 5)))}), progress=False)
        if other.status == "completed":
            same("evaluated otherwise", other.hashes, run.hashes)


ORACLES = (again, of_its_recording, of_its_own_tape, in_a_file, seen, evaluated_otherwise)
