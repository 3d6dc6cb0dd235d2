"""Fuzzes the CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/native/fuzz.py                        # 21,000 cases and the planted defects; about fifteen minutes
    python tests/native/fuzz.py --cases 1000 --no-record
    python tests/native/fuzz.py --case 123             # repeats a case, by the number that was printed

`fuzz.cc` draws the cases and computes the expected results. Then each of the defects below is planted in a copy of the
sources and must be found. The result is kept in `fuzz.json`, with a fingerprint of the sources it was made from and all
seeds recorded so far: each run draws a new one. Needs a C++ compiler with both sanitizers.
"""

import argparse
import datetime
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402

HERE = Path(__file__).parent
SOURCES = ROOT / hatch_build.SOURCES
RECORD = HERE / "fuzz.json"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GLIBCXX_ASSERTIONS", "-g", "-O1"]
OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}

# Text in a line that reports what the sanitizers or the C++ library found.
SIGNS = ("ERROR: ", "runtime error: ", "terminate called")

# The kernels' headers are compiled for each instruction set. Defects are planted in the portable kernels only, as those
# of the others take minutes to compile; except these, which only wide vectors can have.
KEPT = ("avx2.cc", "avx512.cc")
OF_WIDE_VECTORS = ("lanes read the features of another group",)

# The defect, its file, the original code, and the planted code.
DEFECTS = (
    ("the last vector reads past the channels", "kernels/channels.h", "return Simd::load(p + c, lanes);", "return Simd::load(p + c);"),
    ("a run is one position too long", "runtime/taps.cc", "divide_up(axis.moving_size - start, stride)", "divide_up(axis.moving_size + 1 - start, stride)"),
    ("the sums of one part are forgotten", "runtime/convert.cc", "for (int64_t part = 1; part < count; ++part)", "for (int64_t part = 2; part < count; ++part)"),
    ("features of another group are multiplied", "kernels/depthwise.h", "sums[group * d.in_features + i]", "sums[group + i]"),
    ("lanes read the features of another group", "kernels/grouped_gradient.h", "l / fixed_features * kFeatures + p", "l / fixed_features + p"),
    ("later images replace the sums of earlier ones", "kernels/grouped_gradient.h", ".is_first = image == 0}", ".is_first = true}"),
    ("a task's exception leaves its thread", "runtime/threads.cc", "failure_.keep();", "throw;"),
    ("a task's exception is forgotten", "runtime/threads.cc", "shared->failure.rethrow();", ""),
    ("all panels of weights lie in one place", "kernels/matrix.h", "panels + column * b.depth);", "panels);"),
    ("each group has the bias of the first", "kernels/depthwise.h", "d.epilogue.bias + g", "d.epilogue.bias"),
    ("a skip connection begins with the first row", "kernels/matrix.h", "skip + row * stride", "skip"),
    ("the last channels are not summed", "kernels/image.h", "if (begin < end) sum_positions", "if (begin + 1 < end) sum_positions"),
    ("the last columns of few rows are forgotten", "kernels/row_product.h", "} else if (begin < end) {", "} else if (begin + 1 < end) {"),
    ("all images have the gates of the first", "operators/squeeze_excite.cc", "gates + number * channels", "gates"),
    ("an activation is its neighbor", "kernels/activation.h", "activate_each<silu>(", "activate_each<sigmoid>("),
)  # fmt: skip


def fingerprint() -> str:
    """A hash of all compiled files."""
    files = sorted(file for folder in (SOURCES, HERE) for pattern in ("*.h", "*.cc") for file in folder.rglob(pattern))
    digest = hashlib.sha256()
    for file in files:
        if file.name != "ffi.cc":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def build(sources: Path, out: Path, objects: Path, kept: Collection[str] = ()) -> None:
    """Links the fuzzer with the kernels, without XLA; reuses the object files in `objects`, always those `kept`."""

    def compile_file(command: list[str], source: Path, compiled: Path) -> None:
        if source.name in kept:
            (known,) = objects.glob(f"{source.name}-*")
            shutil.copy(known, compiled)
            return
        text = subprocess.run([*command, "-E", "-P", source], capture_output=True, check=True).stdout
        known = objects / f"{source.name}-{hashlib.sha256(text).hexdigest()}"
        if not known.exists():
            hatch_build.compile_file(command, source, known)
        shutil.copy(known, compiled)

    files = [file for file in sorted(sources.rglob("*.cc")) if file.name != "ffi.cc"]
    hatch_build.link([*files, *sorted(HERE.glob("*.cc"))], out, sources, SANITIZE, SANITIZE, compile_file)


def first_case(seed: int) -> int:
    """The number of a seed's first case, far enough from other seeds' that they have no cases in common."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:7])


def new_seed(used: list[int]) -> int:
    """Draws a seed that was not used before."""
    while (seed := secrets.randbelow(2**32)) in used:
        pass
    return seed


def fuzz(program: Path, cases: int, first: int) -> tuple[bool, str]:
    """Runs the cases from number `first` on; returns whether all passed, and the program's report."""
    command = [program, str(cases), str(first)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **OPTIONS})
    if done.returncode == 0:
        return True, done.stdout.strip()
    last_case, _, report = done.stderr.rpartition("\r")[2].partition("\n")
    found = next((line for line in report.splitlines() if any(sign in line for sign in SIGNS)), "")
    return False, " | ".join(part.strip() for part in (last_case, done.stdout.strip(), found) if part.strip())


def plant(defect: tuple[str, str, str, str], folder: Path, objects: Path) -> Path:
    """Copies the sources with one defect; returns the fuzzer built from them."""
    title, name, before, after = defect
    sources = folder / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("*.so"))
    text = (sources / name).read_text()
    if before not in text:
        raise SystemExit(f"{name} has no line {before!r} to plant a defect in")
    (sources / name).write_text(text.replace(before, after))
    build(sources, folder / "fuzz", objects, () if title in OF_WIDE_VECTORS else KEPT)
    return folder / "fuzz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=21_000)
    parser.add_argument("--seed", type=int, help="the seed of the cases; by default, one that was not used before")
    parser.add_argument("--case", type=int, help="run only this case; write no record")
    parser.add_argument("--no-record", action="store_true", help="plant no defects, write no record")
    arguments = parser.parse_args()
    seeds = json.loads(RECORD.read_text())["seeds"] if RECORD.exists() else []
    cases, first = 1, arguments.case
    if first is None:
        seed = new_seed(seeds) if arguments.seed is None else arguments.seed
        cases, first = arguments.cases, first_case(seed)
        print(f"seed {seed}, cases {first} to {first + cases - 1}", flush=True)
    with tempfile.TemporaryDirectory() as objects:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "fuzz")
            build(SOURCES, program, Path(objects))
            right, said = fuzz(program, cases, first)
            print(said)
            if not right:
                sys.exit(1)
        if arguments.no_record or arguments.case is not None:
            return
        caught = {}
        for defect in DEFECTS:
            with tempfile.TemporaryDirectory() as folder:
                right, report = fuzz(plant(defect, Path(folder), Path(objects)), cases, first)
            print(f"{defect[0]}: {'NOT FOUND' if right else report}")
            if right:
                sys.exit(1)
            caught[defect[0]] = report
    compiler = subprocess.run([*hatch_build.find_compiler(), "--version"], capture_output=True, text=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "compiler": compiler.stdout.splitlines()[0],
        "sources": fingerprint(),
        "seeds": sorted({*seeds, seed}),
        "result": json.loads(said),
        "defects_found": caught,
    }
    temporary = RECORD.with_name(f".{RECORD.name}")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(RECORD)


if __name__ == "__main__":
    main()
