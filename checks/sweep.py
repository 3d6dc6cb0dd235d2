"""Runs a check for every public network, and keeps the results in one record, which is rewritten after each network."""

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
from checks.fingerprint import fingerprint, row_fingerprint
from jds import zoo

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass
class Settings:
    """Which networks to check."""

    pattern: str = "*"
    again: bool = False
    """Check networks again whose results are valid."""


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the results in a record, by network."""
    return json.loads(path.read_text())["networks"]


def is_valid(result: dict[str, Any] | None, fingerprint: str, code: str | None = None) -> bool:
    """Whether a result is of the network and of the code as they are now, which have these hashes."""
    return result is not None and (result.get("fingerprint"), result.get("code")) == (fingerprint, code)


def run(
    path: Path,
    settings: Settings,
    find: Callable[[str], dict[str, Any]],
    is_right: Callable[[dict[str, Any]], bool],
    *,
    packages: Sequence[str],
    image_size: int,
    code: str | None = None,
) -> None:
    """Checks the networks that have changed since the record, or all; prints and writes the results.

    Args:
      path: the record.
      settings: from the command line.
      find: returns the result for a network's name.
      is_right: judges a result.
      packages: names of the packages whose versions are recorded.
      image_size: height and width of the images.
      code: a hash of the code that a result vouches for, besides the network; None if there is none.

    Raises:
      SystemExit: always; with the names of the networks in the record whose results are not right, or with 0.
    """
    # The values are the same, and compilation takes less time.
    jax.config.update("jax_disable_most_optimizations", True)
    versions = {package: importlib.metadata.version(package) for package in packages}
    known = load(path) if path.exists() else {}
    results = {name: result for name, result in known.items() if name in zoo.VARIANTS}
    for name in track(jds.list_models(settings.pattern)):
        start, now = time.perf_counter(), fingerprint(name)
        if is_valid(results.get(name), now, code) and not settings.again:
            continue
        stamps = {"row": row_fingerprint(zoo.VARIANTS[name]), "fingerprint": now} | ({"code": code} if code else {})
        results[name] = stamps | find(name)
        jax.clear_caches()
        print(name, results[name], f"{time.perf_counter() - start:.0f} s", flush=True)
        record = {"versions": versions, "image_size": image_size, "networks": dict(sorted(results.items()))}
        text = json.dumps(record, indent=1) + "\n"
        replace(path, lambda temporary, text=text: temporary.write_text(text))
    wrong = [name for name, result in results.items() if not is_right(result)]
    raise SystemExit(f"not right: {', '.join(wrong)}" if wrong else 0)
