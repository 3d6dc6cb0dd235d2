"""The files that a benchmark writes: a JSON record with every sample, and pictures."""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import jds
from benchmarks.harness.contenders import Contender, versions
from benchmarks.harness.contest import Measured, Result
from benchmarks.harness.targets import Target
from jds import cost

VERSION = 3
# Read on import, before anything is measured: other load on the machine disturbs the measurement.
LOAD_BEFORE = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
TIMER = (
    "time.perf_counter around blocking calls; a sample is the mean of as many calls as fill 5 ms; `seconds` are taken "
    "from the medians of the rounds, `ratios` are the first contender's time to each other's, round by round"
)


def record(
    name: str,
    settings: dict[str, Any],
    contenders: Sequence[Contender],
    results: Sequence[Result],
    targets: Sequence[Target],
) -> dict[str, Any]:
    """All measurements, for a JSON file."""
    return {
        "schema": {"name": f"jds.benchmarks.{name}", "version": VERSION},
        "command": " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": cost.machine_facts() | {"jds": jds.__version__} | versions(contenders),
        "load_average_before": LOAD_BEFORE,
        "timer": TIMER,
        "settings": settings,
        "targets": [target._asdict() | {"verdict": target.verdict} for target in targets],
        "results": [entry(result) for result in results],
    }


def commit() -> str:
    """The commit being measured, with "and changes" if files differ from it; "unknown" outside a repository."""
    folder = Path(__file__).parent
    outputs = []
    for command in (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--", "*.py", "*.cc", "*.h"]):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
        outputs.append(done.stdout.strip())
    return outputs[0] + (" and changes" if outputs[1] else "")


def entry(result: Result) -> dict[str, Any]:
    others = [name for name in result.measured if name != result.first]
    ratios = {name: result.ratio(result.first, name) for name in others}
    return {
        "name": result.case.name,
        "case": {key: value for key, value in result.case.spec.items() if key not in ("weights", "folder")},
        "allocator": result.allocator,
        "differences": result.differences,
        "ratios": {name: ratio._asdict() for name, ratio in ratios.items() if ratio},
        "contenders": {name: of_contender(measured) for name, measured in result.measured.items()},
    }


def of_contender(measured: Measured) -> dict[str, Any]:
    return {
        "seconds": measured.seconds._asdict(),
        "compile_seconds": measured.compile_seconds,
        "mib": measured.memory,
        "page_faults_per_call": measured.middle("page_faults"),
        "cores": measured.middle("cores"),
        "idle_cores": measured.middle("idle_cores"),
        "other_cores": [turn["other_cores"] for turn in measured.turns],
        "samples": [turn["samples"] for turn in measured.turns],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a record atomically, with one line per entry and per result so that diffs are readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in significant(content).items():
        if isinstance(value, list):
            lines.append(f"{json.dumps(key)}: [\n" + ",\n".join(map(json.dumps, value)) + "\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    replace(path, lambda temporary: temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n"))


def draw(path: Path, figure: Figure) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:], dpi=150))


def replace(path: Path, make: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        make(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def significant(value: Any) -> Any:
    """Rounds every float to 6 significant digits."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case dict():
            return {key: significant(item) for key, item in value.items()}
        case list() | tuple():
            return [significant(item) for item in value]
        case _:
            return value
