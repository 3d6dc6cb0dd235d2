"""Fused blocks on several devices, exported, and in the lowered program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blocks import BLOCKS, SEPARABLE, all_of, assert_equal, count, sum_of
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jds.ops.native import _library


def mesh(axis_type=AxisType.Auto):
    return jax.make_mesh((4,), ("batch",), axis_types=(axis_type,))


@pytest.mark.parametrize("block", BLOCKS[1:3], ids=str)
def test_shard_map_matches_the_whole(block):
    arrays = block.arrays()
    specs = (P("batch"), *[P()] * (len(arrays) - 1))

    def step(*arrays):
        return block.call(*arrays), jax.grad(sum_of(block.call), all_of(arrays))(*arrays)

    sharded = jax.shard_map(step, mesh=mesh(), in_specs=specs, out_specs=(P("batch"), specs))
    assert_equal(jax.jit(sharded)(*arrays), step(*arrays), 1e-4)
    forward = jax.shard_map(block.call, mesh=mesh(), in_specs=specs, out_specs=P("batch"))
    assert count(forward, *arrays) == (1, 0)
    assert_equal(forward(*arrays), block.call(*arrays), 1e-5)  # without jit
    # The kernels differ between devices, but the images do not.
    varied = jax.shard_map(
        lambda x, *a: block.call(x, *(v + jax.lax.axis_index("batch").astype(v.dtype) for v in a)),
        mesh=mesh(),
        in_specs=P(),
        out_specs=P("batch"),
    )
    moved = [v + 3 for v in arrays[1:]]
    assert_equal(jax.jit(varied)(*arrays)[-4:], block.call(arrays[0], *moved), 1e-4)


@pytest.mark.parametrize("block", BLOCKS[:2], ids=str)
def test_a_sharded_batch_stays_sharded(block):
    arrays = block.arrays()
    want = jax.jit(block.call)(*arrays)
    automatic = [NamedSharding(mesh(), P("batch")), *[NamedSharding(mesh(), P())] * (len(arrays) - 1)]
    program = jax.jit(block.call).lower(*map(jax.device_put, arrays, automatic)).compile()
    assert "all-gather" not in program.as_text()
    with jax.set_mesh(mesh(AxisType.Explicit)):
        placed = [jax.device_put(arrays[0], P("batch")), *(jax.device_put(v, P()) for v in arrays[1:])]
        program = jax.jit(block.call).lower(*placed).compile()
        assert "all-gather" not in program.as_text()
        for out in (program(*placed), block.call(*placed)):
            assert out.sharding.spec[0] == "batch"
            assert_equal(jax.device_get(out), jax.device_get(want), 1e-5)
        gradient = jax.jit(jax.grad(sum_of(block.call)))(*placed)
        assert gradient.sharding.spec[0] == "batch"
        # A mapped axis that is sharded, then one that is not.
        for spec in (P("batch"), P()):
            stacked = jax.device_put(np.stack([arrays[0]] * 4), spec)
            mapped = jax.vmap(block.call, (0, *[None] * (len(arrays) - 1)))
            out = jax.device_get(jax.jit(mapped)(stacked, *placed[1:]))
            assert_equal(out, np.stack([jax.device_get(want)] * 4), 1e-5)


def test_export_gives_each_platform_its_own():
    arrays = SEPARABLE.arrays()
    for platforms in (("cpu",), ("tpu",), ("cpu", "cuda", "tpu")):
        exported = jax.export.export(jax.jit(SEPARABLE.call), platforms=platforms)(*arrays)
        assert ("stablehlo.convolution" in exported.mlir_module()) == (platforms != ("cpu",))
        if "cpu" in platforms:
            again = jax.export.deserialize(exported.serialize())
            np.testing.assert_allclose(again.call(*arrays), SEPARABLE.call(*arrays), rtol=1e-5, atol=1e-6)


def test_symbolic_shapes_can_be_exported(unchecked_types):
    inputs, *rest = SEPARABLE.arrays()
    symbolic = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 2*h, 5, 4"), jnp.float32)
    exported = jax.export.export(jax.jit(SEPARABLE.call))(symbolic, *rest)
    np.testing.assert_allclose(exported.call(inputs, *rest), SEPARABLE.call(inputs, *rest), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(bool(_library.fault()), reason="there are no CPU kernels")
def test_a_block_runs_as_one_kernel_unless_the_compiler_partitions_it():
    arrays = SEPARABLE.arrays()

    def targets(text):
        return {name for name in ("jds_separable", "jds_depthwise", "jds_matrix_product") if f"@{name}" in text}

    def fresh():
        return lambda *arrays: SEPARABLE.call(*arrays)  # not in any cache

    text = jax.jit(fresh()).lower(*arrays).as_text()
    assert text.count("@jds_separable") == 1
    assert targets(text) == {"jds_separable"}
    # Inside `shard_map`, each device has a whole block; if the compiler partitions it, it runs as convolutions.
    specs = (P("batch"), *[P()] * (len(arrays) - 1))
    sharded = jax.shard_map(fresh(), mesh=mesh(), in_specs=specs, out_specs=P("batch"))
    assert targets(jax.jit(sharded).lower(*arrays).as_text()) == {"jds_separable"}
    with jax.set_mesh(mesh(AxisType.Explicit)):
        placed = [jax.device_put(arrays[0], P("batch")), *(jax.device_put(v, P()) for v in arrays[1:])]
        assert "jds_separable" not in targets(jax.jit(fresh()).lower(*placed).as_text())
    # An exported program may run where jds is not installed.
    assert not targets(jax.export.export(jax.jit(fresh()), platforms=("cpu",))(*arrays).mlir_module())
