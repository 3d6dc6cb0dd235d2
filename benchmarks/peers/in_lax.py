"""Layers written in plain JAX, with and without jds."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jds
from benchmarks.harness.worker import Program
from benchmarks.harness.workloads import normal
from benchmarks.peers.in_jax import program

_NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def layer(spec: dict[str, Any]) -> Program:
    """A pass of a convolution written without jds."""
    rank = len(spec["kernel"]) - 2 - (spec["ensemble"] != "none")
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=spec["strides"],
        padding=spec["padding"],
        dimension_numbers=_NUMBERS[rank],
        feature_group_count=spec["groups"],
    )
    if spec["ensemble"] != "none":
        convolve = jax.vmap(convolve, (0 if spec["ensemble"] == "both" else None, 0))
    inputs, kernel = (jnp.asarray(normal(seed, *spec[name])) for seed, name in enumerate(("inputs", "kernel")))
    cotangent = jnp.asarray(normal(2, *jax.eval_shape(convolve, inputs, kernel).shape))

    def input_gradient(kernel, cotangent):
        return jax.linear_transpose(lambda inputs: convolve(inputs, kernel), inputs)(cotangent)[0]

    def kernel_gradient(inputs, cotangent):
        return jax.linear_transpose(lambda kernel: convolve(inputs, kernel), kernel)(cotangent)[0]

    fun, arguments = {
        "forward": (convolve, (inputs, kernel)),
        "input gradient": (input_gradient, (kernel, cotangent)),
        "kernel gradient": (kernel_gradient, (inputs, cotangent)),
    }[spec["pass"]]
    return program(jds.accelerate(fun) if spec["accelerated"] else fun, arguments)
