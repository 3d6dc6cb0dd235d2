"""Which entry of a public checkpoint belongs to which variable of a network."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from flax import nnx

from jds.nn import ConvNorm, MixedConv, SqueezeExcite

VariablePath = tuple[str | int, ...]


class Entry(NamedTuple):
    """A variable of a network, and its name in a checkpoint.

    Attributes:
      path: of the variable, as `nnx.state` has it.
      name: in the checkpoint.
      rank: of the entry, where it is not the variable's: a linear layer may be a convolution on the other side.
      swaps: whether the last two axes of the kernel are the other way round there.
      is_counted: whether it is of a batch normalization, beside which PyTorch keeps `num_batches_tracked`.
    """

    path: VariablePath
    name: str
    rank: int | None = None
    swaps: bool = False
    is_counted: bool = False


def kernel(layer: Any, path: VariablePath, name: str, rank: int | None = None) -> Iterator[Entry]:
    """Of a convolution or a linear layer; the parts of a mixed one are numbered."""
    if isinstance(layer, MixedConv):
        for number, part in enumerate(layer.convs):
            yield from kernel(part, (*path, "convs", number), f"{name}.{number}")
        return
    yield Entry((*path, "kernel"), f"{name}.weight", rank)
    if layer.bias is not None:
        yield Entry((*path, "bias"), f"{name}.bias")


def linear_classifier(name: str) -> tuple[Entry, Entry]:
    """Of a linear classifier: its kernel and its bias."""
    return Entry(("classifier", "kernel"), f"{name}.weight"), Entry(("classifier", "bias"), f"{name}.bias")


def norm(layer: Any, path: VariablePath, name: str) -> Iterator[Entry]:
    """Of a normalization."""
    yield Entry((*path, "scale"), f"{name}.weight")
    yield Entry((*path, "bias"), f"{name}.bias")
    if isinstance(layer, nnx.BatchNorm):
        yield Entry((*path, "mean"), f"{name}.running_mean")
        yield Entry((*path, "var"), f"{name}.running_var", is_counted=True)


def unit(layer: ConvNorm, path: VariablePath, conv_name: str, norm_name: str) -> Iterator[Entry]:
    """Of a convolution with its normalization."""
    yield from kernel(layer.conv, (*path, "conv"), conv_name)
    if layer.norm is not None:
        yield from norm(layer.norm, (*path, "norm"), norm_name)


def squeeze_excite(layer: SqueezeExcite, path: VariablePath, squeeze: str, excite: str) -> Iterator[Entry]:
    """Of the two layers of a squeeze and excitation, which are convolutions on the other side."""
    yield from kernel(layer.squeeze, (*path, "squeeze"), squeeze, 4)
    yield from kernel(layer.excite, (*path, "excite"), excite, 4)
