"""The interleaved runs, with contenders that compute almost nothing, each in a real process."""

import itertools
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import contest, worker
from benchmarks.harness.allocator import Allocator
from benchmarks.harness.contenders import BenchmarkError, Contender
from benchmarks.harness.contest import Case, Measured, Result, processes, run_case

TOLERANCE = {"out": 1e-4, "loose": 1e-1}


def contender(name, function="steady", **options):
    return Contender(name, name.title(), f"trivial:{function}", {"name": name, **options})


def held(log, *contenders, rounds=3, **case):
    with processes() as process:
        return run_case(
            Case("a case", {"log": str(log)}, contenders, TOLERANCE, **case), process, rounds=rounds, seconds=0.004
        )


def without_repeats(names):
    return [name for name, _ in itertools.groupby(names)]


def test_contenders_take_turns_in_rounds_with_a_fixed_order(tmp_path):
    log = tmp_path / "log"
    result = held(log, contender("one"), contender("two", sleep=0.03), compiles=2)
    # Outputs are compared in the order of the contenders; then come the rounds.
    expected = ["one", "two", *itertools.chain(*contest.orders(["one", "two"], 4, 0))]
    assert without_repeats(log.read_text().split()) == without_repeats(expected)

    one, two = result.measured["one"], result.measured["two"]
    assert len(one.turns) == len(two.turns) == 3  # the first of 4 warms up
    assert len(one.compile_seconds) == 2
    assert all(len(turn["samples"]) == 1 for turn in two.turns)  # a call longer than a turn is a sample
    assert all(0.001 <= sample < 0.03 for turn in one.turns for sample in turn["samples"][:1])
    assert result.ratio("one", "two").median < 0.9
    assert result.ratio("two", "one").median > 1.1
    assert result.ratio("one", "three") is None
    assert result.first == "one"
    assert result.label("two") == "Two"
    assert result.differences == {"two": {"out": 0.0, "loose": 0.0}}
    assert one.memory.keys() == {"imported", "prepared", "compiling", "running"}
    assert all(mib > 5 for mib in one.memory.values())
    assert one.middle("idle_cores") < 0.5


def test_orders_are_shuffled_and_the_same_in_every_run():
    names = ["a", "b", "c"]
    orders = contest.orders(names, 20, seed=0)
    assert orders == contest.orders(names, 20, seed=0) != contest.orders(names, 20, seed=1)
    assert all(sorted(order) == names for order in orders)
    assert len({tuple(order) for order in orders}) > 3


def test_ratio_is_taken_round_by_round():
    def measured(*rounds, compiled=(1.0, 2.0, 4.0)):
        return Measured({}, [{"seconds": s} for s in compiled], [{"samples": samples} for samples in rounds])

    one = measured([1.0, 1.0, 9.0], [4.0], [3.0])
    two = measured([2.0], [4.0], [2.0, 4.0, 4.0], compiled=(1.0, 1.0, 1.0))
    result = Result(Case("", {}, ()), {"one": one, "two": two}, {})
    assert one.medians == [1.0, 4.0, 3.0]
    assert result.ratio("one", "two") == (0.625, 0.75, 0.875)
    assert result.compile_ratio("one", "two") == 2.0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ([1.0, -2.1], "a case: the outputs of One and Two differ by 4.5e-02 in 'out', more than 1.0e-04"),
        ([1.0, np.nan], "a case: the outputs of One and Two differ by inf in 'out', more than 1.0e-04"),
        ([1.0], r"a case: the outputs of One and Two have different shapes: .*'out': \(2,\).*'out': \(1,\)"),
    ],
)
def test_wrong_outputs_are_refused_before_anything_is_timed(tmp_path, out, message):
    log = tmp_path / "log"
    with pytest.raises(BenchmarkError, match=message):
        held(log, contender("one"), contender("two", out=out))
    assert log.read_text().split() == ["one", "two"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("crashes", r"Two: the process ended with status 7\n  two: on its way out"),
        ("raises", r"(?s)Two: RuntimeError: no such layer\n.*  two: .*line .* in raises"),
        ("missing", r"Two: AttributeError: module 'trivial' has no attribute 'missing'"),
    ],
)
def test_a_contender_that_fails_is_named_with_what_it_wrote(tmp_path, function, message):
    with pytest.raises(BenchmarkError, match=message):
        held(tmp_path / "log", contender("one"), contender("two", function))


def test_output_that_a_contender_prints_is_not_an_answer(tmp_path):
    assert held(tmp_path / "log", contender("one", "chatty")).measured.keys() == {"one"}


def test_an_allocator_that_is_not_loaded_is_an_error(tmp_path):
    (tmp_path / "liballocator.so").write_text("no library")
    message = "One: .*liballocator.so is not preloaded" if sys.platform == "linux" else ""
    with (
        pytest.raises(BenchmarkError, match=message),
        processes(Allocator(tmp_path / "liballocator.so")) as process,
    ):
        process(contender("one"))


def test_disturbances_are_reported():
    turn = {"samples": [1.0], "idle_cores": 0.0, "other_cores": 0.0}
    quiet, busy = dict(turn), turn | {"idle_cores": 0.5, "other_cores": 0.5}

    def notes(turn):
        case = Case("a case", {}, (contender("one"),))
        return Result(case, {"one": Measured({}, [], [turn] * 3)}, {}, "liballocator.so").notes()

    assert notes(quiet) == notes(turn | {"other_cores": None}) == []
    assert notes(busy) == [
        "disturbed: a case, liballocator.so: One kept 0.50 cores busy outside its turn",
        "disturbed: a case, liballocator.so: other processes kept 0.50 cores busy",
    ]


@pytest.mark.parametrize(("sleep", "seconds", "samples"), [(0.002, 0.0, 1), (0.0, 0.02, 2)])
def test_a_turn_has_at_least_one_sample(sleep, seconds, samples):
    calls = []

    def call():
        calls.append(None)
        worker.time.sleep(sleep)

    found, number = worker.turn(call, seconds, 0.001)
    assert len(found) >= samples
    assert number == len(calls)


def test_memory_is_that_of_this_process():
    worker.reset_peak()
    before = worker.peak_mib()
    block = mmap.mmap(-1, 2**24)  # new pages, whatever was freed before
    block.write(bytes([1]) * 2**24)
    assert worker.peak_mib() >= before + 15
    assert worker.resident_mib() <= worker.peak_mib() + 1
    assert block[0]
    if Path("/proc/stat").exists():
        assert worker.busy_seconds() > 0
