"""The README and the documentation: examples run, links work, and figures match the records."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import tables

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(file):
    return re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)


def run(file):
    """Runs the examples of a page in order; returns the names they define."""
    names = {}
    for block in blocks(file):
        exec(block, names)
    return names


def test_the_readme_is_short_and_its_example_runs(capsys):
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120
    names = run(README)
    assert names["y"].shape == (1, 56, 56, 128)
    assert names["gradient"].shape == (3, 3, 1, 128)
    assert "106.4M  100" in capsys.readouterr().out


PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_documentation_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(page)
    if page.stem == "frameworks":
        assert set(names["variables"]) >= {"params", "batch_stats"}
    if page.stem in ("frameworks", "networks"):
        assert names["logits"].shape == (1, 10)
    if page.stem == "networks":
        assert [map.shape[1:] for map in names["maps"]] == [
            (224 // feature.stride, 224 // feature.stride, feature.features) for feature in names["model"].feature_info
        ]


@pytest.mark.parametrize("page", [README, *(ROOT / "docs").glob("*.md"), tables.README], ids=lambda page: page.name)
def test_links_have_existing_targets(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tables_match_the_records():
    text = tables.README.read_text(encoding="utf-8")
    assert tables.renewed(text) == text  # `python -m benchmarks.tables` updates them
    names = re.findall(r"<!-- table (\w+) -->", text)
    # Every record has a table, and missed targets are marked.
    assert {file.stem for file in tables.RESULTS.glob("*.json*")} == {*names, "compare_mobilenet_v1"}
    for name in set(names) - {"train_digits"}:
        missed = [target for target in tables.load(name)["targets"] if target["value"] > target["limit"]]
        assert sum("**missed**" in row for row in tables.targets(name)) == len(missed)
    digits = json.loads((tables.RESULTS / "train_digits.jsonl").read_text().splitlines()[-1])["networks"]
    assert all(min(facts["held_out_accuracy"]["each"]) >= 0.97 for facts in digits.values())


def test_figures_of_the_readme_match_the_records():
    text = README.read_text(encoding="utf-8")
    total = json.loads((tables.RESULTS / "compare_mobilenet_v1.json").read_text())["total"]
    for ratio in (total["theoretical_ratio"], *(total["time_ratio"][form] for form in ("jds", "xla_grouped"))):
        assert f"{ratio:.3f}" in text
