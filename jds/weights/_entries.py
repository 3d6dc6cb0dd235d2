"""Maps the variables of a network to the entries of a public checkpoint."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from flax import nnx

from jds.nn import ConvNorm, MixedConv, SqueezeExcite

VariablePath = tuple[str | int, ...]


class Entry(NamedTuple):
    """A variable of a network, and its name in a checkpoint.

    Attributes:
      path: path of the variable, as in `nnx.state`.
      name: name in the checkpoint.
      rank: rank of the entry if it differs from the variable's: a linear layer may be a convolution in the checkpoint.
      swaps: whether the last two axes of the kernel are swapped in the checkpoint.
      is_counted: whether PyTorch stores a `num_batches_tracked` with it, as for running variances.
    """

    path: VariablePath
    name: str
    rank: int | None = None
    swaps: bool = False
    is_counted: bool = False


def kernel(layer: Any, path: VariablePath, name: str, rank: int | None = None) -> Iterator[Entry]:
    """Yields the entries of a convolution or a linear layer; the parts of a mixed convolution are numbered."""
    if isinstance(layer, MixedConv):
        for number, part in enumerate(layer.convs):
            yield from kernel(part, (*path, "convs", number), f"{name}.{number}")
        return
    yield Entry((*path, "kernel"), f"{name}.weight", rank)
    if layer.bias is not None:
        yield Entry((*path, "bias"), f"{name}.bias")


def linear_classifier(name: str) -> tuple[Entry, Entry]:
    """Returns the entries of a linear classifier's kernel and bias."""
    return Entry(("classifier", "kernel"), f"{name}.weight"), Entry(("classifier", "bias"), f"{name}.bias")


def norm(layer: Any, path: VariablePath, name: str) -> Iterator[Entry]:
    """Yields the entries of a normalization."""
    yield Entry((*path, "scale"), f"{name}.weight")
    yield Entry((*path, "bias"), f"{name}.bias")
    if isinstance(layer, nnx.BatchNorm):
        yield Entry((*path, "mean"), f"{name}.running_mean")
        yield Entry((*path, "var"), f"{name}.running_var", is_counted=True)


def unit(layer: ConvNorm, path: VariablePath, conv_name: str, norm_name: str) -> Iterator[Entry]:
    """Yields the entries of a convolution and its normalization."""
    yield from kernel(layer.conv, (*path, "conv"), conv_name)
    if layer.norm is not None:
        yield from norm(layer.norm, (*path, "norm"), norm_name)


def squeeze_excite(layer: SqueezeExcite, path: VariablePath, squeeze: str, excite: str) -> Iterator[Entry]:
    """Yields the entries of the two layers of squeeze and excitation, which are convolutions in the checkpoint."""
    yield from kernel(layer.squeeze, (*path, "squeeze"), squeeze, 4)
    yield from kernel(layer.excite, (*path, "excite"), excite, 4)
