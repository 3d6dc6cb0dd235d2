"""Counts the cost of any JAX program from its jaxpr."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from jds._common.traceable import Role, Traceable, as_traceable
from jds.cost._analysis import Analysis, summarize
from jds.cost._flatten import flatten
from jds.cost._program import Conventions, check_count_padding


def analyze(
    fun: Callable[..., Any] | Traceable,
    *args: Any,
    count_padding: bool = True,
    platform: str | None = None,
    trip_counts: int | Mapping[str, int] | None = None,
    parameter_argnums: int | tuple[int, ...] | None = None,
    **kwargs: Any,
) -> Analysis:
    """Counts the cost of a function of arrays or an NNX module, forward or backward, without running it.

    The function is traced as by `jax.make_jaxpr`, and its equations are counted as described in `jds.cost.Counts`;
    operations that no result depends on are excluded, as in XLA. Layers are the paths of NNX modules, as printed by
    `nnx.tabulate`, and of callable dataclasses, such as Equinox modules, and `jax.named_scope`s. Primitives without a
    rule are listed, and make every total a lower bound.

    Args:
      fun: a function, jitted or not, or a module.
      *args: its arguments: arrays, numbers, `jax.ShapeDtypeStruct`s, NNX modules (with arrays, or abstract, from
        `nnx.eval_shape`) and pytrees of these; anything else, Booleans, and numbers in callable dataclasses are passed
        on unchanged.
      count_padding: whether to count multiply-accumulates with padding, as papers do but XLA does not.
      platform: the platform whose branch of `jax.lax.platform_dependent` is counted; None for JAX's default backend.
      trip_counts: number of iterations of `while` loops: one number for all loops, or a mapping from their paths. A
        loop without a number counts as one iteration, and the result is a lower bound.
      parameter_argnums: indices of the arguments that are parameters. By default, the parameters are the `nnx.Param`s
        of modules, the floating-point arrays of callable dataclasses, and those that the function closes over.
      **kwargs: its keyword arguments, like `args`.

    Returns:
      The analysis.

    Raises:
      ValueError, TypeError: an option is wrong, the function cannot be traced with these arguments, or it has no
        branch for the platform.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> image, kernel = jax.ShapeDtypeStruct((1, 6, 6, 3), jnp.float32), jnp.ones((3, 3, 3, 5))
      >>> import jds
      >>> found = cost.analyze(jds.conv, image, kernel, count_padding=False)
      >>> found.total.multiplications, found.total.macs
      (4860, 3840)
    """
    check_count_padding("analyze", count_padding)
    conventions = Conventions(count_padding, _platform(platform), trip_counts)
    if fault := _trips_fault(trip_counts):
        raise ValueError(f"analyze: {fault}")
    program = as_traceable(fun, args, kwargs)
    wanted = _indices(parameter_argnums, program.argument_count)
    found = count(program, conventions, wanted)
    if isinstance(trip_counts, Mapping) and (typos := trip_counts.keys() - found.while_loops):
        loops = ", ".join(map(repr, found.while_loops)) or "none"
        raise ValueError(
            f"analyze: `trip_counts` must name layers with `while` loops ({loops}), got {', '.join(sorted(typos))}"
        )
    return found


def _indices(argnums: Any, count: int) -> tuple[int, ...] | None:
    """Returns `parameter_argnums` as a tuple; raises ValueError unless they index `count` arguments."""
    if argnums is None:
        return None
    found = tuple(argnums) if isinstance(argnums, tuple | list) else (argnums,)
    if any(isinstance(each, bool) or not isinstance(each, int) or not 0 <= each < count for each in found):
        raise ValueError(f"analyze: `parameter_argnums` must index the {count} arguments from 0, got {argnums!r}")
    return found


def _platform(name: str | None) -> str:
    known = ("cpu", "gpu", "cuda", "rocm", "tpu", "metal", "neuron")
    if name is not None and name not in known:
        raise ValueError(f"analyze: `platform` must be one of {', '.join(known)}, got {name!r}")
    return name or jax.default_backend()


def _trips_fault(trip_counts: int | Mapping[str, int] | None) -> str | None:
    numbers = trip_counts.values() if isinstance(trip_counts, Mapping) else [trip_counts or 0]
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
        return f"`trip_counts` must be a number of iterations, or a mapping from paths to numbers, got {trip_counts!r}"
    return None


def count(program: Traceable, conventions: Conventions, argnums: tuple[int, ...] | None = None) -> Analysis:
    """Counts a program by these conventions; `argnums` is `parameter_argnums` of `analyze`.

    Raises:
      ValueError, TypeError: the program cannot be traced.
    """
    closed = program.jaxpr
    _check_sizes(program)
    # As in XLA, equations that no result depends on are excluded.
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    constants = [i for i, value in enumerate(closed.consts) if jnp.issubdtype(jnp.result_type(value), jnp.floating)]
    inputs = [len(closed.consts) + i for i in program.parameters(argnums)]
    roles: list[Role] = ["parameter" if i in constants else "state" for i in range(len(closed.consts))]
    parameters = [*(constants if argnums is None else ()), *inputs]
    flat = flatten(
        jaxpr, [*roles, *program.roles], parameters, conventions, closed.consts, has_parameters=argnums is None
    )
    return summarize(flat, program.title)


def _check_sizes(program: Traceable) -> None:
    """Raises ValueError for symbolic sizes."""
    for aval in program.jaxpr.in_avals:
        if any(not isinstance(size, int) for size in getattr(aval, "shape", ())):
            raise ValueError(f"analyze: the sizes of the arguments must be numbers, got {aval}; choose a size")
