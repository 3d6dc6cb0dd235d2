"""Times inference of whole networks: jds, XLA's own, PyTorch, ONNX Runtime and OpenVINO, interleaved.

    pip install -e ".[peers]"
    python -m benchmarks.models

MobileNet V1 at 224×224 in evaluation mode, batch normalization folded by all contenders, and Keras's own MobileNetV2
with and without `jds.accelerate`; float32, on this machine's CPU. Each case is measured with the default allocator and
again with another one preloaded for all contenders. Writes `benchmarks/results/models.json`, with every sample, and a
picture. Takes about 10 minutes on 2 cores; leave the machine idle meanwhile.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import network_benchmark
from benchmarks.harness.command import command
from benchmarks.harness.contenders import Contender
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.targets import Target, hardest, of_ratio

IN_JAX = "benchmarks.peers.in_jax:inference"
IN_TORCH = "benchmarks.peers.in_torch:inference"
IN_ONNX = "benchmarks.peers.in_onnx"
IN_KERAS = "benchmarks.peers.in_keras:inference"
CPLUSPLUS = ("g++", "clang++", "c++")
# OpenVINO's oneTBB aborts a process that has another allocator preloaded unless this variable is set:
# https://github.com/uxlfoundation/oneTBB/issues/1645.
WITH_ALLOCATOR = {"TBB_ENABLE_SANITIZERS": "1"}
ON_JAX = {"KERAS_BACKEND": "jax"}

MOBILENET_V1 = (
    Contender("jds", "jds", IN_JAX, {"implementation": None}),
    Contender("xla", "XLA's own", IN_JAX, {"implementation": "xla"}),
    Contender("torch", "PyTorch eager", IN_TORCH, {"compiled": False}, ("torch",)),
    Contender("torch-compiled", "PyTorch compiled", IN_TORCH, {"compiled": True}, ("torch",), CPLUSPLUS),
    Contender("onnxruntime", "ONNX Runtime", f"{IN_ONNX}:onnxruntime", {}, ("onnx", "onnxruntime")),
    Contender("openvino", "OpenVINO", f"{IN_ONNX}:openvino", {}, ("onnx", "openvino"), (), WITH_ALLOCATOR),
)
MOBILENET_V2 = (
    Contender("keras-jds", "Keras, accelerated", IN_KERAS, {"accelerate": True}, ("keras",), (), ON_JAX),
    Contender("keras", "Keras", IN_KERAS, {"accelerate": False}, ("keras",), (), ON_JAX),
)
TOLERANCE = {"out": 1e-3}
NETWORKS = {"MobileNet V1": MOBILENET_V1, "Keras MobileNetV2": MOBILENET_V2}


@dataclasses.dataclass(frozen=True)
class Settings(network_benchmark.Settings):
    """Times inference of whole networks: jds and its peers, interleaved."""

    batches: tuple[int, ...] = (1, 16)
    rounds: int = 9
    seconds: float = 0.5
    out: Path = Path("benchmarks/results/models.json")


def cases(settings: Settings, able: tuple[Contender, ...], weights: str) -> list[Case]:
    return [
        Case(
            f"{network}, batch {batch}",
            settings.spec(batch, network=network, weights=weights),
            contenders,
            TOLERANCE,
        )
        for network in NETWORKS
        if (contenders := tuple(contender for contender in able if contender in NETWORKS[network]))
        for batch in settings.batches
    ]


def targets(results: Sequence[Result]) -> list[Target]:
    """Targets apply only to runs with the default allocator."""
    found = []
    for result in results:
        batch, network = result.case.spec["batch"], result.case.spec["network"]
        if result.allocator is not None:
            continue
        if network == "MobileNet V1":
            for limit, name, others in (
                (0.7, "the better of PyTorch eager and compiled", ("torch", "torch-compiled")),
                (1.0, "the better of ONNX Runtime and OpenVINO", ("onnxruntime", "openvino")),
            ):
                ratio = hardest(result.ratio("jds", other) for other in others)
                found.append(of_ratio(f"{result.case.name}: jds / {name}", limit, ratio))
        elif batch == 1:
            ratio = result.ratio("keras-jds", "keras")
            found.append(of_ratio(f"{result.case.name}: with / without jds.accelerate", 0.15, ratio))
    return found


def main(settings: Settings) -> None:
    network_benchmark.run("models", settings, [*MOBILENET_V1, *MOBILENET_V2], cases, targets)


if __name__ == "__main__":
    command(main, Settings)
