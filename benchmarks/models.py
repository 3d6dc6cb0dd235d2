"""Times inference of whole networks: jds, XLA's own, timm, ONNX Runtime, OpenVINO and LiteRT, interleaved.

    pip install -e ".[peers]"
    python -m benchmarks.models

One network of each mobile family in evaluation mode, batch normalization folded by all contenders, float32, on this
machine's CPU. ONNX Runtime and OpenVINO get the network as jds exports it and as timm does, and, like LiteRT, in int8
as well. Then Keras's own MobileNetV2 with and without `jds.accelerate`. Writes `benchmarks/results/models.json`, with
every sample, and a picture. Takes about an hour on 2 cores; leave the machine idle meanwhile.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import network_benchmark
from benchmarks.harness.command import command
from benchmarks.harness.contenders import BenchmarkError, Contender
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.targets import Target, hardest, of_cases, of_ratio

IN_JAX = "benchmarks.peers.in_jax:inference"
IN_TIMM = "benchmarks.peers.in_timm:inference"
IN_KERAS = "benchmarks.peers.in_keras:inference"
COMPILERS = ("g++", "clang++", "c++")
# OpenVINO's oneTBB aborts a process that has another allocator preloaded unless this variable is set:
# https://github.com/uxlfoundation/oneTBB/issues/1645.
WITH_ALLOCATOR = {"TBB_ENABLE_SANITIZERS": "1"}
ON_JAX = {"KERAS_BACKEND": "jax"}
# Deep networks with synthetic weights amplify rounding to 8 bits without limit, so this only finds what is not finite.
# `python -m checks.int8` has the agreement with weights that were trained.
ROUNDED = {"out": 100.0}


def engine(name: str, label: str, package: str, writer: str = "jds", *, int8: bool = False) -> Contender:
    function, _, _ = name.partition("-")
    return Contender(
        name,
        label,
        f"benchmarks.peers.in_engines:{function}",
        {"writer": writer, "int8": int8},
        (package, *(("torch", "timm") if writer == "timm" else ())),
        environment=WITH_ALLOCATOR if function == "openvino" else {},
        tolerance=ROUNDED if int8 else {},
    )


CONTENDERS = (
    Contender("jds", "jds", IN_JAX, {"implementation": None}),
    Contender("xla", "XLA's own", IN_JAX, {"implementation": "xla"}),
    Contender("timm", "timm eager", IN_TIMM, {"compiled": False}, ("torch", "timm")),
    Contender("timm-compiled", "timm compiled", IN_TIMM, {"compiled": True}, ("torch", "timm"), COMPILERS),
    engine("onnxruntime", "ONNX Runtime", "onnxruntime"),
    engine("onnxruntime-timm", "ONNX Runtime, file of timm", "onnxruntime", "timm"),
    engine("openvino", "OpenVINO", "openvino"),
    engine("openvino-timm", "OpenVINO, file of timm", "openvino", "timm"),
    engine("litert", "LiteRT", "ai_edge_litert"),
    engine("onnxruntime-int8", "ONNX Runtime, int8", "onnxruntime", int8=True),
    engine("openvino-int8", "OpenVINO, int8", "openvino", int8=True),
    engine("litert-int8", "LiteRT, int8", "ai_edge_litert", int8=True),
)
# The files of an engine: the fastest counts.
ENGINES = {
    "ONNX Runtime": ("onnxruntime", "onnxruntime-timm"),
    "OpenVINO": ("openvino", "openvino-timm"),
    "LiteRT": ("litert",),
}
ANY_ENGINE = tuple(itertools.chain(*ENGINES.values()))
# Whom jds is compared with; limits of the ratio over all networks, and of each.
PEERS = (
    ("the better of timm eager and compiled", ("timm", "timm-compiled"), 0.7, 1.0),
    ("the best of ONNX Runtime, OpenVINO and LiteRT", ANY_ENGINE, 0.95, 1.1),
)
KERAS = "Keras MobileNetV2"
IN_KERAS_ONLY = (
    Contender("keras-jds", "Keras, accelerated", IN_KERAS, {"accelerate": True}, ("keras",), (), ON_JAX),
    Contender("keras", "Keras", IN_KERAS, {"accelerate": False}, ("keras",), (), ON_JAX),
)


class Network(NamedTuple):
    """How a network is measured.

    Attributes:
      gain: of its synthetic weights: one at which the logits depend on the image rather than on rounding.
      image_size: height and width of the images.
      batches: numbers of images, unless the command names others.
    """

    gain: float = 1.0
    image_size: int = 224
    batches: tuple[int, ...] = (1,)


NETWORKS = {
    "mobilenetv1_100": Network(1.0, batches=(1, 16)),
    "mobilenetv2_100": Network(0.8),
    "mobilenetv3_large_100": Network(0.9),
    "mobilenetv3_small_100": Network(0.9),
    "mobilenetv4_conv_small": Network(0.8),
    "mobilenetv4_hybrid_medium": Network(0.7),
    "efficientnet_b0": Network(1.1),
    "efficientnet_lite0": Network(0.8),
    "mnasnet_100": Network(0.8),
    "mixnet_s": Network(1.0),
    "legacy_xception": Network(0.6, 299),
    "convnext_atto": Network(0.8),
    "mobileone_s0": Network(0.35),
    KERAS: Network(),
}
# Deep networks with synthetic weights amplify rounding more than trained ones.
TOLERANCE = {"out": 1e-3}


@dataclasses.dataclass(frozen=True)
class Settings(network_benchmark.Settings):
    """Times inference of whole networks: jds and its peers, interleaved."""

    rounds: int = 9
    seconds: float = 0.5
    out: Path = Path("benchmarks/results/models.json")
    allocator: str = "none"
    networks: tuple[str, ...] = tuple(NETWORKS)
    batches: tuple[int, ...] = ()
    """Numbers of images; by default 1, and 16 as well for MobileNet V1."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.networks:
            if name not in NETWORKS:
                raise BenchmarkError(f"unknown network {name!r}; there are {', '.join(NETWORKS)}")


def cases(settings: Settings, able: tuple[Contender, ...], folder: Path) -> list[Case]:
    return [
        Case(f"{name}, batch {batch}", spec(settings, name, batch, folder), contenders, TOLERANCE)
        for name in settings.networks
        if (contenders := tuple(c for c in able if (c in IN_KERAS_ONLY) == (name == KERAS)))
        for batch in settings.batches or NETWORKS[name].batches
    ]


def spec(settings: Settings, name: str, batch: int, folder: Path) -> dict[str, Any]:
    row = NETWORKS[name]
    return settings.spec(batch, network=name, image_size=row.image_size, gain=row.gain, folder=str(folder))


def targets(results: Sequence[Result]) -> list[Target]:
    """Targets apply only to runs with the default allocator."""
    measured = {(r.case.spec["network"], r.case.spec["batch"]): r for r in results if r.allocator is None}
    found = []
    single = [result for (name, batch), result in measured.items() if batch == 1 and name != KERAS]
    if single:
        for label, others, limit, worst in PEERS:
            ratios = [hardest(result.ratio("jds", other) for other in others) for result in single]
            found += of_cases(f"batch 1: jds / {label}", limit, ratios, worst=worst, case="network")
        for name, label in (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
            ratios = [result.ratio(name, f"{name}-timm") for result in single]
            found += of_cases(f"{label}, batch 1: exported by jds / by timm", 1.02, ratios, worst=1.1, case="network")
    if result := measured.get(("mobilenetv1_100", 16)):
        for label, others, limit, _ in PEERS:
            ratio = hardest(result.ratio("jds", other) for other in others)
            found.append(of_ratio(f"{result.case.name}: jds / {label}", limit, ratio))
    if result := measured.get((KERAS, 1)):
        name = f"{result.case.name}: with / without jds.accelerate"
        found.append(of_ratio(name, 0.15, result.ratio("keras-jds", "keras")))
    return found


def main(settings: Settings) -> None:
    network_benchmark.run("models", settings, [*CONTENDERS, *IN_KERAS_ONLY], cases, targets)


if __name__ == "__main__":
    command(main, Settings)
