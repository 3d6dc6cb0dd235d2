"""The table of convolutions that drives the tests of values, derivatives and transformations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jds


class Workload(NamedTuple):
    """A call to one of the functions; `inputs` and `kernel` are shapes."""

    name: str
    function: str
    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    options: dict

    def __str__(self):
        return self.name

    def call(self, inputs, kernel, implementation=None):
        """Runs the function."""
        return getattr(jds, self.function)(inputs, kernel, implementation=implementation, **self.options)

    def arrays(self, dtype=jnp.float32, seed=0):
        """Random inputs, kernel and cotangent."""
        rng = np.random.default_rng(seed)

        def array(shape):
            # By `jnp.asarray`, each shape would be compiled.
            return jax.device_put(rng.standard_normal(shape).astype(dtype))

        inputs, kernel = array(self.inputs), array(self.kernel)
        return inputs, kernel, array(jax.eval_shape(self.call, inputs, kernel).shape)


WORKLOADS = (
    Workload("depthwise 2d", "depthwise_conv", (2, 6, 5, 4), (3, 2, 1, 4), {}),
    Workload("depthwise 2d, stride 2", "depthwise_conv", (2, 7, 6, 4), (3, 3, 1, 4), {"strides": 2}),
    Workload(
        "depthwise 2d, uneven",
        "depthwise_conv",
        (2, 9, 8, 3),
        (3, 2, 1, 6),
        {"strides": (2, 3), "kernel_dilation": (3, 2), "padding": ((2, 1), (0, 3))},
    ),
    Workload(
        "depthwise 2d, transposed", "depthwise_conv", (2, 4, 3, 4), (2, 3, 1, 4), {"input_dilation": 2, "padding": 1}
    ),
    Workload("depthwise 1d, causal", "depthwise_conv", (2, 9, 3), (4, 1, 6), {"padding": "CAUSAL"}),
    Workload("depthwise 3d", "depthwise_conv", (2, 3, 4, 3, 2), (2, 3, 1, 1, 2), {"strides": (1, 2, 1)}),
    Workload("pointwise 2d", "pointwise_conv", (2, 4, 3, 5), (1, 1, 5, 3), {}),
    Workload("pointwise 2d, stride 2", "pointwise_conv", (2, 5, 4, 5), (1, 1, 5, 3), {"strides": 2}),
)
