"""What `jds cost` counts: a network, a function or a module, or an exported file."""

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jds import cost
from jds._common.traceable import Traceable
from jds.cli._network import build, find_variant, network_title
from jds.cli._options import UsageError
from jds.exporting import read_cost

Kind = Literal["network", "function", "file"]
FILES = (".onnx", ".tflite")
# The optimizers of `--optimizer`; their state depends on nothing else.
OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lion": optax.lion,
}


@dataclasses.dataclass(frozen=True)
class Target:
    """How to make the program that is counted.

    Attributes:
      name: a network, `module:function`, `file.py:function` or a file, as typed.
      arguments: dtypes and shapes of a function's arguments, as typed.
      image_size, width, batch: options of a network; None for its own, and a batch of one.
      grad: whether to count the gradient, too.
      optimizer: name of the optimizer that updates the parameters; None for none.
      count_padding, trip_counts: as in `jds.cost.analyze`.
    """

    name: str
    arguments: tuple[str, ...] = ()
    image_size: int | None = None
    width: float | None = None
    batch: int | None = None
    grad: bool = False
    optimizer: str | None = None
    count_padding: bool = True
    trip_counts: int | None = None

    @property
    def kind(self) -> Kind:
        """What the name stands for."""
        if Path(self.name).suffix in FILES:
            return "file"
        return "function" if ":" in self.name else "network"

    def program(self) -> Traceable:
        """Returns the program, which is traced when it is needed.

        Raises:
          UsageError: there is no such program, or the options do not apply.
        """
        title, fun, args, kwargs = _network(self) if self.kind == "network" else _function(self)
        if self.grad:
            fun, args = _with_gradient(title, fun, args, self.optimizer)
        program = Traceable(fun, args, kwargs)
        program.title = title
        return program

    def analysis(self, program: Traceable | None = None) -> cost.Analysis:
        """Returns the cost of the program.

        Args:
          program: the program, if it was made already.

        Raises:
          UsageError: it cannot be read or traced.
        """
        try:
            if self.kind == "file":
                return self._of_file()
            return cost.analyze(
                program or self.program(), count_padding=self.count_padding, trip_counts=self.trip_counts
            )
        except (TypeError, ValueError, ImportError, OSError) as error:
            raise UsageError(str(error)) from None

    def _of_file(self) -> cost.Analysis:
        graph = read_cost(self.name, batch=self.batch or 1, count_padding=self.count_padding)
        return cost.analyze_graph(graph._replace(name=self.name), count_padding=self.count_padding)


_Program = tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def _network(target: Target) -> _Program:
    variant = find_variant(target.name, hint=" A function is written as module:function")
    size, batch = target.image_size or variant.preprocessing.image_size, target.batch or 1
    model = nnx.eval_shape(lambda: build(variant.name, target.width))
    if not target.grad:
        model.eval()
    images = jax.ShapeDtypeStruct((batch, size, size, model.config.in_features), jnp.float32)
    mode = _mode(target) if target.grad else "forward, in evaluation mode"
    title = f"{network_title(variant.name, size, target.width, batch)}, {mode}"
    return title, lambda m, x: m(x), (model, images), {}


def _mode(target: Target) -> str:
    return "with its gradient" + (f" and {target.optimizer}" if target.optimizer else "")


def _function(target: Target) -> _Program:
    fun = _imported(target.name)
    if inspect.isclass(fun):
        raise UsageError(f"{target.name!r} must be a function or an instance, got the class {fun.__name__}")
    if not callable(fun):
        raise UsageError(f"{target.name!r} must be a function, got {type(fun).__name__}")
    args, kwargs = [], {}
    for text in target.arguments:
        key, _, rest = text.rpartition("=")
        if key:
            kwargs[key] = _argument(rest)
        elif kwargs:
            raise UsageError(f"`--arguments` must have those with a name last, got {' '.join(target.arguments)}")
        else:
            args.append(_argument(rest))
    title = f"{target.name}({', '.join(target.arguments)})"
    if target.grad:
        title += f", {_mode(target)}"
    if _is_module(fun):
        # The module is an argument, so that its parameters can be differentiated and its state may change.
        return title, lambda module, *args, **kwargs: module(*args, **kwargs), (fun, *args), kwargs
    return title, fun, tuple(args), kwargs


def _imported(name: str) -> Any:
    module_name, _, path = name.rpartition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as in `python -m`
    try:
        found: Any = _module_of(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, OSError, SyntaxError) as error:
        raise UsageError(f"{name!r} cannot be imported: {error}") from None
    return found


def _module_of(name: str) -> Any:
    """Imports a module by its name, or by the path of its file."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no file {name!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as in `python file.py`
    spec.loader.exec_module(module)
    return module


def _is_module(fun: Any) -> bool:
    return isinstance(fun, nnx.Module) or (dataclasses.is_dataclass(fun) and bool(jax.tree.leaves(fun)))


# Short dtype names, as printed by JAX: f32, bf16, u8, c64.
_LONG = {"bf": "bfloat", "f": "float", "i": "int", "u": "uint", "c": "complex"}
_SHORT = re.compile(rf"^({'|'.join(_LONG)})(?=\d)")


def _argument(text: str) -> Any:
    """Returns an argument: a random key, or an array of a dtype and shape."""
    if text == "key":
        return jax.eval_shape(lambda: jax.random.key(0))
    match = re.fullmatch(r"(\w+)\[((?:\d+(?:,\d+)*)?)\]", text)
    if match is None:
        raise UsageError(f"`--arguments` must have the form float32[8,16], name=float32[8,16] or key, got {text!r}")
    try:
        dtype = jnp.dtype(_SHORT.sub(lambda short: _LONG[short[0]], match[1]))
    except TypeError:
        raise UsageError(f"`--arguments` must start with a dtype, as in float32[8,16], got {text!r}") from None
    return jax.ShapeDtypeStruct(tuple(int(size) for size in match[2].split(",") if size), dtype)


def _with_gradient(
    title: str, fun: Callable[..., Any], args: tuple[Any, ...], optimizer: str | None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Returns a function of value and gradient, by a module's parameters or by floating-point arguments, and its
    arguments; with an optimizer, the function updates the parameters of the module."""
    modules = tuple(i for i, arg in enumerate(args) if _is_module(arg))
    numbers = tuple(
        i
        for i, arg in enumerate(args)
        if isinstance(arg, jax.ShapeDtypeStruct) and jnp.issubdtype(arg.dtype, jnp.inexact)
    )
    if not modules and not numbers:
        raise UsageError(f"`--grad` requires a floating-point argument to differentiate with respect to, got {title}")

    def total(*args: Any, **kwargs: Any) -> jax.Array:
        results = jax.tree.leaves(fun(*args, **kwargs))
        sums = [jnp.sum(jnp.real(leaf)) for leaf in results if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return sum(sums, jnp.zeros(()))

    differentiate = nnx.value_and_grad(total, argnums=modules or numbers)
    if optimizer is None:
        return differentiate, args
    if not modules or not isinstance(args[modules[0]], nnx.Module):
        raise UsageError(f"`--optimizer` requires a network or an NNX module, got {title}")
    (place,) = modules[:1]

    def make() -> nnx.Optimizer:
        return nnx.Optimizer(args[place], OPTIMIZERS[optimizer](1e-3), wrt=nnx.Param)

    def step(state: nnx.Optimizer, *args: Any, **kwargs: Any) -> Any:
        value, gradients = differentiate(*args, **kwargs)
        state.update(args[place], gradients[0])
        return value

    return step, (nnx.eval_shape(make), *args)
