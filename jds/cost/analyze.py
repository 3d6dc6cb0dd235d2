"""What any JAX program costs, counted from its jaxpr."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.interpreters import partial_eval

from jds.cost import rules_elements as rules_elements
from jds.cost import rules_products as rules_products
from jds.cost import rules_reductions as rules_reductions
from jds.cost.analysis import Analysis, summarise
from jds.cost.counts import Padding
from jds.cost.program import Settings, flatten
from jds.cost.scopes import mark_paths, module_scopes

# Part of the key of JAX's caches: what was traced before, without the modules' scopes, is traced again.
_tracing = jax.make_user_context(None)


def analyze(
    fun: Callable[..., Any],
    *args: Any,
    padding: Padding = "counted",
    platform: str | None = None,
    trip_counts: int | Mapping[str, int] | None = None,
    parameters: int | tuple[int, ...] | None = None,
    **kwargs: Any,
) -> Analysis:
    """Counts what a function of arrays or an NNX module costs, forward or backward, without running it.

    The function is traced as by `jax.make_jaxpr`, and the equations are counted by the rules that `jds.cost.Counts`
    states; as XLA does, what no result depends on is left out. Layers are the paths of NNX modules, as `nnx.tabulate`
    prints them, and `jax.named_scope`s. What has no rule is listed, and makes every total a lower bound.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments: arrays, `jax.ShapeDtypeStruct`s, NNX modules (with arrays or, from `nnx.eval_shape`,
        without) and pytrees of those; what is no number is passed on as it is.
      padding: whether multiply-accumulates with padding are `"counted"`, as papers do, or `"skipped"`, as XLA does.
      platform: of `jax.lax.platform_dependent`, the branch of this platform counts; by default JAX's own.
      trip_counts: how often `while` loops run, for all or by the path of each; by default once, which is said.
      parameters: numbers of the arguments that hold parameters. By default those are the `nnx.Param`s of modules, and
        the constants of floating point that the function closes over.
      **kwargs: its keyword arguments, as `args`.

    Returns:
      The analysis.

    Raises:
      ValueError, TypeError: an option is none of those named above, or the function cannot be traced with these
        arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> image, kernel = jax.ShapeDtypeStruct((1, 6, 6, 3), jnp.float32), jnp.ones((3, 3, 3, 5))
      >>> import jds
      >>> found = cost.analyze(jds.conv, image, kernel, padding="skipped")
      >>> found.total.multiplications, found.total.macs
      (4860, 3840)
    """
    if padding not in get_args(Padding):
        raise ValueError(f'analyze: `padding` must be "counted" or "skipped", got {padding!r}')
    settings = Settings(padding, platform or jax.default_backend(), trip_counts)
    wanted = (parameters,) if isinstance(parameters, int) else parameters
    if wanted is not None and any(not 0 <= number < len(args) for number in wanted):
        raise ValueError(f"analyze: `parameters` must number the {len(args)} arguments from 0, got {parameters}")
    program = _Arguments(fun, args, kwargs)
    with module_scopes(), _tracing(object()):
        try:
            closed = jax.make_jaxpr(program.call)(*program.arrays)
        except (TypeError, ValueError) as error:
            shapes = ", ".join(map(_in_words, jax.tree.leaves((args, kwargs), is_leaf=_is_node)))
            name = getattr(fun, "__name__", type(fun).__name__)
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"analyze: {name} cannot be traced with arguments ({shapes}): {error}") from error
    # As XLA does: what no result depends on is left out.
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    constants = [i for i, value in enumerate(closed.consts) if jnp.issubdtype(jnp.result_type(value), jnp.floating)]
    named = program.parameters(wanted)
    inputs = [len(closed.consts) + i for i in named] if wanted is not None or named else []
    return summarise(flatten(jaxpr, [*(constants if wanted is None else ()), *inputs], settings), settings)


class _Arguments:
    """A function and its arguments, taken apart into arrays, which are traced, and all else, which is kept."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        if inspect.ismethod(fun) and _is_node(fun.__self__):
            fun, args = fun.__func__, (fun.__self__, *args)
        self._leaves, self._tree = jax.tree.flatten((fun, args, kwargs), is_leaf=_is_node)
        # Of copies: the paths are written on the modules.
        nodes = nnx.clone([leaf for leaf in self._leaves if _is_node(leaf)])
        for node in nodes:
            mark_paths(node)
        self._graph, *states = nnx.split(nodes, nnx.Param, ...)
        (params, self._params), (rest, self._rest) = map(jax.tree.flatten, states)
        self._split = len(params), len(params) + len(rest)
        arrays = [leaf for leaf in self._leaves if _is_array(leaf)]
        self.arrays = [*params, *rest, *arrays]
        self._args = len(params), [jax.tree.leaves(arg, is_leaf=_is_node) for arg in (fun, *args)]

    def call(self, *arrays: Any) -> list[Any]:
        """The function, of the arrays alone; returns the arrays of its results, and what it left in the modules."""
        params, rest, plain = arrays[: self._split[0]], arrays[slice(*self._split)], iter(arrays[self._split[1] :])
        nodes = nnx.merge(self._graph, self._params.unflatten(params), self._rest.unflatten(rest))
        next_node = iter(nodes)
        leaves = [
            next(next_node) if _is_node(leaf) else next(plain) if _is_array(leaf) else leaf for leaf in self._leaves
        ]
        fun, args, kwargs = self._tree.unflatten(leaves)
        results = jax.tree.leaves(fun(*args, **kwargs), is_leaf=_is_node)
        nodes = [*(leaf for leaf in results if _is_node(leaf)), *nodes]
        return [leaf for leaf in (*results, *jax.tree.leaves(nnx.split(nodes)[1])) if _is_array(leaf)]

    def parameters(self, arguments: tuple[int, ...] | None) -> list[int]:
        """Which of the arrays are parameters: those of these arguments, or else the `nnx.Param`s."""
        if arguments is None:
            return list(range(self._split[0]))
        found, position = [], self._split[1]
        for number, leaves in enumerate(self._args[1], start=-1):
            count = sum(map(_is_array, leaves))
            if number in arguments:
                found += range(position, position + count)
            position += count
        return found


def _is_node(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Pytree | nnx.Variable)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic | bool | int | float | complex)


def _in_words(leaf: Any) -> str:
    if _is_node(leaf):
        return type(leaf).__name__
    return str(jax.typeof(leaf)) if hasattr(leaf, "dtype") else repr(leaf)
