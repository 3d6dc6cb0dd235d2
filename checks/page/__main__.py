"""Exports pages, and uses them in Chromium as people would: from a server, from the disk, with keyboard and camera.

    python -m checks.page [--weights FILE] [--node-modules FOLDER] [--screenshots FOLDER]

Needs Chromium, playwright (`pip install playwright`, without its browsers), scikit-learn for its photographs, and the
packages that write `.onnx` and `.tflite`. npm fetches the runtimes, unless --node-modules names a folder that has them.
Exits with 1 if a check fails.
"""

import dataclasses
import gzip
import importlib
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

import jds
from checks.page import checks, material
from checks.page.browser import Server, served

Checks = dict[str, Callable[[], str]]


@dataclasses.dataclass
class Arguments:
    """Where things are."""

    weights: Path | None = None
    """Weights of tf_efficientnet_lite0; random ones check as much, but their results are no words to look at."""
    node_modules: Path | None = None
    """A folder with the npm packages, as `npm install` makes it."""
    screenshots: Path = Path("results/page")
    """Where to write pictures of the page."""


def of_every_page(browser: Any, url: str, photographs: dict[str, Path], model: Any) -> Checks:
    return {
        "photographs": lambda: checks.photographs(browser, url, photographs, model),
        "keyboard": lambda: checks.keyboard(browser, url, photographs["jpeg"]),
        "phone": lambda: checks.phone(browser, url, photographs["jpeg"]),
        "camera": lambda: checks.camera(browser, url),
        "drop": lambda: checks.drop(browser, url, photographs["png"]),
    }


def of_folder(browser: Any, server: Server, photographs: dict[str, Path], model: Any, folder: Path) -> Checks:
    return {
        "errors": lambda: checks.errors(browser, server.url, folder, photographs["png"]),
        "threads": lambda: checks.threads(browser, folder, photographs["png"], model),
        "retry": lambda: checks.retry(browser, folder, photographs["png"]),
        "plain http": lambda: checks.plain_http(browser, server.url, photographs["jpeg"]),
        "size": lambda: checks.wire_size(folder, server.requested),
    }


def file_size(path: Path) -> str:
    content = path.read_bytes()
    return f"{len(content) / 1e6:.2f} MB, {len(gzip.compress(content)) / 1e6:.2f} MB with gzip"


def run(checks: Checks) -> bool:
    """Runs all checks, and says of each what came out; returns whether all passed."""
    passed = True
    for name, check in checks.items():
        started = time.monotonic()
        try:
            result = check()
        except Exception as error:  # the other checks are of use all the same
            passed, result = False, f"FAILED: {error}"
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        print(f"{name}: {result} ({time.monotonic() - started:.1f} s)", flush=True)
    return passed


def check_page(browser: Any, path: Path, photographs: dict[str, Path], model: Any, arguments: Arguments) -> bool:
    """Checks a folder, which is served, or a file, which is opened from the disk."""
    print(f"\n{path.name}")
    if not path.is_dir():
        size: Checks = {"size": lambda: file_size(path)}
        return run(of_every_page(browser, path.as_uri(), photographs, model) | size)
    shots: Checks = {
        "screenshots": lambda: checks.screenshots(browser, server.url, photographs["jpeg"], arguments.screenshots)
    }
    with served(path) as server:
        return run(
            of_every_page(browser, server.url, photographs, model)
            | of_folder(browser, server, photographs, model, path)
            | (shots if path.name == "tflite" else {})
        )


def main(arguments: Arguments) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("checks.page: needs Chromium on the PATH")
    playwright = importlib.import_module("playwright.sync_api").sync_playwright
    model = jds.create_model(material.NETWORK, arguments.weights)
    model.eval()
    model = jds.reparameterize(model)
    flags = ["--use-fake-device-for-media-stream", f"--host-resolver-rules=MAP {checks.OTHER_HOST} 127.0.0.1"]
    with tempfile.TemporaryDirectory() as temporary, playwright() as started:
        photographs = material.write_photographs(Path(temporary))
        pages = material.write_pages(model, arguments.node_modules, Path(temporary))
        browser = started.chromium.launch(executable_path=chromium, args=flags)
        passed = [check_page(browser, path, photographs, model, arguments) for path in pages]
        browser.close()
    if not all(passed):
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
