"""Updates the tables of `benchmarks/README.md` from the records in `benchmarks/results/`.

    python -m benchmarks.tables

Each table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.harness.record import replace
from jds import cost

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")


def targets(name: str) -> list[str]:
    """One row per target; a missed one is marked."""
    rows = ["| ratio of times | measured | target |", "| --- | --- | --- |"]
    for target in load(name)["targets"]:
        missed = ", **missed**" if target["value"] > target["limit"] else ""
        rows.append(f"| {target['name']} | {target['value']:.2f}{missed} | {target['limit']:g} |")
    return rows


def networks(record: dict[str, Any]) -> list[str]:
    """Two tables with one row per network: jds's time relative to the others', and an engine's in int8 to its own."""
    engines = {"timm": ("timm", "timm-compiled"), "XLA's own": ("xla",), **models.ENGINES}
    engines["the fastest engine"] = models.ANY_ENGINE
    rows = [row("network", "jds, ms", *engines), row(*["---"] * (2 + len(engines)))]
    rounded = [row("network", *models.ENGINES), row(*["---"] * (1 + len(models.ENGINES)))]
    for result in record["results"]:
        if result["allocator"] is None and result["case"]["network"] != models.KERAS:
            ratios = [max(ratio(result, "jds", name) for name in names) for names in engines.values()]
            time = result["contenders"]["jds"]["seconds"]["median"] * 1e3
            rows.append(row(result["name"], f"{time:.2f}", *(f"{value:.2f}" for value in ratios)))
            names = [names[0] for names in models.ENGINES.values()]
            rounded.append(row(result["name"], *(f"{ratio(result, f'{name}-int8', name):.2f}" for name in names)))
    return [*rows, "", "The time of an engine in int8, relative to its own in float32:", "", *rounded, ""]


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def ratio(result: dict[str, Any], name: str, other: str) -> float:
    """Median of the ratios of two contenders' times, round by round."""
    rounds = [map(statistics.median, result["contenders"][who]["samples"]) for who in (name, other)]
    return statistics.median(cost.ratios(*map(list, rounds)))


def origin(name: str) -> list[str]:
    """Date, machine and versions of a record, as one line."""
    record = load(name)
    machine = record["machine"]
    packages = [
        f"{key} {machine[key]}"
        for key in ("jax", "torch", "timm", "onnxruntime", "openvino", "ai_edge_litert", "keras")
        if key in machine
    ]
    commit = record.get("commit", "unknown")
    return [
        f"{record['date'][:10]}, {machine['cores']} cores, {', '.join(packages)}, commit {commit[:9]}{commit[40:]}."
    ]


def digits() -> list[str]:
    """One row per network of the training experiment."""
    lines = (RESULTS / "train_digits.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [
        "| network | parameters | multiplications | held-out accuracy | seconds per epoch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, facts in json.loads(lines[-1])["networks"].items():
        accuracy, seconds = facts["held_out_accuracy"], facts["seconds_per_epoch"]
        rows.append(
            f"| {name} | {facts['parameters']:,} | {facts['multiplications']:,} | {accuracy['mean'] * 100:.2f} % ± "
            f"{accuracy['spread'] * 100:.2f} | {seconds['mean']:.2f} ± {seconds['spread']:.2f} |"
        )
    return rows


def load(name: str) -> dict[str, Any]:
    """The record of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(name: str) -> list[str]:
    """The lines of a table."""
    if name == "train_digits":
        return digits()
    return [*(networks(load(name)) if name == "models" else []), *targets(name), "", *origin(name)]


def renewed(text: str) -> str:
    """Returns the text with its tables regenerated from the records."""

    def between(found: re.Match) -> str:
        return "\n".join([found[1], *table(found[2]), found[3]])

    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", between, text, flags=re.DOTALL)


if __name__ == "__main__":
    replace(
        README, lambda temporary: temporary.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    )
