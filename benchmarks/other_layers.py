"""Times layers that the mobile families do not have: plain JAX with `jds.accelerate` against plain JAX.

    pip install -e ".[test]"
    python -m benchmarks.other_layers

Speeding up some layers must not slow down others. Forward pass and both gradients, batches 1 and 8, float32, on this
machine's CPU: grouped convolutions of ResNeXt, RegNet, NFNet and wav2vec2, ordinary ones, filters of one channel, stems
for images, videos and audio, ensembles by `vmap`. A row above its limit is measured again with three times the rounds;
the second result counts. Writes `benchmarks/results/other_layers.json`, with every sample. Takes about 20 minutes on 2
cores; leave the machine idle meanwhile.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.harness import record, report
from benchmarks.harness.command import command
from benchmarks.harness.contenders import BenchmarkError, Contender, choose
from benchmarks.harness.contest import Case, Process, Result, processes, run_case
from benchmarks.harness.targets import Target, hardest, of_ratio
from jds import cost

CONTENDERS = (
    Contender("jds", "jds.accelerate", "benchmarks.peers.in_lax:layer", {"accelerated": True}),
    Contender("xla", "plain JAX", "benchmarks.peers.in_lax:layer", {"accelerated": False}),
)
PASSES = ("forward", "input gradient", "kernel gradient")
SLOWDOWN, COMPILATION, GRADIENT, LONG_GRADIENT = 1.05, 1.5, 0.1, 0.4


class Layer(NamedTuple):
    """A convolution; `size` lists the spatial sizes, `features` the numbers of input and output features."""

    name: str
    size: tuple[int, ...]
    features: tuple[int, int]
    window: tuple[int, ...]
    groups: int = 1
    strides: int | tuple[int, ...] = 1
    padding: str | tuple[tuple[int, int], ...] = "SAME"
    ensemble: str = "none"  # over eight members: "none", "kernels" (one input), or "both"

    def spec(self, batch: int) -> dict:
        kernels = [] if self.ensemble == "none" else [8]
        images = [8] if self.ensemble == "both" else []
        strides = (self.strides,) * len(self.size) if isinstance(self.strides, int) else self.strides
        return {
            "workload": {"name": self.name},
            "inputs": [*images, batch, *self.size, self.features[0]],
            "kernel": [*kernels, *self.window, self.features[0] // self.groups, self.features[1]],
            "groups": self.groups,
            "strides": list(strides),
            "padding": self.padding,
            "ensemble": self.ensemble,
            "batch": batch,
        }


LAYERS = (
    Layer("ResNeXt 56×56×128", (56, 56), (128, 128), (3, 3), groups=32),
    Layer("ResNeXt 28×28×256", (28, 28), (256, 256), (3, 3), groups=32),
    Layer("ResNeXt 14×14×512", (14, 14), (512, 512), (3, 3), groups=32),
    Layer("ResNeXt 7×7×1024", (7, 7), (1024, 1024), (3, 3), groups=32),
    Layer("ResNeXt 6×6×512", (6, 6), (512, 512), (3, 3), groups=32),
    Layer("RegNet 14×14×440", (14, 14), (440, 440), (3, 3), groups=55),
    Layer("RegNet 6×6×440", (6, 6), (440, 440), (3, 3), groups=55),
    Layer("RegNet 28×28×144, stride 2", (28, 28), (144, 144), (3, 3), groups=6, strides=2),
    Layer("NFNet 20×20×256", (20, 20), (256, 256), (3, 3), groups=2),
    Layer("NFNet 12×12×768, stride 2", (12, 12), (768, 768), (3, 3), groups=6, strides=2),
    Layer("NFNet 6×6×768", (6, 6), (768, 768), (3, 3), groups=6),
    Layer("NFNet 3×3×768", (3, 3), (768, 768), (3, 3), groups=6),
    Layer("wav2vec2, 1 s", (49,), (768, 768), (128,), groups=16, padding=((64, 63),)),
    Layer("wav2vec2, 5 s", (249,), (768, 768), (128,), groups=16, padding=((64, 63),)),
    Layer("grouped 5×5, 10×10×128", (10, 10), (128, 128), (5, 5), groups=4),
    *(Layer(f"filter of {taps} taps", (16000,), (1, 1), (taps,)) for taps in (16, 64, 256, 1024, 4096)),
    Layer("two channels, 64 taps", (16000,), (2, 2), (64,), groups=2),
    Layer("two channels, 1024 taps", (16000,), (2, 2), (1024,), groups=2),
    Layer("filter bank, 64 taps", (16000,), (1, 16), (64,)),
    Layer("audio stem", (16000,), (1, 512), (10,), strides=5),
    Layer("image stem 7×7", (224, 224), (3, 64), (7, 7), strides=2),
    Layer("image stem 3×3", (112, 112), (3, 64), (3, 3)),
    Layer("digits 3×3", (28, 28), (1, 32), (3, 3)),
    Layer("video stem", (4, 32, 32), (3, 64), (3, 7, 7), strides=(1, 2, 2)),
    Layer("ResNet 14×14×256", (14, 14), (256, 256), (3, 3)),
    Layer("ensemble, one input, 6×6×64", (6, 6), (64, 64), (3, 3), ensemble="kernels"),
    Layer("ensemble, one input, 14×14×64", (14, 14), (64, 64), (3, 3), ensemble="kernels"),
    Layer("ensemble 14×14×64", (14, 14), (64, 64), (3, 3), ensemble="both"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times layers that the mobile families do not have: plain JAX with `jds.accelerate` against plain JAX."""

    batches: tuple[int, ...] = (1, 8)
    rounds: int = 9
    """Number of rounds that count; one more warms up."""
    seconds: float = 0.05
    """Duration of each turn, in seconds."""
    layers: tuple[str, ...] = ()
    """Text to look for in the layers' names; by default, all layers."""
    out: Path = Path("benchmarks/results/other_layers.json")

    def __post_init__(self):
        if self.rounds < 3 or not self.batches or min(self.batches) < 1 or not self.seconds > 0:
            raise BenchmarkError("there must be at least 3 `rounds`, a batch, and `seconds` above 0")
        for word in self.layers:
            if not any(word in layer.name for layer in LAYERS):
                raise BenchmarkError(f"no layer name contains {word!r}; there are {', '.join(f.name for f in LAYERS)}")


def cases(settings: Settings, able: tuple[Contender, ...]) -> list[Case]:
    wanted = [layer for layer in LAYERS if not settings.layers or any(word in layer.name for word in settings.layers)]
    return [
        Case(f"{kind}, {layer.name}, batch {batch}", {"pass": kind, **layer.spec(batch)}, able, compiles=5)
        for kind in PASSES
        for layer in wanted
        for batch in settings.batches
    ]


def targets(results: Sequence[Result]) -> list[Target]:
    """Limits for all rows together; a slowdown counts only if its lower quartile exceeds the limit."""
    found = [of_ratio("jds / plain JAX, slowest row, lower quartile", SLOWDOWN, _lowest(results))]
    compilations = [ratio for result in results if (ratio := result.compile_ratio("jds", "xla")) is not None]
    slowest = max(compilations, default=None)
    found.append(Target("jds / plain JAX, slowest row, to compile", COMPILATION, slowest))
    grouped = [
        r
        for r in results
        if r.case.spec["pass"] == "kernel gradient" and r.case.spec["groups"] > 1 and r.case.spec["kernel"][-2] > 1
    ]
    for name, limit, is_long in (("", GRADIENT, False), ("wav2vec2's ", LONG_GRADIENT, True)):
        rows = [result for result in grouped if ("wav2vec2" in result.case.name) == is_long]
        ratio = hardest(result.ratio("jds", "xla") for result in rows)
        found.append(of_ratio(f"jds / plain JAX, slowest of {name}grouped kernel gradients", limit, ratio))
    return found


def _lowest(results: Sequence[Result]) -> cost.Spread | None:
    """The row with the greatest lower quartile, with that quartile in place of the median."""
    ratios = [ratio for result in results if (ratio := result.ratio("jds", "xla"))]
    if not ratios:
        return None
    slowest = max(ratios, key=lambda ratio: ratio.low)
    return slowest._replace(median=slowest.low)


def table(kind: str, results: Sequence[Result]) -> Table:
    found = Table("layer", "batch", title=kind, title_justify="left")
    for column in ("plain ms", "jds / plain", "quartiles", "to compile"):
        found.add_column(column, justify="right")
    for result in results:
        ratio, compiled = result.ratio("jds", "xla"), result.compile_ratio("jds", "xla")
        plain = result.measured.get("xla")
        found.add_row(
            result.case.spec["workload"]["name"],
            str(result.case.spec["batch"]),
            "" if plain is None else f"{plain.seconds.median * 1e3:.3g}",
            "" if ratio is None else f"{ratio.median:.3f}",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
            "" if compiled is None else f"{compiled:.2f}",
        )
    return found


def _held(case: Case, process: Callable[[Contender], Process], settings: Settings) -> Result:
    """Measures a row above the limit again, with three times the rounds: of two hundred, some exceed it by chance."""
    result = run_case(case, process, rounds=settings.rounds, seconds=settings.seconds)
    ratio = result.ratio("jds", "xla")
    if ratio is None or ratio.low <= SLOWDOWN:
        return result
    return run_case(case, process, rounds=3 * settings.rounds, seconds=settings.seconds)


def main(settings: Settings) -> None:
    able, notes = choose(CONTENDERS, ())
    todo = cases(settings, able)
    progress = track(todo, "measuring", console=Console(stderr=True), auto_refresh=False, transient=True)
    with processes() as process:
        results = [_held(case, process, settings) for case in progress]
    judged = targets(results)
    kept = dataclasses.asdict(settings)
    del kept["out"]
    content = record.record("other_layers", kept, able, results, judged)
    tables = [table(kind, [r for r in results if r.case.spec["pass"] == kind]) for kind in PASSES]
    notes += [note for result in results for note in result.notes()]
    report.publish(settings.out, content, {}, tables, judged, notes)


if __name__ == "__main__":
    command(main, Settings)
