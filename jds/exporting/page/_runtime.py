"""Finds or fetches the npm package that runs the network in the browser."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["tflite", "onnx"]


class Package(NamedTuple):
    """An npm package.

    Attributes:
      title: name of the runtime, for people.
      name, version: those in npm's registry. Pages are tested with this version.
      files: for each file that a page needs, its path in the package and its path in the page.
    """

    title: str
    name: str
    version: str
    files: Mapping[str, str]


# The builds of LiteRT: for all browsers, for those with relaxed SIMD, and for several threads. A browser loads one.
_LITERT_BUILDS = ("litert_wasm_compat_internal", "litert_wasm_internal", "litert_wasm_threaded_internal")

PACKAGES: dict[Kind, Package] = {
    "tflite": Package(
        "LiteRT",
        "@litertjs/core",
        "2.5.3",
        {"dist/index.js": "runtime/litert.js"}
        | {f"wasm/{build}.{end}": f"runtime/{build}.{end}" for build in _LITERT_BUILDS for end in ("js", "wasm")},
    ),
    "onnx": Package(
        "ONNX Runtime",
        "onnxruntime-web",
        "1.30.0",
        {
            "dist/ort.wasm.bundle.min.mjs": "runtime/onnxruntime-web.js",
            "dist/ort-wasm-simd-threaded.wasm": "runtime/ort-wasm-simd-threaded.wasm",
        },
    ),
}


def runtime_files(kind: Kind, folder: Path | None) -> dict[str, bytes]:
    """Returns the runtime's files, by their paths in the page.

    Args:
      kind: format of the network.
      folder: the npm package, or a folder with it in `node_modules`; by default, npm fetches it.

    Raises:
      ValueError: `folder` is not the package, or another version of it.
      ImportError: `folder` is None, and npm is not installed.
      OSError: npm could not fetch the package, or a file cannot be read.
    """
    package = PACKAGES[kind]
    if folder is not None:
        return _read(package, folder)
    with tempfile.TemporaryDirectory() as temporary:
        return _read(package, fetch(package, Path(temporary)))


def kind_of(folder: Path) -> Kind:
    """Returns the format that the npm package in a folder reads.

    Raises:
      ValueError: it is none of the packages.
    """
    for kind, package in PACKAGES.items():
        for place in (folder / "node_modules" / package.name, folder):
            if _described(place).get("name") == package.name:
                return kind
    known = " or ".join(f"{package.name} {package.version}" for package in PACKAGES.values())
    raise ValueError(f"export: `runtime` must be a folder with the npm package {known}, got '{folder}'")


def _described(folder: Path) -> dict[str, Any]:
    file = folder / "package.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _read(package: Package, folder: Path) -> dict[str, bytes]:
    inside = folder / "node_modules" / package.name
    folder = inside if inside.is_dir() else folder
    found = _described(folder)
    wanted, got = (package.name, package.version), (found.get("name"), found.get("version"))
    if got != wanted:
        what = " ".join(map(str, got)) if found else "no package.json"
        raise ValueError(
            f"export: `runtime` must be a folder with the npm package {package.name} {package.version}, as from "
            f"`npm install {package.name}@{package.version}`, got '{folder}' with {what}"
        )
    return {place: (folder / file).read_bytes() for file, place in package.files.items()}


def fetch(package: Package, folder: Path) -> Path:
    """Fetches a package with npm into `folder`; returns the package's own folder."""
    npm = shutil.which("npm")
    wanted = f"{package.name}@{package.version}"
    if npm is None:
        raise ImportError(
            f"export: a page needs the npm package {wanted}: install Node.js with npm, or run `npm install {wanted}` "
            f"on another computer and pass runtime='node_modules/{package.name}'"
        )
    command = [npm, "pack", "--prefer-offline", "--loglevel=error", "--pack-destination", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise OSError(f"export: npm could not fetch {wanted}: {' '.join(reason)[:500]}")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package"  # npm's archives hold one folder of this name
