"""What laws answer, checked: a law may be somebody's own, and then it may answer anything.

The recorder checks each time that its clock takes in. Inside, where a law changes what another one draws, the draws of a law of
somebody's own are checked before anything is done with them, so the error names that law; those of the laws of simsgd are
numbers, and cost nothing more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simsgd.support import checks
from simsgd.times.law import Distribution, Law, Moments, Sampler

WANTED = "a time must be one finite number and not negative"


def sampler_of(law: Law, rng: np.random.Generator, worker: int) -> Sampler:
    """Return a law's sampler for a worker, or raise TypeError for what is no function."""
    try:
        draw = law.sampler(rng, worker)
    except Exception as error:
        error.add_note(f"raised by sampler(rng, worker={worker}) of {checks.shown(law, 200)}")
        raise
    if not callable(draw):
        raise TypeError(
            f"{law!r}.sampler(rng, worker={worker}) must return a function of the second at which a job begins, "
            f"got {checks.shown(draw)}"
        )
    return draw


def draws_of(law: Law, rng: np.random.Generator, worker: int) -> Sampler:
    """Return a law's sampler for a law around it: if the law is somebody's own, each draw is checked.

    Raises:
        ValueError: from the sampler, for a draw that is not a finite number of at least 0; it names the law, the worker, the
            second and the draw.
    """
    draw = sampler_of(law, rng, worker)
    own = not type(law).__module__.startswith("simsgd.") and not getattr(draw, "checks_itself", False)
    return checked(law, worker, draw) if own else draw


def checked(source: object, worker: int, draw: Sampler, what: str = "") -> Sampler:
    """Return a sampler whose draws are floats that a clock can use.

    Args:
        source: what is named in errors: a law, or a fabric that has it.
        worker: whose times they are.
        draw: the sampler.
        what: what is drawn, such as "a compute time of ".
    """

    def seconds(now: float) -> float:
        try:
            drawn = draw(now)
            time = drawn if type(drawn) is float else checks.as_seconds(drawn)
        except Exception as error:
            note(error, source, worker, now)
            raise
        if not checks.finite_seconds(time):
            raise refusal(source, worker, drawn, now, what)
        return time

    return seconds


def refusal(source: object, worker: int, drawn: object, now: float, what: str = "") -> ValueError:
    """Return the error for a time that no clock can use; arguments as in `checked`."""
    return ValueError(f"{source!r} drew {what}{checks.shown(drawn)} seconds for worker {worker} at {now:g} s: {WANTED}")


def note(error: Exception, source: object, worker: int, now: float) -> None:
    """Note on somebody's own exception where it came from."""
    text = f"raised while {checks.shown(source, 200)} drew a time for worker {worker} at {now:g} s"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def moments_of(law: Law, worker: int) -> Moments:
    """Return a law's moments, or raise TypeError for what is not three numbers."""
    moments: Any = law.moments(worker)
    if type(moments) is Moments and all(type(value) is float for value in moments):
        return moments
    values = tuple(moments) if isinstance(moments, tuple) else ()
    if not 2 <= len(values) <= 3 or any(not isinstance(value, float | int | np.number) for value in values):
        raise TypeError(
            f"{law!r}.moments(worker={worker}) must return times.Moments(mean, variance, autocorrelation), numbers, "
            f"got {checks.shown(moments)}"
        )
    return Moments(*map(checks.as_float, values))


def distribution_of(law: Law, worker: int) -> Distribution | None:
    """Return a law's distribution, or raise TypeError for what is neither None nor frozen from `scipy.stats`."""
    distribution = law.distribution(worker)
    if distribution is not None and not all(hasattr(distribution, name) for name in ("ppf", "isf", "dist", "args", "kwds")):
        raise TypeError(
            f"{law!r}.distribution(worker={worker}) must return None or a frozen distribution of scipy.stats, such as "
            f"scipy.stats.expon(scale=2.0), got {checks.shown(distribution)}"
        )
    return distribution
