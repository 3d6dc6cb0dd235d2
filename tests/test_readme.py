"""The README's examples run."""

import json
import re
from pathlib import Path

from benchmarks import tables

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["y"].shape == (1, 56, 56, 128)
    assert names["gradient"].shape == (3, 3, 1, 128)
    assert set(names["variables"]) >= {"params", "batch_stats"}
    assert names["logits"].shape == (1, 10)
    assert [map.shape[1:] for map in names["maps"]] == [
        (224 // feature.stride, 224 // feature.stride, feature.features) for feature in names["model"].feature_info
    ]


def test_the_tables_are_those_of_the_records():
    text = tables.README.read_text(encoding="utf-8")
    assert tables.renewed(text) == text  # `python -m benchmarks.tables` renews them
    names = re.findall(r"<!-- table (\w+) -->", text)
    # What is measured is not left out, and a missed target is marked.
    assert {file.stem for file in tables.RESULTS.glob("*.json*")} == {*names, "compare_mobilenet_v1"}
    for name in set(names) - {"train_digits"}:
        missed = [target for target in tables.load(name)["targets"] if target["value"] > target["limit"]]
        assert sum("**missed**" in row for row in tables.targets(name)) == len(missed)
    digits = json.loads((tables.RESULTS / "train_digits.jsonl").read_text().splitlines()[-1])["networks"]
    assert all(min(facts["held_out_accuracy"]["each"]) >= 0.97 for facts in digits.values())


def test_figures_of_the_readme_are_those_of_the_records():
    text = README.read_text(encoding="utf-8")
    total = json.loads((tables.RESULTS / "compare_mobilenet_v1.json").read_text())["total"]
    for ratio in (total["ratio_on_paper"], *(total["ratio_on_the_clock"][form] for form in ("jds", "xla_grouped"))):
        assert f"{ratio:.3f}" in text
