"""The fuzzer's record, and the cases of a seed."""

import itertools
import json

from native import fuzz


def test_the_record_was_made_from_these_sources():
    # `python tests/native/fuzz.py` updates it.
    record = json.loads(fuzz.RECORD.read_text())
    assert record["sources"] == fuzz.fingerprint()
    assert record["result"]["cases"] >= 20_000
    assert record["result"]["out of memory"] >= 1000
    assert {"avx512", "avx2", "portable"} <= set(record["result"])
    assert set(record["defects_found"]) == {defect[0] for defect in fuzz.DEFECTS}
    assert 0 in record["seeds"]
    assert len(record["seeds"]) > 1


def test_seeds_have_no_cases_in_common():
    firsts = sorted(fuzz.first_case(seed) for seed in range(10_000))
    assert min(after - before for before, after in itertools.pairwise(firsts)) > 21_000


def test_a_new_seed_was_not_used_before(monkeypatch):
    draws = iter([3, 0, 7])
    monkeypatch.setattr(fuzz.secrets, "randbelow", lambda limit: next(draws))
    assert fuzz.new_seed([0, 3]) == 7
