"""Reports which convolutions and fused layers of a program jds runs, which it leaves to XLA, and why."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params, primitives
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jds._common.name_stack import distinct, scopes_of
from jds._common.place import place
from jds._common.text import as_text
from jds._common.traceable import Traceable
from jds.ops._accelerate import accelerate
from jds.ops._dispatch import ImplementationChoice, Target
from jds.ops._selection import Chosen, chosen, lowering_platform


class ReportedLayer(NamedTuple):
    """Convolutions, or fused layers, of one form, with operands of the same shapes and dtypes.

    Attributes:
      form: the form in words: `"depthwise"`, `"pointwise kernel gradient"`,
        `"fused depthwise + bias + relu6 → pointwise + bias"`, `"mean"`, ….
      operands, out: shapes and dtypes of the equation's operands, in order, and of its result.
      calls: number of times it runs per call of the function, or per iteration if it is in a `while` loop.
      in_while_loop: whether it is inside a loop of unknown length.
      choice: the implementation, and why it was chosen.
      places: for each equation, the named scope that it was traced in, if any, and the line of the program.
    """

    form: str
    operands: tuple[jax.ShapeDtypeStruct, ...]
    out: jax.ShapeDtypeStruct
    calls: int
    in_while_loop: bool
    choice: ImplementationChoice
    places: tuple[str, ...]

    @property
    def is_replaced(self) -> bool:
        """Whether the implementation is one of jds's."""
        return self.choice.implementation != "xla"


@dataclasses.dataclass(frozen=True)
class AccelerationReport:
    """The effect of `accelerate` on a function; prints as a table.

    Attributes:
      platform: the platform that the function would be lowered for.
      layers: one row per distinct convolution or fused layer, in program order.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> print(jds.acceleration_report(jnp.sin, 1.0, platform="cpu"))
      No convolutions or fused layers in this program for 'cpu'.
    """

    platform: str
    layers: tuple[ReportedLayer, ...]

    @property
    def replaced(self) -> tuple[ReportedLayer, ...]:
        """The rows that one of jds's implementations runs."""
        return tuple(row for row in self.layers if row.is_replaced)

    @property
    def left(self) -> tuple[ReportedLayer, ...]:
        """The rows that are left to XLA."""
        return tuple(row for row in self.layers if not row.is_replaced)

    def __rich__(self) -> RenderableType:
        if not self.layers:
            return Text(f"No convolutions or fused layers in this program for {self.platform!r}.")
        replaced, left = (sum(len(row.places) for row in rows) for rows in (self.replaced, self.left))
        by_choice = collections.defaultdict(list)
        for row in (*self.replaced, *self.left):
            by_choice[row.choice].append(row)
        parts: list[RenderableType] = [
            Text(
                f"Convolutions and fused layers for {self.platform!r}: {replaced} replaced, {left} left to XLA",
                style="bold",
            )
        ]
        for choice, rows in by_choice.items():
            parts += ["", Text(f"{choice.implementation}: {choice.reason}"), _table(rows)]
        return Group(*parts)

    def __str__(self) -> str:
        return as_text(self)


def acceleration_report(
    fun: Callable[..., Any], *args: Any, platform: str | None = None, **kwargs: Any
) -> AccelerationReport:
    """Lists the convolutions and fused layers of a function: which jds runs, which are left to XLA, and why.

    The function is traced as `jax.make_jaxpr(jds.accelerate(fun))(*args, **kwargs)` would trace it; nothing is
    computed, and Flax modules keep their state. To see the convolutions of a derivative, pass the derivative:
    `jax.grad(loss)` or a training step. Every branch of a `cond` is counted.

    Args:
      fun: a function, method or callable object, as in `accelerate`, accelerated already or not.
      *args, **kwargs: the function's arguments: pytrees, including Flax modules. Arrays may be given as
        `jax.ShapeDtypeStruct`. Other values are passed on unchanged.
      platform: the platform to lower for: `"cpu"`, `"gpu"`, `"cuda"`, `"rocm"`, `"oneapi"` or `"tpu"`; None for JAX's
        default backend.

    Returns:
      The report, which can be printed or read row by row.

    Raises:
      ValueError: the platform is unknown.
      TypeError: `accelerate` would raise.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=nnx.Rngs(0))
      >>> x = jax.ShapeDtypeStruct((1, 16, 16, 8), jnp.float32)
      >>> report = jds.acceleration_report(layer, x, platform="tpu")
      >>> [(row.form, row.choice.implementation) for row in report.layers]
      [('depthwise', 'xla')]
    """
    target = Target(lowering_platform("acceleration_report", platform))
    rows: dict[ReportedLayer, ReportedLayer] = {}
    for found in _convolutions(_trace(fun, args, kwargs), target):
        new = _row(found)
        alike = new._replace(calls=0, places=())
        row = rows.get(alike, alike)
        rows[alike] = row._replace(calls=row.calls + new.calls, places=row.places + new.places)
    return AccelerationReport(target.platform, tuple(rows.values()))


def _trace(fun: Callable, args: tuple, kwargs: dict) -> Jaxpr:
    """Traces `accelerate(fun)`, copying the Flax modules that it is called on or with."""
    accelerated = accelerate(fun)
    wrapped = getattr(accelerated, "__wrapped__", None)
    if isinstance(wrapped, nnx.Pytree):
        accelerated, args = accelerate(type(wrapped).__call__), (wrapped, *args)
    return Traceable(accelerated, args, kwargs, traces_numbers=False).jaxpr.jaxpr


class _Found(NamedTuple):
    source: JaxprEqn
    chosen: Chosen
    calls: int
    in_while_loop: bool
    scopes: tuple[str, ...]


def _convolutions(
    jaxpr: Jaxpr, target: Target, calls: int = 1, in_while_loop: bool = False, scopes: tuple[str, ...] = ()
) -> Iterator[_Found]:
    """Walks a jaxpr and all jaxprs that it calls."""
    for equation in jaxpr.eqns:
        inside = distinct((*scopes, *scopes_of(equation).path))
        found = [*chosen(equation, target)]
        yield from (_Found(equation, one, calls, in_while_loop, inside) for one in found)
        if found:
            continue
        times = equation.params["length"] if equation.primitive is primitives.scan_p else 1
        in_loop = in_while_loop or equation.primitive is primitives.while_p
        for inner in jaxprs_in_params(equation.params):
            yield from _convolutions(inner, target, calls * times, in_loop, inside)


def _row(found: _Found) -> ReportedLayer:
    equation, operation, choice = found.chosen
    avals: list[Any] = [variable.aval for variable in (*equation.invars, *equation.outvars)]
    *operands, out = (jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals)
    return ReportedLayer(
        form="of symbolic shape" if operation is None else str(operation),
        operands=tuple(operands),
        out=out,
        calls=found.calls,
        in_while_loop=found.in_while_loop,
        choice=choice,
        places=(place(found.source, "/".join(found.scopes)),),
    )


def _table(rows: Sequence[ReportedLayer]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("right", "left", "left", "left"):
        table.add_column(justify=justify, overflow="fold")
    for row in rows:
        first, *others = row.places
        table.add_row(
            f"{row.calls}×{' per iteration' if row.in_while_loop else ''}",
            row.form,
            f"{_shapes(row)}, {_dtypes(row)}",
            Text(first + (f" and {len(others)} more" if others else "")),
        )
    return table


def _shapes(row: ReportedLayer) -> str:
    """The shapes of the operands, without those of scale and bias, and of the result."""
    return f"{', '.join(_by(operand) for operand in row.operands if operand.ndim > 1)} → {_by(row.out)}"


def _by(array: jax.ShapeDtypeStruct) -> str:
    return "×".join(map(str, array.shape))


def _dtypes(row: ReportedLayer) -> str:
    return " → ".join(dict.fromkeys((row.operands[0].dtype.name, row.out.dtype.name)))
