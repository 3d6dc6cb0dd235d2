"""Times a training step of MobileNet V1: jds, XLA's own and PyTorch, interleaved.

    pip install -e ".[peers]"
    python -m benchmarks.train

224×224, batch 16, float32, on this machine's CPU: batch normalization with running statistics, cross-entropy, all
gradients, SGD with momentum. Compilations are interleaved and timed as well. Measured with the default allocator and
again with another one preloaded for all contenders. Writes `benchmarks/results/train.json`, with every sample, and a
picture. Takes about 10 minutes on 2 cores; leave the machine idle meanwhile.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import network_benchmark
from benchmarks.harness.command import command
from benchmarks.harness.contenders import Contender
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.targets import Target, of_ratio
from benchmarks.peers import mobilenet_v1_weights

IN_JAX = "benchmarks.peers.in_jax:training"

CONTENDERS = (
    Contender("jds", "jds", IN_JAX, {"implementation": None}),
    Contender("xla", "XLA's own", IN_JAX, {"implementation": "xla"}),
    Contender("torch", "PyTorch eager", "benchmarks.peers.in_torch:training", {}, ("torch",)),
)
# If rounding moves a sum across zero, ReLU's gradient jumps; its forward value does not.
TOLERANCE = {"loss": 1e-4, "mean": 1e-4, "gradient": 5e-2}


@dataclasses.dataclass(frozen=True)
class Settings(network_benchmark.Settings):
    """Times a training step of MobileNet V1: jds and its peers, interleaved."""

    batches: tuple[int, ...] = (16,)
    rounds: int = 9
    seconds: float = 2.0
    out: Path = Path("benchmarks/results/train.json")
    image_size: int = 224
    width: float = 1.0
    """MobileNet V1's width multiplier."""
    compiles: int = 3
    """How many times each contender compiles."""
    learning_rate: float = 0.01
    momentum: float = 0.9

    @property
    def are_full(self) -> bool:
        return self.image_size == 224 and self.width == 1


def cases(settings: Settings, able: tuple[Contender, ...], folder: Path) -> list[Case]:
    weights = folder / "weights.npz"
    mobilenet_v1_weights.save(weights, settings.width)
    sizes = {"image_size": settings.image_size, "width": settings.width}
    steps = {"learning_rate": settings.learning_rate, "momentum": settings.momentum}
    return [
        Case(
            f"MobileNet V1, training step, batch {batch}",
            settings.spec(batch, weights=str(weights), **sizes, **steps),
            able,
            TOLERANCE,
            settings.compiles,
        )
        for batch in settings.batches
    ]


def targets(results: Sequence[Result]) -> list[Target]:
    """Targets apply only to runs with the default allocator."""
    found = []
    for result in results:
        if result.allocator is None:
            name = result.case.name
            found += [
                of_ratio(f"{name}: jds / PyTorch eager", 1.0, result.ratio("jds", "torch")),
                Target(f"{name}: jds / XLA's own, to compile", 1.5, result.compile_ratio("jds", "xla")),
            ]
    return found


def main(settings: Settings) -> None:
    network_benchmark.run("train", settings, CONTENDERS, cases, targets)


if __name__ == "__main__":
    command(main, Settings)
