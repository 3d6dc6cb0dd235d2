"""A program written without jds, with and without `jds.accelerate`: Keras's own MobileNetV2, on JAX."""

from typing import Any

import jax.numpy as jnp
import keras  # pyright: ignore[reportMissingImports]

from benchmarks.harness.worker import Program
from benchmarks.peers import mobilenet_v1
from benchmarks.peers.in_jax import program


def inference(spec: dict[str, Any]) -> Program:
    """MobileNetV2 in evaluation mode; the seed gives all contenders the same weights."""
    keras.utils.set_random_seed(0)
    size = spec["image_size"]
    nothing: Any = None  # allowed by Keras, but not by its annotations
    model = keras.applications.MobileNetV2((size, size, 3), weights=nothing, classifier_activation=nothing)
    groups = model.trainable_variables, model.non_trainable_variables
    variables = [[variable.value for variable in group] for group in groups]

    def forward(trainable, others, images):
        return model.stateless_call(trainable, others, images, training=False)[0]

    if spec["accelerate"]:
        import jds  # not imported in the process of plain Keras

        forward = jds.accelerate(forward)
    return program(forward, (*variables, jnp.asarray(mobilenet_v1.images(spec))))
