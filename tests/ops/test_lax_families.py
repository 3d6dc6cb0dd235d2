"""Convolutions like those in JAX's own tests, under `jds.install()`: the same results, or the same error.

The families are those of `lax_test.py` (`testConvGeneralDilated`, `testConv0D`, the patches), `lax_autodiff_test.py` and
`lax_vmap_test.py`, drawn more widely: 0 to 5 spatial axes, any groups, negative padding, arrays of size 0, all layouts.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jds

pytestmark = pytest.mark.usefixtures("quick_compilation")

DTYPES = (np.float32, np.float32, np.float32, jnp.bfloat16, np.float16, np.float64, np.int32, np.complex64)
TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-4}


@pytest.fixture
def installed():
    jds.install()
    yield
    jds.uninstall()


def draw(rng, dtype):
    """Draws the operands and parameters of a convolution."""
    rank = int(rng.choice([0, 1, 1, 2, 2, 2, 3, 4, 5]))
    feature_groups, batch_groups = ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (4, 1))[rng.integers(6)]
    batch, in_features, out_features = rng.integers(1, 4, 3)
    if rng.random() < 0.05:
        batch = 0
    kernel, strides = rng.integers(1, 4, rank), rng.integers(1, 4, rank)
    lhs_dilation, rhs_dilation = (rng.integers(1, 3, rank) if rng.random() < 0.4 else np.ones(rank, int) for _ in "lr")
    size = rng.integers(1, 8 if rank < 3 else 4, rank)
    padding = [(int(low), int(high)) for low, high in rng.integers(-2, 3, (rank, 2))]
    lhs = (batch * batch_groups, in_features * feature_groups, *size)
    rhs = (out_features * feature_groups * batch_groups, in_features, *kernel)
    # Any order of dimensions.
    specs = [tuple(int(n) for n in rng.permutation(rank + 2)) for _ in range(3)]
    operands = [
        jnp.asarray(rng.integers(-4, 5, shape) / 2, dtype).transpose(np.argsort(spec))
        for shape, spec in zip((lhs, rhs), specs, strict=False)
    ]
    return operands, {
        "window_strides": tuple(map(int, strides)),
        "padding": padding,
        "lhs_dilation": tuple(map(int, lhs_dilation)),
        "rhs_dilation": tuple(map(int, rhs_dilation)),
        "dimension_numbers": lax.ConvDimensionNumbers(*specs),
        "feature_group_count": feature_groups,
        "batch_group_count": batch_groups,
    }


def exact(operands, params):
    """The convolution by its definition, in NumPy: it pads and dilates first, and does not depend on XLA."""
    numbers = params["dimension_numbers"]
    lhs, rhs = (
        np.asarray(x).astype(np.complex128).transpose(spec) for x, spec in zip(operands, numbers[:2], strict=True)
    )
    feature_groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    groups = feature_groups * batch_groups
    for axis, ((low, high), spread, step) in enumerate(
        zip(params["padding"], params["lhs_dilation"], params["rhs_dilation"], strict=True), start=2
    ):
        lhs = stretch(lhs, axis, spread)
        width = [(0, 0)] * lhs.ndim
        width[axis] = (max(low, 0), max(high, 0))
        lhs = np.pad(lhs, width).take(
            range(max(-low, 0), lhs.shape[axis] + max(low, 0) + min(high, 0) + max(high, 0)), axis
        )
        rhs = stretch(rhs, axis, step)
    sizes = [
        max(0, (n - k) // s + 1) for n, k, s in zip(lhs.shape[2:], rhs.shape[2:], params["window_strides"], strict=True)
    ]
    batch, out = lhs.shape[0] // batch_groups, np.zeros((lhs.shape[0] // batch_groups, rhs.shape[0], *sizes), complex)
    per = rhs.shape[0] // groups
    for g in range(groups):
        images = lhs[g // feature_groups * batch :][:batch] if batch_groups > 1 else lhs
        images = images[:, g % feature_groups * rhs.shape[1] :][:, : rhs.shape[1]]
        for p in itertools.product(*map(range, sizes)):
            window = tuple(
                slice(i * s, i * s + k) for i, s, k in zip(p, params["window_strides"], rhs.shape[2:], strict=True)
            )
            kernels = rhs[g * per : (g + 1) * per]
            out[(slice(None), slice(g * per, (g + 1) * per), *p)] = np.tensordot(
                images[(slice(None), slice(None), *window)], kernels, (range(1, lhs.ndim), range(1, lhs.ndim))
            )
    return out.transpose(np.argsort(numbers.out_spec))


def stretch(array, axis, dilation):
    """Inserts zeros between neighbors."""
    if dilation == 1 or not array.shape[axis]:
        return array
    shape = list(array.shape)
    shape[axis] = (shape[axis] - 1) * dilation + 1
    out = np.zeros(shape, array.dtype)
    out[(slice(None),) * axis + (slice(None, None, dilation),)] = array
    return out


def close(got, want, dtype):
    tolerance = TOLERANCE.get(jnp.dtype(dtype).name, 1e-9)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a).astype(np.complex128), np.asarray(b).astype(np.complex128), rtol=tolerance, atol=4 * tolerance
        ),
        got,
        want,
    )


def outcome(run):
    """The result, or the type of the error that is raised."""
    try:
        return run()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.usefixtures("installed")
def test_forward_matches_the_definition_or_raises_as_xla_does(seed):
    rng = np.random.default_rng(seed)
    dtype = DTYPES[seed % len(DTYPES)]
    with jax.enable_x64(dtype == np.float64):
        operands, params = draw(rng, dtype)

        def convolve(x, k):
            return lax.conv_general_dilated(x, k, **params)

        got = outcome(lambda: jax.jit(convolve)(*operands))
        if isinstance(got, type):  # XLA alone refuses it as well
            jds.uninstall()
            assert outcome(lambda: jax.jit(convolve)(*operands)) is got
        else:
            assert got.dtype == dtype
            close(got, exact(operands, params), dtype)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.usefixtures("installed")
def test_derivatives_and_batches_match_those_of_xla(seed):
    rng = np.random.default_rng(1000 + seed)
    operands, params = draw(rng, np.float32)
    # XLA computes a negative low padding with a positive high one wrongly.
    params["padding"] = [(abs(low), high) for low, high in params["padding"]]

    def convolve(x, k):
        return lax.conv_general_dilated(x, k, **params)

    def all_of_them(x, k):
        out, pull = jax.vjp(convolve, x, k)
        batched = [jax.vmap(convolve, axes)(*pair) for axes, pair in mapped(x, k)]
        each = jax.vmap(jax.grad(lambda k, x: jnp.sum(jnp.sin(convolve(x, k)))), (None, 0))(k, jnp.stack([x, 2 * x]))
        return out, pull(jnp.cos(out)), batched, each

    def mapped(x, k):
        xs, ks = jnp.stack([x, 2 * x], -1), jnp.stack([k, -k, 3 * k])
        return [((-1, None), (xs, k)), ((None, 0), (x, ks)), ((-1, 0), (xs, ks[:2]))]

    got = outcome(lambda: jax.jit(all_of_them)(*operands))
    jds.uninstall()
    want = outcome(lambda: jax.jit(all_of_them)(*operands))
    if isinstance(want, type):
        assert got is want
    else:
        close(got, want, np.float32)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4, 5])
@pytest.mark.usefixtures("installed")
def test_patches_match_those_of_xla(rank):
    # As in lax_test.py, testConvGeneralDilatedPatchesOverlapping1D etc.: depthwise with the identity as the kernel.
    x = jnp.asarray(np.random.default_rng(rank).standard_normal((2, 3, *(5,) * rank)), jnp.float32)
    patches = jax.jit(lambda x: lax.conv_general_dilated_patches(x, (2,) * rank, (1,) * rank, [(0, 1)] * rank))
    got = patches(x)
    jds.uninstall()
    np.testing.assert_array_equal(got, patches(x))


@pytest.mark.usefixtures("installed")
def test_a_kernel_without_positions_raises_the_error_of_lax():
    with pytest.raises(ValueError, match="window"):
        jax.jit(lambda x, k: lax.conv_general_dilated(x, k, (1, 1), [(0, 0)] * 2, feature_group_count=6))(
            jnp.ones((1, 6, 4, 4)), jnp.ones((6, 1, 0, 3))
        )
