"""Links: measured tables and the files they come from, jitter, presets, and what a parameter server needs of its links."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest

from simsgd.networks import (
    PRESETS,
    Duplex,
    HalvingDoubling,
    Hierarchical,
    Jittery,
    Link,
    MeasuredAllReduce,
    MeasuredLink,
    Network,
    ParameterServer,
    PerWorker,
    Ring,
    preset,
)
from simsgd.times import Constant, Exponential, Law, Moments
from simsgd.times import PerWorker as LawPerWorker

# --- measured tables ------------------------------------------------------------------------------------------------------

SIZES = (8.0, 1000.0, 65536.0, 1e6, 1e9)
TIMES = (1.1e-5, 1.3e-5, 1.2e-5, 7e-5, 2.3e-2)  # noisy: 64 KiB take less than 1000 bytes
TABLE = MeasuredLink(SIZES, TIMES)


def test_a_table_is_exact_at_its_entries():
    assert [TABLE.seconds(size) for size in SIZES] == list(TIMES)
    assert TABLE.download_seconds(3, 1e6) == TABLE.upload_seconds(0, 1e6) == 7e-5


def test_between_entries_the_logarithm_is_linear():
    """At √(ab) the time is √(t_a·t_b); a third of the way in log(size), t_a^(2/3)·t_b^(1/3)."""
    for a, b, time_a, time_b in zip(SIZES, SIZES[1:], TIMES, TIMES[1:], strict=False):
        assert TABLE.seconds(math.sqrt(a * b)) == pytest.approx(math.sqrt(time_a * time_b), rel=1e-14)
        assert TABLE.seconds(a ** (2 / 3) * b ** (1 / 3)) == pytest.approx(time_a ** (2 / 3) * time_b ** (1 / 3), rel=1e-13)


def test_outside_the_table_latency_and_mean_bandwidth():
    assert TABLE.latency == TABLE.seconds(0) == TABLE.seconds(1) == 1.1e-5
    assert TABLE.seconds(4e9) == 4 * 2.3e-2
    assert MeasuredLink((100.0,), (0.5,)).seconds(300) == 1.5


def test_a_falling_last_segment_is_never_carried_on():
    """The last segment's own slope would make large messages free, and then of negative length."""
    falling = MeasuredLink((1e6, 2e6), (1e-3, 0.9e-3))
    assert falling.seconds(2e9) == pytest.approx(0.9, rel=1e-14)


def test_the_rate_is_what_flows_after_the_latency():
    """It is latency + bytes / rate seconds, wherever a table is above its first entry; below, sending takes no time."""
    for size in (5e4, 1e6, 3e7, 1e10):
        assert TABLE.latency + size / TABLE.rate(size) == pytest.approx(TABLE.seconds(size), rel=1e-14)
    assert TABLE.rate(8.0) == TABLE.rate(0) == math.inf
    assert Link(0.5, 3.0).rate(1e9) == 3.0
    assert Link(0.5).rate(1e9) == math.inf


def test_a_ring_runs_on_a_measured_link():
    """2(n−1) rounds of the time of S/n bytes."""
    assert Ring(TABLE).seconds(4, 4e6) == pytest.approx(6 * 7e-5, rel=1e-14)


@pytest.mark.parametrize(
    ("sizes", "times", "message"),
    [
        ((), (), r"at least one, got 0 sizes and 0 times"),
        ((1.0, 2.0), (1.0,), r"got 2 sizes and 1 times"),
        ((2.0, 1.0), (1.0, 1.0), r"sizes must ascend, got sizes\[1\]=1.0 after 2.0"),
        ((1.0, 2.0, 2.0), (1.0, 1.0, 1.0), r"sizes must ascend, got sizes\[2\]=2.0 after 2.0"),
        ((0.0, 1.0), (1.0, 1.0), r"sizes\[0\] must be .* above 0 \(bytes\), got 0.0"),
        ((1.0, math.inf), (1.0, 1.0), r"sizes\[1\] must be .*, got inf"),
        ((1.0, "2"), (1.0, 1.0), r"sizes\[1\] must be .*, got '2'"),
        ((1.0, 2.0), (1.0, 0.0), r"times\[1\] must be .* above 0 \(seconds\), got 0.0"),
        ((1.0, 2.0), (-1.0, 1.0), r"times\[0\] must be .*, got -1.0"),
        ((1.0, 2.0), (1.0, math.nan), r"times\[1\] must be .*, got nan"),
    ],
)
@pytest.mark.parametrize("kind", [MeasuredLink, MeasuredAllReduce])
def test_a_bad_table_is_refused_by_place_and_value(kind, sizes, times, message):
    with pytest.raises(ValueError, match=rf"{kind.__name__}.*{message}"):
        kind(sizes, times)


@pytest.mark.parametrize("thing", ["123", 5, None], ids=repr)
def test_a_table_that_is_no_sequence_is_refused(thing):
    with pytest.raises(TypeError, match=r"MeasuredLink\.sizes must be a sequence") as refusal:
        MeasuredLink(thing, (1.0,))
    assert repr(thing) in str(refusal.value)


# --- files: nccl-tests' JSON --------------------------------------------------------------------------------------------


def entry(size, out_of_place, in_place):
    """One line of the results as nccl-tests writes it (times in microseconds; root as text)."""

    def body(time):
        return {"time": time, "alg_bw": size / time / 1e3, "bus_bw": size / time / 1e3, "nwrong": 0.0}

    return {
        "size": size,
        "count": size // 4,
        "type": "float",
        "redop": "sum",
        "root": "    -1",
        "out_of_place": body(out_of_place),
        "in_place": body(in_place),
        "actual_iterations": 20,
        "experiment_name": "",
    }


def report(program="all_reduce_perf", results=None, processes=2, threads=1, devices=4, groups=1):
    """The whole file: `processes` processes of threads × devices ranks, of which one rank each is listed."""
    listed = [
        {
            "rank": p * threads * devices,
            "group": p % groups,
            "pid": 100 + p,
            "hostname": "node",
            "device": 0,
            "device_hex": "0000:17:00",
            "device_info": "some device",
        }
        for p in range(processes)
    ]
    return {
        "version": 3,
        "start_time": "2025-11-05 10:00:00",
        "args": [f"./build/{program}", "-b", "8", "-e", "64M", "-f", "8", "-J", "out.json"],
        "env": ["HOME=/somewhere"],
        "nccl_version": 22807,
        "config": {
            "nthreads": threads,
            "ngpus": devices,
            "minimum_bytes": 8,
            "maximum_bytes": 67108864,
            "step_factor": 8,
            "warmup_iters": 1,
            "iterations": 20,
            "aggregated_iterations": 1,
            "validation": 1,
            "graph": 0,
            "blocking_collectives": "false",
            "parallel_init": "false",
            "devices": listed,
        },
        "results": [entry(8, 11.25, 10.5), entry(4096, 12.5, 12.0), entry(67108864, 900.125, 890.0)]
        if results is None
        else results,
        "out_of_bounds": {"count": 0, "okay": "true"},
        "average_bus_bandwidth": {"bandwidth": 12.5, "okay": "unchecked"},
        "errors": [],
        "end_time": "2025-11-05 10:01:00",
    }


@pytest.fixture
def write(tmp_path):
    def writing(content, name="measured.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return writing


def test_all_reduce_perf_is_read_in_seconds_out_of_place_or_in_place(write):
    path = write(report())
    assert MeasuredAllReduce.load(path) == MeasuredAllReduce((8, 4096, 67108864), (11.25e-6, 12.5e-6, 900.125e-6), workers=8)
    assert MeasuredAllReduce.load(path, in_place=True).times == (10.5e-6, 12e-6, 890e-6)
    assert MeasuredAllReduce.load(str(path)).seconds(8, 4096) == 12.5e-6


def test_sendrecv_perf_is_read_as_a_link(write):
    path = write(report("sendrecv_perf", processes=2, devices=1))
    assert MeasuredLink.load(path) == MeasuredLink((8, 4096, 67108864), (11.25e-6, 12.5e-6, 900.125e-6))
    assert MeasuredLink.load(path, in_place=True).latency == 10.5e-6


@pytest.mark.parametrize("program", ["all_reduce_perf_mpi", "all_reduce_perf.exe"])
def test_a_program_s_suffix_does_not_matter(write, program):
    assert MeasuredAllReduce.load(write(report(program))).workers == 8


@pytest.mark.parametrize(
    ("cut", "ranks"), [({"processes": 1, "devices": 8}, 8), ({"processes": 16, "devices": 1}, 16), ({"threads": 2}, 16)]
)
def test_ranks_are_processes_times_threads_times_devices(write, cut, ranks):
    """One device is listed for each process, whatever it holds."""
    assert MeasuredAllReduce.load(write(report(**cut))).workers == ranks


def test_groups_side_by_side_are_not_one_collective(write):
    assert MeasuredAllReduce.load(write(report(processes=6, groups=2, devices=1))).workers == 3


def test_a_number_of_workers_that_the_file_does_not_say_is_given(write):
    silent = report()
    del silent["config"]
    path = write(silent)
    assert MeasuredAllReduce.load(path).workers is None
    assert MeasuredAllReduce.load(path, workers=8).workers == 8
    with pytest.raises(ValueError, match=r"said\.json was measured with 8 workers, got workers=16"):
        MeasuredAllReduce.load(write(report(), "said.json"), workers=16)


def test_entries_of_one_size_are_averaged_and_empty_ones_left_out(write):
    """Two cycles (-N 2), from a size below one element on."""
    cycle = [entry(0, 0.5, 0.5), entry(0, 0.5, 0.5), entry(8, 10.0, 9.0), entry(64, 12.0, 9.0)]
    again = [entry(0, 0.5, 0.5), entry(8, 11.0, 9.0), entry(64, 16.0, 9.0)]
    fabric = MeasuredAllReduce.load(write(report(results=cycle + again)))
    assert fabric.sizes == (8, 64)
    assert fabric.times == pytest.approx((10.5e-6, 14e-6), rel=1e-15)


def test_in_place_only(write):
    path = write(report(results=[{**entry(8, 1.0, 10.0), "out_of_place": None}]))
    assert MeasuredAllReduce.load(path, in_place=True).times == (1e-5,)
    with pytest.raises(ValueError, match=r"results\[0\]\.out_of_place was not measured, .* give in_place=True"):
        MeasuredAllReduce.load(path)


@pytest.mark.parametrize(
    ("load", "program", "wanted"),
    [
        (MeasuredLink.load, "all_reduce_perf", "sendrecv_perf"),
        (MeasuredAllReduce.load, "sendrecv_perf", "all_reduce_perf"),
        (MeasuredAllReduce.load, "alltoall_perf", "all_reduce_perf"),
    ],
)
def test_the_output_of_another_program_is_refused(write, load, program, wanted):
    with pytest.raises(
        ValueError, match=rf"measured\.json must be the output of nccl-tests' {wanted}, got that of '{program}'"
    ):
        load(write(report(program)))


def broken(change):
    content = copy.deepcopy(report())
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("args"), r"args must be a list, got nothing"),
        (lambda r: r.update(args=[]), r"all_reduce_perf, got that of ''"),
        (lambda r: r.pop("results"), r"results must be a list, got nothing"),
        (lambda r: r.update(results={"size": 1}), r"results must be a list, got \{'size': 1\}"),
        (lambda r: r.update(results=[]), r"holds no message of more than 0 bytes"),
        (lambda r: r["results"].insert(1, 7), r"results\[1\] must be an object with size and time, got 7"),
        (lambda r: r["results"][2].pop("size"), r"results\[2\]\.size must be a finite number of at least 0, got None"),
        (lambda r: r["results"][2].update(size="8"), r"results\[2\]\.size must be a finite number of at least 0, got '8'"),
        (lambda r: r["results"][2].update(size=-8), r"results\[2\]\.size must be a finite number of at least 0, got -8"),
        (lambda r: r["results"][0].update(size=10**400), r"results\[0\]\.size must be a finite number of at least 0, got 1000"),
        (lambda r: r["results"][1].update(out_of_place=3), r"results\[1\]\.out_of_place must be an object, got 3"),
        (lambda r: r["results"][1].update(out_of_place=None, in_place=None), r"results\[1\]\.out_of_place must be an object"),
        (
            lambda r: r["results"][1]["out_of_place"].update(time="nan"),
            r"results\[1\]\.out_of_place\.time must be .* got 'nan'",
        ),
        (
            lambda r: r["results"][1]["out_of_place"].update(time=0.0),
            r"results\[1\]\.out_of_place\.time must be a finite number above 0, got 0.0",
        ),
        (lambda r: r["results"][1]["out_of_place"].update(time=True), r"results\[1\]\.out_of_place\.time must be .* got True"),
        (lambda r: r["results"][0].update(out_of_place={"cpu_time": 3.0}), r"results\[0\]\.out_of_place has only cpu_time"),
        (lambda r: r["results"][0].update(type="half"), r"one type and one operation, got float sum, half sum"),
        (lambda r: r["results"][0].update(redop="max"), r"one type and one operation, got float max, float sum"),
        (lambda r: r["config"].update(nthreads="1"), r"config\.nthreads must be a whole number, got '1'"),
        (lambda r: r["config"].update(devices={"rank": 0}), r"config\.devices must be a list, got \{'rank': 0\}"),
    ],
)
def test_a_malformed_report_names_file_place_and_value(write, change, message):
    with pytest.raises(ValueError, match=rf"measured\.json.*{message}"):
        MeasuredAllReduce.load(write(broken(change)))


def test_a_report_cut_short_names_the_line(write):
    whole = json.dumps(report(), indent=1)
    with pytest.raises(ValueError, match=r"measured\.json is not complete JSON, line \d+ column \d+"):
        MeasuredAllReduce.load(write(whole[: len(whole) // 2]))


def test_no_file_is_the_system_s_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        MeasuredLink.load(tmp_path / "nowhere.json")


# --- files: CSV ---------------------------------------------------------------------------------------------------------


def test_csv_is_read_with_its_rows_and_columns_in_any_order_and_others_between(write):
    path = write("seconds,host,bytes\n0.25,a,1e6\n\n 1.1e-05,a,8\n0.75,b,1e6\n", "table.csv")
    assert MeasuredLink.load(path) == MeasuredLink((8.0, 1e6), (1.1e-5, 0.5))
    assert MeasuredAllReduce.load(path, workers=4) == MeasuredAllReduce((8.0, 1e6), (1.1e-5, 0.5), workers=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"column 'bytes' is missing: there must be bytes, seconds, got "),
        ("size,seconds\n1,1\n", r"column 'bytes' is missing: there must be bytes, seconds, got size, seconds"),
        ("bytes,seconds\n", r"holds no message of more than 0 bytes"),
        ("bytes,seconds\n1,1\n2\n", r"row 3: there must be 2 values, got \['2'\]"),
        ("bytes,seconds\n1,1,1\n", r"row 2: there must be 2 values, got \['1', '1', '1'\]"),
        ("bytes,seconds\n1,1\n\nmany,1\n", r"row 4: bytes must be a finite number of at least 0, got 'many'"),
        ("bytes,seconds\n-1,1\n", r"row 2: bytes must be a finite number of at least 0, got '-1'"),
        ("bytes,seconds\n1,1\n2,0\n", r"row 3: seconds must be a finite number above 0, got '0'"),
        ("bytes,seconds\n1,nan\n", r"row 2: seconds must be a finite number above 0, got 'nan'"),
        ("bytes,seconds\n1,\n", r"row 2: seconds must be a finite number above 0, got ''"),
    ],
)
def test_a_malformed_csv_names_file_row_and_value(write, text, message):
    with pytest.raises(ValueError, match=rf"table\.csv:? {message}"):
        MeasuredLink.load(write(text, "table.csv"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"ab\xff\xfe")
    with pytest.raises(ValueError, match=r"picture\.png is not text: byte 2 is 0xff"):
        MeasuredLink.load(path)


# --- jitter -------------------------------------------------------------------------------------------------------------


def test_a_jittery_wire_is_the_wire_and_a_law():
    law = Exponential(mean=0.25)
    wire = Jittery(Link(0.5, 100.0), law)
    assert (wire.latency, wire.seconds(200), wire.rate(200)) == (0.5, 2.5, 100.0)
    assert wire.upload_seconds(1, 200) == wire.download_seconds(1, 200) == 2.5
    assert wire.jitter(3) == (law, law)
    assert Link().jitter(0) == (None, None)


def test_jitter_of_each_direction_and_worker():
    law, other = Exponential(mean=0.25), Constant(1.0)
    network = PerWorker((Link(), Duplex(Jittery(Link(), law), Link()), Duplex(Link(), Jittery(Link(), other))))
    assert [network.jitter(worker) for worker in range(3)] == [(None, None), (law, None), (None, other)]


def test_jitter_on_jitter_is_the_sum_of_independent_draws():
    """Mean 0.25 + 0.5, variance 0.0625 + 0.25; 40,000 draws: 5 standard errors √(v/n) of the mean, about v·√(8/n) of v."""
    once = Jittery(Link(), Exponential(mean=0.25))
    law = Jittery(once, Exponential(mean=0.5)).jitter(0)[0]
    assert law.moments() == Moments(0.75, 0.3125, 0.0)
    sample = law.sampler(np.random.default_rng(7), 0)
    draws = np.array([sample(0.0) for _ in range(40_000)])
    assert draws.mean() == pytest.approx(0.75, abs=5 * math.sqrt(0.3125 / 40_000))
    assert draws.var() == pytest.approx(0.3125, abs=5 * 0.3125 * math.sqrt(8 / 40_000))


@dataclasses.dataclass(frozen=True)
class Remembering(Law):
    """A law with an autocorrelation of 0.5 and a variance of 3 (it only states them)."""

    def sample(self, rng, worker, now):
        return 1.0

    def moments(self, worker=0):
        return Moments(1.0, 3.0, 0.5)


def test_the_autocorrelation_of_a_sum_is_weighted_by_variance():
    """Lag-1 covariances add: 0.5·3 + 0·1 of a variance of 3 + 1."""
    law = Jittery(Jittery(Link(), Remembering()), Exponential(mean=1.0)).jitter(0)[0]
    assert law.moments() == Moments(2.0, 4.0, 1.5 / 4)
    assert Jittery(Jittery(Link(), Constant(1.0)), Constant(2.0)).jitter(0)[0].moments() == Moments(3.0, 0.0, 0.0)


def test_each_law_of_a_sum_draws_the_same_whatever_the_other_draws():
    """With Constant(1.0), which draws nothing, in the place of either, the other's draws are those of both together."""
    one, other, nothing = Exponential(mean=0.25), Exponential(mean=0.5), Constant(1.0)

    def draws(first, second):
        law = Jittery(Jittery(Link(), first), second).jitter(0)[0]
        sample = law.sampler(np.random.default_rng(3), 0)
        return np.array([sample(0.0) for _ in range(100)])

    alone = one.sampler(np.random.default_rng(3), 0)
    assert draws(one, nothing).tolist() == [alone(0.0) + 1.0 for _ in range(100)]
    assert draws(one, other) == pytest.approx(draws(one, nothing) + draws(nothing, other) - 2.0, abs=1e-14)


def test_what_is_no_wire_or_law_is_refused():
    with pytest.raises(TypeError, match=r"Jittery\.wire must be an instance .* got Duplex"):
        Jittery(Duplex(Link(), Link()), Constant(1.0))
    with pytest.raises(TypeError, match=r"Jittery\.law must be an instance .* got 0.5"):
        Jittery(Link(), 0.5)


TWO = Jittery(Link(), LawPerWorker((Constant(1.0), Constant(2.0))))


@pytest.mark.parametrize(
    "fabric",
    [
        TWO,
        Jittery(TWO, Constant(1.0)),
        Duplex(TWO, Link()),
        Duplex(Link(), TWO),
        PerWorker((TWO, Link(), Link())),
        Ring(TWO),
        HalvingDoubling(TWO),
        Hierarchical(TWO, Link(), devices=3),
        Hierarchical(Link(), TWO, devices=3),
        ParameterServer(link=TWO),
        ParameterServer(access=TWO),
        ParameterServer(update=LawPerWorker((Constant(1.0), Constant(2.0)))),
        ParameterServer(access=PerWorker((Link(), Link()))),
    ],
)
def test_a_law_or_link_for_two_workers_is_refused_for_three(fabric):
    with pytest.raises(ValueError, match=r"3 workers, got 2"):
        fabric.check_workers(3)


# --- presets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_link_with_the_source_of_both_numbers(name):
    link, source = PRESETS[name]
    assert preset(name) == link
    assert 0 < link.latency < 1
    assert 1e8 <= link.bandwidth < 1e12
    assert "bandwidth: " in source
    assert "latency: " in source


def test_presets_hold_the_line_rates():
    """Gigabits or gigabytes a second in one direction."""
    rates = {name: PRESETS[name].link.bandwidth for name in PRESETS}
    assert rates["ethernet 10g"] == 10e9 / 8
    assert rates["ethernet 25g"] == 25e9 / 8
    assert rates["ethernet 100g"] == 100e9 / 8
    assert rates["infiniband ndr"] == 400e9 / 8
    assert rates["nvlink 4"] == 450e9
    assert rates["pcie 5"] == 64e9


def test_presets_are_overridden_by_keyword():
    assert preset("nvlink 4", latency=0.0) == Link(0.0, 450e9)
    assert preset("wide area", bandwidth=1e6).bandwidth == 1e6
    assert preset("pcie 5", 1.0, math.inf) == Link(1.0, math.inf)
    with pytest.raises(ValueError, match=r"Link\.latency must be .* got -1"):
        preset("pcie 5", latency=-1)


@pytest.mark.parametrize("name", ["NVLink 4", "", None, 10], ids=repr)
def test_an_unknown_preset_is_refused_and_the_names_are_listed(name):
    with pytest.raises(ValueError, match="name must be one of") as refusal:
        preset(name)
    assert repr(name) in str(refusal.value)
    assert all(repr(known) in str(refusal.value) for known in PRESETS)


def test_the_table_of_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["pcie 5"]


# --- the parameter server's description -------------------------------------------------------------------------------


def test_a_server_adds_latencies_and_keeps_rates_apart():
    server = ParameterServer(
        link=Duplex(down=Link(0.5, 64.0), up=Link(0.25, 32.0)),
        access=PerWorker((Link(1.0, 8.0), Duplex(down=Link(2.0, 16.0), up=Link(4.0)))),
    )
    assert [server.latency("down", worker) for worker in (0, 1)] == [1.5, 2.5]
    assert [server.latency("up", worker) for worker in (0, 1)] == [1.25, 4.25]
    assert (server.capacity("down", 100), server.capacity("up", 100)) == (64.0, 32.0)
    assert [server.cap("down", worker, 100) for worker in (0, 1)] == [8.0, 16.0]
    assert [server.cap("up", worker, 100) for worker in (0, 1)] == [8.0, math.inf]


def test_by_default_all_is_free():
    server = ParameterServer()
    assert server.latency("up", 5) == 0.0
    assert server.capacity("down", 1e9) == server.cap("up", 5, 1e9) == math.inf
    assert (server.sharing, server.shards, server.update) == ("fair", 1, None)
    assert server.jitter(5) == (None, None)
    server.check_workers(10_000)


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_multiply_the_capacity_of_a_link(shards):
    """All p pieces of S/p bytes travel at once, each through a link of its own."""
    server = ParameterServer(Link(0.5, 1.1e9), shards=shards)
    assert server.capacity("up", 12345.0) == pytest.approx(shards * 1.1e9, rel=1e-15)
    assert server.latency("up", 0) == 0.5


def test_shards_of_a_measured_link_carry_pieces():
    """A piece of S/p bytes takes what the table says, and the whole message, alone on its way, takes just as long."""
    server = ParameterServer(TABLE, shards=1000)
    assert server.latency("up", 0) + 1e9 / server.capacity("up", 1e9) == pytest.approx(TABLE.seconds(1e6), rel=1e-14)


def test_incast_of_64_workers():
    """100 MB, 5 µs, 12.5 GB/s: 64 pushes and 64 pulls through one link, 2(α + nSβ) = 1.024 s; 4 shards divide Sβ by 4."""
    for shards, expected in ((1, 1.024), (4, 0.256)):
        server = ParameterServer(Link(5e-6, 12.5e9), shards=shards)
        seconds = sum(server.latency(way, 0) + 64 * 100e6 / server.capacity(way, 100e6) for way in ("down", "up"))
        assert round(seconds, 3) == expected


def test_jitter_of_both_links():
    law, other = Exponential(mean=0.25), Exponential(mean=0.5)
    server = ParameterServer(link=Duplex(Jittery(Link(), law), Link()), access=PerWorker((Link(), Jittery(Link(), other))))
    assert server.jitter(0) == (law, None)
    down, up = server.jitter(1)
    assert (down.moments().mean, up) == (0.75, other)


class Own(Network):
    def download_seconds(self, worker, message_bytes):
        return 0.0

    def upload_seconds(self, worker, message_bytes):
        return 0.0


@pytest.mark.parametrize("thing", [1.0, None, "10GbE", Link, Own()], ids=["number", "none", "text", "class", "of one's own"])
def test_what_is_no_path_of_a_server_is_refused(thing):
    for made, place in (
        (lambda: ParameterServer(link=thing), "ParameterServer.link must"),
        (lambda: ParameterServer(access=thing), "ParameterServer.access must"),
    ):
        with pytest.raises(TypeError, match=place) as refusal:
            made()
        assert (thing.__name__ if isinstance(thing, type) else repr(thing)) in str(refusal.value)
    with pytest.raises(TypeError, match=r"ParameterServer\.link must be an instance"):
        ParameterServer(link=PerWorker((Link(),)))


def test_a_network_of_one_s_own_deep_inside_access_is_refused():
    """Its latency and its rate cannot be told apart."""
    with pytest.raises(TypeError, match=r"ParameterServer\.access\.networks\[1\]\.networks\[0\] must"):
        ParameterServer(access=PerWorker((Link(), PerWorker((Own(), Link())))))


@pytest.mark.parametrize("sharing", ["FIFO", "first in first out", None, True], ids=repr)
def test_another_way_of_sharing_is_refused(sharing):
    with pytest.raises(ValueError, match=r"ParameterServer\.sharing must be one of 'fair', 'first in, first out'") as refusal:
        ParameterServer(sharing=sharing)
    assert repr(sharing) in str(refusal.value)


@pytest.mark.parametrize("shards", [0, -1, 1.5, True, None], ids=repr)
def test_bad_shards_are_refused(shards):
    with pytest.raises(ValueError, match=r"ParameterServer\.shards must be a whole number of at least 1") as refusal:
        ParameterServer(shards=shards)
    assert repr(shards) in str(refusal.value)


@pytest.mark.parametrize("update", [0.1, "fast", Constant], ids=repr)
def test_an_update_that_is_no_law_is_refused(update):
    with pytest.raises(TypeError, match=r"ParameterServer\.update must be an instance"):
        ParameterServer(update=update)
