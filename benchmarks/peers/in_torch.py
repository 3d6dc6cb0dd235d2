"""PyTorch, eager and compiled, in channels_last.

At stride 2, 'SAME' padding adds a position only after the last one, while PyTorch adds one on both sides. So images and
kernels are rotated by 180 degrees: the windows of PyTorch's padding are then those of 'SAME', and PyTorch computes the
same values rotated by 180 degrees. No separate padding pass is needed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.harness.worker import Program
from benchmarks.harness.workloads import Workload, normal
from benchmarks.peers import mobilenet_v1


def nchw(array: np.ndarray) -> Any:
    """`(batch, height, width, features)`, rotated, in PyTorch's axis order, with channels last in memory."""
    turned = torch.from_numpy(array[:, ::-1, ::-1].copy())
    return turned.permute(0, 3, 1, 2)


def nhwc(tensor: Any) -> np.ndarray:
    return tensor.detach().permute(0, 2, 3, 1).numpy()[:, ::-1, ::-1]


def oihw(kernel: np.ndarray) -> Any:
    """`(height, width, in_features // groups, out_features)`, rotated, in PyTorch's axis order."""
    turned = torch.from_numpy(kernel[::-1, ::-1].copy())
    return turned.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def hwio(weight: Any) -> np.ndarray:
    return weight.detach().permute(2, 3, 1, 0).numpy()[::-1, ::-1]


def op(spec: dict[str, Any]) -> Program:
    """A pass of a depthwise layer, a separable block, or a matrix product; nothing is recorded for autograd."""
    torch.set_num_threads(spec["threads"])
    torch.set_grad_enabled(False)
    if spec["pass"] == "product":
        a, b = (torch.from_numpy(normal(seed, spec["size"], spec["size"])) for seed in (0, 1))
        return Program(lambda: lambda: torch.mm(a, b), lambda out: {"out": out.numpy()})
    workload = Workload(**spec["workload"])
    inputs, kernel, pointwise, cotangent = workload.arrays(spec["batch"])
    inputs, kernel, pointwise, cotangent = nchw(inputs), oihw(kernel), oihw(pointwise), nchw(cotangent)
    stride, padding, features = workload.stride, workload.kernel // 2, workload.features

    def forward():
        return nn.functional.conv2d(inputs, kernel, None, stride, padding, 1, features)

    def block():
        return nn.functional.conv2d(forward(), pointwise)

    def backward(which: int) -> Callable[[], Any]:
        mask = [which == 0, which == 1, False]
        sizes = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], features
        gradients = torch.ops.aten.convolution_backward
        return lambda: gradients(cotangent, inputs, kernel, None, *sizes, mask)[which]

    call = {"forward": forward, "block": block, "input gradient": backward(0), "kernel gradient": backward(1)}
    if spec["pass"] == "kernel gradient":
        return Program(lambda: call["kernel gradient"], lambda out: {"out": hwio(out)})
    return Program(lambda: call[spec["pass"]], lambda out: {"out": nhwc(out)})


class MobileNetV1(nn.Module):
    """The network, with the weights in a case's file."""

    def __init__(self, spec: dict[str, Any]):
        super().__init__()
        weights = mobilenet_v1.load(spec)
        self.names = {}
        layers = []
        for row in mobilenet_v1.convolutions(weights):
            weight = oihw(weights[row.kernel])
            out_features, group_features, size, _ = weight.shape
            sizes: Any = group_features * row.groups, out_features, size, row.stride, size // 2, 1, row.groups, False
            conv = nn.Conv2d(*sizes)
            # Flax's momentum is the weight of the old average, PyTorch's is the weight of the new value.
            norm = nn.BatchNorm2d(out_features, mobilenet_v1.EPSILON, 1 - mobilenet_v1.NORM_MOMENTUM)
            state = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
            tensors = {ours: torch.from_numpy(weights[f"{row.norm}.{theirs}"]) for ours, theirs in state.items()}
            conv.load_state_dict({"weight": weight})
            norm.load_state_dict(tensors, strict=False)
            layers += [conv, norm, nn.ReLU(inplace=True)]
            self.names |= {row.kernel: conv.weight, f"{row.norm}.scale": norm.weight, f"{row.norm}.bias": norm.bias}
            self.names[f"{row.norm}.mean"] = norm.running_mean
        self.layers = nn.Sequential(*layers)
        kernel = torch.from_numpy(weights["classifier.kernel"])
        self.classifier = nn.Linear(kernel.shape[0], kernel.shape[1])
        self.classifier.load_state_dict({"weight": kernel.T, "bias": torch.from_numpy(weights["classifier.bias"])})
        self.names |= {"classifier.kernel": self.classifier.weight, "classifier.bias": self.classifier.bias}
        channels_last(self)

    def forward(self, images):
        return self.classifier(self.layers(images).mean((2, 3)))


def channels_last(model: Any) -> Any:
    return model.to(memory_format=torch.channels_last)


def program(
    model: Any,
    images: Any,
    *,
    compiled: bool,
    options: dict[str, Any] | None = None,
    mode: Callable[[], Any] = torch.inference_mode,
) -> Program:
    """A model called on images under a PyTorch mode such as `no_grad`; optionally compiled, with compiler options."""

    def compile():
        run = model
        if compiled:
            torch.compiler.reset()
            run = torch.compile(model, options=options)

        @mode()
        def call():
            return run(images)

        if compiled:
            call()  # the first call compiles
        return call

    return Program(compile, lambda out: {"out": out.numpy()})


def training(spec: dict[str, Any]) -> Program:
    """MobileNet V1's training step: cross-entropy, gradients, SGD with momentum, running statistics."""
    torch.set_num_threads(spec["threads"])
    images, labels = nchw(mobilenet_v1.images(spec)), torch.from_numpy(mobilenet_v1.labels(spec)).long()

    def compile():
        model = MobileNetV1(spec).train()
        optimizer = torch.optim.SGD(model.parameters(), spec["learning_rate"], spec["momentum"], fused=True)

        def call():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            return model, optimizer, loss

        return call

    def arrays(out):
        model, optimizer, loss = out
        found = {"loss": loss.detach().numpy()}
        for name, tensor in model.names.items():
            if name.endswith(".mean"):
                found[f"mean {name}"] = tensor.numpy()
            else:
                # After the first step, the momentum equals the gradient.
                gradient = optimizer.state[tensor]["momentum_buffer"]
                transposed = gradient.T if gradient.ndim == 2 else gradient
                found[f"gradient {name}"] = hwio(gradient) if gradient.ndim == 4 else transposed.numpy()
        return found

    return Program(compile, arrays)
