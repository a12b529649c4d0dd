"""Work handed to executors: order, limits, what fails, what is lost, and that finished work is handed over whatever happens."""

import multiprocessing
import os
import pathlib
import pickle
import re
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import hypothesis
import hypothesis.strategies as st
import pytest

from simsgd.executing import ExecutorError, Group, SendingError, backends, execute, pools, scheduler
from simsgd.executing.backends import Direct, Here, carried_out
from simsgd.executing.parcels import KEPT
from simsgd.executing.signs import Signs, beating
from simsgd.support import interrupts


class Kept:
    """What a study would store, and how often."""

    def __init__(self):
        self.outcomes, self.failures, self.order = {}, {}, []

    def outcome(self, name, outcomes):
        assert name not in self.outcomes | self.failures, "handed over twice"
        self.outcomes[name] = outcomes
        self.order.append(name)

    def failure(self, name, error):
        assert name not in self.outcomes | self.failures, "handed over twice"
        self.failures[name] = error


@pytest.fixture
def kept():
    return Kept()


def executed(kept, recordings, groups, executor, recorder=None, **options):
    execute(
        recordings,
        groups,
        executor,
        recorder or Here(),
        on_outcomes=kept.outcome,
        on_failure=kept.failure,
        **options,
    )


def numbered(count):
    return list(range(count))


def scaled(factor, *tapes):
    return [factor * number for tape in tapes for number in tape]


def broken(*_):
    raise ValueError("this group does not work")


def process(*_):
    return os.getpid()


RECORDINGS = {f"tape {n}": (numbered, (n,)) for n in range(6)}
GROUPS = {f"group {n}": Group(scaled, (10,), needs=[f"tape {n}", f"tape {(n + 1) % 6}"]) for n in range(6)}
WANTED = {f"group {n}": scaled(10, numbered(n), numbered((n + 1) % 6)) for n in range(6)}


class Manual(Executor):
    """An executor that does nothing by itself: the test says what ends, and how."""

    def __init__(self):
        self.submitted, self.most, self.ended = [], 0, 0

    def submit(self, function, /, *arguments):
        future = Future()
        self.submitted.append((future, function, arguments))
        self.most = max(self.most, len(self.submitted) - self.ended)
        return future

    def end(self, index):
        future, function, arguments = self.submitted[index]
        future.set_result(function(*arguments))
        self.ended += 1


@pytest.mark.parametrize("make", [Here, lambda: ThreadPoolExecutor(2), lambda: pools.Threads(2)])
def test_in_this_process(kept, make):
    executed(kept, RECORDINGS, GROUPS, make())
    assert kept.outcomes == WANTED


def test_each_recording_is_made_once_and_those_that_nobody_needs_never(kept):
    made = []

    def record(name):
        made.append(name)
        return name

    recordings = {name: (record, (name,)) for name in ("one", "two", "nobody's")}
    groups = {n: Group(lambda *tapes: tapes, needs=["one", "two"]) for n in "abc"}
    executed(kept, recordings, groups, Here())
    assert made == ["one", "two"]
    assert kept.outcomes == dict.fromkeys("abc", ("one", "two"))


def test_an_unknown_need_is_named(kept):
    with pytest.raises(ValueError, match="there is none called 'elsewhere'"):
        executed(kept, {}, {"a": Group(scaled, needs=["elsewhere"])}, Here())


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor, "dask"])
def test_what_is_no_executor_is_refused(kept, executor):
    with pytest.raises(TypeError, match=r"executor must have a method submit"):
        executed(kept, {}, {}, executor)


def test_few_are_submitted_at_a_time_and_few_tapes_are_held(kept):
    """With 40 groups of a tape each, at most as many tapes exist as groups are open."""
    held, most = set(), []

    class Tape:
        def __init__(self, name):
            self.name = name
            held.add(name)
            most.append(len(held))

        def __del__(self):
            held.discard(self.name)

    class Slow(Manual):
        def submit(self, function, /, *arguments):
            assert len(self.submitted) - self.ended < 3
            return super().submit(function, *arguments)

    executor = Slow()

    def look():
        if executor.ended < len(executor.submitted):
            executor.end(executor.ended)
            executor.submitted[executor.ended - 1] = None

    recordings = {f"tape {n}": (Tape, (n,)) for n in range(40)}
    groups = {f"group {n}": Group(lambda tape: tape.name, needs=[f"tape {n}"]) for n in range(40)}
    executed(kept, recordings, groups, Direct(executor, 3), on_look=look)
    assert kept.outcomes == {f"group {n}": n for n in range(40)}
    assert max(most) <= 2 * 3 + 1
    assert len(kept.order) == 40


def test_a_group_that_raises_is_a_failure_and_the_rest_go_on(kept):
    groups = {
        "first": Group(scaled, (1,), ["tape 3"]),
        "bad": Group(broken, (), ["tape 3"]),
        "last": Group(scaled, (2,), ["tape 3"]),
    }
    executed(kept, RECORDINGS, groups, ThreadPoolExecutor(2))
    assert kept.outcomes == {"first": [0, 1, 2], "last": [0, 2, 4]}
    assert {name: str(error) for name, error in kept.failures.items()} == {"bad": "this group does not work"}


def test_a_recording_that_raises_fails_the_groups_that_need_it(kept):
    recordings = {"good": (numbered, (2,)), "bad": (broken, ())}
    groups = {name: Group(scaled, (1,), needs) for name, needs in {"a": ["good"], "b": ["good", "bad"], "c": ["bad"]}.items()}
    executed(kept, recordings, groups, Here())
    assert kept.outcomes == {"a": [0, 1]}
    assert set(kept.failures) == {"b", "c"}


def test_an_error_of_a_callback_ends_it_and_cancels_what_has_not_begun(kept):
    begun = []

    def play(name):
        begun.append(name)
        time.sleep(0.05)

    def full(name, outcomes):
        raise OSError(28, "no space left")

    groups = {n: Group(play, (n,)) for n in range(20)}
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="no space left"):
        execute({}, groups, pool, Here(), on_outcomes=full, on_failure=kept.failure)
    assert len(begun) < 4


def test_a_shut_down_executor_is_an_error_that_says_what_is_kept(kept):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExecutorError, match=r"died \(RuntimeError: cannot schedule.*: 0 of 6 groups are finished and kept"):
        executed(kept, RECORDINGS, GROUPS, pool)


def test_a_group_that_the_executor_loses_is_no_failure(kept):
    class Losing(Manual):
        def submit(self, function, /, *arguments):
            future = super().submit(function, *arguments)
            if len(self.submitted) == 2:
                future.cancel()
                future.set_running_or_notify_cancel()
            else:
                self.end(-1)
            return future

    with pytest.raises(ExecutorError, match=r"lost 1 groups: group 1 CancelledError\. 5 of 6 .* Run again to make the rest"):
        executed(kept, RECORDINGS, GROUPS, Losing())
    assert kept.failures == {}
    assert kept.outcomes == {name: outcome for name, outcome in WANTED.items() if name != "group 1"}


class Hanging(Manual):
    """Never ends the groups of these numbers, and all others at once."""

    def __init__(self, hanging):
        super().__init__()
        self.hanging = hanging

    def submit(self, function, /, *arguments):
        future = super().submit(function, *arguments)
        if len(self.submitted) - 1 not in self.hanging:
            self.end(-1)
        return future


class Breaking(Executor):
    """Gives back so many results, and then breaks."""

    def __init__(self, results):
        self.left = results

    def submit(self, function, *arguments):
        if self.left:
            self.left -= 1
            return Here().submit(function, *arguments)
        future = Future()
        future.set_exception(BrokenProcessPool("a process ended abruptly"))
        return future


@pytest.mark.parametrize("results", [0, 1])
def test_a_pool_that_breaks_before_anything_came_back_names_the_guard_first(kept, results):
    name = "0123456789abcdef" * 4
    with pytest.raises(ExecutorError, match=r"it had .*01234567….*Run again, with a new executor") as died:
        executed(kept, {}, {"first": Group(process), name: Group(process)}, Breaking(results), in_flight=2)
    assert name not in str(died.value)
    assert ("if __name__" in str(died.value)) == (results == 0)


def test_a_group_that_hangs_is_lost_and_the_others_go_on(kept):
    with pytest.raises(ExecutorError, match=r"lost 1 groups: group 2 gave no sign for 0\.\d+ s\. 5 of 6"):
        executed(kept, RECORDINGS, GROUPS, Hanging({2}), patience=0.1)
    assert kept.outcomes == {name: outcome for name, outcome in WANTED.items() if name != "group 2"}


def test_an_executor_that_hangs_altogether_ends_in_one_patience(kept):
    begun = time.monotonic()
    with pytest.raises(ExecutorError, match=r"lost 6 groups: .*gave no sign .* 0 of 6"):
        executed(kept, RECORDINGS, GROUPS, Hanging(range(99)), patience=0.2, in_flight=2)
    assert time.monotonic() - begun < 1


def test_what_comes_after_all_is_kept(kept):
    """The first group is silent for longer than the patience, and ends while another, which gives signs, goes on."""
    executor = Hanging(range(3))
    threading.Timer(0.3, executor.end, (0,)).start()
    threading.Timer(0.5, executor.end, (2,)).start()
    signs = MadeUp({"group a": lambda: 50.0, "group b": lambda: 50.0, "group c": lambda: 0.0})
    groups = {"a": Group(scaled, (1, [1])), "b": Group(scaled, (1, [2])), "c": Group(scaled, (1, [3]))}
    with pytest.raises(ExecutorError, match=r"lost 1 groups: b gave no sign for 50 s\. 2 of 3"):
        executed(kept, {}, groups, executor, patience=0.1, signs=signs)
    assert kept.outcomes == {"a": [1], "c": [3]}
    assert kept.order == ["a", "c"]


class MadeUp:
    """Signs that the test makes up: for how long there was none."""

    def __init__(self, ages):
        self.ages = ages

    def sign(self, name):
        return None

    def seconds(self, name):
        return self.ages.get(name, lambda: None)()

    def forget(self, name):
        pass


def test_signs_of_one_keep_the_others_waiting_but_not_one_that_had_begun(kept):
    """A group in the queue of a living executor is waited for; one whose own signs stopped is not."""
    executor = Hanging({0, 1})
    signs = MadeUp({"group a": lambda: 0.0, "group b": lambda: 50.0})
    threading.Timer(0.3, executor.end, (0,)).start()
    groups = {"a": Group(scaled, (1,)), "b": Group(scaled, (1,))}
    with pytest.raises(ExecutorError, match="lost 1 groups: b gave no sign for 50 s"):
        executed(kept, {}, groups, executor, patience=0.1, signs=signs)
    assert set(kept.outcomes) == {"a"}


def test_signs_of_life_are_files_whose_time_changes(tmp_path):
    signs = Signs(tmp_path / "signs", every=0.05)
    assert signs.seconds("a") is None
    with beating(signs.sign("a")):
        time.sleep(0.2)
        assert signs.seconds("a") < 0.05
        time.sleep(0.2)
        assert signs.seconds("a") < 0.05
    signs.seconds("a")
    time.sleep(0.2)
    assert signs.seconds("a") >= 0.2
    os.utime(next((tmp_path / "signs").iterdir()), (1, 1))  # the clock of another machine
    assert signs.seconds("a") < 0.05
    signs.forget("a")
    assert list((tmp_path / "signs").iterdir()) == []
    with beating(signs.sign("b")):
        pass
    signs.clear()
    assert list((tmp_path / "signs").iterdir()) == []


def test_signs_that_cannot_be_given_stop_nobody(tmp_path):
    with beating((str(tmp_path / "nowhere" / "sign"), 0.01)):
        time.sleep(0.03)


def test_ctrl_c_keeps_what_is_done_and_cancels_what_has_not_begun(kept):
    begun = []

    def play(number):
        begun.append(number)
        if number == 1:
            signal.raise_signal(signal.SIGINT)
        return number

    with pytest.raises(KeyboardInterrupt):
        executed(kept, {}, {n: Group(play, (n,)) for n in range(5)}, Here())
    assert begun == [0, 1]
    assert kept.outcomes == {0: 0}


def test_ctrl_c_breaks_off_what_threads_play(kept):
    broken_off = []

    def play():
        try:
            for _ in range(1000):
                time.sleep(0.01)
                interrupts.look()
        except KeyboardInterrupt:
            broken_off.append(0)
            raise

    begun = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), pools.playing(2) as threads:
        executed(kept, {}, {n: Group(play) for n in range(5)}, threads)
    assert broken_off == [0, 0]
    assert time.monotonic() - begun < 3


def test_quick_recordings_are_made_here_and_long_ones_in_processes(kept):
    groups = {n: Group(lambda tape: tape, needs=[n]) for n in range(4)}
    with pools.recording(4) as recorders:
        executed(kept, {n: (process, ()) for n in range(4)}, groups, Here(), recorders)
    assert set(kept.outcomes.values()) == {os.getpid()}
    with pools.recording(4, workers=2, worth=0.0) as recorders:
        again = Kept()
        executed(again, {n: (loaded, ()) for n in range(4)}, groups, Here(), recorders)
    assert again.outcomes[0][0] == os.getpid()
    elsewhere = [again.outcomes[n] for n in (1, 2, 3)]
    assert os.getpid() not in {pid for pid, _ in elsewhere}
    assert [heavy for _, heavy in elsewhere] == [[], [], []]


def loaded(*_):
    return os.getpid(), sorted({"jax", "jaxlib"} & set(sys.modules))


def test_what_cannot_be_sent_is_recorded_here(kept):
    lock = threading.Lock()
    groups = {n: Group(lambda tape: tape, needs=[n]) for n in range(3)}
    with pools.recording(3, workers=1, worth=0.0) as recorders:
        executed(kept, {n: (process, (lock,)) for n in range(3)}, groups, Here(), recorders)
    assert set(kept.outcomes.values()) == {os.getpid()}


@pytest.fixture(scope="module")
def spawned():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


class Awkward(Exception):  # noqa: N818
    """An error that can be pickled, and not unpickled: in a pool's queue it would break the pool."""

    def __init__(self, one, two):
        super().__init__("awkward")


def awkward():
    raise Awkward(1, 2)


def test_a_spawned_pool(kept, spawned):
    groups = {**GROUPS, "bad": Group(broken), "awkward": Group(awkward), "local": Group(lambda: os.getpid())}
    executed(kept, RECORDINGS, groups, spawned, spawned)
    assert kept.outcomes.pop("local") != os.getpid()
    assert kept.outcomes == WANTED
    assert str(kept.failures["bad"]) == "this group does not work"
    assert "raised in another process" in kept.failures["bad"].__notes__[0]
    assert str(kept.failures["awkward"]) == "Awkward: awkward"


def test_a_shared_thing_is_one_object_in_a_worker(kept, spawned):
    """Equal problems, made anew for each group, are packed once and unpacked once in each worker."""
    groups = {n: Group(seen, ([Big(7), Big(7)], Big(8))) for n in range(12)}
    executed(kept, {}, groups, spawned, shared=(Big,))
    by_process = {}
    for pid, one, other, eight, ids_equal in kept.outcomes.values():
        assert ids_equal
        by_process.setdefault(pid, set()).add((one, eight))
        assert one == other != eight
    assert all(len(objects) == 1 for objects in by_process.values())


class Weighing:
    """An executor that counts how often a large part is sent."""

    def __init__(self, executor):
        self.executor, self.heavy = executor, 0

    def submit(self, function, *arguments):
        self.heavy += len(pickle.dumps(arguments)) > 2_000_000
        return self.executor.submit(function, *arguments)


def test_a_large_part_is_sent_to_those_who_lack_it(kept, spawned):
    """Thirty groups on two workers: each worker is sent the part once, or twice if it was asked again meanwhile."""
    executor, big = Weighing(spawned), Big(b"x" * 2_000_000)
    executed(kept, {}, {n: Group(weighed, (big,)) for n in range(30)}, executor, shared=(Big,))
    workers = {pid for pid, _ in kept.outcomes.values()}
    assert kept.outcomes.keys() == set(range(30))
    assert {size for _, size in kept.outcomes.values()} == {2_000_000}
    assert len(workers) <= executor.heavy <= 6


def test_a_large_part_that_a_worker_has_let_go_is_sent_again(kept, spawned, monkeypatch):
    """More parts than a worker keeps, in turn."""
    monkeypatch.setattr(backends, "AGAIN", 0.02)
    many = [Big(bytes([n]) * 1_100_000) for n in range(KEPT + 2)]
    executed(kept, {}, {n: Group(weighed, (many[n % len(many)],)) for n in range(2 * len(many))}, spawned, shared=(Big,))
    assert {size for _, size in kept.outcomes.values()} == {1_100_000}
    assert len(kept.outcomes) == 2 * len(many)


def weighed(big):
    time.sleep(0.02)
    return os.getpid(), len(big.content)


class Big:
    """Something large."""

    def __init__(self, number):
        self.content = number

    def __eq__(self, other):
        return isinstance(other, Big) and self.content == other.content

    def __hash__(self):
        return hash(self.content)


def seen(pair, eight):
    return os.getpid(), id(pair[0]), id(pair[1]), id(eight), pair[0] is pair[1]


def test_what_cannot_be_sent_is_named(kept, spawned):
    with pytest.raises(
        SendingError, match=r"group a cannot be sent .*: \[1\]\[0\]\[1\]\['lock'\] = <unlocked.*top of a module.*use threads"
    ):
        executed(kept, {}, {"a": Group(scaled, ([1, {"lock": threading.Lock()}],))}, spawned)


def test_what_comes_back_and_cannot_be_sent_is_a_failure(kept, spawned):
    executed(kept, {}, {"a": Group(threading.Lock), "b": Group(numbered, (2,))}, spawned)
    assert "what a worker returns cannot be sent" in str(kept.failures["a"])
    assert kept.outcomes == {"b": [0, 1]}


def killed(number, marker):
    """Kill this worker the first time; it does the work the second time."""
    path = pathlib.Path(marker)
    if number == 3 and not path.exists():
        path.touch()
        time.sleep(0.5)  # others end before
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed_once(number, marker, tape):
    """Kill this worker in the middle of the study, the first time that this number comes."""
    path = pathlib.Path(marker)
    if number == 4 and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return [number, len(tape), os.getpid()]


def killing(tmp_path):
    return {n: Group(killed, (n, str(tmp_path / "killed"))) for n in range(8)}


def test_a_killed_worker_of_a_pool_and_another_run(kept, tmp_path):
    groups = killing(tmp_path)
    with (
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(
            ExecutorError, match=r"died \(BrokenProcessPool.* while it had .*3.*: \d of 8 groups are .* kept\. Run again"
        ),
    ):
        executed(kept, {}, groups, pool)
    assert {0, 1, 2} <= set(kept.outcomes) < set(groups)
    assert 3 not in kept.outcomes
    rest = {name: group for name, group in groups.items() if name not in kept.outcomes}
    executed(kept, {}, rest, Here())
    assert kept.outcomes == {n: n for n in range(8)}


def test_a_frozen_worker_is_noticed_by_its_file(kept, tmp_path):
    """A worker that is stopped, not killed: its pool waits for ever, and the study does not."""
    signs = Signs(tmp_path / "signs", every=0.1)
    groups = {n: Group(frozen, (n, str(tmp_path / "frozen"))) for n in range(6)}
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    try:
        with pytest.raises(ExecutorError, match=r"lost 1 groups: 1 gave no sign for [23].* s\. 5 of 6 groups are finished"):
            executed(kept, {}, groups, pool, signs=signs, patience=2.5)
        assert kept.outcomes == {n: n for n in (0, 2, 3, 4, 5)}
    finally:
        os.kill(int((tmp_path / "frozen").read_text()), signal.SIGKILL)
        pool.shutdown()


def frozen(number, marker):
    if number == 1:
        pathlib.Path(marker).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


class Whimsical(Executor):
    """Ends each piece of work after some looks: well, or by losing it."""

    def __init__(self, draw):
        self.draw, self.in_flight, self.most = draw, 0, 0

    def submit(self, function, /, *arguments):
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        return Whim(
            self, self.draw(st.integers(0, 3)), self.draw(st.sampled_from(["done"] * 5 + ["lost"])), function, arguments
        )


class Whim:
    """A future of a whimsical executor."""

    def __init__(self, executor, looks, end, function, arguments):
        self.executor, self.looks, self.end, self.function, self.arguments = executor, looks, end, function, arguments

    def done(self):
        self.looks -= 1
        return self.looks < 0

    def result(self):
        self.executor.in_flight -= 1
        if self.end == "lost":
            raise CancelledError
        return self.function(*self.arguments)

    def cancel(self):
        self.executor.in_flight -= 1


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(data=st.data())
def test_whatever_happens_each_group_ends_once(data):
    """Every group is handed over once, or fails for its own reason, or is named as lost; limits are kept."""
    count, limit = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 4))
    bad = data.draw(st.sets(st.integers(0, 4)))
    needs = data.draw(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=count, max_size=count))
    recordings = {str(n): (broken, ()) if n in bad else (numbered, (n,)) for n in range(5)}
    groups = {f"g{n}": Group(scaled, (3,), list(map(str, each))) for n, each in enumerate(needs)}
    players, recorders, kept = Whimsical(data.draw), Whimsical(data.draw), Kept()
    crews = [Direct(players, limit), Direct(recorders, limit)]
    lost = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler.time, "sleep", lambda seconds: None)
        try:
            executed(kept, recordings, groups, *crews)
        except ExecutorError as error:
            lost = int(re.search(r"lost (\d+) groups", str(error)).group(1))
    assert len(kept.outcomes) + len(kept.failures) + lost == count
    assert max(players.most, recorders.most) <= limit
    assert players.in_flight == recorders.in_flight == 0
    for name, outcome in kept.outcomes.items():
        assert outcome == scaled(3, *(numbered(n) for n in needs[int(name[1:])]))
    assert all(bad & set(needs[int(name[1:])]) for name in kept.failures)


def test_futures_of_other_kinds_are_polled():
    """Nothing but done, result and cancel is asked of a future."""

    class Bare:
        def __init__(self, value):
            self.value, self.asked = value, 0

        def done(self):
            self.asked += 1
            return self.asked > 2

        def result(self):
            return self.value

        def cancel(self):
            raise CancelledError

    class Foreign:
        def submit(self, function, *arguments):
            return Bare(function(*arguments))

    kept = Kept()
    executed(kept, RECORDINGS, GROUPS, Foreign(), Foreign())
    assert kept.outcomes == WANTED
    assert carried_out(None, scaled, 2, [1]).value == [2]
