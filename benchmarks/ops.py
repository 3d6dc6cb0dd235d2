"""Times the depthwise step: jds, XLA's own and PyTorch, interleaved.

    pip install -e ".[peers]"
    python -m benchmarks.ops

Forward pass, input gradient and kernel gradient of each distinct depthwise layer of MobileNet V1 at 224×224, and the
layer with its pointwise step against XLA's ordinary convolution of the same values; float32, batches 1 and 16, on this
machine's CPU. Forward passes are compared with a memory copy and a matrix product, both measured. Writes
`benchmarks/results/ops.json`, with every sample, and two pictures. Takes about 10 minutes on 2 cores; leave the machine
idle meanwhile.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.harness import pictures, record, report, roofline
from benchmarks.harness.command import command
from benchmarks.harness.contenders import BenchmarkError, Contender, choose
from benchmarks.harness.contest import Case, Result, processes, run_case
from benchmarks.harness.targets import Target, of_cases
from benchmarks.harness.workloads import MOBILENET_V1, Workload
from jds import cost

IN_JAX = "benchmarks.peers.in_jax:op"

CONTENDERS = (
    Contender("jds", "jds", IN_JAX, {"implementation": None}),
    Contender("xla", "XLA's own", IN_JAX, {"implementation": "xla"}),
    Contender("torch", "PyTorch", "benchmarks.peers.in_torch:op", {}, ("torch",)),
    Contender("ordinary", "XLA, ordinary", IN_JAX, {"implementation": "xla", "ordinary": True}),
)
PASSES = ("forward", "input gradient", "kernel gradient")
# Limits of the ratio jds / XLA's own: geometric mean, slowest layer.
LIMITS_TO_XLA = {"forward": (0.1, 0.33), "input gradient": (0.1, 0.1), "kernel gradient": (0.25, 0.67)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times the depthwise step: jds, XLA's own and PyTorch, interleaved."""

    batches: tuple[int, ...] = (1, 16)
    rounds: int = 9
    """Number of rounds that count; one more warms up."""
    seconds: float = 0.1
    """Duration of each turn, in seconds."""
    contenders: tuple[str, ...] = ()
    """Names of contenders; by default, all that are installed."""
    layers: tuple[str, ...] = ()
    """Names, such as 7x7x1024; by default, all."""
    out: Path = Path("benchmarks/results/ops.json")
    """The record; the pictures are written next to it."""

    def __post_init__(self):
        if self.rounds < 3 or not self.batches or min(self.batches) < 1 or not self.seconds > 0:
            raise BenchmarkError("there must be at least 3 `rounds`, a batch, and `seconds` above 0")
        names = [workload.name for workload in MOBILENET_V1]
        for name in self.layers:
            if name not in names:
                raise BenchmarkError(f"unknown layer {name!r}; there are {', '.join(names)}")

    @property
    def workloads(self) -> list[Workload]:
        return [workload for workload in MOBILENET_V1 if not self.layers or workload.name in self.layers]


def cases(settings: Settings, able: Sequence[Contender]) -> list[Case]:
    """Each pass of each layer; the ordinary convolution takes part only in the whole block."""
    threads = cost.machine_facts()["cores"]
    out = []
    for kind in (*PASSES, "block"):
        contenders = tuple(contender for contender in able if kind == "block" or contender.name != "ordinary")
        for batch in settings.batches if contenders else ():
            for workload in settings.workloads:
                spec = {"pass": kind, "workload": workload._asdict(), "batch": batch, "threads": threads}
                out.append(Case(f"{kind}, {workload.name}, batch {batch}", spec, contenders))
    return out


def theoretical_ratio(workload: Workload) -> float:
    """Ratio of the separable block's multiplications to the ordinary convolution's."""
    size = (workload.size, workload.size, workload.features)
    layer = cost.Layer(workload.name, size, workload.out_features, (workload.kernel,) * 2, strides=workload.stride)
    return float(cost.multiplications(layer).ratio)


def targets(results: Sequence[Result]) -> list[Target]:
    found = []
    batches = dict.fromkeys(result.case.spec["batch"] for result in results)
    for kind, batch in ((kind, batch) for kind in (*PASSES, "block") for batch in batches):
        rows = [r for r in results if (r.case.spec["pass"], r.case.spec["batch"]) == (kind, batch)]
        name = f"{kind}, batch {batch}: jds"
        if kind == "block":
            shares = []
            for row in rows:
                ratio, theory = row.ratio("jds", "ordinary"), theoretical_ratio(Workload(**row.case.spec["workload"]))
                shares.append(ratio and cost.Spread(*(at / theory for at in ratio)))
            found += of_cases(f"{name} / XLA's ordinary convolution / ratio in theory", 1.3, shares)
        else:
            mean, worst = LIMITS_TO_XLA[kind]
            found += of_cases(f"{name} / PyTorch", 1.0, (row.ratio("jds", "torch") for row in rows), worst=1.5)
            found += of_cases(f"{name} / XLA's own", mean, (row.ratio("jds", "xla") for row in rows), worst=worst)
    return found


def main(settings: Settings) -> None:
    able, notes = choose(CONTENDERS, settings.contenders)
    todo = cases(settings, able)
    roofs = roofline.cases(settings.workloads, settings.batches, able)
    report.announce([*todo, *roofs], settings.rounds, settings.seconds, settings.out)
    progress = track([*todo, *roofs], "measuring", console=Console(stderr=True), auto_refresh=False, transient=True)
    with processes() as process:
        measured = [run_case(case, process, rounds=settings.rounds, seconds=settings.seconds) for case in progress]
    results, references = measured[: len(todo)], measured[len(todo) :]
    judged = targets(results)
    points = roofline.points(results, references)
    kept = dataclasses.asdict(settings)
    del kept["out"]
    content = record.record("ops", kept, able, measured, judged)
    content["roofline"] = roofline.entry(points, references)
    tables = []
    for kind in dict.fromkeys(result.case.spec["pass"] for result in results):
        rows = [result for result in results if result.case.spec["pass"] == kind]
        tables.append(report.layer_table(kind, rows))
    tables += [roofline.table(points, references), report.cost_table(measured)]
    out = settings.out
    figures = {
        out.with_suffix(".png"): pictures.layers(results),
        out.with_name(f"{out.stem}_roofline.png"): pictures.roofline(points, references),
    }
    notes += [note for result in measured for note in result.notes()]
    report.publish(out, content, figures, tables, judged, notes)


if __name__ == "__main__":
    command(main, Settings)
