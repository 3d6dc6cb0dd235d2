"""What any JAX program costs, counted from its jaxpr."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from jds._common.traceable import Traceable, as_traceable
from jds.cost._analysis import Analysis, summarise
from jds.cost._counts import Padding
from jds.cost._program import Settings, flatten


def analyze(
    fun: Callable[..., Any] | Traceable,
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
    program = as_traceable(fun, args, kwargs)
    if wanted is not None and any(not 0 <= number < program.argument_count for number in wanted):
        raise ValueError(
            f"analyze: `parameters` must number the {program.argument_count} arguments from 0, got {parameters}"
        )
    return count(program, settings, wanted)


def count(program: Traceable, settings: Settings, parameters: tuple[int, ...] | None = None) -> Analysis:
    """Counts a program by these conventions; `parameters` are indices of arguments, as for `analyze`.

    Raises:
      ValueError, TypeError: the program cannot be traced.
    """
    closed = program.jaxpr
    # As XLA does: what no result depends on is left out.
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    constants = [i for i, value in enumerate(closed.consts) if jnp.issubdtype(jnp.result_type(value), jnp.floating)]
    named = program.parameters(parameters)
    inputs = [len(closed.consts) + i for i in named] if parameters is not None or named else []
    return summarise(flatten(jaxpr, [*(constants if parameters is None else ()), *inputs], settings))
