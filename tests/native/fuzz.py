"""Fuzzes the CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/native/fuzz.py                        # 21,000 cases and the planted defects; about five minutes
    python tests/native/fuzz.py --cases 1000 --no-record

`fuzz.cc` draws the cases and knows what is right. Then each of the defects below is planted in a copy of the sources,
and has to be found. The result is kept in `fuzz.json`, with a fingerprint of the sources that it speaks of. Needs a C++
compiler with both sanitizers.
"""

import argparse
import datetime
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402

HERE = Path(__file__).parent
SOURCES = ROOT / hatch_build.SOURCES
RECORD = HERE / "fuzz.json"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]

# What goes wrong, the file, the line as it is, and as it is planted.
DEFECTS = (
    ("the last vector reads past the channels", "channels.h", "return Simd::load(p + c, lanes);", "return Simd::load(p + c);"),
    ("a run is one position too long", "solve.cc", "divide_up(axis.moving_size - start, stride)", "divide_up(axis.moving_size + 1 - start, stride)"),
    ("the sums of one part are forgotten", "work.cc", "for (int64_t part = 1; part < count; ++part)", "for (int64_t part = 2; part < count; ++part)"),
    ("features of another group are multiplied", "depthwise.h", "sums[group * d.in_features + i]", "sums[group + i]"),
    ("all panels of weights lie in one place", "matrix.h", "panels + column * b.depth);", "panels);"),
)  # fmt: skip


def fingerprint() -> str:
    """A hash of all that is compiled."""
    files = sorted([*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cc"), HERE / "fuzz.cc"])
    digest = hashlib.sha256()
    for file in files:
        if file.name != "ffi.cc":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def build(sources: Path, out: Path) -> None:
    """Links the fuzzer with the kernels; XLA is not needed."""
    files = [file for file in sorted(sources.glob("*.cc")) if file.name != "ffi.cc"]
    hatch_build.link([*files, HERE / "fuzz.cc"], out, sources, SANITIZE, SANITIZE)


def fuzz(program: Path, cases: int, seed: int) -> tuple[bool, str]:
    """Runs the cases; returns whether all were right, and what the program said."""
    done = subprocess.run([program, str(cases), str(seed)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return True, done.stdout.strip()
    last_case, _, report = done.stderr.rpartition("\r")[2].partition("\n")
    found = next((line for line in report.splitlines() if "ERROR: " in line or "runtime error: " in line), "")
    return False, " | ".join(part.strip() for part in (last_case, done.stdout.strip(), found) if part.strip())


def plant(defect: tuple[str, str, str, str], folder: Path) -> Path:
    """Copies the sources with one defect; returns the fuzzer built of them."""
    _, name, before, after = defect
    sources = folder / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("*.so"))
    text = (sources / name).read_text()
    if before not in text:
        raise SystemExit(f"{name} has no line {before!r} to plant a defect in")
    (sources / name).write_text(text.replace(before, after))
    build(sources, folder / "fuzz")
    return folder / "fuzz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=21_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="no defects, no record")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "fuzz")
        build(SOURCES, program)
        right, said = fuzz(program, arguments.cases, arguments.seed)
        print(said)
        if not right:
            sys.exit(1)
    if arguments.no_record:
        return
    caught = {}
    for defect in DEFECTS:
        with tempfile.TemporaryDirectory() as folder:
            right, report = fuzz(plant(defect, Path(folder)), arguments.cases, arguments.seed)
            print(f"{defect[0]}: {'NOT FOUND' if right else report}")
            if right:
                sys.exit(1)
            caught[defect[0]] = report
    compiler = subprocess.run([*(hatch_build.find_compiler() or []), "--version"], capture_output=True, text=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "compiler": compiler.stdout.splitlines()[0],
        "sources": fingerprint(),
        "seed": arguments.seed,
        "result": json.loads(said),
        "defects_found": caught,
    }
    beside = RECORD.with_name(f".{RECORD.name}")
    beside.write_text(json.dumps(record, indent=2) + "\n")
    beside.replace(RECORD)


if __name__ == "__main__":
    main()
