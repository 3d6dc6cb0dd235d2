"""The compiled library: damaged, from other sources, for another machine; and its agreement with the Python code."""

import functools
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest
from native import fuzz

import jds
from jds.ops.native import _constants, _library, _seal

PATH, SOURCES = _library._PATH, _library._PATH.parents[1] / "src"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the library, its seal and its sources, from which the library is loaded."""
    folder = tmp_path / "native"
    shutil.copytree(PATH.parents[1], folder)
    monkeypatch.setattr(_library, "_PATH", folder / "lib" / PATH.name)
    monkeypatch.setattr(_library, "load", _library.load.__wrapped__)
    return folder / "lib" / PATH.name


@functools.cache
def damages():
    """Yields kinds of damage to a file, each with the damaged content."""
    whole = PATH.read_bytes()
    draw = random.Random(0)
    flipped = sorted({0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))})
    yield from ((f"only {size} bytes", whole[:size]) for size in (0, 1, 4096, len(whole) // 2, len(whole) - 1))
    yield from ((f"byte {at}", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) for at in flipped)
    yield "an extra byte", whole + b"\0"


def test_a_damaged_library_is_not_loaded(copied):
    _seal.check(copied, copied.parents[1] / "src")
    for name, content in damages():
        copied.write_bytes(content)
        assert "is damaged: it is not the file that was built; reinstall jds" in (_library._fault() or ""), name
    copied.unlink()
    copied.mkdir()
    assert "cannot be loaded" in (_library._fault() or "")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"[]", b"{}", b'"x"', b'{"library": 1, "sources": [2]}'])
def test_a_damaged_seal_is_refused(copied, content):
    _seal.seal_of(copied).unlink()
    if content is not None:
        _seal.seal_of(copied).write_bytes(content)
    assert "reinstall jds" in (_library._fault() or "")


def test_a_library_from_other_sources_is_refused(copied):
    folder = copied.parents[1] / "src"
    header = folder / "kernels" / "params.h"

    def refused():
        return "built from sources other than those next to it" in _library._fault()

    text = header.read_text()
    # As if two activations had swapped their numbers: an old library would compute the wrong function.
    header.write_text(text.replace("kRelu, kRelu6", "kRelu6, kRelu"))
    assert refused()
    header.write_text(text)
    _seal.check(copied, folder)
    header.rename(folder / "renamed.h")
    assert refused()
    (folder / "renamed.h").rename(header)
    (folder / "kernels" / "simd" / "another.h").touch()
    assert refused()


def test_a_library_for_another_machine_is_refused_with_the_loader_s_message(copied):
    content = bytearray(copied.read_bytes())
    content[18:20] = b"\xff\xff"  # the machine in an ELF file's header
    copied.write_bytes(content)
    _seal.seal_of(copied).write_text(_seal.seal(copied, _seal.fingerprint(copied.parents[1] / "src")))
    assert str(copied) in _library._fault()


def run(script, folder, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


HALF = """
import sys
import jax.numpy as jnp
import jds
print(jds.__file__, file=sys.stderr, flush=True)
x, k = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
print(float(jds.depthwise_conv(x, k).sum()))
print(*jds.select_implementation(x, k, feature_group_count=4).forward)
"""


def test_with_a_truncated_library_importing_jds_is_silent_and_the_first_use_warns(tmp_path):
    shutil.copytree(Path(jds.__file__).parent, tmp_path / "jds", ignore=shutil.ignore_patterns("__pycache__"))
    half = tmp_path / "jds/ops/native/lib" / PATH.name
    half.write_bytes(PATH.read_bytes()[: PATH.stat().st_size // 2])
    done = run(HALF, tmp_path)
    where, *log = done.stderr.splitlines()
    assert where.startswith(str(tmp_path))
    assert len(log) == 1
    assert log[0].startswith("falling back to slower kernels: the library of CPU kernels cannot be loaded")
    total, choice = done.stdout.splitlines()
    assert total == "1936.0"
    assert choice.startswith("shifted ")
    assert "is damaged" in choice


SAVE = """
import pickle, jax, jax.numpy as jnp, jds
from jax.experimental.serialize_executable import serialize
call = jax.jit(jds.accelerate(lambda x, k: jds.separable_conv(x, k, jnp.ones((1, 1, 4, 5))) ** 2))
compiled = call.lower(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))).compile()
assert "jds_depthwise" in compiled.as_text()
pickle.dump(serialize(compiled), open("program", "wb"))
"""
LOAD = """
import pickle, jax.numpy as jnp, jds
from jax.experimental.serialize_executable import deserialize_and_load
program = deserialize_and_load(*pickle.load(open("program", "rb")))
print(float(program(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))).max()))
"""


def test_a_program_compiled_ahead_of_time_needs_only_the_import_of_jds(tmp_path):
    package = str(Path(jds.__file__).parents[1])
    run(SAVE, tmp_path, PYTHONPATH=package)
    assert run(LOAD, tmp_path, PYTHONPATH=package).stdout.strip() == str(36.0**2)


@pytest.mark.parametrize(
    ("constant", "value", "message"),
    [
        ("MAX_TAPS", 1023, "`max_taps` is 1024 in the library and 1023 in Python"),
        ("MAX_CONTRACTED_FEATURES", 512, "`max_contracted_features` is 256 in the library and 512 in Python"),
        ("TARGETS", _constants.TARGETS[:-1], "`targets` is ['jds_depthwise', "),
    ],
)
def test_a_library_with_other_constants_is_refused_at_load(copied, monkeypatch, constant, value, message):
    monkeypatch.setattr(_constants, constant, value)
    with pytest.raises(OSError, match=re.escape(message)):
        _library.load()
    assert message in (_library._fault() or "")


def test_a_constant_that_only_the_library_has_is_refused():
    constants = json.loads(_library.load().jds_constants())
    _constants.check(json.dumps(constants))
    with pytest.raises(OSError, match="`alignment` is 64 in the library and None in Python"):
        _constants.check(json.dumps({**constants, "alignment": 64}))


def test_every_handler_catches_exceptions():
    assert "XLA_FFI_DEFINE_HANDLER_SYMBOL" not in (SOURCES / "ffi.cc").read_text()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
def test_each_header_includes_what_it_uses():
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    flags = (fuzz.hatch_build.x86_flags(SOURCES / "kernels" / "avx512.cc") or "").split() if is_x86 else []
    xla = Path(jaxlib.__file__).parent / "include"
    options = ["-std=c++20", "-fsyntax-only", "-w", f"-I{SOURCES}", "-isystem", xla, *flags]
    options.append('-DJDS_SIMD_HEADER="kernels/simd/portable.h"')
    headers = [header for header in sorted(SOURCES.rglob("*.h")) if is_x86 or not header.name.startswith("avx")]
    assert len(headers) > 20
    for header in headers:
        command = ["g++", *options, "-x", "c++", header]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{header}: {done.stderr[:2000]}"


def test_only_jds_s_own_names_are_exported():
    printed = subprocess.run(["nm", "-D", "--defined-only", PATH], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in printed.splitlines()}
    assert names == {*_constants.TARGETS, "jds_constants", "jds_instruction_sets", "jds_use_instruction_set"}


def test_the_seal_matches_the_library():
    assert json.loads(_seal.seal_of(PATH).read_text())["sources"] == _seal.fingerprint(SOURCES)
    _seal.check(PATH, SOURCES)
