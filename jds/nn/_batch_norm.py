"""Batch normalization with a cheaper gradient."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` as one multiplication and one addition per input.

    It computes the same function, with the same parameters, statistics and arguments. `nnx.BatchNorm` centers its
    inputs before it scales them, and its gradient needs the centered inputs: another array of the inputs' size that
    training has to write, keep and read. This class scales and shifts the inputs in one step; its gradient needs only
    the inputs, which are already in memory as the output of the preceding layer. Results differ by rounding: for each
    feature, by about `2**-23 * abs(mean) / std`. 16-bit inputs are normalized in float32, using the statistics, scale
    and bias as stored, and rounded once; `nnx.BatchNorm` first rounds all four to 16 bits.

    With `momentum=0.99`, running averages take several hundred steps to converge; a network evaluated earlier performs
    worse than in training. As in Flax and Keras, running variances are not corrected for bias. PyTorch's are: for n
    values, they are n / (n - 1) times as large; `unbiased_variance=True` does the same.

    A `mask`, `use_fast_variance=False`, and an `axis` that is not the last one fall back to `nnx.BatchNorm`.

    From Batch Normalization, https://arxiv.org/abs/1502.03167.

    Args:
      num_features: number of channels.
      unbiased_variance: whether running variances are unbiased, as in PyTorch.
      **options: as in `nnx.BatchNorm`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> norm = jds.nn.BatchNorm(4, rngs=nnx.Rngs(0))
      >>> norm(jnp.ones((2, 8, 8, 4))).shape
      (2, 8, 8, 4)
    """

    def __init__(self, num_features: int, *, unbiased_variance: bool = False, **options: Any):
        super().__init__(num_features, **options)
        self.unbiased_variance = unbiased_variance

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalizes `(..., num_features)`, in training mode with the mean and variance of the inputs."""
        if use_running_average is None:
            use_running_average = self.use_running_average
        is_plain = mask is None and self.use_fast_variance and self.axis in (-1, x.ndim - 1)
        if use_running_average is None or not is_plain:
            return super().__call__(x, use_running_average, mask=mask)
        variables = (self.mean, self.var, self.scale, self.bias)
        mean, var, scale, bias = (None if variable is None else variable[...] for variable in variables)
        # Only the inputs are promoted: statistics and parameters are never rounded to 16 bits.
        x, *_ = self.promote_dtype((x, mean, var, scale, bias), dtype=self.dtype)
        if not use_running_average:
            mean, var = self._statistics(x)
            for average, value in ((self.mean, mean), (self.var, self._of_all(var, x.size // x.shape[-1]))):
                moved = self.momentum * average[...] + (1 - self.momentum) * lax.stop_gradient(value)
                # `set_value` rather than `[...] =`, for which Flax prints the traced program.
                average.set_value(moved.astype(average[...].dtype))
        wide = at_least_float32(x.dtype)
        mean, var, scale, bias = (None if value is None else value.astype(wide) for value in (mean, var, scale, bias))
        factor, offset = factor_and_offset(mean, var, scale, bias, self.epsilon)
        factor, offset = (v.reshape((1,) * (x.ndim - 1) + v.shape) for v in (factor, offset))
        return (x.astype(wide) * factor + offset).astype(x.dtype)

    def _of_all(self, var: jax.Array, count: int) -> jax.Array:
        """Returns the variance for the running average, given the variance of `count` inputs per device."""
        if not self.unbiased_variance:
            return var
        if self.axis_name is not None:
            count = count * lax.psum(1, self.axis_name, axis_index_groups=self.axis_index_groups)
        return var * (count / max(count - 1, 1))

    def _statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and variance of each feature in at least float32, over all devices of `axis_name` if given."""
        x = x.astype(at_least_float32(x.dtype))
        axes = tuple(range(x.ndim - 1))
        mean, mean_of_squares = x.mean(axes), (x * x).mean(axes)
        if self.axis_name is not None:
            mean, mean_of_squares = lax.pmean(
                (mean, mean_of_squares), self.axis_name, axis_index_groups=self.axis_index_groups
            )
        return mean, jnp.maximum(0, mean_of_squares - mean * mean)


def factor_and_offset(mean: Any, var: Any, scale: Any, bias: Any, epsilon: float, xp: Any = jnp) -> tuple[Any, Any]:
    """Returns factor and offset of each channel in a batch normalization; `xp=np` computes with NumPy."""
    factor = lax.rsqrt(var + epsilon) if xp is jnp else 1 / xp.sqrt(var + epsilon)
    factor = factor if scale is None else factor * scale
    offset = -mean * factor
    return factor, offset if bias is None else offset + bias


def at_least_float32(dtype: DTypeLike) -> jnp.dtype:
    """Returns the dtype, or float32 if it has 16 bits."""
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize >= 4 else jnp.dtype(jnp.float32)
