"""Random configurations over the whole public face, each from one whole number.

Laws of this module:

1. What there is to choose from is found, not listed: the frozen dataclasses in `__all__` of `times`, `networks`, `faults` and
   `protocols`, and of `rubbish`. A new law or fabric takes part at once.
2. What an argument can hold follows from its annotation (`cluster.descriptions`). Where a constructor refuses a value, its
   refusal is kept to be judged, the choices that it names are learnt, and other values are tried.
3. What interacts is likely: a configuration has a few moments of its own, from which most of its quantities are taken, so that
   faults, jobs and ends fall together.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import simsgd as sg
from simsgd.cluster import descriptions
from simsgd.cluster.descriptions import Content
from simsgd.times.law import Law

from . import rubbish
from .expressions import Call, Expression, make


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


EXTREME = words(
    "0 0.0 -0.0 5e-324 1e-300 1e-17 1e-9 1e9 1e17 1e300 1.7976931348623157e308 math.inf 2**53 2**63 np.float32(0.3) "
    "np.float64(1e300) np.int64(2) np.float16(0.1) np.longdouble(1) Fraction(1,3) True"
)
"""Numbers that somebody might give, texts of Python."""
WRONG = words(
    "None -math.inf math.nan -1.0 -1 '1' '' b'1' 10**400 1j Decimal('0.5') np.array(1.0) np.array([1.0]) [1.0] (1.0,) {} "
    "object() len float np.datetime64('2020-01-01') np.float64('nan') 'nonsense' ..."
)
"""What no argument should be."""
PLAIN = {"s": (0.1, 0.25, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0), "B": (1.0, 64.0, 100.0, 1e4), "B/s": (50.0, 100.0, 400.0, 1e4, 1e9)}
"""Ordinary quantities, by unit."""
RATIOS = (0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)
WHOLE = (0, 1, 1, 1, 2, 2, 3, 4, 8)
TEXTS = ("loss", "distance", "", "nonsense")
BATCH = 2
"""Samples of a local step."""
DEEPEST = 3
"""Laws around laws around laws."""
TRIES = 8


class Refusal(NamedTuple):
    """A call that was refused, and how."""

    call: Call
    error: BaseException


def homes() -> dict[str, Any]:
    """Return the public packages whose classes are used, by the name that Python text calls them."""
    return {f"sg.{name}": getattr(sg, name) for name in ("times", "networks", "faults", "protocols")} | {"rubbish": rubbish}


def classes(*kinds: type) -> dict[str, type]:
    """Return the public dataclasses that can be made of some kinds, by name, in the order of the alphabet."""
    found = {}
    for home, module in homes().items():
        for name in module.__all__:
            each = getattr(module, name)
            if (
                isinstance(each, type)
                and dataclasses.is_dataclass(each)
                and issubclass(each, kinds)
                and not inspect.isabstract(each)
            ):
                found[f"{home}.{name}"] = each
    return dict(sorted(found.items()))


def name_of(wanted: type) -> str:
    """Return what Python text calls a class."""
    return next(name for name, each in classes(object).items() if each is wanted)


class Generator:
    """Draws expressions.

    Args:
        name: of the random numbers: theme and seed.

    Attributes:
        refusals: the calls that were refused on the way.
        wild: the probability that an argument is extreme or wrong.
        rubbish: the probability that a class is one of `rubbish`.
        moments: the quantities that this configuration prefers, seconds.
    """

    def __init__(self, name: str) -> None:
        self.random = random.Random(name)
        self.refusals: list[Refusal] = []
        self.choices: dict[tuple[str, str], list[str]] = {}  # what refusals have said a text may be, by class and argument
        self.wild = self.random.choice((0.0, 0.0, 0.02, 0.1, 0.3))
        self.rubbish = self.random.choice((0.0, 0.0, 0.0, 0.1, 0.4))
        self.tied = self.random.random() < 0.5
        self.moments = (*self.random.choices((0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0), k=2), 1.0)
        self.workers = self.random.choice((1, 2, 2, 3, 3, 4, 5, 8))

    def likely(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- values ----------------------------------------------------------------------------------------------------------

    def number(self, plain: Iterable[float], wild: float | None = None) -> str:
        """Return a number, sometimes an odd one, as a text."""
        if self.likely(self.wild if wild is None else wild):
            return self.random.choice(EXTREME if self.likely(0.6) else WRONG)
        if self.likely(0.1):
            return repr(float(f"{self.random.expovariate(1.0):.3g}"))
        value = self.random.choice(tuple(plain))
        return repr(int(value)) if value == int(value) and self.likely(0.2) else repr(value)

    def seconds(self) -> str:
        return self.number(self.moments if self.likely(0.7 if self.tied else 0.2) else PLAIN["s"])

    def whole(self, name: str) -> str:
        if self.likely(self.wild):
            return self.random.choice((*EXTREME, *WRONG, "10**6", "10**12", "2**31"))
        if name.startswith("worker"):
            return repr(self.random.randrange(self.workers)) if self.likely(0.97) else repr(self.workers)
        return repr(self.random.choice(WHOLE))

    def word(self, described: type, name: str) -> str:
        if self.likely(self.wild / 2):
            return self.random.choice(WRONG)
        return repr(self.random.choice(self.choices.get((described.__name__, name), TEXTS)))

    def plain(self, described: type, name: str, content: Content) -> str:
        """Return a value that is no description, as a text."""
        if content.unit:
            return self.seconds() if content.unit == "s" else self.number(PLAIN[content.unit])
        if content.scalar is bool:
            return self.random.choice(("True", "False")) if not self.likely(self.wild) else self.random.choice(WRONG)
        if content.scalar is int:
            return self.whole(name)
        return self.word(described, name) if content.scalar is str else self.number(RATIOS)

    def value(self, described: type, name: str, content: Content, length: int, depth: int) -> Expression:
        """Return a value for a field; sequences of one call have one length, mostly."""
        if content.item:
            if self.likely(self.wild / 4):
                return self.random.choice(WRONG)
            count = length if self.likely(0.95) else self.random.choice((0, 1, 2, 30))
            entries = [
                self.value(described, name, content.item, self.random.choice((1, 2, 4)), depth + 1) for _ in range(count)
            ]
            numbers = all(isinstance(entry, str) for entry in entries)
            return tuple(sorted(set(entries), key=_as_number) if numbers and self.likely(0.5) else entries)
        if content.kinds is None:
            return self.plain(described, name, content)
        if self.likely(self.wild / 4):
            return self.random.choice((*WRONG, "sg.times.Constant", "sg.networks.Link()"))
        return self.description(tuple(content.kinds.values()), depth + 1, content.role)

    # --- descriptions ----------------------------------------------------------------------------------------------------

    def description(self, kinds: tuple[type, ...], depth: int = 0, role: str = descriptions.TIME) -> Call:
        """Return a call that makes a description of one of the classes `kinds`, or rubbish of their kind."""
        public = [each for each in kinds if dataclasses.is_dataclass(each)]
        bases = [base for base in (Law, sg.networks.Wire, sg.networks.Network, sg.Protocol, sg.networks.Fabric)]
        base = next((base for base in bases if all(issubclass(each, base) for each in public)), None)
        odd = [each for name, each in classes(base).items() if name.startswith("rubbish.")] if base else []
        simple = [each for each in public if not any(c.kinds or c.item for c in descriptions.contents(each, role).values())]
        for _ in range(TRIES):
            pool = simple if depth >= DEEPEST and simple else public
            if odd and self.likely(self.rubbish):
                pool = odd
            elif self.tied and sg.times.Constant in public and self.likely(0.4):
                pool = [sg.times.Constant]
            call = self.call(self.random.choice(sorted(pool, key=lambda each: each.__name__)), depth, role)
            if call is not None:
                return call
        return Call("sg.times.Constant", (("seconds", "1.0"),)) if base is Law else Call(name_of(simple[0]))

    def call(self, described: type, depth: int = 0, role: str = descriptions.TIME) -> Call | None:
        """Return a call that makes an instance, or None if all that were tried were refused."""
        wanted, wild = descriptions.contents(described, role), self.wild
        parameters = inspect.signature(described).parameters
        for attempt in range(TRIES):
            self.wild = wild if attempt < TRIES // 2 else 0.0
            length = self.workers if self.likely(0.9) else self.random.choice((0, 1, 2, 5))
            names = [n for n, p in parameters.items() if p.default is p.empty or self.likely(0.5)]
            given = tuple((name, self.value(described, name, wanted[name], length, depth)) for name in names)
            self.wild = wild
            call = Call(name_of(described), given)
            error = refusal(call)
            if error is None:
                return call
            self.refusals.append(Refusal(call, error))
            self._learn(described, str(error))
        return None

    def _learn(self, described: type, said: str) -> None:
        """Learn from a refusal which texts an argument may be."""
        match = re.match(rf"{described.__name__}\.(\w+) must be one of (('[^']*'(, )?)+), got", said)
        if match:
            self.choices[described.__name__, match[1]] = re.findall("'([^']*)'", match[2])

    # --- the whole -------------------------------------------------------------------------------------------------------

    def protocol(self) -> Call:
        pool = tuple(classes(sg.Protocol).values()) if self.likely(0.3) else public(sg.Protocol)
        together = tuple(each for each in pool if each.synchronous)
        return self.description(together if together and self.likely(0.25) else pool)

    def method(self, protocol: Call) -> Call:
        """Return a method of a protocol, whose work charges some steps, and some bytes for the messages."""
        charges = tuple((name, self.number((0.0, 0.1, 1.0, 2.0, 30.0))) for name in ("down", "up"))
        call = Call("rubbish.Charged", (("steps", self.whole("steps")), *charges))
        method = Call("rubbish.method", (("protocol", protocol), ("work", call)))
        error = refusal(method)
        if error is not None:
            self.refusals.append(Refusal(method, error))
            return method.given(work=Call("rubbish.Charged", (("steps", "2"),)))
        return method

    def cluster(self, synchronous: bool) -> Call:
        """Return a cluster; only a synchronous protocol is given an all-reduce, mostly."""
        fabrics = public(sg.networks.Fabric)
        together = [each for each in fabrics if issubclass(each, sg.networks.AllReduce)]
        apart = [each for each in fabrics if each not in together]
        while True:
            call = Call(
                "sg.Cluster",
                (("workers", self.number((self.workers,), self.wild / 4)), ("compute", self.description(public(Law)))),
            )
            if self.likely(0.8):
                pool = together if self.likely(0.6 if synchronous else 0.02) else apart
                call = call.given(network=self.description(tuple(pool)))
            faults = self.random.choice((0, 0, 0, 1, 1, 2, 3, 4))
            kinds = public(sg.faults.Fault)
            call = call.given(faults=tuple(self.description(kinds) for _ in range(faults)) if faults else None)
            error = refusal(call)
            if error is None:
                return call
            self.refusals.append(Refusal(call, error))
            self.wild /= 2

    def end(self, updates: int = 40) -> Call:
        """Return when to stop."""
        if self.likely(0.5):
            return Call("sg.Updates", (("count", repr(self.random.choice((1, 2, 3, 7, self.random.randint(1, updates))))),))
        if self.likely(0.3):
            name = "sg.Gradients" if self.likely(0.6) else "sg.Samples"
            count = self.random.choice((1, 2, 5, self.random.randint(1, 2 * updates))) * (
                1 if name == "sg.Gradients" else BATCH
            )
            return Call(name, (("count", repr(count)),))
        seconds = self.random.choice((*(m for m in self.moments if m), 5.0, 10.0, float(f"{self.random.uniform(0.1, 20):.4g}")))
        odd = self.random.choice(("5e-324", "1e-300", "1e300", "1e9", "np.float32(3)", "2**60"))
        return Call("sg.Seconds", (("seconds", odd if self.likely(self.wild / 3) else repr(seconds)),))

    def message_bytes(self) -> str:
        return self.number((0.0, 1.0, 100.0, 1000.0)) if self.likely(0.9) else "None"

    def seed(self) -> str:
        odd = ("-1", "None", "1.0", "2**64", "10**30", "np.int64(3)", "True", "'0'")
        return self.random.choice(odd) if self.likely(self.wild / 2) else repr(self.random.randrange(2**31))


def public(base: type) -> tuple[type, ...]:
    """Return simsgd's own classes of a kind."""
    return tuple(each for name, each in classes(base).items() if not name.startswith("rubbish."))


def refusal(call: Call) -> BaseException | None:
    """Return what making something raises, or None."""
    try:
        make(call)
    except Exception as error:
        return error
    return None


def _as_number(entry: Expression) -> tuple[float, str]:
    try:
        return float(make(entry)), str(entry)
    except Exception:
        return 0.0, str(entry)
