"""The choice of contenders, the preloaded allocator, and the notes on contenders that are missing."""

import dataclasses

import pytest

from benchmarks import models, ops, train
from benchmarks.harness import allocator, contenders
from benchmarks.harness.allocator import Allocator
from benchmarks.harness.contenders import BenchmarkError, Contender, choose

TABLE = (
    Contender("one", "One", "trivial:steady"),
    Contender("two", "Two", "trivial:steady", {}, ("a_package_that_nobody_has",)),
    Contender("three", "Three", "trivial:steady", {}, (), ("a-tool-that-nobody-has",)),
)


def test_contenders_that_are_not_installed_are_left_out_with_a_note_on_how_to_install_them():
    able, notes = choose(TABLE, ())
    assert able == TABLE[:1]
    assert notes == [
        'Two is left out: a_package_that_nobody_has not installed; run `pip install -e ".[peers]"`',
        "Three is left out: none of a-tool-that-nobody-has found; install a C++ compiler",
    ]
    assert choose(TABLE, ("one",)) == (TABLE[:1], [])


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(BenchmarkError, match="unknown contender 'four'; there are one, two, three"):
        choose(TABLE, ("one", "four"))
    with pytest.raises(BenchmarkError, match=r"(?s)no contender is left\nTwo is left out"):
        choose(TABLE, ("two",))


def test_versions_are_those_of_the_needed_packages():
    versions = contenders.versions([dataclasses.replace(TABLE[0], needs=("numpy", "rich"))])
    assert versions.keys() == {"numpy", "rich"}
    assert versions["numpy"].count(".") == 2


@pytest.mark.parametrize("table", [ops.CONTENDERS, train.CONTENDERS, (*models.CONTENDERS, *models.IN_KERAS_ONLY)])
def test_names_are_distinct_and_targets_are_in_this_package(table):
    names = [contender.name for contender in table]
    assert len(set(names)) == len(names)
    assert all(contender.target.startswith("benchmarks.peers.in_") for contender in table)


def test_an_allocator_is_found_by_a_search_or_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator, "FOLDERS", (str(tmp_path / "*-linux-gnu"),))
    monkeypatch.setattr(allocator.ctypes.util, "find_library", lambda name: None)
    assert allocator.find("none") is None
    assert allocator.find() is None
    library = tmp_path / "x86_64-linux-gnu" / "libtcmalloc_minimal.so.4"
    library.parent.mkdir()
    library.touch()
    assert allocator.find() == allocator.find(str(library)) == Allocator(library)
    assert Allocator(library).name == "libtcmalloc_minimal.so.4"
    with pytest.raises(BenchmarkError, match="`--allocator` must be auto, none or the path of a shared library"):
        allocator.find(str(tmp_path / "missing.so"))
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.find() is None
    with pytest.raises(BenchmarkError, match="on Linux only, not on darwin"):
        allocator.find(str(library))
