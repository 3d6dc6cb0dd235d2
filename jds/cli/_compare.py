"""`jds compare`: compares ordinary and depthwise separable convolution in the terminal."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from flax import nnx
from rich.console import Console
from rich.progress import Progress

import jds
from jds import compare
from jds.cli._network import build, find_variant, network_title
from jds.cli._options import UsageError, check_absent, check_output, check_positive, option, write, write_text
from jds.cli._output import show
from jds.compare import _text
from jds.cost import Layer
from jds.cost._layer import layer_fault
from jds.cost._machine import busy_cores
from jds.models import MobileOne, Network

# Other programs may use this share of a core.
_BUSY = 0.3
_TEXTBOOK = Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID")
_LAYER_OPTIONS = ("out_features", "kernel_size", "strides", "padding", "kernel_dilation", "channel_multiplier")
_PADDINGS = ("SAME", "SAME_LOWER", "VALID")


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare ordinary with depthwise separable convolution: in theory, in XLA, and in measured time.

    Without arguments, it walks through a textbook example; with --input, it compares one layer; with the name of a
    network, each of its layers.
    """

    model: Annotated[tyro.conf.Positional[str | None], option("[MODEL]", "a network listed by `jds models`")] = None
    input: Annotated[
        str | None, option("HxWxC", "a layer's input, channels last, such as 14x14x512; also 1D or 3D")
    ] = None
    out_features: Annotated[int | None, option("INT", "number of filters of the layer; with --input")] = None
    kernel_size: Annotated[str | None, option("SIZE", "filter size, such as 3 or 3x5 (default: 3)")] = None
    strides: Annotated[str | None, option("SIZE", "strides, such as 2 or 2x1 (default: 1)")] = None
    padding: Annotated[str | None, option("NAME|INT", "SAME, SAME_LOWER, VALID or a number (default: SAME)")] = None
    kernel_dilation: Annotated[str | None, option("SIZE", "dilation, such as 2 or 2x1 (default: 1)")] = None
    channel_multiplier: Annotated[int | None, option("INT", "depthwise filters per channel (default: 1)")] = None
    image_size: Annotated[int | None, option("INT", "height and width of a network's images (default: its own)")] = None
    width: Annotated[float | None, option("FLOAT", "a network's width multiplier (default: 1)")] = None
    batch: Annotated[int, option("INT", "examples per call (default: 1)")] = 1
    seconds: Annotated[float, option("FLOAT", "measurement time per layer, in seconds (default: 1)")] = 1.0
    json: Annotated[Path | None, option("FILE", "write all measurements and samples as JSON")] = None
    plot: Annotated[Path | None, option("FILE", "plot the ratios: .png, .svg or .pdf")] = None

    def run(self) -> None:
        """Prints the requested comparison, and writes its files."""
        title, layers = _one_layer(self) if self.model is None else _network(self, self.model)
        for name, path in (("json", self.json), ("plot", self.plot)):
            check_output(name, path)
        show(title if self.model else _text.arithmetic(layers[0], batch=self.batch), "")
        busy = busy_cores()
        comparison = compare.Comparison(title, _measure(layers, self))
        show(comparison)
        if busy > _BUSY:
            show("", f"Other programs used {busy:.1f} cores when measuring began: the times may be wrong.")
        if self.json is not None:
            write_text("json", self.json, json.dumps(comparison.to_dict(), indent=1) + "\n")
        if self.plot is not None:
            write("plot", self.plot, comparison.plot)


def _measure(layers: Sequence[Layer], options: Compare) -> tuple[compare.LayerComparison, ...]:
    # On standard error, to keep piped output clean. Drawn only between layers, because a drawing thread would disturb
    # the measurements.
    console = Console(stderr=True)
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:
        return tuple(
            compare.compare_layer(layer, batch=options.batch, seconds=options.seconds)
            for layer in progress.track(layers, description="measuring")
        )


def _network(options: Compare, model: str) -> tuple[str, Sequence[Layer]]:
    """Returns a title and the layers of the requested network."""
    variant = find_variant(model)
    check_absent(
        options, ("input", *_LAYER_OPTIONS), f"cannot be combined with the network {model}: it describes one layer"
    )
    check_positive(options, "image_size", "width", "batch", "seconds")
    size = options.image_size or variant.preprocessing.image_size
    network = _for_inference(lambda: build(model, options.width))
    title = network_title(model, size, options.width, options.batch)
    return title, compare.network_layers(network, size)


def _for_inference(build: Callable[[], Network]) -> Network:
    """Returns an abstract network, with MobileOne's branches merged."""
    network = nnx.eval_shape(build)
    if not isinstance(network, MobileOne):
        return network
    network = build()
    network.eval()
    return jds.reparameterize(network)


def _one_layer(options: Compare) -> tuple[str, tuple[Layer]]:
    """Returns a title and the requested layer, or the textbook example."""
    check_absent(options, ("image_size", "width"), "requires a network, for example `jds compare mobilenetv1_100`")
    check_positive(options, "out_features", "channel_multiplier", "batch", "seconds")
    if options.input is None:
        check_absent(options, _LAYER_OPTIONS, "requires `--input`, for example `--input 14x14x512`")
        layer = _TEXTBOOK
    else:
        layer = _layer(options, options.input)
    return f"{_text.describe(layer)}, batch {options.batch}", (layer,)


def _layer(options: Compare, text: str) -> Layer:
    input_size = _sizes(text)
    if len(input_size) not in (2, 3, 4):
        raise UsageError(f"`--input` must be HxWxC, such as 14x14x512 (LxC in 1D, DxHxWxC in 3D), got {text!r}")
    if options.out_features is None:
        raise UsageError("`--input` requires `--out-features`, the number of filters, such as `--out-features 512`")
    rank = len(input_size) - 1
    kernel_size = _for_each_axis("kernel-size", options.kernel_size or "3", rank)
    strides = _for_each_axis("strides", options.strides or "1", rank)
    kernel_dilation = _for_each_axis("kernel-dilation", options.kernel_dilation or "1", rank)
    padding = _padding(options.padding or "SAME", rank)
    fields: dict[str, Any] = {
        "input_size": input_size,
        "out_features": options.out_features,
        "kernel_size": kernel_size,
        "strides": strides,
        "padding": padding,
        "kernel_dilation": kernel_dilation,
        "channel_multiplier": options.channel_multiplier or 1,
    }
    if fault := layer_fault(**fields):
        raise UsageError(fault)
    return Layer("layer", **fields)


def _sizes(text: str) -> tuple[int, ...]:
    """Parses sizes such as 14x14x512; returns an empty tuple unless all are positive."""
    parts = text.split("x")
    sizes = tuple(int(part) for part in parts if part.isdecimal())
    return sizes if len(sizes) == len(parts) and 0 not in sizes else ()


def _for_each_axis(option: str, text: str, rank: int) -> tuple[int, ...]:
    sizes = _sizes(text)
    sizes = sizes * rank if len(sizes) == 1 else sizes
    if len(sizes) != rank:
        example = "x".join("3" * rank)
        raise UsageError(
            f"`--{option}` must be one positive number, such as 3, or one for each of the {rank} spatial axes of "
            f"`--input`, such as {example}, got {text!r}"
        )
    return sizes


def _padding(text: str, rank: int) -> str | tuple[tuple[int, int], ...]:
    if text in _PADDINGS:
        return text
    if not text.isdecimal():
        raise UsageError(f"`--padding` must be {', '.join(_PADDINGS)} or a number, such as 1, got {text!r}")
    return ((int(text), int(text)),) * rank
