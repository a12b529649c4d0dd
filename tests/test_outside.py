"""What code of one's own reads from outside, or sees of a set's order, is unknown; ordinary code is not."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats

import simsgd as sg
from simsgd.provenance import Identity, describe

TOP = """
import collections, dataclasses, datetime, functools, gc, glob, heapq, importlib, inspect, io, itertools
import operator, os, os.path, pathlib, platform, random, sched, shutil, sqlite3, statistics, sys, tempfile
import bisect, builtins, decimal, json, math, multiprocessing, threading, time, urllib.request, uuid, weakref
import jax, jax.numpy as jnp, numpy as np, scipy.stats, simsgd as sg
from builtins import open as opened
from datetime import date, datetime as moment, timedelta
from io import open as also_open
from json import load as json_load
from numpy import load as numpy_load, loadtxt
from numpy.random import PCG64, default_rng, normal
from os import environ, getpid, listdir, path as paths
from os.path import exists, join
from pathlib import Path, PurePath
from random import gauss
from scipy.stats import gamma
from time import perf_counter, time as clock
class READS:
    loads = staticmethod(np.loadtxt)
HERE = Path("somewhere")
KINDS = {"slow", "fast", "x"}
draw_read = Path("x").read_text
"""


def made(body, argument="x"):
    """Return a function with these lines or this expression, of a module of the user's."""
    space = {"__name__": "a_module_of_mine"}
    exec(TOP, space)
    lines = body if "\n" in body or "return" in body else f"return {body}"
    exec(f"def draw(self, rng, {argument}):\n{textwrap.indent(textwrap.dedent(lines), '    ')}", space)
    return space["draw"]


OUTSIDE = """
json.loads(pathlib.Path(self.path).read_text())
self.path.read_text()
x.read_bytes()
HERE.exists()
[each.name for each in self.folder.iterdir()]
list(self.folder.glob("*"))
Path(x).stat().st_size
Path.home()
draw_read()
np.loadtxt(x)
loadtxt(x)
np.load(x)
numpy_load(x)
np.genfromtxt(x)
np.fromfile(x)
np.memmap(x)
jnp.load(x)
io.open(x)
opened(x)
also_open(x)
builtins.open(x)
self.path.open()
os.listdir(x)
listdir(x)
os.getpid()
getpid()
os.stat(x)
os.environ["X"]
environ["X"]
os.cpu_count()
os.path.exists(x)
exists(x)
paths.getmtime(x)
os.path.abspath(x)
glob.glob(x)
shutil.disk_usage(x)
tempfile.mkdtemp()
sqlite3.connect(x)
urllib.request.urlopen(x)
datetime.datetime.now()
moment.now()
moment.today()
date.today()
x.utcnow()
clock()
perf_counter()
time.monotonic()
uuid.uuid4()
sys.modules["a"].b
sys._getframe()
sys.path
sys.argv
sys.getrefcount(x)
inspect.stack()
importlib.import_module(x)
threading.active_count()
multiprocessing.cpu_count()
gc.get_count()
weakref.ref(x)
platform.node()
decimal.getcontext()
jax.device_count()
jax.devices()
jax.default_backend()
random.random()
gauss(0, 1)
normal()
np.random.normal()
default_rng()
np.random.default_rng()
np.random.Generator(np.random.PCG64())
np.random.SeedSequence().entropy
np.random.Generator(PCG64())
scipy.stats.gamma.rvs(2.0)
gamma.rvs(2.0)
self.law.rvs()
sg.Cluster.load(x)
map(Path.read_text, x)
functools.partial(open, x)()
READS.loads(x)
self.helper(np)
dataclasses.sys.argv
self.helper(os.path)
""".strip().splitlines()
KNOWN = """
math.exp(x) + rng.exponential(x)
np.exp(x).sum() + np.linalg.norm(x)
jnp.exp(x)
statistics.mean(x)
os.path.join("a", x)
join("a", x)
paths.basename(x)
PurePath(x).name
sys.maxsize + sys.float_info.max
datetime.timedelta(seconds=x).total_seconds()
timedelta(seconds=x)
date(2020, 1, 1).isoformat()
dataclasses.replace(self, mean=x)
dataclasses.asdict(self)
collections.Counter(x).most_common(1)
collections.deque(x, maxlen=3)
itertools.accumulate(x, operator.add)
functools.reduce(operator.add, x)
heapq.heappop(x) + bisect.bisect(x, 1)
json.loads(x)
decimal.Decimal(x)
scipy.stats.gamma.rvs(2.0, random_state=rng)
gamma.rvs(2.0, random_state=rng)
gamma.ppf(rng.random(), 2.0)
self.law.rvs(random_state=rng)
np.random.Generator(np.random.PCG64(3)).normal()
x.now + self.exists + self.walk(x)
rng.permutation([*x]).tolist()
sorted(x.items())
sg.times.Exponential(mean=x).moments(0)
io.StringIO()
uuid.UUID(x)
""".strip().splitlines()


@pytest.mark.parametrize("code", OUTSIDE)
def test_what_reads_the_outside_is_unknown(code):
    assert Identity(describe(made(code))).unknown, describe(made(code))
    assert not Identity(describe(made(code))).unreadable


@pytest.mark.parametrize(
    "code", ["import os\nreturn os.getpid()", "from numpy import load\nreturn load(x)", "import numpy\nreturn numpy.load(x)"]
)
def test_so_is_what_is_imported_inside(code):
    assert Identity(describe(made(code))).unknown


def closed_over(code):
    """Return a function inside of one that imports."""
    import os

    import numpy

    lines = {"os": lambda x: os.cpu_count(), "numpy": lambda x: numpy.load(x), "sine": lambda x: numpy.sin(x)}
    return lines[code]


def test_so_is_what_is_imported_around_it():
    assert [bool(Identity(describe(closed_over(code))).unknown) for code in ("os", "numpy", "sine")] == [True, True, False]


@pytest.mark.parametrize("code", [*KNOWN, "import numpy\nreturn numpy.exp(x)", "from math import exp\nreturn exp(x)"])
def test_ordinary_code_is_known(code):
    assert Identity(describe(made(code))).unknown == ()


MAKING = r"""
next(iter({"slow", "fast", "x"} - {"x"}))
[a for a in {"slow", "fast"}]
list({x, "a"})
tuple(set(x))
set(x).pop()
next(iter(frozenset(x)))
{x, "a"}
self.helper({x, "a"})
collections.defaultdict(set)
list(map(set, x))
dict.fromkeys({x, "a"})
[s for s in [{x, "a"}]]
[*sorted({x, "a"}), *{x, "b"}]
f"{set(x)}"
str({x, "a"} if x else 3)
for a in {x, "b"}:\n    return a
try:\n    s = {x, "b"}\nfinally:\n    print(x)\nreturn list(s)
"".join({x, "b", "c"})
max({x, "b"}, key=len)
sorted({x, "b"}, key=len)
[*{x, "b"}]
list({a for a in x})
next(iter(x.keys() & self.names.keys()))
list(x.keys() - self.names)
s = set()\ns.add(x)\nreturn list(s)
s = {x, "b"}\nfor a in s:\n    x += a\nreturn x
s = t = {x, "b"}\nfor a in s:\n    t += a\nreturn t
return list(t := {x, "b"})
a, b = {x, "b"}\nreturn a
s = set()\ndef inner():\n    return s.pop()\nreturn inner
self.kept = {x, "b"}\nreturn 1
s = {x, "b"}\nt = s | {"c"}\nreturn enumerate(t)
""".strip().splitlines()
MAKING_NONE = r"""
x in {"a", "b", "c"}
[y for y in x if y not in {"a", "b"}]
[a for a in {1, 2, 3}]
x.keys()
len([y for y in x if y in ("a", "b")])
x & 3
""".strip().splitlines()


@pytest.mark.parametrize("code", MAKING)
def test_code_that_makes_a_set_brings_the_hash_seed(code):
    described = describe(made(code.replace("\\n", "\n")))
    assert described["globals"]["hash seed"] == describe({"a"})["hash seed"]


@pytest.mark.parametrize("code", MAKING_NONE)
def test_code_that_makes_none_does_not(code):
    assert "hash seed" not in str(describe(made(code)))


LAWS = """
import sys, json
from dataclasses import dataclass
import simsgd as sg
KINDS = {"slow", "fast", "x"}
class Timed(sg.times.Law):
    def moments(self, worker=0):
        return sg.times.Moments(mean=1.0, variance=0.0)
@dataclass(frozen=True)
class Built(Timed):
    def sample(self, rng, worker, now):
        return {"slow": 2.0, "fast": 1.0}[next(iter({"slow", "fast", "x"} - {"x"}))]
@dataclass(frozen=True)
class Held(Timed):
    def sample(self, rng, worker, now):
        return {"slow": 2.0, "fast": 1.0, "x": 3.0}[next(iter(KINDS))]
tapes = [sg.record(sg.AsyncSGD(), sg.Cluster(2, law()), sg.Updates(4)) for law in (Built, Held)]
print(json.dumps([(tape.content_hash, tape.identity.description) for tape in tapes]))
"""


def test_processes_whose_sets_are_in_another_order_have_no_equal_identities():
    def said(**variables):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"} | variables
        done = subprocess.run([sys.executable, "-c", LAWS], env=environment, capture_output=True, text=True, check=True)
        return [(content, Identity(description)) for content, description in json.loads(done.stdout)]

    plain, seeded = said(), [said(PYTHONHASHSEED=str(seed)) for seed in range(6)]
    assert (
        any(one[0] != other[0] for one, other in zip(seeded[0], seeded[1], strict=True)) or len({s[0][0] for s in seeded}) > 1
    )
    assert plain[0][1].unknown == ()
    assert seeded[0] == said(PYTHONHASHSEED="0")
    for law in range(2):
        assert len({one[law][1].key for one in seeded}) == len(seeded)
        assert plain[law][1] not in [one[law][1] for one in seeded]


RATE = [1.0]


@functools.cache
def slowness(worker):
    return RATE[0] * (worker + 1)


@dataclass(frozen=True)
class Cached(sg.times.Law):
    """A law that remembers what a function said."""

    def sample(self, rng, worker, now):
        return slowness(worker)

    def moments(self, worker=0):
        return sg.times.Moments(mean=1.0, variance=0.0)


def test_a_cache_of_a_function_is_no_older_than_its_code(monkeypatch):
    def tape():
        return sg.record(sg.AsyncSGD(), sg.Cluster(2, Cached()), sg.Updates(4))

    first = tape()
    monkeypatch.setattr(sys.modules[__name__], "RATE", [3.0])
    second = tape()
    assert first.identity != second.identity
    assert first != second
    assert first.identity.unknown == second.identity.unknown == ()
    monkeypatch.undo()
    assert (tape(), tape().identity) == (first, first.identity)


def test_the_cache_of_a_library_s_function_stays():
    kept = functools.lru_cache(np.sin)
    kept(1.0)
    assert Identity(describe(kept)).unknown == ()
    assert kept.cache_info().currsize == 1


@dataclass(frozen=True)
class Frozen:
    """One that holds a distribution of scipy's and a path."""

    law: object
    path: pathlib.Path = pathlib.Path("a")


def test_objects_of_libraries_are_known_by_what_they_hold():
    held = [Frozen(scipy.stats.gamma(shape)) for shape in (2.0, 2.0, 3.0)]
    one, same, other = (Identity(describe(each)) for each in held)
    assert one == same != other
    assert Identity(describe(scipy.stats.gamma)).unknown == ()
    one, same, other = (Identity(describe(np.random.RandomState(seed))) for seed in (1, 1, 2))
    assert one == same != other


def test_held_sets_of_numbers_are_the_same_in_all_processes_and_those_of_texts_are_not():
    assert "hash seed" not in describe({1, 2.5, None})
    assert describe({"a"})["hash seed"] == describe({("b", 1)})["hash seed"]
