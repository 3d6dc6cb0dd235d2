"""Calls a kernel on arrays that are sharded across devices: each device computes its shard."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jds.ops._named_array import NamedArray

# Labels of batch and features: along these, a device needs no data from other devices.
_SHARDED = frozenset("bgim")
NO_MESH = AbstractMesh((), ())


def partitioned_call(
    run: Callable, moving: NamedArray, other: NamedArray, out: jax.ShapeDtypeStruct, out_labels: Sequence[str]
) -> jax.Array:
    """Calls `run(moving, other, out)` on each device's shard of the operands.

    Sharding over batch and features is kept; if such a dimension is contracted, the devices' results are added.
    Spatial dimensions are gathered.

    Args:
      run: a function of two arrays and the shape and dtype of the result.
      moving, other: the operands.
      out, out_labels: shape, dtype and labels of the result.

    Returns:
      The global result.
    """
    labels = (moving.labels, other.labels)
    contracted = [label for label in sorted(_SHARDED & {*moving.labels, *other.labels}) if label not in out_labels]

    @custom_partitioning
    def call(moving, other):
        return run(moving, other, out)

    def partition(mesh: Mesh, arguments: Sequence[Any], result: Any):
        by_label = _axes_of_labels(labels, [argument.sharding for argument in arguments])

        def named(of: Sequence[str]) -> NamedSharding:
            return NamedSharding(mesh, PartitionSpec(*(by_label.get(label) for label in of)))

        summed_over = [axis for label in contracted for axis in by_label.get(label, ())]
        sharding = named(out_labels)
        local = jax.ShapeDtypeStruct(sharding.shard_shape(out.shape), out.dtype)

        def lower(moving, other):
            # Outside any mesh: each device's shard is itself not sharded.
            with jax.sharding.use_abstract_mesh(NO_MESH):
                part = run(moving, other, local)
                return lax.psum(part, summed_over) if summed_over else part

        return mesh, lower, sharding, tuple(map(named, labels))

    def infer(mesh: Mesh, arguments: Sequence[Any], result: Any) -> NamedSharding:
        by_label = _axes_of_labels(labels, [argument.sharding for argument in arguments])
        return NamedSharding(mesh, PartitionSpec(*(by_label.get(label) for label in out_labels)))

    operands = [_factors(of, prefix) for of, prefix in zip((*labels, out_labels), ("x", "y", "z"), strict=True)]
    spatial = {factor for factors in operands for factor in factors if factor not in _SHARDED}
    call.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=f"{' '.join(operands[0])}, {' '.join(operands[1])} -> {' '.join(operands[2])}",
        reduction_factors=tuple(contracted),
        need_replication_factors=tuple(sorted(spatial)),
    )
    return call(moving.array, other.array)


def _factors(labels: Sequence[str], array: str) -> list[str]:
    """Returns factor names for the sharding rule; spatial dimensions get names that no other array uses."""
    return [label if label in _SHARDED else f"{array}{dimension}" for dimension, label in enumerate(labels)]


def _axes_of_labels(labels: Sequence[Sequence[str]], shardings: Sequence[NamedSharding]) -> dict[str, tuple[str, ...]]:
    """Returns the mesh axes that shard batch and features; if the operands disagree, the first wins."""
    found: dict[str, tuple[str, ...]] = {}
    used: set[str] = set()
    for of, sharding in zip(labels, shardings, strict=True):
        for label, axes in zip(of, sharding.spec, strict=False):
            names = axes if isinstance(axes, tuple) else (axes,)
            if label not in _SHARDED or label in found or axes is None or used.intersection(names):
                continue
            found[label] = names
            used.update(names)
    return found
