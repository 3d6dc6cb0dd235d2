"""Folding batch normalization: which norms are folded, which are not, and that nothing else changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType

import jds
from jds.models import MobileNetV1, MobileNetV1Config

IMAGES = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 4)), jnp.float32)


def norm(features, **options):
    return nnx.BatchNorm(features, **options)


def evaluated(model):
    """Sets the statistics and parameters of every norm to nontrivial values, and switches to evaluation mode."""
    rng = np.random.default_rng(0)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            for variable in (module.mean, module.bias):
                if variable is not None:
                    variable[...] = jax.device_put(rng.standard_normal(variable.shape).astype(variable.dtype))
            for variable in (module.var, module.scale):
                if variable is not None:
                    variable[...] = jax.device_put(rng.uniform(0.5, 2, variable.shape).astype(variable.dtype))
    model.eval()
    return model


def separable(make=nnx.BatchNorm, **options):
    options = {"depthwise_norm": make, "depthwise_activation": jax.nn.relu6, "pointwise_norm": make} | options
    options |= {"bias_init": nnx.initializers.normal(), "rngs": nnx.Rngs(0)}
    return evaluated(jds.nn.SeparableConv(4, 6, (3, 3), strides=2, **options))


def norms(model):
    return sum(isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_modules(model))


def equations(fun, *arguments, name="fused_conv", steps=(1, 2)):
    """Number of equations of a primitive; of fused ops, only those with one of these numbers of convolutions."""

    def is_counted(equation):
        block = equation.params.get("block")
        return equation.primitive.name == name and (block is None or len(getattr(block, "steps", ())) in steps)

    def walk(jaxpr):
        inner = [j for equation in jaxpr.eqns for j in jaxprs_in_params(equation.params)]
        return sum(map(is_counted, jaxpr.eqns)) + sum(map(walk, inner))

    return walk(jax.make_jaxpr(fun)(*arguments).jaxpr)


run = nnx.jit(lambda model, images: model(images))


def assert_folded(model, images=IMAGES, tolerance=1e-4):
    """Folds the model, and checks the result and that the model itself is unchanged."""
    want = run(model, images)
    before = nnx.graphdef(model), jax.tree.leaves(nnx.state(model))
    folded = jds.fold_batch_norm(model)
    assert type(folded) is type(model)
    assert nnx.graphdef(model) == before[0]
    assert all(a is b for a, b in zip(jax.tree.leaves(nnx.state(model)), before[1], strict=True))
    scale = float(jnp.abs(want).max())
    np.testing.assert_allclose(
        run(folded, images).astype(jnp.float32), want.astype(jnp.float32), rtol=tolerance, atol=tolerance * scale
    )
    return folded


@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": False},
        {"use_bias": True},
        {"make": functools.partial(norm, use_scale=False)},
        {"make": functools.partial(norm, use_bias=False, use_scale=False), "use_bias": False},
        {"make": functools.partial(norm, epsilon=0.1), "channel_multiplier": 2},
        {"implementation": "xla", "depthwise_activation": jnp.tanh},
        {"padding": "CIRCULAR", "kernel_dilation": 2, "pointwise_activation": jax.nn.silu},
        {"pointwise_norm": None},
    ],
    ids=lambda options: " ".join(options),
)
def test_a_separable_block_is_folded(options):
    block = separable(**options)
    folded = assert_folded(block)
    assert norms(folded) == 0
    assert all(type(v) is nnx.Param for v in jax.tree.leaves(folded, is_leaf=lambda v: isinstance(v, nnx.Variable)))
    assert equations(folded, IMAGES) == (options.get("depthwise_activation") is not jnp.tanh)
    assert folded.depthwise.implementation == block.depthwise.implementation
    # Folding again changes nothing.
    again = jds.fold_batch_norm(folded)
    assert nnx.graphdef(again) == nnx.graphdef(folded)
    assert again is not folded


@pytest.mark.parametrize("make", [None, lambda f, rngs: nnx.LayerNorm(f, rngs=rngs)], ids=["none", "layer norm"])
def test_other_norms_are_kept(make):
    block = separable(depthwise_norm=make, use_bias=False)
    folded = assert_folded(block)
    assert folded.pointwise_norm is None
    assert type(folded.depthwise_norm) is type(block.depthwise_norm)
    assert equations(folded, IMAGES, steps=(2,)) == (make is None)


def test_norms_that_cannot_be_folded_are_kept():
    block = separable(
        functools.partial(norm, axis=1), depthwise_norm=lambda f, rngs: nnx.BatchNorm(5, axis=1, rngs=rngs)
    )
    block.pointwise_norm = None
    assert norms(assert_folded(block)) == 1
    alone = evaluated(
        nnx.Sequential(nnx.BatchNorm(4, rngs=nnx.Rngs(0)), jax.nn.relu, nnx.BatchNorm(4, rngs=nnx.Rngs(1)))
    )
    assert norms(assert_folded(alone)) == 2


@pytest.mark.parametrize("half", ["depthwise", "pointwise"])
def test_a_half_of_another_class_is_not_folded(half):
    class Doubled(type(getattr(separable(), half))):
        def __call__(self, inputs):
            return 2 * super().__call__(inputs)

    block = separable()
    replaced = nnx.clone(getattr(block, half))
    replaced.__class__ = Doubled
    setattr(block, half, replaced)
    assert norms(assert_folded(block)) == 1


@pytest.mark.parametrize("norm_dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize(
    "options",
    [{"param_dtype": jnp.bfloat16}, {"param_dtype": jnp.bfloat16, "dtype": jnp.float32}, {"dtype": jnp.bfloat16}],
    ids=str,
)
def test_16_bit_kernels_and_dtypes_of_results_are_kept(options, norm_dtype):
    images = IMAGES.astype(options.get("dtype", jnp.bfloat16))
    with jax.numpy_dtype_promotion("standard"):
        block = separable(functools.partial(norm, dtype=norm_dtype), **options)
        folded = assert_folded(block, images, tolerance=2e-2)
        assert norms(folded) == 0
        np.testing.assert_array_equal(folded.pointwise.kernel, block.pointwise.kernel)
        assert folded(images).dtype == block(images).dtype
        # One fused op if the norm's results have the convolution's dtype.
        assert equations(folded, images, steps=(2,)) == (images.dtype == (norm_dtype or jnp.float32))


def test_masks_and_metadata_are_kept():
    mask = jnp.asarray(np.random.default_rng(0).integers(0, 2, (1, 1, 4, 6)), jnp.float32)
    block = separable(kernel_metadata={"tag": "kernel"}, bias_metadata={"tag": "bias"})
    block.pointwise.mask = mask
    folded = assert_folded(block)
    assert folded.pointwise.kernel.get_metadata() == block.pointwise.kernel.get_metadata()
    assert folded.pointwise.bias.tag == "bias"
    made = functools.partial(norm, bias_metadata={"tag": "offset"})
    assert assert_folded(separable(made, use_bias=False)).depthwise.bias.tag == "offset"


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharding_is_kept(axis_type):
    with jax.set_mesh(jax.make_mesh((2,), ("features",), axis_types=(axis_type,))):
        sharding = (None, None, None, "features")
        block = separable(use_bias=False, kernel_metadata={"out_sharding": sharding})
        folded = jds.fold_batch_norm(block)
    for model in (folded, jds.fold_batch_norm(block)):  # the second one folded outside the mesh
        kernel = model.pointwise.kernel
        assert kernel.get_metadata() == block.pointwise.kernel.get_metadata()
        assert kernel[...].sharding == block.pointwise.kernel[...].sharding


class Shared(nnx.Module):
    """A block in two places, and a convolution before two norms."""

    foldable_norms = {"first_norm": "first", "second_norm": "second"}  # noqa: RUF012

    def __init__(self):
        self.block = jds.nn.SeparableConv(
            4, 4, (3, 3), depthwise_norm=nnx.BatchNorm, pointwise_norm=nnx.BatchNorm, rngs=nnx.Rngs(0)
        )
        self.blocks = nnx.List([self.block, self.block])
        self.first = self.second = nnx.Conv(4, 4, (3, 3), rngs=nnx.Rngs(1))
        self.first_norm = nnx.BatchNorm(4, rngs=nnx.Rngs(2))
        self.second_norm = nnx.BatchNorm(4, rngs=nnx.Rngs(3))

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        x = self.first(x) if self.first_norm is None else self.first_norm(self.first(x))
        return self.second(x) if self.second_norm is None else self.second_norm(self.second(x))


def test_shared_blocks_stay_shared():
    folded = assert_folded(evaluated(Shared()))
    assert norms(folded) == 0
    assert folded.block is folded.blocks[0] is folded.blocks[1]
    assert folded.first is not folded.second  # each has its own norm folded in


def test_sequences_keep_their_names():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Conv(4, 6, (3, 3), use_bias=False, rngs=rngs),
        nnx.BatchNorm(6, rngs=rngs),
        jax.nn.relu,
        jds.nn.DepthwiseConv(6, (3, 3), rngs=rngs),
        nnx.BatchNorm(6, rngs=rngs),
        nnx.Sequential(jds.nn.PointwiseConv(6, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)),
    )
    folded = assert_folded(evaluated(model))
    assert norms(folded) == 0
    names = {path[:2] for path, _ in nnx.to_flat_state(nnx.state(folded))}
    assert names == {("layers", 0), ("layers", 3), ("layers", 5)}


def test_training_mode_is_refused():
    model = nnx.Sequential(jax.nn.relu, separable())
    model.train()
    with pytest.raises(
        ValueError, match=r"layers.1.depthwise_norm has use_running_average=False; call `model.eval\(\)`"
    ):
        jds.fold_batch_norm(model)


@pytest.mark.parametrize("apart", [True, False], ids=["separable", "ordinary"])
def test_a_folded_mobilenet_is_fourteen_fused_ops(apart):
    model = evaluated(MobileNetV1(MobileNetV1Config(width=0.25, num_classes=5, separable=apart), rngs=nnx.Rngs(0)))
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 33, 32, 3)), jnp.float32)
    folded = jds.fold_batch_norm(model)
    want = run(model, images)
    np.testing.assert_allclose(run(folded, images), want, rtol=1e-4, atol=1e-4 * float(jnp.abs(want).max()))
    assert equations(model, images) == 0
    assert equations(folded, images) == 14
    assert norms(folded) == 0
    graph, state = nnx.split(folded)
    assert {type(v) for _, v in nnx.to_flat_state(state)} == {nnx.Param}
    assert equations(nnx.merge(graph, state), images) == 14
    # Under differentiation, the convolutions run separately, as always.
    gradient = nnx.grad(lambda model, images: model(images).sum())
    assert equations(gradient, folded, images) == 0


def test_training_without_norms_is_unchanged():
    """The block's gradient has the same equations as the gradient of its halves called separately."""
    block = jds.nn.SeparableConv(
        4, 6, (3, 3), depthwise_activation=jax.nn.relu, pointwise_activation=jax.nn.silu, rngs=nnx.Rngs(0)
    )

    def halves(block, x):
        return jax.nn.silu(block.pointwise(jax.nn.relu(block.depthwise(x))))

    def at_once(block, x):
        return block(x)

    def primitives(f):
        jaxpr = jax.make_jaxpr(nnx.grad(lambda block, x: jnp.sum(f(block, x) ** 2)))(block, IMAGES).jaxpr
        return sorted(e.primitive.name for e in jaxpr.eqns)

    assert primitives(at_once) == primitives(halves)
    np.testing.assert_allclose(run(block, IMAGES), nnx.jit(halves)(block, IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["strides", "class", "dtype", "implementation"])
def test_halves_that_were_changed_are_called_one_by_one(change):
    block = separable(depthwise_norm=None, pointwise_norm=None)
    if change == "strides":
        block.pointwise = jds.nn.PointwiseConv(4, 6, strides=2, rngs=nnx.Rngs(1))
    elif change == "class":
        block.pointwise = nnx.Conv(4, 6, (3, 3), rngs=nnx.Rngs(1))
    elif change == "dtype":
        block.pointwise = jds.nn.PointwiseConv(4, 6, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(1))
    else:
        block.pointwise.implementation = "xla"
    with jax.numpy_dtype_promotion("standard"):
        want = nnx.jit(lambda block: block.pointwise(jax.nn.relu6(block.depthwise(IMAGES))))(block)
        np.testing.assert_allclose(run(block, IMAGES), want, rtol=1e-5, atol=1e-5)
        assert equations(block, IMAGES, steps=(2,)) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.bfloat16, 2e-2)])
def test_each_size_of_a_mixed_convolution_is_one_fused_op_once_folded(dtype, tolerance):
    config = jds.nn.LayerConfig(dtype=dtype, norm=functools.partial(norm, dtype=dtype))
    options = {"kernel_sizes": (3, 5, 7), "depthwise": True, "config": config}
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 8)), dtype)

    def folded(activation):
        layer = jds.nn.ConvNorm(8, 8, activation=activation, **options, rngs=nnx.Rngs(0))
        return assert_folded(evaluated(layer), images, tolerance)

    with jax.numpy_dtype_promotion("standard"):
        assert equations(folded(jax.nn.silu), images) == 3
        assert equations(folded(jax.nn.silu), images, name="logistic") == 3  # inside of them
        # A function that jds does not know may depend on all channels.
        assert equations(folded(jax.nn.softmax), images, name="reduce_max") == 1
