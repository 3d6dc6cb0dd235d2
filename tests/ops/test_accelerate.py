"""`accelerate` inside, outside and between JAX's transformations, in every layout, and its values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P
from plain import arrays, convolve, network
from programs import without_attribute
from workloads import WORKLOADS

import jds

pytestmark = pytest.mark.usefixtures("quick_compilation")


def gradient(f):
    return jax.value_and_grad(lambda x, k: jnp.sum(f(x, k) ** 2), (0, 1))


def _custom_jvp(f):
    wrapped = jax.custom_jvp(f)
    wrapped.defjvp(lambda primals, tangents: jax.jvp(f, primals, tangents))
    return wrapped


def _custom_vjp(f):
    wrapped = jax.custom_vjp(f)
    wrapped.defvjp(lambda x, k: (f(x, k), (x, k)), lambda kept, g: jax.vjp(f, *kept)[1](2 * g))
    return wrapped


def _custom_vjp_nondiff(f):
    wrapped = jax.custom_vjp(lambda scale, x, k: scale * f(x, k), nondiff_argnums=(0,))
    wrapped.defvjp(lambda s, x, k: (s * f(x, k), (x, k)), lambda s, kept, g: jax.vjp(f, *kept)[1](s * g))
    return functools.partial(wrapped, 3.0)


def _custom_vmap(f):
    wrapped = jax.custom_batching.custom_vmap(f)

    @wrapped.def_vmap
    def rule(size, batched, x, k):
        return jax.vmap(f, [0 if b else None for b in batched])(x, k), True

    return lambda x, k: jax.vmap(wrapped, (0, None))(jnp.stack([x, -x]), k)


def _shard_map(f):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch"))


def _vjp_called_elsewhere(f):
    # The pullback is called outside the function in which it was made.
    return lambda x, k: (lambda out, pullback: pullback(jnp.cos(out)))(*jax.vjp(f, x, k))


def _remat(policy):
    return lambda f: gradient(jax.checkpoint(lambda x, k: jnp.sin(f(jnp.sin(f(x, k)), k)), policy=policy))


POLICIES = jax.checkpoint_policies
TRANSFORMATIONS = {
    "as it is": lambda f: f,
    "jit": jax.jit,
    "jit of jit": lambda f: jax.jit(lambda x, k: f(f(x, k), k)),
    "scan": lambda f: lambda x, k: lax.scan(lambda c, _: (f(c, k), c.sum()), x, length=3),
    "grad of scan": lambda f: gradient(lambda x, k: lax.scan(lambda c, _: (f(c, k), None), x, length=3)[0]),
    "while": lambda f: lambda x, k: lax.while_loop(lambda c: c[1] < 3, lambda c: (f(c[0], k), c[1] + 1), (x, 0))[0],
    "cond": lambda f: lambda x, k: lax.cond(x.sum() > 0, f, lambda x, k: f(2 * x, k), x, k),
    "switch": lambda f: gradient(lambda x, k: lax.switch(1, [f, lambda x, k: f(2 * x, k)], x, k)),
    "map": lambda f: lambda x, k: lax.map(lambda image: f(image[None], k)[0], x, batch_size=2),
    "remat": _remat(None),
    "remat, save nothing": _remat(POLICIES.nothing_saveable),
    "remat, save products": _remat(POLICIES.dots_saveable),
    "custom_jvp": lambda f: lambda x, k: jax.jvp(_custom_jvp(f), (x, k), (k.sum() * x, k)),
    "grad of custom_jvp": lambda f: gradient(_custom_jvp(f)),
    "custom_vjp": _custom_vjp,
    "grad of custom_vjp": lambda f: gradient(_custom_vjp(f)),
    "grad of jit of custom_vjp": lambda f: gradient(jax.jit(_custom_vjp(f))),
    "custom_vjp, static argument": lambda f: gradient(_custom_vjp_nondiff(f)),
    "custom_vmap": _custom_vmap,
    "vmap": lambda f: lambda x, k: jax.vmap(f, (0, None))(jnp.stack([x, -x]), k),
    "grad of vmap": lambda f: gradient(lambda x, k: jax.vmap(f)(jnp.stack([x, -x]), jnp.stack([k, 2 * k]))),
    "shard_map": _shard_map,
    "grad of shard_map": lambda f: gradient(_shard_map(f)),
    "grad": gradient,
    "jvp": lambda f: lambda x, k: jax.jvp(f, (x, k), (jnp.cos(x), jnp.sin(k))),
    "linearize": lambda f: lambda x, k: jax.linearize(f, x, k)[1](jnp.cos(x), jnp.sin(k)),
    "vjp called elsewhere": _vjp_called_elsewhere,
    "jacfwd": lambda f: lambda x, k: jax.jacfwd(lambda k: f(x, k))(k),
    "jacrev": lambda f: lambda x, k: jax.jacrev(lambda k: f(x, k).sum((1, 2)))(k),
    "hessian": lambda f: lambda x, k: jax.hessian(lambda k: jnp.sum(f(x, k) ** 2))(k),
    "closure_convert": lambda f: (
        lambda x, k: (lambda pure, constants: pure(x, *constants))(*jax.closure_convert(lambda x: f(x, k), x))
    ),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_are_replaced_and_keep_their_values(name):
    transform = TRANSFORMATIONS[name]
    with jax.enable_x64(True):
        x, k = arrays(jnp.float64)
        plain = jax.jit(transform(network)).lower(x, k)
        assert "stablehlo.convolution" in plain.as_text()
        want = plain.compile()(x, k)
        seen = None
        for accelerated in (jds.accelerate(transform(network)), transform(jds.accelerate(network))):
            lowered = jax.jit(accelerated).lower(x, k)
            text = without_attribute(lowered.as_text())
            assert "stablehlo.convolution" not in text
            if text != seen:  # outside and inside mostly yield the same program
                got = lowered.compile()(x, k)
                jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)
            seen = text


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda",), ("cpu", "cuda")], ids=str)
def test_export_replaces_convolutions_on_the_cpu_only(platforms):
    x, k = arrays()
    exported = jax.export.export(jax.jit(jds.accelerate(network)), platforms=platforms)(x, k)
    # Only platforms other than the CPU keep lax's two convolutions.
    assert exported.mlir_module().count("stablehlo.convolution") == (2 if "cuda" in platforms else 0)
    if "cpu" in platforms:
        again = jax.export.deserialize(exported.serialize())
        np.testing.assert_allclose(again.call(x, k), network(x, k), rtol=1e-5, atol=1e-6)


LAYOUTS = {
    "NCHW": ((2, 4, 6, 5), (4, 1, 3, 3), ("NCHW", "OIHW", "NCHW")),
    "CHWN": ((4, 6, 5, 2), (1, 3, 3, 4), ("CHWN", "IHWO", "CHWN")),
    "mixed": ((2, 4, 6, 5), (3, 3, 1, 8), ("NCHW", "HWIO", "NHWC")),
    "1D": ((2, 4, 6), (4, 1, 3), ("NCW", "OIW", "NCW")),
    "3D": ((2, 4, 6, 5, 3), (4, 1, 3, 3, 2), ("NCDHW", "OIDHW", "NCDHW")),
    "pointwise NCHW": ((2, 4, 6, 5), (7, 4, 1, 1), ("NCHW", "OIHW", "NCHW")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_forward_and_backward(layout):
    shape, kernel, numbers = LAYOUTS[layout]
    groups = 1 if "pointwise" in layout else 4
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, k = jnp.asarray(rng.standard_normal(shape)), jnp.asarray(rng.standard_normal(kernel))
        plain = gradient(functools.partial(convolve, strides=2, numbers=numbers, groups=groups))
        want, got = (jax.jit(fun).lower(x, k) for fun in (plain, jds.accelerate(plain)))
        assert want.as_text().count("stablehlo.convolution") == 3
        assert "stablehlo.convolution" not in got.as_text()
        got, want = (lowered.compile()(x, k) for lowered in (got, want))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)


# Half the distance between adjacent numbers near 1.
ROUNDING = {jnp.float32: 2.0**-24, jnp.bfloat16: 2.0**-8}
SUMS = [
    WORKLOADS[2],
    WORKLOADS[4],
    WORKLOADS[0]._replace(inputs=(4, 28, 28, 32), kernel=(3, 3, 1, 32)),
    WORKLOADS[6]._replace(inputs=(2, 14, 14, 256), kernel=(1, 1, 256, 64)),
]


@pytest.mark.parametrize("workload", SUMS, ids=str)
def test_values_agree_to_the_tolerance_that_accelerate_states(workload):
    def passes(implementation):
        def run(inputs, kernel, cotangent):
            out, vjp = jax.vjp(lambda *a: workload.call(*a, implementation), inputs, kernel)
            return out, *vjp(cotangent)

        return jax.jit(run)

    ours, xla = passes(None), passes("xla")
    with jax.enable_x64(True):
        for dtype in ROUNDING:
            operands = workload.arrays(dtype)
            doubles = [np.asarray(operand).astype(np.float64) for operand in operands]
            runs = [ours(*operands), xla(*operands)]
            runs += [xla(*doubles), xla(*map(np.abs, doubles)), xla(*map(np.ones_like, doubles))]
            for a, b, e, m, n in zip(*(map(np.asarray, run) for run in runs), strict=True):
                bound = 2 * n * ROUNDING[jnp.float32] * m
                if dtype != jnp.float32:  # rounding of the result
                    bound += 2 * ROUNDING[dtype] * (np.abs(e) + bound)
                assert (np.abs(a.astype(np.float64) - b.astype(np.float64)) <= bound).all()
