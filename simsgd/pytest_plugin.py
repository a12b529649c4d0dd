"""The pytest plugin that comes with simsgd: a fixture that makes each simulation once.

A test that asks for the fixture `simsgd_simulate` calls it like `sg.simulate`. A run that was asked for before, by whatever
test, is not made again; between the processes of pytest-xdist one makes it and the others load it; with `--simsgd-cache` it is
there in the next session too. Which run is which is said by `sg.identity`. A test that fails shows the line that makes each of
its runs again.

Law of this module: until a test asks for the fixture, it imports nothing but pytest.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simsgd.cluster.cluster import Cluster
    from simsgd.method import Method
    from simsgd.optimizers import Optimizer
    from simsgd.problems import Problem
    from simsgd.protocols import Protocol
    from simsgd.run import Run
    from simsgd.stopping import Rule, Target

TITLE = "simulations of this test"
DEFAULT = "its folder in .pytest_cache"
TAG = "CACHEDIR.TAG"
"""The file that marks a folder as a cache, as other programs do (bford.info/cachedir)."""
SIGNATURE = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# Runs that simsgd's pytest plugin keeps; the folder may be deleted.\n"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    group = parser.getgroup("simsgd", "simulations of distributed SGD (the fixture simsgd_simulate)")
    group.addoption(
        "--simsgd-cache",
        nargs="?",
        const=DEFAULT,
        metavar="FOLDER",
        help="keep the runs of simsgd_simulate for later sessions: --simsgd-cache=FOLDER, or --simsgd-cache alone, at the end, "
        "for a folder in .pytest_cache; delete the folder to forget them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a cache that is no folder of the plugin's own: perhaps it is a file to test."""
    given = config.getoption("simsgd_cache")
    if given not in (None, DEFAULT) and not hasattr(config, "workerinput"):  # a process of xdist may be late
        folder = config.invocation_params.dir / given
        foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / TAG).is_file()
        if "::" in given or folder.is_file() or foreign:
            raise pytest.UsageError(
                f"--simsgd-cache got {given!r}, which is no folder of runs: write --simsgd-cache=FOLDER, with a new or an "
                "empty folder, or --simsgd-cache after the tests"
            )


@pytest.fixture(scope="session")
def simsgd_simulate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulations]:
    """Call it like sg.simulate: a run is made once in a session, or, with --simsgd-cache, once for all."""
    simulations = Simulations(_folder(request.config, tmp_path_factory))
    request.config.pluginmanager.register(simulations)
    yield simulations
    request.config.pluginmanager.unregister(simulations)


def _folder(config: pytest.Config, temporary: pytest.TempPathFactory) -> pathlib.Path | None:
    """Return the folder that runs are shared in: the cache asked for, or, between xdist's processes, a temporary one."""
    given = config.getoption("simsgd_cache")
    if given is None:
        if not hasattr(config, "workerinput"):  # no process of xdist: the environment may be that of a session around this one
            return None
        folder = temporary.getbasetemp().parent / "simsgd"
    elif given == DEFAULT:
        folder = config.cache.mkdir("simsgd") if config.cache else config.rootpath / ".pytest_cache" / "simsgd"
    else:
        folder = config.invocation_params.dir / given
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / TAG).is_file():
        (folder / TAG).write_text(SIGNATURE)
    return folder


class Simulations:
    """What the fixture `simsgd_simulate` gives: it makes runs, and says of a failed test which it used.

    Args:
        folder: where runs are shared with other processes and sessions, if they are.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        from simsgd.studies.remembering import Remembered

        self._remembered = Remembered(folder)
        self._given: dict[Any, list[dict[str, Any]]] = {}
        """The arguments of the runs that a test asked for, by its name, or a fixture of a wider scope, by its definition."""
        self._fixtures: list[Any] = []

    @property
    def made(self) -> int:
        """How many runs this process has made so far: those that it found are not counted."""
        return self._remembered.made

    def __call__(
        self,
        protocol: Protocol | Method,
        problem: Problem,
        cluster: Cluster,
        optimizer: Optimizer | None = None,
        until: Rule | Target | None = None,
        seed: int = 0,
        evaluate_every: Rule | None = None,
        message_bytes: float | None = None,
        dtype: str = "float32",
        width: int | None = None,
    ) -> Run:
        """Return the run that `sg.simulate` makes of these arguments, perhaps one that was made before; see there.

        Tests may get the same run, so its arrays cannot be written to.
        """
        given = dict(protocol=protocol, problem=problem, cluster=cluster, optimizer=optimizer, until=until, seed=seed)
        given |= dict(evaluate_every=evaluate_every, message_bytes=message_bytes, dtype=dtype, width=width)
        self._given.setdefault(self._asking(), []).append(given)
        return self._remembered.run(given)

    def _asking(self) -> Any:
        """Return who asks: a fixture that several tests may use, or the test that runs."""
        wide = [definition for definition in self._fixtures if definition.scope != "function"]
        return wide[-1] if wide else os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Know which fixture is being made."""
        self._fixtures.append(fixturedef)
        try:
            return (yield)
        finally:
            self._fixtures.pop()

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forget what a fixture asked for, once it is gone."""
        self._given.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, Any]:
        """Add to the report of a failed test the lines that make its runs again."""
        report = yield
        if report.failed and (used := self._used(item)):
            report.sections.append((TITLE, _lines(used)))
        if call.when == "teardown":
            self._given.pop(item.nodeid, None)
        return report

    def _used(self, item: pytest.Item) -> list[dict[str, Any]]:
        """Return the arguments of the runs that a test, or a fixture of its, asked for."""
        names = getattr(item, "fixturenames", ())
        whose = [who for who in self._given if who == item.nodeid or getattr(who, "argname", None) in names]
        mine = [who for who in whose if item.nodeid.startswith(getattr(who, "baseid", ""))]
        return [given for who in mine for given in self._given[who]]


def _lines(used: list[dict[str, Any]]) -> str:
    """Return the line of each run, each line once."""
    from simsgd.studies.reproducing import line

    lines = []
    for given in used:
        try:
            lines.append(line(given))
        except Exception as error:  # of an object of the user's: the test's own failure is to be seen
            lines.append(f"# a run whose line could not be written: {type(error).__name__}: {error}")
    return "\n\n".join(dict.fromkeys(lines))
