"""The mark on convolution equations and the lowering rule that reads it: all uses of JAX's internals.

A jds function calls `lax.conv_general_dilated` under a mark. The mark is stored with each equation traced under it, is
part of `jit`'s cache key, and stays with the equation through every transformation; equations of derivatives inherit
it. When a program is lowered, the rule below reads the mark: a marked convolution that jds supports is lowered to the
chosen implementation, everything else by JAX's own rule. Derivatives, batching, loops and sharding are therefore left
to JAX.
"""

import contextlib
import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, JaxprEqn, Primitive, primitives
from jax.interpreters import mlir
from jax.sharding import AbstractMesh

from jds.ops import _dispatch
from jds.ops._crop import convolve_cropped, is_misread
from jds.ops._fused_block import FusedForm
from jds.ops._partition import NO_MESH
from jds.ops._recognize import recognize, with_typical_batch

_logger = logging.getLogger(__name__)

# The mark's key; its value is "auto", an implementation's name, or `_PROBE`.
_KEY = "jds"
_PROBE = "probe"
# Whether unmarked convolutions count as marked "auto". It is part of jit's cache key, as is the next.
installed = jax.make_user_context(False)
# What every convolution counts as, whatever its mark: "auto", "xla", or None for its own mark. For exported programs.
override = jax.make_user_context(None)


def mark(implementation: str | None = None) -> contextlib.AbstractContextManager:
    """Returns a context under which convolutions are traced with jds's mark.

    Args:
      implementation: the implementation to use; None lets jds choose at lowering.
    """
    return set_xla_metadata(**{_KEY: implementation or "auto"})


@functools.cache
def mechanism_fault() -> str | None:
    """Returns the reason why the mark does not reach the lowering rule in this JAX version, or None if it does.

    Values are correct either way; without the mark, XLA runs every convolution.
    """
    if _registration_fault:
        return _registration_fault

    # Only `lax`: other libraries replace functions of `jax.numpy` while they trace.
    def probe(lhs, rhs):
        with set_xla_metadata(**{_KEY: _PROBE}):
            return lax.conv_general_dilated(lhs, rhs, (1,), [(0, 0)])

    _probes_lowered.clear()
    operand = jax.ShapeDtypeStruct((1, 1, 1), np.float32)
    jax.jit(probe).lower(operand, operand)
    return None if _probes_lowered else f"JAX {jax.__version__} does not carry the mark to the lowering rule"


# One entry per convolution with the probe's mark that reached the lowering rule.
_probes_lowered: list[bool] = []


def check_mechanism() -> None:
    """Logs a warning, once, if this JAX version does not let jds replace convolutions."""
    try:
        fault = mechanism_fault()
    except Exception as error:
        # Inside the tracing of a library that replaces parts of JAX; the next convolution asks again.
        _logger.debug("jds could not check the mechanism: %s", error)
        return
    if fault:
        _warn(fault)


@functools.cache
def _warn(fault: str) -> None:
    _logger.warning("jds cannot accelerate convolutions on this JAX version: %s", fault)


def _rule(previous: Callable, platform: str | None) -> Callable:
    """Wraps `previous`, the lowering rule of `conv_general_dilated_p` for `platform`; None means the default rule."""

    def lower(ctx: mlir.LoweringRuleContext, lhs, rhs, **params):
        asked = _asked(ctx.jaxpr_eqn_ctx)
        if asked == _PROBE:
            _probes_lowered.append(True)
        if asked in (None, _PROBE):
            return previous(ctx, lhs, rhs, **params)
        lhs_aval, rhs_aval, out_aval = _avals(ctx)
        typical = with_typical_batch(lhs_aval, rhs_aval, out_aval, params)
        if typical is None:
            return previous(ctx, lhs, rhs, **params)
        form = recognize(*typical, params)
        target = _target(ctx, platform)
        chosen = _dispatch.choose(form, target, named(asked))
        if chosen.implementation == "xla" and target.platform == "cpu" and is_misread(params):
            return _lower_function(functools.partial(convolve_cropped, **params), ctx, lhs, rhs)
        if chosen.implementation == "xla":
            return previous(ctx, lhs, rhs, **params)
        run = _dispatch.IMPLEMENTATIONS[chosen.implementation].run
        form = form.with_batch_of(lhs_aval, out_aval, params)
        fun = functools.partial(run, form=form, partitioned=target.is_partitioned)
        return _lower_function(fun, (target.is_partitioned and _with_mesh(ctx)) or ctx, lhs, rhs)

    return lower


def asked(equation: JaxprEqn) -> str | None:
    """Returns the mark of a jaxpr equation, "auto" or the name of an implementation, or None if it is unmarked."""
    if "block" in equation.params:
        return override.value or equation.params["block"].implementation or "auto"
    return _asked(equation.ctx)


def register_block(primitive: Primitive) -> None:
    """Registers the lowering rule of the fused-block primitive."""
    mlir.register_lowering(primitive, _lower_block)


def _lower_block(ctx: mlir.LoweringRuleContext, *operands, jaxpr: ClosedJaxpr, block: Any):
    if is_static(*_avals(ctx)):
        form = FusedForm(block, tuple(ctx.avals_in))
        asked = override.value or block.implementation
        chosen = _dispatch.choose(form, _target(ctx, None), named(asked))
        if isinstance(chosen, _dispatch.ImplementationChoice):
            run = _dispatch.FUSED_IMPLEMENTATIONS[chosen.implementation]
            return _lower_function(functools.partial(run, block=block), ctx, *operands)
    return mlir.core_call_lowering(ctx, *operands, name="fused_conv", call_jaxpr=jaxpr)


def named(asked: str | None) -> _dispatch.Implementation | None:
    """Returns the implementation that a mark names, if any."""
    return None if asked == "auto" else cast(_dispatch.Implementation | None, asked)


def _target(ctx: mlir.LoweringRuleContext, platform: str | None) -> _dispatch.Target:
    """Returns the lowering target; `platform` is the rule's platform, if it has one."""
    is_partitioned = _is_partitioned(ctx)
    return _dispatch.Target(
        platform or ", ".join(ctx.platforms or ctx.module_context.platforms),
        for_export=bool(ctx.module_context.lowering_parameters.for_export),
        is_partitioned=is_partitioned,
        has_mesh=is_partitioned and _with_mesh(ctx) is not None,
    )


def _asked(equation_context: Any) -> str | None:
    metadata = (equation_context and equation_context.xla_metadata) or {}
    if metadata.get(_KEY) == _PROBE:
        return _PROBE
    return override.value or metadata.get(_KEY) or ("auto" if installed.value else None)


def is_static(*arrays: Any) -> bool:
    """Whether all sizes of these shapes are static, not symbolic."""
    return all(isinstance(size, int) for array in arrays for size in array.shape)


def _avals(ctx: mlir.LoweringRuleContext) -> tuple[Any, ...]:
    """Returns the avals of the operands and of the result."""
    return *ctx.avals_in, ctx.avals_out[0]


def _is_partitioned(ctx: mlir.LoweringRuleContext) -> bool:
    """Whether the compiler may partition the program; inside `shard_map` over all axes it does not."""
    context = ctx.module_context.axis_context
    manual = getattr(context, "manual_axes", frozenset())
    mesh = getattr(context, "mesh", None)
    if mesh is not None:
        return manual != frozenset(mesh.axis_names)
    return getattr(context, "num_devices", None) != 1


def _with_mesh(ctx: mlir.LoweringRuleContext) -> mlir.LoweringRuleContext | None:
    """Returns a context with a mesh that can describe the partitioning of a kernel, or None.

    The mesh of a program's shardings is not known at lowering. However, if the number of devices is a power of a prime,
    shardings over any mesh are also shardings over the mesh whose axes all have that prime as their size. Only the
    order of the devices matters, not their identity.
    """
    context: Any = ctx.module_context.axis_context
    size: int = getattr(context, "num_devices", 1)
    prime = next((factor for factor in range(2, size + 1) if size % factor == 0), 2)
    axes = round(math.log(size, prime))
    devices = jax.devices("cpu")
    if size < 2 or prime**axes != size or len(devices) < size:
        return None
    mesh = AbstractMesh((prime,) * axes, tuple(f"jds_{axis}" for axis in range(axes)))
    context = dataclasses.replace(context, device_assignment=tuple(devices[:size]), abstract_mesh=mesh)
    return ctx.replace(module_context=ctx.module_context.replace(axis_context=context))


def _lower_function(fun: Callable, ctx: mlir.LoweringRuleContext, *values):
    """Lowers `fun(*values)` in place of the equation; the result has the sharding of the equation's result."""
    *operands, result = _avals(ctx)
    bare: Any = [ShapedArray(aval.shape, aval.dtype) for aval in operands]
    with contextlib.ExitStack() as stack:
        # Trace on bare shapes, outside any mesh: `fun` is plain arithmetic, and the compiler decides how to partition
        # it. Trace it unmarked, with jit enabled to keep loops as loops, and with x64 enabled if an operand is float64.
        stack.enter_context(jax.sharding.use_abstract_mesh(NO_MESH))
        stack.enter_context(set_xla_metadata(**{_KEY: None}))
        stack.enter_context(jax.disable_jit(False))
        if jnp.float64 in (*(aval.dtype for aval in operands), result.dtype):
            stack.enter_context(jax.enable_x64(True))
        (out,) = mlir.lower_fun(fun, multiple_results=False)(ctx.replace(avals_in=bare), *values)
    return [_with_sharding_in_types(ctx, out, result)]


def _register() -> str | None:
    """Wraps JAX's lowering rules for the convolution; returns the reason if that fails."""
    global _with_sharding_in_types
    try:
        from jax._src.interpreters.mlir import lower_with_sharding_in_types

        _with_sharding_in_types = lower_with_sharding_in_types
        convolution = primitives.conv_general_dilated_p
        specific = {
            platform: rules[convolution].rule
            for platform, rules in mlir._platform_specific_lowerings.items()
            if convolution in rules
        }
        default = mlir._lowerings[convolution].rule
        for platform, previous in specific.items():
            mlir.register_lowering(convolution, _rule(previous, platform), platform=platform)
        mlir.register_lowering(convolution, _rule(default, None))
    except (ImportError, AttributeError, KeyError) as error:
        return f"JAX {jax.__version__} has no lowering rules where jds looks for them ({error})"
    return None


_registration_fault = _register()
