"""Runs a check on every public network and writes its record after each of them."""

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.progress import track

import jds
from benchmarks.harness.record import replace
from jds import zoo

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass
class Settings:
    """The networks to check."""

    pattern: str = "*"
    again: bool = True
    """Whether to run networks again that are already in the record."""


def load(path: Path) -> dict[str, dict[str, Any]]:
    """The results in a record, by network name."""
    return json.loads(path.read_text())["networks"]


def run(
    path: Path,
    settings: Settings,
    find: Callable[[str], dict[str, Any]],
    is_right: Callable[[dict[str, Any]], bool],
    *,
    packages: Sequence[str],
    image_size: int,
) -> None:
    """Runs the check on each network, prints its result and writes the record.

    Raises:
      SystemExit: always; with the names of the networks in the record whose results are not right, or with 0.
    """
    # Makes compilation faster; the values are the same.
    jax.config.update("jax_disable_most_optimizations", True)
    versions = {package: importlib.metadata.version(package) for package in packages}
    known = load(path) if path.exists() else {}
    results = {name: result for name, result in known.items() if name in zoo.VARIANTS}
    names = [name for name in jds.list_models(settings.pattern) if settings.again or name not in results]
    print(f"{len(names)} networks; {path} is rewritten after each", flush=True)
    for name in track(names):
        start = time.perf_counter()
        results[name] = find(name)
        jax.clear_caches()
        print(name, results[name], f"{time.perf_counter() - start:.0f} s", flush=True)
        record = {"versions": versions, "image_size": image_size, "networks": dict(sorted(results.items()))}
        text = json.dumps(record, indent=1) + "\n"
        replace(path, lambda temporary, text=text: temporary.write_text(text))
    wrong = [name for name, result in results.items() if not is_right(result)]
    raise SystemExit(f"not right: {', '.join(wrong)}" if wrong else 0)
