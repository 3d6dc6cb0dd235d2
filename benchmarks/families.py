"""Times inference of one network of each family: jds, XLA's own, and timm eager and compiled, interleaved.

    pip install -e ".[peers]"
    python -m benchmarks.families

Batch 1 at 224×224, in evaluation mode, batch normalization folded by jds; float32, on this machine's CPU. Writes
`benchmarks/results/families.json`, with every sample, and a picture. Takes about 20 minutes on 2 cores; leave the
machine idle meanwhile.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import network_benchmark
from benchmarks.harness.command import command
from benchmarks.harness.contenders import BenchmarkError, Contender
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.targets import Target, hardest, of_ratio

IN_JAX = "benchmarks.peers.in_jax:public"
IN_TIMM = "benchmarks.peers.in_timm:inference"
COMPILERS = ("g++", "clang++", "c++")

CONTENDERS = (
    Contender("jds", "jds", IN_JAX, {"implementation": None}),
    Contender("xla", "XLA's own", IN_JAX, {"implementation": "xla"}),
    Contender("timm", "timm eager", IN_TIMM, {"compiled": False}, ("torch", "timm")),
    Contender("timm-compiled", "timm compiled", IN_TIMM, {"compiled": True}, ("torch", "timm"), COMPILERS),
)
# One network per family, and the gain of its synthetic weights at which the logits depend on the image rather than on
# rounding.
NETWORKS = {
    "mobilenetv2_100": 0.8,
    "mobilenetv3_large_100": 0.9,
    "mobilenetv4_conv_small": 0.8,
    "mobilenetv4_hybrid_medium": 0.7,
    "efficientnet_b0": 1.1,
    "efficientnet_lite0": 0.8,
    "mnasnet_100": 0.8,
    "mixnet_s": 1.0,
    "legacy_xception": 0.6,
    "convnext_atto": 0.8,
    "mobileone_s0": 0.35,
}
# Deep networks with synthetic weights amplify rounding more than trained ones.
TOLERANCE = {"out": 1e-3}


@dataclasses.dataclass(frozen=True)
class Settings(network_benchmark.Settings):
    """Times inference of one network of each family: jds and timm, interleaved."""

    batches: tuple[int, ...] = (1,)
    rounds: int = 9
    seconds: float = 0.5
    out: Path = Path("benchmarks/results/families.json")
    allocator: str = "none"
    networks: tuple[str, ...] = tuple(NETWORKS)

    def __post_init__(self):
        super().__post_init__()
        for name in self.networks:
            if name not in NETWORKS:
                raise BenchmarkError(f"unknown network {name!r}; there are {', '.join(NETWORKS)}")


def cases(settings: Settings, able: tuple[Contender, ...], weights: str) -> list[Case]:
    return [
        Case(
            f"{network}, batch {batch}",
            settings.spec(batch, network=network, weights=weights, gain=NETWORKS[network]),
            able,
            TOLERANCE,
        )
        for network in settings.networks
        for batch in settings.batches
    ]


def targets(results: Sequence[Result]) -> list[Target]:
    return [
        of_ratio(
            f"{result.case.name}: jds / the better of timm eager and compiled",
            1.0,
            hardest(result.ratio("jds", other) for other in ("timm", "timm-compiled")),
        )
        for result in results
    ]


def main(settings: Settings) -> None:
    network_benchmark.run("families", settings, CONTENDERS, cases, targets)


if __name__ == "__main__":
    command(main, Settings)
