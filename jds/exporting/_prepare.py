"""Makes an exportable program of a network, a module, or a function."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jds._common.traceable import Traceable
from jds.exporting._description import Description
from jds.exporting._float16 import halved, is_large
from jds.exporting._layers import Layer, find_layers
from jds.exporting._options import Options
from jds.models import Network
from jds.models._imagenet import labels_of
from jds.nn import reparameterize
from jds.ops import expand_jaxpr


@dataclasses.dataclass
class Prepared:
    """A program to export.

    Attributes:
      name: name of the network or function.
      program: the program; its last arrays are the inputs, the ones before are constants.
      inputs: name of each input, and its shape and dtype; the batch may be symbolic.
      outputs: names of the outputs of a network; None for a function.
      arguments: the inputs as the caller passes them: a tuple of pytrees of shapes and dtypes, None for the rest.
      run: what the program must compute, as a function of the inputs.
      examples: values of the inputs that the caller gave, or None.
      network: the network as the caller passed it, if it is one.
      description: what is stored in the file; for a function, None.
    """

    name: str
    program: Traceable
    inputs: dict[str, jax.ShapeDtypeStruct]
    outputs: tuple[str, ...] | None
    arguments: tuple[Any, ...]
    run: Callable[..., Any]
    examples: tuple[Any, ...] | None
    network: Network | None
    description: Description | None

    @property
    def constants(self) -> list[Any]:
        """The arrays of the program that are not inputs."""
        return self.program.arrays[: len(self.program.arrays) - len(self.inputs)]

    @property
    def is_of_features(self) -> bool:
        """Whether the results are feature maps."""
        return self.description is not None and self.description.output == "features"

    @functools.cached_property
    def _jaxpr_and_layers(self) -> tuple[ClosedJaxpr, list[Layer]]:
        return find_layers(expand_jaxpr(self.program.jaxpr), len(self.constants))

    @property
    def jaxpr(self) -> ClosedJaxpr:
        """The program's jaxpr, without calls; its first arguments are the constants."""
        jaxpr, _ = self._jaxpr_and_layers
        return jaxpr

    @property
    def layers(self) -> list[Layer]:
        """The layers of the jaxpr that have weights."""
        _, layers = self._jaxpr_and_layers
        return layers

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs of the file."""
        count = len(self.jaxpr.out_avals)
        return self.outputs or (("output",) if count == 1 else tuple(f"output_{place}" for place in range(count)))

    def results(self) -> Any:
        """Returns the tree of the results."""
        if self.outputs is None:
            return jax.tree.structure(jax.eval_shape(self.run, *self.inputs.values()))
        return jax.tree.structure(0 if len(self.outputs) == 1 else self.outputs)

    def traced(self, *, float16: bool = False, run: Callable[..., list[Any]] | None = None) -> Callable[..., list[Any]]:
        """Returns the program as a function of the inputs' arrays, with the constants in it, possibly in float16.

        Args:
          float16: store large constants in float16.
          run: takes the place of the jaxpr, as a function of the same arrays.
        """
        run = run or jaxpr_as_fun(self.jaxpr)
        stored = [halved(value) if float16 and is_large(value) else value for value in self.constants]

        def call(*inputs: Any) -> list[Any]:
            constants = [
                small if small is value else jnp.asarray(small).astype(value.dtype)
                for small, value in zip(stored, self.constants, strict=True)
            ]
            return run(*constants, *inputs)

        call.__name__ = self.name
        return call


def prepare(exported: Any, arguments: Sequence[Any], options: Options) -> Prepared:
    """Prepares a network, which needs no arguments, or a module or function with example arguments.

    Raises:
      TypeError, ValueError: an argument is wrong.
    """
    if isinstance(exported, Network):
        return _of_network(exported, arguments, options)
    return _of_function(exported, arguments, options)


def ready(module: Any) -> Any:
    """Returns a copy in evaluation mode, with folded normalizations and merged branches."""
    return reparameterize(_evaluated(module))


def _evaluated(module: Any) -> Any:
    copied = nnx.clone(module)
    copied.eval()
    return copied


def _of_network(network: Network, arguments: Sequence[Any], options: Options) -> Prepared:
    if arguments:
        raise TypeError("export: a network needs no example arguments; use `batch` and `image_size`")
    if options.normalize and network.preprocessing is None:
        raise ValueError("export: `normalize` needs a mean and a standard deviation; set `model.preprocessing` first")
    known = 224 if network.preprocessing is None else network.preprocessing.image_size
    size = known if options.image_size is None else options.image_size
    (batch,) = jax.export.symbolic_shape("batch") if options.batch is None else (options.batch,)
    dtype = jnp.uint8 if options.normalize else jnp.float32
    images = jax.ShapeDtypeStruct((batch, size, size, network.config.in_features), dtype)
    run, evaluated = functools.partial(_run, options=options), _evaluated(network)
    outputs = [f"stride_{info.stride}" for info in network.feature_info] if options.features else ["logits"]
    return Prepared(
        name=_name(network),
        program=Traceable(run, (reparameterize(evaluated), images)),
        inputs={"images": images},
        outputs=tuple(_unique(["probabilities"] if options.softmax else outputs)),
        arguments=(images,),
        run=functools.partial(nnx.jit(run), evaluated),
        examples=None,
        network=network,
        description=_description(network, size, options),
    )


def _name(network: Network) -> str:
    return network.name or type(network).__name__


def _description(network: Network, image_size: int, options: Options) -> Description:
    preprocessing = network.preprocessing
    return Description(
        name=_name(network),
        layout=options.layout or "NHWC",
        pixels=options.normalize,
        output="features" if options.features else "probabilities" if options.softmax else "logits",
        preprocessing=preprocessing and dataclasses.replace(preprocessing, image_size=image_size),
        labels=_labels(network, options.labels),
    )


def _labels(network: Network, given: Sequence[str] | None) -> tuple[str, ...]:
    classes = network.config.num_classes
    if given is None:
        return labels_of(classes)
    if isinstance(given, str) or len(given) != classes:
        raise ValueError(
            f"export: `labels` must name each of the network's {classes} classes, in order, got "
            f"{repr(given) if isinstance(given, str) else f'{len(given)} names'}"
        )
    return tuple(map(str, given))


def _run(network: Network, images: jax.Array, *, options: Options) -> Any:
    """What the file computes of its images."""
    preprocessing = network.preprocessing
    if options.normalize and preprocessing is not None:
        mean, std = (np.asarray(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
        factor, offset = 1 / (255 * std), mean / std
        images = images.astype(jnp.float32) * factor[None, None, None] - offset[None, None, None]
    results: Any = network.features(images) if options.features else network(images)
    return jax.nn.softmax(results) if options.softmax else results


def _of_function(fun: Any, arguments: Sequence[Any], options: Options) -> Prepared:
    if not callable(fun):
        raise TypeError(f"export: the first argument must be a network, a module or a function, got {fun!r}")
    name = getattr(fun, "__name__", type(fun).__name__)
    of_networks = ("batch", "image_size", "features", "normalize", "softmax", "labels")
    changed = [name for name in of_networks if getattr(options, name) != getattr(Options, name)]
    if changed:
        raise ValueError(
            f"export: {', '.join(f'`{option}`' for option in changed)} can only be given for a network of "
            f"`jds.models`, got {name}; give the example arguments the shapes that you need"
        )
    paths = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(arguments), is_leaf=_is_module)
        if _is_array(leaf)
    ]
    if not paths:
        raise TypeError(f"export: {name} needs example arguments: arrays, or `jax.ShapeDtypeStruct`s")
    leaves = [leaf for _, leaf in paths]
    names = _unique([_input_name(fun, path) for path, _ in paths])
    ready_arguments = jax.tree.map(
        lambda leaf: ready(leaf) if _is_module(leaf) else leaf, arguments, is_leaf=_is_module
    )
    for input_name, leaf in zip(names, leaves, strict=True):
        if not all(isinstance(size, int) for size in jnp.shape(leaf)[1:]):
            raise ValueError(
                f"export: only the first axis of an input may be symbolic, got {input_name} of shape {jnp.shape(leaf)}"
            )
    run = _with_module(fun, _evaluated)

    def of_arrays(*arrays: Any) -> Any:
        rest = iter(arrays)
        passed = jax.tree.map(
            lambda leaf: next(rest) if _is_array(leaf) else _evaluated(leaf) if _is_module(leaf) else leaf,
            tuple(arguments),
            is_leaf=_is_module,
        )
        return run(*passed)

    return Prepared(
        name=name,
        program=Traceable(_with_module(fun, ready), tuple(ready_arguments)),
        inputs={
            name: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
            for name, leaf in zip(names, leaves, strict=True)
        },
        outputs=None,
        arguments=jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) if _is_array(leaf) else None,
            tuple(arguments),
            is_leaf=_is_module,
        ),
        run=of_arrays,
        examples=None if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves) else tuple(leaves),
        network=None,
        description=None,
    )


def _is_module(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Module)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex)


def _with_module(fun: Any, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """Changes the module that is called, or whose method is."""
    if _is_module(fun):
        return change(fun)
    if inspect.ismethod(fun) and _is_module(fun.__self__):
        return fun.__func__.__get__(change(fun.__self__))
    return fun


def _input_name(fun: Callable[..., Any], path: tuple[Any, ...]) -> str:
    """Names an input by the parameter that it is passed as, and by its place in it."""
    place, *rest = path
    try:
        parameters = [*inspect.signature(fun).parameters]
    except (TypeError, ValueError):
        parameters = []
    first = parameters[place.idx] if place.idx < len(parameters) else f"input_{place.idx}"
    keys = (next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)) for key in rest)
    return "_".join([first, *map(str, keys)])


def _unique(names: Sequence[str]) -> list[str]:
    """Numbers names that occur more than once."""
    return [
        f"{name}_{names[:place].count(name)}" if names.count(name) > 1 else name for place, name in enumerate(names)
    ]
