"""`jds compare`: ordinary against depthwise separable convolution, in the terminal."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress

from jds import compare, zoo
from jds.cli._options import PUBLIC_NAMES, UsageError, check_absent, check_output, check_positive, option, write
from jds.cli._output import show
from jds.compare import _text
from jds.cost import Layer
from jds.models import MobileNetV1Config, mobilenet_v1

# For each network the width multiplier of its layers.
_WIDTHS = {
    name: variant.config.width
    for name, variant in zoo.VARIANTS.items()
    if isinstance(variant.config, MobileNetV1Config)
}
_MODELS = {name: _WIDTHS[public] for name, public in PUBLIC_NAMES.items()} | _WIDTHS

_TEXTBOOK = Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID")
_LAYER_OPTIONS = ("features", "kernel", "strides", "padding", "kernel_dilation", "channel_multiplier")
_PADDINGS = ("SAME", "SAME_LOWER", "VALID")


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare ordinary with depthwise separable convolution: on paper, in XLA, and on the clock.

    Without arguments it works a textbook example through; with --input any layer; with a network's name its layers.
    """

    model: Annotated[tyro.conf.Positional[str | None], option("[MODEL]", f"a network: {', '.join(_MODELS)}")] = None
    input: Annotated[str | None, option("HxWxC", "a layer's input, channels last, as 14x14x512; 1D and 3D too")] = None
    features: Annotated[int | None, option("INT", "the layer's filters; with --input")] = None
    kernel: Annotated[str | None, option("SIZE", "filter size, as 3 or 3x5 (default: 3)")] = None
    strides: Annotated[str | None, option("SIZE", "as 2 or 2x1 (default: 1)")] = None
    padding: Annotated[str | None, option("WORD|INT", "SAME, SAME_LOWER, VALID or a number (default: SAME)")] = None
    kernel_dilation: Annotated[str | None, option("SIZE", "as 2 or 2x1 (default: 1)")] = None
    channel_multiplier: Annotated[int | None, option("INT", "depthwise filters a channel (default: 1)")] = None
    image_size: Annotated[int | None, option("INT", "height and width of a network's images (default: 224)")] = None
    width: Annotated[float | None, option("FLOAT", "a network's width multiplier (default: its own)")] = None
    batch: Annotated[int, option("INT", "examples in each call (default: 1)")] = 1
    seconds: Annotated[float, option("FLOAT", "seconds to measure each layer for (default: 1)")] = 1.0
    json: Annotated[Path | None, option("FILE", "write everything measured, every sample, as JSON")] = None
    plot: Annotated[Path | None, option("FILE", "draw the ratios: .png, .svg or .pdf")] = None


def run(options: Compare) -> None:
    """Prints the comparison that was asked for, and writes its files."""
    title, layers = _network(options) if options.model is not None else _one_layer(options)
    for name, path in (("json", options.json), ("plot", options.plot)):
        check_output(name, path)
    heading = title if options.model else _text.arithmetic(layers[0], batch=options.batch)
    show(heading, "")
    rows = _measure(layers, options)
    comparison = compare.Comparison(title, rows)
    show(_text.paper_table(comparison), "", _text.clock_table(comparison), "")
    show(*_text.notes(comparison), f"{comparison.finding}.")
    if options.json is not None:
        text = json.dumps(comparison.record(), indent=1) + "\n"
        write("json", options.json, lambda path: path.write_text(text, encoding="utf-8"))
    if options.plot is not None:
        # Matplotlib takes longer to import than all else: only who wants a figure waits for it.
        from jds.compare import _plot

        write("plot", options.plot, lambda path: _plot.plot(comparison, path))


def _measure(layers: Sequence[Layer], options: Compare) -> tuple[compare.Row, ...]:
    # On standard error, so that what is piped onwards is clean; drawn between layers only, because a thread that draws
    # would take its time from what is measured.
    console = Console(stderr=True)
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:
        return tuple(
            compare.compare_layer(layer, batch=options.batch, seconds=options.seconds)
            for layer in progress.track(layers, description="measuring")
        )


def _network(options: Compare) -> tuple[str, tuple[Layer, ...]]:
    """Returns a title and the layers of the network that was asked for."""
    if options.model not in _MODELS:
        near = difflib.get_close_matches(options.model or "", _MODELS, n=1, cutoff=0)[0]
        raise UsageError(f"`MODEL` must be one of {', '.join(_MODELS)}, got {options.model!r}; did you mean {near}?")
    check_absent(options, ("input", *_LAYER_OPTIONS), f"goes with one layer, not with the network {options.model}")
    check_positive(options, "image_size", "width", "batch", "seconds")
    image_size = 224 if options.image_size is None else options.image_size
    width = _MODELS[options.model] if options.width is None else options.width
    title = f"MobileNet V1, {image_size}×{image_size}, width {width:g}, batch {options.batch}"
    return title, mobilenet_v1.layers(image_size=image_size, width=width)


def _one_layer(options: Compare) -> tuple[str, tuple[Layer]]:
    """Returns a title and the layer that was asked for, or the textbook's."""
    check_absent(options, ("image_size", "width"), "goes with a network, such as `jds compare mobilenet_v1`")
    check_positive(options, "features", "channel_multiplier", "batch", "seconds")
    if options.input is None:
        check_absent(options, _LAYER_OPTIONS, "goes with `--input`, such as `--input 14x14x512`")
        layer = _TEXTBOOK
    else:
        layer = _layer(options, options.input)
    return f"{_text.describe(layer)}, batch {options.batch}", (layer,)


def _layer(options: Compare, text: str) -> Layer:
    input_size = _sizes(text)
    if len(input_size) not in (2, 3, 4):
        raise UsageError(f"`--input` must be HxWxC, like 14x14x512 (LxC in 1D, DxHxWxC in 3D), got {text!r}")
    if options.features is None:
        raise UsageError("`--features` must be given with `--input`: the number of filters, like `--features 512`")
    rank = len(input_size) - 1
    kernel_size = _for_each_axis("kernel", options.kernel or "3", rank)
    strides = _for_each_axis("strides", options.strides or "1", rank)
    kernel_dilation = _for_each_axis("kernel-dilation", options.kernel_dilation or "1", rank)
    padding = _padding(options.padding or "SAME", rank)
    try:
        return Layer(
            "layer",
            input_size,
            options.features,
            kernel_size,
            strides=strides,
            padding=padding,
            kernel_dilation=kernel_dilation,
            channel_multiplier=options.channel_multiplier or 1,
        )
    except ValueError as error:  # the output would be empty: all else is checked above
        raise UsageError(str(error).removeprefix("Layer: ")) from None


def _sizes(text: str) -> tuple[int, ...]:
    """Reads sizes such as 14x14x512; returns none if one of them is no positive number."""
    parts = text.split("x")
    sizes = tuple(int(part) for part in parts if part.isdecimal())
    return sizes if len(sizes) == len(parts) and 0 not in sizes else ()


def _for_each_axis(option: str, text: str, rank: int) -> tuple[int, ...]:
    sizes = _sizes(text)
    sizes = sizes * rank if len(sizes) == 1 else sizes
    if len(sizes) != rank:
        example = "x".join("3" * rank)
        raise UsageError(
            f"`--{option}` must be one positive number, like 3, or one for each of the {rank} spatial axes of "
            f"`--input`, like {example}, got {text!r}"
        )
    return sizes


def _padding(text: str, rank: int) -> str | tuple[tuple[int, int], ...]:
    if text in _PADDINGS:
        return text
    if not text.isdecimal():
        raise UsageError(f"`--padding` must be {', '.join(_PADDINGS)} or a number, like 1, got {text!r}")
    return ((int(text), int(text)),) * rank
