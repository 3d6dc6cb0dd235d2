"""Modules of all kinds have the rows of their attributes, however they are called, and keep their settings."""

import dataclasses
import functools
from typing import Any

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jds import cost

NAMES = [
    *("rematted_computation", "checkpoint", "remat2", "closed_call", "core_call", "shard_map", "eval_jaxpr"),
    *("while", "cond", "body", "branch_0_fun", "jvp", "vmap", "transpose", "jit", "pjit", "custom_jvp_call", "ij", "é"),
]  # fmt: skip
X = jax.ShapeDtypeStruct((4, 8), jnp.float32)


def tree(cls):
    """Registers a callable dataclass as a pytree, all of whose fields are children, as in Equinox."""
    cls = dataclasses.dataclass(eq=False)(cls)
    jax.tree_util.register_dataclass(cls, [field.name for field in dataclasses.fields(cls)], [])
    return cls


@tree
class Dense:
    weight: Any

    def __call__(self, x):
        return x @ self.weight


@tree
class Named:
    layers: dict

    def __call__(self, x):
        return functools.reduce(lambda x, layer: layer(x), self.layers.values(), x)


class NamedNnx(nnx.Module):
    def __init__(self, names):
        for name in names:
            setattr(self, name, nnx.Linear(8, 8, use_bias=False, rngs=nnx.Rngs(0)))
        self.names = tuple(names)

    def __call__(self, x):
        return functools.reduce(lambda x, name: getattr(self, name)(x), self.names, x)


class NamedLinen(flax.linen.Module):
    names: tuple

    @flax.linen.compact
    def __call__(self, x):
        return functools.reduce(lambda x, name: flax.linen.Dense(8, use_bias=False, name=name)(x), self.names, x)


TRANSFORMATIONS = {
    "plain": lambda call: call,
    "jit": jax.jit,
    "remat": lambda call: jax.grad(lambda x: jax.checkpoint(call)(x).sum()),
    "scan": lambda call: lambda x: jax.lax.scan(lambda x, _: (call(x), None), x, length=2)[0],
    "remat in scan": lambda call: jax.grad(
        lambda x: jax.lax.scan(lambda x, _: (jax.checkpoint(call)(x), None), x, length=2)[0].sum()
    ),
    "vmap": lambda call: lambda x: jax.vmap(call)(x[None]),
    "grad": lambda call: jax.grad(lambda x: call(x).sum()),
}


def rows_with_products(fun, *args):
    return [row.name for row in cost.analyze(fun, *args).by("layer") if row.macs]


@pytest.mark.parametrize("transformation", sorted(TRANSFORMATIONS))
def test_attributes_may_have_the_names_of_jax(transformation):
    transform = TRANSFORMATIONS[transformation]
    model = Named({name: Dense(jnp.ones((8, 8))) for name in NAMES})
    rows = [f"layers/{name}" for name in sorted(NAMES)]
    assert sorted(rows_with_products(transform(model), X)) == rows
    assert sorted(rows_with_products(lambda m, x: transform(functools.partial(m))(x), model, X)) == rows
    model = NamedNnx(NAMES)
    assert sorted(rows_with_products(lambda m, x: transform(m)(x), model, X)) == sorted(NAMES)
    model = NamedLinen(tuple(NAMES))
    variables = jax.eval_shape(model.init, jax.random.key(0), X)
    rows = rows_with_products(lambda v, x: transform(functools.partial(model.apply, v))(x), variables, X)
    assert sorted(rows) == [f"NamedLinen/{name}" for name in sorted(NAMES)]


@tree
class Block:
    first: Dense
    rest: list

    def __call__(self, x):
        return self.tail(jnp.tanh(self.first(x)))

    def tail(self, x):
        return self.rest[1](self.rest[0](x)) + 1


def block():
    return Block(Dense(jnp.ones((8, 8))), [Dense(jnp.ones((8, 8))), Dense(jnp.ones((8, 8)))])


def columns(fun, *args):
    return [(row.name, row.macs, row.parameters) for row in cost.analyze(fun, *args).by("layer")]


WAYS = {
    "jit": jax.jit,
    "vmap": jax.vmap,
    "checkpoint": jax.checkpoint,
    "partial": functools.partial,
    "lambda": lambda model: lambda x: model(x),
    "method": lambda model: model.__call__,
    "jitted method": lambda model: jax.jit(model.__call__),
    "nnx.jit": nnx.jit,
    "nnx.vmap": nnx.vmap,
    "nnx.remat": nnx.remat,
    "several": lambda model: jax.jit(jax.vmap(jax.checkpoint(functools.partial(model)))),
    "default": lambda model: lambda x, model=model: model(x),
    "attribute of an object": lambda model: Holder(model).run,
    "filter_jit": equinox.filter_jit,
    "filter_vmap": equinox.filter_vmap,
}


class Holder:
    def __init__(self, model):
        self.model = model

    def run(self, x):
        return self.model(x)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_rows_do_not_depend_on_the_way_of_calling(way):
    model = block()
    rows = columns(model, X)
    assert rows == [("first", 256, 64), ("", 0, 0), ("rest/0", 256, 64), ("rest/1", 256, 64)]
    assert columns(WAYS[way](model), X) == rows
    if way != "attribute of an object":  # the attribute is no argument
        assert columns(lambda model, x: WAYS[way](model)(x), model, X) == rows


def test_parts_and_methods_of_a_dataclass_have_its_rows():
    model = block()
    assert columns(model.tail, X)[:2] == [("rest/0", 256, 64), ("rest/1", 256, 64)]
    assert columns(lambda model, x: model.rest[1](model.first(x)), model, X) == [
        ("first", 256, 64),
        ("rest/1", 256, 64),
    ]


@tree
class Stacked:
    stem: Dense
    layers: Dense

    def __call__(self, x):
        return jax.lax.scan(lambda x, layer: (layer(x), None), self.stem.weight + x, self.layers)[0]


def test_dataclasses_that_a_loop_rebuilds_are_known_by_their_structure():
    @tree
    class Layer(Dense):
        pass

    model = Stacked(Dense(jnp.ones(8)), Layer(jnp.ones((3, 8, 8))))
    x = jax.ShapeDtypeStruct((8,), jnp.float32)
    assert rows_with_products(model, x) == ["layers"]
    assert set(rows_with_products(jax.grad(lambda m, x: m(x).sum()), model, x)) == {"layers"}
    # Two of the same structure: which of them it is cannot be known.
    assert rows_with_products(Stacked(Dense(jnp.ones(8)), Dense(jnp.ones((3, 8, 8)))), x) == ["Dense"]


@tree
class Configured:
    layer: Dense
    repeats: int
    scale: Any
    is_doubled: bool
    mode: str
    activation: Any
    nothing: None

    def __call__(self, x):
        for _ in range(self.repeats):
            x = self.layer(x)
        assert self.nothing is None
        return self.activation(x) * float(self.scale) * 2 if self.is_doubled and self.mode == "on" else x


@pytest.mark.parametrize("scale", [0.5, 2, np.float32(3), np.int64(3), np.bool_(True)])
@pytest.mark.parametrize("is_doubled", [True, False, np.bool_(True), np.bool_(False)])
def test_settings_are_not_traced_but_arrays_are(scale, is_doubled):
    repeats = np.int32(3) if isinstance(scale, np.generic) else 3
    model = Configured(Dense(np.ones((8, 8), np.float32)), repeats, scale, is_doubled, "on", jnp.tanh, None)
    for fun, *args in [(model, X), (lambda model, x: model(x), model, X), (lambda ms, x: ms["m"](x), {"m": model}, X)]:
        found = cost.analyze(fun, *args)
        layer = found.by("layer")[0]
        assert (layer.name, layer.macs, layer.parameters) == ("layer", 3 * 256, 64)
        assert found.total.parameters == 64
        assert found.total.counts.transcendentals == (32 if is_doubled else 0)


def test_arguments_that_are_numpy_s_booleans_are_options():
    def fun(x, train, scale):
        return x * scale if train else x

    found = [cost.analyze(fun, X, np.bool_(train), np.float32(3)).total.flops for train in (True, False)]
    assert found == [32, 0]


def test_settings_of_equinox_modules_are_kept():
    model = equinox.nn.Sequential(
        [
            equinox.nn.Linear(8, 8, key=jax.random.key(0)),
            equinox.nn.Lambda(jax.nn.relu),
            equinox.nn.Dropout(0.5),
            equinox.nn.Linear(8, 8, key=jax.random.key(1)),
        ]
    )
    x, key = jax.ShapeDtypeStruct((8,), jnp.float32), jax.random.key(0)
    found = cost.analyze(lambda model, x, key: model(x, key=key), model, x, key)
    assert [row.name for row in found.by("layer") if row.macs] == ["layers/0", "layers/3"]
    assert {row.name for row in found.by("layer") if row.flops} >= {"layers/1", "layers/2"}
    assert found.total.parameters == 2 * 72


@tree
class WithNnx:
    linear: nnx.Linear
    others: list

    def __call__(self, x):
        return self.others[0](self.linear(x))


class WithDataclass(nnx.Module):
    def __init__(self):
        self.block, self.linear = nnx.data(block()), nnx.Linear(8, 8, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.linear(self.block(x))


def test_modules_of_two_kinds_may_be_in_each_other():
    linears = [nnx.Linear(8, 8, rngs=nnx.Rngs(0)) for _ in range(2)]
    mixed = WithNnx(linears[0], linears[1:])
    for fun in (mixed, lambda x: mixed(x), jax.vmap(mixed)):
        assert columns(fun, X) == [("linear", 256, 72), ("others/0", 256, 72)]
    assert not any(hasattr(linear, "_jds_cost_path") for linear in linears)
    mixed = WithDataclass()
    for fun in (mixed, lambda x: mixed(x)):
        assert rows_with_products(fun, X) == ["block/first", "block/rest/0", "block/rest/1", "linear"]


def test_dataclasses_need_no_registration_and_may_be_frozen():
    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        weight: Any
        inner: Any = None

        def __call__(self, x):
            return (self.inner or jnp.tanh)(x @ self.weight)

    weight = jnp.ones((8, 8))
    assert columns(Frozen(weight, Frozen(weight, Dense(weight))), X) == [
        *(("", 256, 64), ("inner", 256, 0), ("inner/inner", 256, 0))
    ]


def test_methods_that_are_inherited_have_rows():
    class Mixin:
        def __call__(self, x):
            return x @ self.weight

    @tree
    class Inherited(Mixin):
        weight: Any

    class Plain(Mixin):
        weight = np.ones((8, 8), np.float32)

    outer = Named({"a": Inherited(jnp.ones((8, 8))), "b": Inherited(jnp.ones((8, 8)))})
    assert rows_with_products(lambda x: Plain()(outer(x)), X) == ["layers/a", "layers/b", ""]
    assert not hasattr(Mixin.__call__, "__wrapped__")


def test_arrays_that_jitted_functions_close_over_are_counted_once():
    model = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    jitted = jax.jit(lambda x: model(x))
    found = cost.analyze(lambda x: jitted(jitted(x)) + model(x), X)
    assert (found.total.parameters, found.total.macs) == (72, 3 * 256)
    assert found.memory.parts["parameters"] == 72 * 4
    assert cost.analyze(lambda x: jitted(x), X, parameter_argnums=()).total.parameters == 0


@pytest.mark.parametrize("way", ["vmap", "partial", "lambda", "jit"])
def test_modules_without_arrays_must_be_arguments(way):
    model = jax.eval_shape(block)
    assert rows_with_products(model, X) == ["first", "rest/0", "rest/1"]
    assert rows_with_products(lambda m, x: WAYS[way](m)(x), model, X) == ["first", "rest/0", "rest/1"]
    with pytest.raises(TypeError, match="Pass a module without arrays as an argument"):
        cost.analyze(WAYS[way](model), X)
