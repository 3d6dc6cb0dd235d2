"""Batch normalisation that training pays little for."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` as one multiplication and one addition of each input.

    The same function with the same parameters, statistics and arguments. `nnx.BatchNorm` centres its inputs before it
    scales them, and its gradient needs the centred ones, an array as large as the inputs that training writes, keeps
    and reads once more. Here scale and offset of each feature come first, and the gradient needs the inputs only, which
    the convolution before has made. Results differ by rounding: by about `2**-23 * abs(mean) / std` of a feature.
    Inputs of 16 bits are normalized in float32, and rounded once.

    As in Flax, the running variance is that of the batch, and `momentum=0.99` takes some hundred steps to follow:
    evaluated before, a network is worse than in training. PyTorch multiplies the variance by `n / (n - 1)`, for the `n`
    numbers of a feature, which only shows where a feature has few.

    A `mask`, `use_fast_variance=False`, and an `axis` that is not the last one are `nnx.BatchNorm`'s affair.

    Batch normalisation is from https://arxiv.org/abs/1502.03167.

    Args:
      As of `nnx.BatchNorm`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> norm = jds.nn.BatchNorm(4, rngs=nnx.Rngs(0))
      >>> norm(jnp.ones((2, 8, 8, 4))).shape
      (2, 8, 8, 4)
    """

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalises `(..., num_features)`; in training mode by the inputs' own mean and variance."""
        if use_running_average is None:
            use_running_average = self.use_running_average
        is_plain = mask is None and self.use_fast_variance and self.axis in (-1, x.ndim - 1)
        if use_running_average is None or not is_plain:
            return super().__call__(x, use_running_average, mask=mask)
        scale, bias = (None if p is None else p[...] for p in (self.scale, self.bias))
        mean, var = self.mean[...], self.var[...]
        # Of the inputs only: rounded to 16 bits, a mean would be off by a multiple of the deviation.
        x, *_ = self.promote_dtype((x, mean, var, scale, bias), dtype=self.dtype)
        if not use_running_average:
            mean, var = self._statistics(x)
            for average, value in ((self.mean, mean), (self.var, var)):
                moved = self.momentum * average[...] + (1 - self.momentum) * lax.stop_gradient(value)
                # Set as a whole: on assignment to all of its indices, Flax prints the program that is traced.
                average.set_value(moved.astype(average[...].dtype))
        wide = _wide(x)
        factor = lax.rsqrt(var.astype(wide) + self.epsilon)
        factor = factor if scale is None else factor * scale.astype(wide)
        offset = -mean.astype(wide) * factor
        offset = offset if bias is None else offset + bias.astype(wide)
        factor, offset = (v.reshape((1,) * (x.ndim - 1) + v.shape) for v in (factor, offset))
        return (x.astype(wide) * factor + offset).astype(x.dtype)

    def _statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each feature, in float32 at least, over all devices of `axis_name` if there is one."""
        x = x.astype(_wide(x))
        axes = tuple(range(x.ndim - 1))
        mean, mean_of_squares = x.mean(axes), (x * x).mean(axes)
        if self.axis_name is not None:
            mean, mean_of_squares = lax.pmean(
                (mean, mean_of_squares), self.axis_name, axis_index_groups=self.axis_index_groups
            )
        return mean, jnp.maximum(0, mean_of_squares - mean * mean)


def _wide(x: jax.Array) -> jnp.dtype:
    """What to compute in."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
