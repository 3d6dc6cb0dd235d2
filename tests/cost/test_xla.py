"""XLA's own counts: what is unknown stays unknown."""

import jax
import jax.numpy as jnp
import pytest

from jds import cost


def test_matrix_product_is_counted_before_and_after_compilation():
    shapes = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32)
    for dot in (jnp.dot, jax.jit(jnp.dot)):
        assert cost.xla_flops(dot, *shapes) == (2 * 8 * 16 * 4, 2 * 8 * 16 * 4)


def test_program_without_arithmetic_is_unknown_not_zero():
    assert cost.xla_flops(lambda x: x.T, jnp.ones((2, 3))) == (None, None)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="on the CPU it is a call of LAPACK")
def test_custom_call_is_unknown_not_zero():
    assert cost.xla_flops(jnp.linalg.cholesky, jnp.eye(4)) == (None, None)


@pytest.mark.parametrize("properties", [None, {}, {"flops": -1.0}, {"bytes accessed": 4.0}])
def test_what_xla_does_not_say_is_unknown(monkeypatch, properties):
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: properties)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: properties)
    assert cost.xla_flops(jnp.dot, jnp.ones(3), jnp.ones(3)) == (None, None)
