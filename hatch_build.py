"""Builds the CPU kernels with the available C++ compiler; without one, jds is installed without them.

`CXX`, `CXXFLAGS` and `LDFLAGS` have their usual meaning.
"""

import concurrent.futures
import contextlib
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import types
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("jds/ops/native/src")
LIBRARY = SOURCES.with_name("lib") / "libjds.so"

# The headers of the oldest supported jaxlib: a newer jaxlib can call a library built with older headers, but not the
# reverse.
HEADERS = "jaxlib==0.10.1; python_version < '3.15'"

# The first line of a file that is for x86 machines only, followed by the additional flags that it needs.
X86_FLAGS = "// x86 flags:"

# Each group of flags is used if the compiler and linker accept it. HARDENING makes errors harder to exploit; EXPORTS
# hides all symbols but jds's own, including those of the standard library.
HARDENING = ("-fstack-protector-strong", "-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now")
EXPORTS = ("-Wl,--version-script={script}", "-Wl,-exported_symbol,_jds_*")
VERSION_SCRIPT = "{ global: jds_*; local: *; };\n"

seal = types.SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / SOURCES.with_name("_seal.py"))))


class NativeBuildHook(BuildHookInterface):
    """Adds the library to the wheel, or warns that there is none and why."""

    def dependencies(self) -> list[str]:
        """The packages that the build environment needs."""
        with contextlib.suppress(BuildError):
            if self.target_name == "wheel" and find_compiler():
                return [HEADERS]
        return []

    def initialize(self, version: str, build_data: dict) -> None:
        """Compiles before the wheel's files are collected; for an editable installation, into the source tree."""
        if self.target_name != "wheel":
            return
        library = Path(self.root) / LIBRARY
        try:
            build(Path(self.root) / SOURCES, library)
        except (BuildError, OSError) as error:
            with contextlib.suppress(OSError):
                library.unlink(missing_ok=True)  # a library from an earlier installation belongs to other sources
                seal.seal_of(library).unlink(missing_ok=True)
            self.app.display_warning(f"jds is installed without its CPU kernels: {error}")
            return
        # The sources are shipped with the library: jds checks that they match.
        build_data["artifacts"] += [str(LIBRARY), str(seal.seal_of(LIBRARY)), f"{SOURCES}/**/*.cc", f"{SOURCES}/**/*.h"]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


class BuildError(Exception):
    """The reason why there is no library."""


def find_compiler() -> list[str]:
    """Returns the command of `CXX`, or of the first compiler found."""
    if command := words("CXX"):
        if shutil.which(command[0]):
            return command
        raise BuildError(f"no C++ compiler found: CXX is {os.environ['CXX']!r}")
    found = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if found is None:
        raise BuildError("no C++ compiler found")
    return [found]


def words(variable: str) -> list[str]:
    """Splits the value of an environment variable as a shell would."""
    value = os.environ.get(variable, "")
    try:
        return shlex.split(value)
    except ValueError as error:
        raise BuildError(f"{variable} is {value!r}: {error}") from None


def build(sources: Path, library: Path) -> None:
    """Compiles, links and tests the library in a temporary folder, then moves it into place atomically."""
    try:
        import jaxlib
    except ImportError:
        raise BuildError("jaxlib, whose headers are needed, is not in the build environment") from None
    headers = Path(jaxlib.__file__).parent / "include"
    flags = ["-O3", "-fPIC", "-fvisibility=hidden", "-isystem", str(headers)]
    library.parent.mkdir(exist_ok=True)
    of_sources = seal.fingerprint(sources)  # taken first, in case the sources are edited meanwhile
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        script = Path(folder, "exports")
        script.write_text(VERSION_SCRIPT)
        extras = [flag for group in HARDENING if accepted(group, folder) for flag in group.split()]
        exports = (group.format(script=script) for group in EXPORTS)
        hidden = [group for group in exports if accepted(group, folder)][:1]
        built = Path(folder, library.name)
        link(sorted(sources.rglob("*.cc")), built, sources, [*flags, *extras], ["-shared", *extras, *hidden])
        try_out(built)
        sealed = Path(folder, "seal")
        sealed.write_text(seal.seal(built, of_sources))
        # Between these two steps, the library does not match its seal and is not loaded.
        built.replace(library)
        sealed.replace(seal.seal_of(library))


def accepted(flags: str, folder: str) -> bool:
    """Whether a library can be linked with these flags."""
    source = Path(folder, "nothing.cpp")
    source.write_text('extern "C" int jds_nothing() { return 0; }\n')
    command = [*find_compiler(), "-O1", "-fPIC", "-shared", "-Werror", *shlex.split(flags), str(source)]
    try:
        run([*command, "-o", str(source.with_suffix(".so"))])
    except BuildError:
        return False
    return True


def compile_file(command: list[str], source: Path, compiled: Path) -> None:
    """Compiles a source file to an object file."""
    run([*command, "-c", str(source), "-o", str(compiled)])


def link(
    files: list[Path], out: Path, headers: Path, flags: list[str], link_flags: list[str], compile_file=compile_file
) -> None:
    """Compiles the files for this machine's architecture, each with its additional flags, and links them."""
    compiler, user_flags, user_link_flags = find_compiler(), words("CXXFLAGS"), words("LDFLAGS")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:

        def compile_one(source: Path) -> str:
            compiled = Path(folder, f"{files.index(source)}-{source.name}.o")
            own = shlex.split(x86_flags(source) or "")
            compile_file([*compiler, "-std=c++20", f"-I{headers}", *flags, *user_flags, *own], source, compiled)
            return str(compiled)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, [file for file in files if is_x86 or not x86_flags(file)]))
        linked = Path(folder, out.name)
        run([*compiler, *link_flags, "-o", str(linked), *objects, "-pthread", *user_link_flags])
        if not linked.exists():
            raise BuildError(f"`{shlex.join(compiler)}` succeeded, but produced no output")
        linked.replace(out)


def x86_flags(source: Path) -> str | None:
    """Returns the additional flags of a file for x86 machines only; None if the file is for all machines."""
    with source.open() as file:
        first = file.readline()
    return first.removeprefix(X86_FLAGS) if first.startswith(X86_FLAGS) else None


def try_out(library: Path) -> None:
    """Loads a library in a separate process, in case it crashes."""
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).jds_instruction_sets()"
    try:
        run([sys.executable, "-c", script, str(library)])
    except BuildError as error:
        raise BuildError(f"the library that was built cannot be loaded: {error}") from None


def run(command: list[str]) -> None:
    """Runs a command; if it fails, the error includes its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BuildError(f"`{shlex.join(command)}` cannot be run: {error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BuildError("\n".join([f"`{shlex.join(command)}` failed:", *lines[:20]]))


if __name__ == "__main__":
    # Builds into the source tree, with the jaxlib of this environment.
    try:
        build(SOURCES, LIBRARY)
    except (BuildError, OSError) as error:
        sys.exit(str(error))
