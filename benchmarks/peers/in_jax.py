"""jds and XLA's own convolutions, in JAX."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jds
from benchmarks.harness.worker import Program
from benchmarks.harness.workloads import Workload, normal
from benchmarks.peers import mobilenet_v1, mobilenet_v1_weights
from benchmarks.peers.mobilenet_v1_weights import flatten
from benchmarks.peers.public import network


def program(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> Program:
    """A jitted function of arrays that are already on the device."""

    def compile():
        jax.clear_caches()
        compiled = jax.jit(lambda *arguments: fun(*arguments)).lower(*arguments).compile()
        return lambda: jax.block_until_ready(compiled(*arguments))

    return Program(compile, lambda out: {"out": np.asarray(out)})


def op(spec: dict[str, Any]) -> Program:
    """A pass of a depthwise layer, a separable block, or a matrix product."""
    if spec["pass"] == "product":
        size = spec["size"]
        return program(jnp.matmul, (jnp.asarray(normal(0, size, size)), jnp.asarray(normal(1, size, size))))
    workload = Workload(**spec["workload"])
    inputs, kernel, pointwise, cotangent = map(jnp.asarray, workload.arrays(spec["batch"]))
    options: Any = {"strides": workload.stride, "implementation": spec["implementation"]}
    depthwise = functools.partial(jds.depthwise_conv, **options)

    def input_gradient(kernel, cotangent):
        return jax.linear_transpose(lambda inputs: depthwise(inputs, kernel), inputs)(cotangent)[0]

    def kernel_gradient(inputs, cotangent):
        return jax.linear_transpose(lambda kernel: depthwise(inputs, kernel), kernel)(cotangent)[0]

    match spec["pass"]:
        case "forward":
            return program(depthwise, (inputs, kernel))
        case "input gradient":
            return program(input_gradient, (kernel, cotangent))
        case "kernel gradient":
            return program(kernel_gradient, (inputs, cotangent))
        case "block" if spec.get("ordinary"):
            # One ordinary convolution that computes the same values.
            both = kernel.transpose(0, 1, 3, 2) * pointwise
            return program(functools.partial(jds.conv, **options), (inputs, both))
        case "block":
            return program(functools.partial(jds.separable_conv, **options), (inputs, kernel, pointwise))
        case other:
            raise NotImplementedError(f"no pass {other!r}")


def inference(spec: dict[str, Any]) -> Program:
    """A network of `jds.list_models`, ready for inference."""
    return program(jds.freeze(network(spec, spec["implementation"])), (jnp.asarray(mobilenet_v1.images(spec)),))


def training(spec: dict[str, Any]) -> Program:
    """MobileNet V1's training step: cross-entropy, gradients, SGD with momentum, running statistics."""
    model = mobilenet_v1_weights.load(spec)
    model.train()
    graph, parameters, statistics = nnx.split(model, nnx.Param, ...)
    optimizer = optax.sgd(spec["learning_rate"], spec["momentum"])
    images, labels = jnp.asarray(mobilenet_v1.images(spec)), jnp.asarray(mobilenet_v1.labels(spec))

    def loss(parameters, statistics, images, labels):
        model = nnx.merge(graph, parameters, statistics, copy=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean(), nnx.state(model, nnx.Not(nnx.Param))

    def step(state, images, labels):
        parameters, statistics, moments = state
        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, statistics, images, labels)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(parameters, updates), statistics, moments), value

    def compile():
        jax.clear_caches()
        # Copies, because a step reuses its state's memory.
        state = jax.tree.map(jnp.copy, (parameters, statistics, optimizer.init(parameters)))
        compiled = jax.jit(step, donate_argnums=0).lower(state, images, labels).compile()

        def call():
            nonlocal state
            state, value = jax.block_until_ready(compiled(state, images, labels))
            return state, value

        return call

    def arrays(out):
        (_, statistics, moments), value = out
        # After the first step, the momentum equals the gradient.
        gradients = {f"gradient {name}": array for name, array in flatten(moments[0].trace).items()}
        # Not the variances: PyTorch keeps the unbiased ones, Flax the biased ones.
        means = {f"mean {name}": array for name, array in flatten(statistics).items() if name.endswith("mean")}
        return {"loss": np.asarray(value), **gradients, **means}

    return Program(compile, arrays)
