"""Installation with working and broken C++ compilers, and without one."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jds.ops.native import _seal

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

import hatch_build  # noqa: E402

SCRIPT = """
import jax.numpy as jnp
import jds
print(jds.__file__)
x, k = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
print(float(jds.depthwise_conv(x, k).sum()))
print(*jds.select_implementation(x, k, feature_group_count=4).forward)
"""
# Replaces the kernels: it requires a flag from the user and uses the standard library.
SOURCE = """
#include <string>
#include <vector>
#ifndef JDS_MARK
#error "no CXXFLAGS"
#endif
extern "C" __attribute__((visibility("default"))) const char* jds_instruction_sets() {
  static std::vector<std::string> names(3, std::string(JDS_MARK));
  return names[1].c_str();
}
"""


def run(*command, folder, **environment):
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_without_a_compiler_jds_is_installed_and_says_so(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "jds", source / "jds", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    stale = source / "jds/ops/native/lib/libjds.so"
    stale.write_text("of an earlier installation")
    said = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", folder=source, CXX="no-such-compiler")
    assert "jds is installed without its CPU kernels: no C++ compiler found: CXX is 'no-such-compiler'" in "".join(said)
    assert not stale.exists()
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    assert not list(site.rglob("*.so"))
    web = Path("jds/exporting/page/web")
    files = {path.relative_to(source / web) for path in (source / web).rglob("*")}
    assert {path.relative_to(site / web) for path in (site / web).rglob("*")} == files
    out, log = run(sys.executable, "-c", SCRIPT, folder=tmp_path, PYTHONPATH=str(site))
    where, total, choice = out.splitlines()
    assert where.startswith(str(site))
    assert total == "1936.0"
    assert choice.startswith("shifted ")
    assert "the CPU kernels were not built because no C++ compiler was found" in choice
    assert log.count("falling back to slower kernels") == 1


class Installation:
    """A source tree with one small C++ file, and the build hook's results on it."""

    def __init__(self, root: Path):
        self.shared_object = root / hatch_build.LIBRARY
        sources = root / hatch_build.SOURCES
        sources.mkdir(parents=True)
        (sources / "small.cc").write_text(SOURCE)
        self.root, self.warnings = root, []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)

    def build(self) -> dict:
        hook = hatch_build.NativeBuildHook(str(self.root), {}, None, None, str(self.root), "wheel", self)
        hook.dependencies()
        data: dict = {"artifacts": []}
        hook.initialize("standard", data)
        return data


@pytest.fixture
def installation(tmp_path, monkeypatch):
    for variable in ("CXX", "CXXFLAGS", "LDFLAGS"):
        monkeypatch.delenv(variable, raising=False)
    return Installation(tmp_path)


def program(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


WRITES = '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n'


@pytest.mark.parametrize(
    ("environment", "script", "words"),
    [
        ({"CXX": "true"}, None, "`true` succeeded, but produced no output"),
        ({"CXX": "false"}, None, "`false "),
        ({"CXX": 'c++ "'}, None, "CXX is 'c++ \"': No closing quotation"),
        ({"CXX": "'"}, None, 'CXX is "\'": No closing quotation'),
        ({"CXX": "/nowhere/c++"}, None, "no C++ compiler found: CXX is '/nowhere/c++'"),
        ({"CXXFLAGS": '-DJDS_MARK="'}, None, "CXXFLAGS is '-DJDS_MARK=\"': No closing quotation"),
        ({"LDFLAGS": "'"}, None, 'LDFLAGS is "\'": No closing quotation'),
        ({"CXXFLAGS": "--no-such-flag"}, None, "no-such-flag"),
        ({"CXXFLAGS": "-DJDS_MARK=1"}, None, "failed"),
        ({"CXXFLAGS": '-DJDS_MARK=\\"x\\"', "LDFLAGS": "-lno-such-library"}, None, "no-such-library"),
        ({}, WRITES + 'echo garbage > "$2"\n', "the library that was built cannot be loaded"),
        ({}, WRITES + ': > "$2"\n', "the library that was built cannot be loaded"),
        ({}, "#!/bin/sh\nprintf '\\377\\376' >&2\nexit 1\n", "failed"),
        ({}, "#!/bin/sh\nkill -SEGV $$\n", "failed"),
        ({}, "\x7fELF, or not", "cannot be run: [Errno 8]"),
        ({}, "#!/no/such/interpreter\n", "cannot be run: [Errno 2]"),
    ],
)
def test_the_installation_succeeds_whatever_the_compiler_does(installation, monkeypatch, environment, script, words):
    if script:
        environment = {**environment, "CXX": program(installation.root, script)}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    installation.shared_object.parent.mkdir()
    installation.shared_object.write_text("of an earlier installation")
    assert installation.build() == {"artifacts": []}
    (warning,) = installation.warnings
    assert warning.startswith("jds is installed without its CPU kernels: ")
    assert words in warning
    assert not installation.shared_object.exists()


def test_a_folder_that_cannot_be_written_does_not_stop_the_installation(installation, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(installation.shared_object.parent))

    monkeypatch.setattr(hatch_build.tempfile, "TemporaryDirectory", refuse)
    assert installation.build() == {"artifacts": []}
    assert "Permission denied" in installation.warnings[0]


def test_the_user_s_flags_are_used_and_only_jds_s_names_are_exported(installation, monkeypatch):
    monkeypatch.setenv("CXXFLAGS", "'-DJDS_MARK=\"a mark\"' -O0")
    monkeypatch.setenv("LDFLAGS", "-Wl,-rpath,/a/path/of/the/user")
    data = installation.build()
    assert installation.warnings == []
    library, sources = hatch_build.LIBRARY.parent, hatch_build.SOURCES
    assert data["artifacts"] == [
        f"{library}/libjds.so",
        f"{library}/libjds.json",
        f"{sources}/**/*.cc",
        f"{sources}/**/*.h",
    ]
    assert sorted(file.name for file in installation.shared_object.parent.iterdir()) == ["libjds.json", "libjds.so"]
    content = installation.shared_object.read_bytes()
    assert b"a mark" in content
    assert b"/a/path/of/the/user" in content
    _seal.check(installation.shared_object, installation.root / sources)
    exported, _ = run("nm", "-D", "--defined-only", installation.shared_object, folder=installation.root)
    assert [line.split()[-1] for line in exported.splitlines()] == ["jds_instruction_sets"]
