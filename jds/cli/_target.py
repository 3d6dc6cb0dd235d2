"""What `jds cost` counts: a network, a function or a module, or an exported file."""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jds import cost
from jds._common.traceable import Traceable, places_in_user_code
from jds.cli._network import build, find_variant, network_title
from jds.cli._options import UsageError
from jds.exporting import read_cost
from jds.models import Network

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
        if Path(self.name).suffix.lower() in FILES:
            return "file"
        return "function" if ":" in self.name else "network"

    def program(self) -> Traceable:
        """Returns the program, which is traced when it is needed.

        Raises:
          UsageError: there is no such program, or the options do not apply.
        """
        with user_code(f"{self.name} cannot be traced"):
            title, fun, args, kwargs = _network(self) if self.kind == "network" else _function(self)
            if self.grad:
                fun, args = _with_gradient(title, fun, args, self.optimizer)
            program = Traceable(fun, args, kwargs)
        program.name, program.title = self.name, title
        return program

    def analysis(self, program: Traceable | None = None) -> cost.Analysis:
        """Returns the cost of the program.

        Args:
          program: the program, if it was made already.

        Raises:
          UsageError: it cannot be read or traced.
        """
        if self.kind == "file":
            return self._of_file()
        program = program or self.program()
        with user_code(f"{self.name} cannot be traced"):
            jaxpr = program.jaxpr
        if not jaxpr.out_avals and not jaxpr.effects:
            raise UsageError(f"{self.name} returns no arrays, so that none of its work is needed")
        with user_code(f"{self.name} cannot be counted", is_all=False):
            found = cost.analyze(program, count_padding=self.count_padding, trip_counts=self.trip_counts)
        if self.trip_counts is not None and not found.while_loops:
            raise UsageError(f"`--trip-counts` has no effect: {self.name} has no `while` loops")
        return found

    def _of_file(self) -> cost.Analysis:
        try:
            graph = read_cost(self.name, batch=self.batch or 1, count_padding=self.count_padding)
        except (ValueError, ImportError, OSError) as error:
            raise UsageError(str(error).removeprefix("read_cost: ")) from None
        first = [graph.tensors[name].shape[:1] for name in graph.inputs]
        if self.batch is not None and (self.batch,) not in first:
            sizes = " and ".join(str(size) for (size,) in filter(None, first)) or "nothing"
            raise UsageError(
                f"`--batch` is for files that leave the batch open; in {self.name} it is fixed: its inputs begin with "
                f"{sizes}. Export it again, with `--batch free` or with this batch"
            )
        return cost.analyze_graph(graph._replace(name=self.name), count_padding=self.count_padding)


@contextlib.contextmanager
def user_code(fault: str, *, is_all: bool = True) -> Iterator[None]:
    """Converts what the user's code raises to UsageError, with a fault in words and the lines of the user's code.

    Args:
      fault: what went wrong.
      is_all: whether everything that is raised is the user's fault, and not only a wrong value or type, and what is
        raised in the user's own files.
    """
    try:
        with _quiet_callbacks():
            yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        places = places_in_user_code(error)
        is_described = isinstance(error, TypeError | ValueError | ImportError | AttributeError | OSError | SyntaxError)
        if not (is_all or is_described or places):
            raise
        message = _message(error, with_type=not is_described or bool(places))
        where = f"\n({', '.join(places[-_PLACES_AT_MOST:])})" if places else ""
        # The message of a program that cannot be traced already says so.
        start = "" if message.startswith(fault) else f"{fault}: "
        raise UsageError(f"{start}{message.removeprefix('analyze: ')}{where}") from None


# The calls in the user's code that an error shows.
_PLACES_AT_MOST = 3


def _message(error: BaseException, *, with_type: bool) -> str:
    """Returns an error in words, without the traceback that the error of a callback contains."""
    try:
        text = re.sub(r"Traceback \(most recent call last\):\n(?:\s.*\n)*", "", str(error))
    except Exception:
        text = ""  # its own message cannot be made
    return f"{type(error).__name__}: {text}".removesuffix(": ") if with_type or not text else text


@contextlib.contextmanager
def _quiet_callbacks() -> Iterator[None]:
    """Keeps JAX from logging the traceback of an error in a callback, which it raises as well."""
    logger = logging.getLogger("jax._src.callback")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


_Program = tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def _network(target: Target) -> _Program:
    path = Path(target.name)
    if path.suffix == ".py":
        raise UsageError(f"{target.name} must be followed by what is in it, as in {target.name}:function")
    if path.is_file():
        raise UsageError(f"{target.name} is a file that cannot be read: {' and '.join(FILES)} files can")
    variant = find_variant(target.name, hint=" A function is written as module:function")
    size, batch = target.image_size or variant.preprocessing.image_size, target.batch or 1
    model = _abstract(variant.name, target.width, target.grad)
    images = jax.ShapeDtypeStruct((batch, size, size, model.config.in_features), jnp.float32)
    mode = _mode(target) if target.grad else "forward, in evaluation mode"
    title = f"{network_title(variant.name, size, target.width, batch)}, {mode}"
    return title, lambda m, x: m(x), (model, images), {}


# The one that was made last, which a sweep and the search for a batch need again.
@functools.lru_cache(maxsize=1)
def _abstract(name: str, width: float | None, is_training: bool) -> Network:
    """Makes a network without arrays, in training or evaluation mode."""
    model = nnx.eval_shape(lambda: build(name, width))
    if not is_training:
        model.eval()
    return model


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
        key, sign, rest = text.rpartition("=")
        if key in kwargs:
            raise UsageError(f"`--arguments` must have each name once, got {key} twice")
        if sign:
            kwargs[key] = _argument(rest)
        elif kwargs:
            raise UsageError(f"`--arguments` must have those with a name last, got {' '.join(target.arguments)}")
        else:
            args.append(_argument(rest))
    _check_arguments(target, fun, args, kwargs)
    title = f"{target.name}({', '.join(target.arguments)})"
    if target.grad:
        title += f", {_mode(target)}"
    if _is_module(fun):
        # The module is an argument, so that its parameters can be differentiated and its state may change.
        return title, lambda module, *args, **kwargs: module(*args, **kwargs), (fun, *args), kwargs
    return title, fun, tuple(args), kwargs


def _check_arguments(target: Target, fun: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raises UsageError unless a function can be called with these arguments, as far as its signature tells."""
    try:
        # What `jax.jit` returns has the signature of its function; a decorator in Python may have another one.
        signature = inspect.signature(inspect.unwrap(fun, stop=inspect.isfunction), follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some functions that are written in C have none
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        given = f"`--arguments {' '.join(target.arguments)}`" if target.arguments else "no `--arguments`"
        raise UsageError(
            f"{target.name}{signature} cannot be called with {given}: {error}. Write each as DTYPE[SIZES] or "
            "NAME=DTYPE[SIZES], such as `--arguments f32[8,224,224,3] y=int32[8]`"
        ) from None


def _imported(name: str) -> Any:
    module_name, _, path = name.rpartition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as in `python -m`
    with user_code(f"{name!r} cannot be imported"):
        found: Any = _module_of(module_name)
        for part in path.split("."):
            found = getattr(found, part)
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
        if not (jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_):
            raise TypeError
    except TypeError:
        raise UsageError(f"`--arguments` must start with a dtype, as in float32[8,16], got {text!r}") from None
    if dtype != jax.dtypes.canonicalize_dtype(dtype):
        raise UsageError(f"`--arguments` with {dtype} need JAX_ENABLE_X64=1: JAX has no 64 bits without, got {text!r}")
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
        results = [leaf for leaf in jax.tree.leaves(fun(*args, **kwargs)) if hasattr(leaf, "dtype")]
        sums = [jnp.sum(jnp.real(leaf)) for leaf in results if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        if not sums:
            raise UsageError(f"`--grad` requires a floating-point result to differentiate, got none from {title}")
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
