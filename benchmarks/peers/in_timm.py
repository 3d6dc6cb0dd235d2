"""timm's own networks in PyTorch, eager and compiled, in channels_last."""

import importlib
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.harness.worker import Program
from benchmarks.peers import mobilenet_v1
from benchmarks.peers.in_torch import channels_last, program
from checks.synthetic_weights import filled


def network(spec: dict[str, Any], *, exportable: bool = False) -> Any:
    """The network of a case in evaluation mode, with its branches folded."""
    model = importlib.import_module("timm").create_model(spec["network"], exportable=exportable).eval()
    entries = filled({name: tuple(value.shape) for name, value in model.state_dict().items()}, spec["gain"])
    model.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in entries.items()})
    return importlib.import_module("timm.utils.model").reparameterize_model(model)


def inference(spec: dict[str, Any]) -> Program:
    """A network in evaluation mode, with its branches and batch normalizations folded into the convolutions."""
    torch.set_num_threads(spec["threads"])
    model = channels_last(fold(network(spec)))
    images = torch.from_numpy(mobilenet_v1.images(spec)).permute(0, 3, 1, 2)

    if not spec["compiled"]:
        return program(model, images, compiled=False)
    # The weights are constants, as for the other contenders, so that the compiler can fold them and choose layouts.
    return program(model, images, compiled=True, options={"freezing": True}, mode=torch.no_grad)


def fold(model: Any) -> Any:
    """Folds each normalization that directly follows a convolution into it; keeps the normalization's activation."""
    conv_name, conv = "", None
    for name, child in list(model.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
            setattr(model, conv_name, nn.utils.fusion.fuse_conv_bn_eval(conv, child))
            setattr(model, name, getattr(child, "act", nn.Identity()))
        else:
            fold(child)
        conv_name, conv = name, child
    return model
