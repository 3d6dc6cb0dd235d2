"""Builds the CPU kernels with the C++ compiler that is there; without one, jds is installed without them."""

import concurrent.futures
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("jds/ops/native")
LIBRARY = SOURCES / "libjds.so"

# Of the oldest supported jaxlib: a later one calls a library that was built on older headers, but not the reverse.
HEADERS = "jaxlib==0.10.1; python_version < '3.15'"

X86_FLAGS = {
    "kernels_avx512.cc": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c",
    "kernels_avx2.cc": "-mavx2 -mfma -mf16c",
}


class NativeBuildHook(BuildHookInterface):
    """Adds the library to the wheel, or says why there is none."""

    def dependencies(self) -> list[str]:
        """What the build environment needs."""
        return [HEADERS] if self.target_name == "wheel" and find_compiler() else []

    def initialize(self, version: str, build_data: dict) -> None:
        """Compiles before the wheel's files are collected; in an editable installation, among the sources."""
        if self.target_name != "wheel":
            return
        library = Path(self.root) / LIBRARY
        try:
            build(Path(self.root) / SOURCES, library)
        except BuildError as error:
            library.unlink(missing_ok=True)  # one of an earlier installation belongs to other sources
            self.app.display_warning(f"jds is installed without its CPU kernels: {error}")
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


class BuildError(Exception):
    """Why there is no library."""


def find_compiler() -> list[str] | None:
    """Returns the command of `CXX`, or of the first compiler found."""
    if "CXX" in os.environ:
        command = shlex.split(os.environ["CXX"])
        return command if command and shutil.which(command[0]) else None
    found = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    return found and [found]


def build(sources: Path, library: Path) -> None:
    """Compiles and links the library, beside its place and renamed, so that there is never half of one."""
    try:
        import jaxlib
    except ImportError:
        raise BuildError("jaxlib, whose headers are needed, is not in the build environment") from None
    headers = Path(jaxlib.__file__).parent / "include"
    flags = ["-O3", "-fPIC", "-fvisibility=hidden", "-isystem", str(headers)]
    link(sorted(sources.glob("*.cc")), library, sources, flags, ["-shared"])


def link(files: list[Path], out: Path, headers: Path, flags: list[str], link_flags: list[str]) -> None:
    """Compiles the files that this machine's architecture has, each with its own flags too, and links them."""
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler found")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:

        def compile_one(source: Path) -> str:
            compiled = str(Path(folder, source.name + ".o"))
            own = shlex.split(X86_FLAGS.get(source.name, ""))
            run([*compiler, "-std=c++17", f"-I{headers}", *flags, *own, "-c", str(source), "-o", compiled])
            return compiled

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, [file for file in files if is_x86 or file.name not in X86_FLAGS]))
        linked = Path(folder, out.name)
        run([*compiler, *link_flags, "-o", str(linked), *objects, "-pthread"])
        linked.replace(out)


def run(command: list[str]) -> None:
    """Runs a command; what it printed is in the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BuildError("\n".join([f"`{shlex.join(command)}` failed:", *lines[:20]]))


if __name__ == "__main__":
    # Into the source tree, with the jaxlib of this environment.
    try:
        build(SOURCES, LIBRARY)
    except BuildError as error:
        sys.exit(str(error))
