"""`jds cost`: prints the cost of a program in the terminal."""

import dataclasses
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import tyro
from flax import nnx

from jds import cost
from jds._common.traceable import Traceable
from jds.cli._network import build, find_variant, network_title
from jds.cli._options import UsageError, check_absent, check_output, check_positive, option, write, write_text
from jds.cli._output import show
from jds.cost._devices import device_fault


@dataclasses.dataclass(frozen=True)
class Cost:
    """Count the cost of a network or any JAX function: multiply-adds, FLOPs, parameters and bytes, layer by layer.

    Nothing is run, except with --measure. A function is written as module:function; --arguments specifies the dtypes
    and shapes of its arguments.
    """

    target: Annotated[
        tyro.conf.Positional[str],
        option("MODEL|module:function", "a network listed by `jds models`, or a function"),
    ]
    arguments: Annotated[
        tuple[str, ...], option("DTYPE[SIZES]", "a function's arguments, such as float32[8,224,224,3] int32[8]")
    ] = ()
    image_size: Annotated[int | None, option("INT", "height and width of a network's images (default: its own)")] = None
    width: Annotated[float | None, option("FLOAT", "a network's width multiplier (default: 1)")] = None
    batch: Annotated[int | None, option("INT", "a network's batch size (default: 1)")] = None
    grad: Annotated[bool, option("", "also count the gradient of the sum of the results")] = False
    by: Annotated[cost.By, option("layer|kind|operation|equation", "how to group the rows (default: layer)")] = "layer"
    count_padding: Annotated[bool, option("", "count products with padding, as papers do (default: yes)")] = True
    trip_counts: Annotated[int | None, option("INT", "number of iterations of `while` loops")] = None
    xla: Annotated[bool, option("", "compile it, and explain how XLA's counts differ from theory")] = False
    device: Annotated[
        str | None, option("NAME", f"lower bound on {', '.join(cost.DEVICES)}; `this` measures the current machine")
    ] = None
    measure: Annotated[bool, option("", "run it, and show measured times next to the bounds; with --device this")] = (
        False
    )
    json: Annotated[Path | None, option("FILE", "write all rows and conventions as JSON")] = None
    csv: Annotated[Path | None, option("FILE", "write the rows as CSV")] = None
    html: Annotated[Path | None, option("FILE", "write the rows as an HTML page")] = None
    plot: Annotated[Path | None, option("FILE", "plot the layers: .png, .svg or .pdf")] = None

    def run(self) -> None:
        """Prints the requested analysis, and writes its files."""
        title, fun, args = _function(self) if ":" in self.target else _network(self)
        for name, path in (("json", self.json), ("csv", self.csv), ("html", self.html), ("plot", self.plot)):
            check_output(name, path)
        peak = _peak(self)
        program = Traceable(_with_gradient(title, fun, args) if self.grad else fun, args)
        try:
            found = cost.analyze(program, count_padding=self.count_padding, trip_counts=self.trip_counts)
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from None
        show(title, "", found.table(self.by), "", *found.notes())
        if self.xla:
            show("", cost.reconcile(program, trip_counts=self.trip_counts))
        measured = cost.measure_program(program) if self.measure else None
        bounds = None if peak is None else cost.estimate(found, peak, self.by, measured)
        if bounds is not None:
            show("", bounds.table(), *bounds.notes())
        if self.json is not None:
            write_text("json", self.json, json.dumps(found.to_dict(bounds), indent=1) + "\n")
        if self.csv is not None:
            write_text("csv", self.csv, found.to_csv(self.by, bounds))
        if self.html is not None:
            write_text("html", self.html, found.to_html(title, self.by, bounds))
        if self.plot is not None:
            by_layer = None if peak is None else cost.estimate(found, peak, measured=measured)
            write("plot", self.plot, lambda path: found.plot(path, title, by_layer))


def _peak(options: Cost) -> cost.Peak | None:
    if options.measure and options.device != "this":
        raise UsageError("`--measure` requires `--device this`, because only the current machine can be measured")
    if options.device is None:
        return None
    if fault := device_fault(options.device):
        raise UsageError(f"`--device` {fault}")
    return cost.find_device(options.device)


def _network(options: Cost) -> tuple[str, Callable[..., Any], tuple[Any, ...]]:
    variant = find_variant(options.target, hint=" A function is written as module:function")
    if options.arguments:
        raise UsageError(f"`--arguments` requires a function, not the network {variant.name}")
    check_positive(options, "image_size", "width", "batch", "trip_counts")
    size, batch = options.image_size or variant.preprocessing.image_size, options.batch or 1
    model = nnx.eval_shape(lambda: build(variant.name, options.width))
    if not options.grad:
        model.eval()
    images = jax.ShapeDtypeStruct((batch, size, size, model.config.in_features), jnp.float32)
    mode = "with its gradient" if options.grad else "forward, in evaluation mode"
    return f"{network_title(variant.name, size, options.width, batch)}, {mode}", lambda m, x: m(x), (model, images)


def _function(options: Cost) -> tuple[str, Callable[..., Any], tuple[Any, ...]]:
    check_absent(
        options, ("image_size", "width", "batch"), "requires a network, for example `jds cost mobilenetv1_100`"
    )
    check_positive(options, "trip_counts")
    module_name, _, path = options.target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as in `python -m`
    try:
        fun: Any = importlib.import_module(module_name)
        for name in path.split("."):
            fun = getattr(fun, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{options.target!r} cannot be imported: {error}") from None
    if inspect.isclass(fun):
        raise UsageError(f"{options.target!r} must be a function or an instance, got the class {fun.__name__}")
    if not callable(fun):
        raise UsageError(f"{options.target!r} must be a function, got {type(fun).__name__}")
    return f"{options.target}({', '.join(options.arguments)})", fun, tuple(map(_argument, options.arguments))


# Short dtype names, as printed by JAX: f32, bf16, u8, c64.
_LONG = {"bf": "bfloat", "f": "float", "i": "int", "u": "uint", "c": "complex"}
_SHORT = re.compile(rf"^({'|'.join(_LONG)})(?=\d)")


def _argument(text: str) -> jax.ShapeDtypeStruct:
    match = re.fullmatch(r"(\w+)\[((?:\d+(?:,\d+)*)?)\]", text)
    if match is None:
        raise UsageError(f"`--arguments` must have the form float32[8,16], got {text!r}")
    try:
        dtype = jnp.dtype(_SHORT.sub(lambda short: _LONG[short[0]], match[1]))
    except TypeError:
        raise UsageError(f"`--arguments` must start with a dtype, as in float32[8,16], got {text!r}") from None
    return jax.ShapeDtypeStruct(tuple(int(size) for size in match[2].split(",") if size), dtype)


def _with_gradient(target: str, fun: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    """Returns a function of value and gradient, for floating-point arguments or a module's parameters."""
    modules = tuple(i for i, arg in enumerate(args) if isinstance(arg, nnx.Module))
    numbers = tuple(
        i
        for i, arg in enumerate(args)
        if isinstance(arg, jax.ShapeDtypeStruct) and jnp.issubdtype(arg.dtype, jnp.inexact)
    )
    if not modules and not numbers:
        raise UsageError(f"`--grad` requires a floating-point argument to differentiate with respect to, got {target}")

    def total(*args: Any) -> jax.Array:
        results = jax.tree.leaves(fun(*args))
        sums = [jnp.sum(jnp.real(leaf)) for leaf in results if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return sum(sums, jnp.zeros(()))

    def value_and_gradient(*args: Any) -> Any:
        return nnx.value_and_grad(total, argnums=modules or numbers)(*args)

    return value_and_gradient
