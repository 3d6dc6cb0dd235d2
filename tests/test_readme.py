"""The README's examples run."""

import json
import re
from pathlib import Path

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


def test_figures_are_those_of_the_records():
    text = README.read_text(encoding="utf-8")
    results = ROOT / "benchmarks" / "results"
    for name in ("ops", "models", "train"):
        for target in json.loads((results / f"{name}.json").read_text())["targets"]:
            is_detail = "slowest layer" in target["name"] or (name == "ops" and "XLA's own" in target["name"])
            is_missed = target["value"] > target["limit"]
            if not is_detail or is_missed:  # what is missed is not left out
                measured = f"{target['value']:.2f}{', missed' if is_missed else ''}"
                assert f"| {target['name']} | {measured} | {target['limit']:g} |" in text
    for result in json.loads((results / "families.json").read_text())["targets"]:
        assert result["value"] <= result["limit"] == 1
        assert f"{result['name'].partition(',')[0]} {result['value']:.2f}" in text
    total = json.loads((results / "compare_mobilenet_v1.json").read_text())["total"]
    for ratio in (total["ratio_on_paper"], *(total["ratio_on_the_clock"][form] for form in ("jds", "xla_grouped"))):
        assert f"{ratio:.3f}" in text
    for name, facts in json.loads((results / "train_digits.jsonl").read_text().splitlines()[-1])["networks"].items():
        accuracy, seconds = facts["held_out_accuracy"], facts["seconds_per_epoch"]
        assert (
            f"| {name} | {facts['parameters']:,} | {facts['multiplications']:,} | {accuracy['mean'] * 100:.2f} % ± "
            f"{accuracy['spread'] * 100:.2f} | {seconds['mean']:.2f} ± {seconds['spread']:.2f} |"
        ) in text
        assert min(accuracy["each"]) >= 0.97
