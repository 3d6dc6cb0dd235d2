"""Merges summed branches into one convolution."""

from typing import TypeVar

from flax import nnx

from jds.nn._batch_norm_folding import fold_batch_norm

M = TypeVar("M", bound=nnx.Module)


def reparameterize(model: M) -> M:
    """Returns a model for evaluation in which each MobileOne block is one convolution.

    Once batch normalizations are folded, a sum of convolutions of the same inputs equals one convolution with the sum
    of their kernels. A 1×1 kernel is padded with zeros to the size of the others, and the identity is a 1×1 kernel of
    ones. From MobileOne, https://arxiv.org/abs/2206.04040.

    After folding, the method `merge_branches(name)` of every module that has one, such as `MobileOneBlock`, is called
    to merge its branches in place; `name` is the module's path in the model, for error messages.

    A sum of 16-bit kernels is rounded one more time than the kernels themselves: if the inputs' mean is several times
    their standard deviation, the rounding error of the results is up to about twice as large.

    Args:
      model: any module in evaluation mode. It is not changed.

    Returns:
      A model of the same type, in which batch normalizations are also folded as by `fold_batch_norm`.

    Raises:
      TypeError: the model is not an `nnx.Module`.
      ValueError: a batch normalization is in training mode, or strided branches have padding `"SAME"`, which places the
        centers of their kernels differently.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.MobileOneBlock(8, 8, 3, depthwise=True, branches=4, rngs=nnx.Rngs(0))
      >>> block.eval()
      >>> one = jds.reparameterize(block)
      >>> jds.count_parameters(block), jds.count_parameters(one)
      (392, 80)
      >>> images = jnp.ones((1, 8, 8, 8))
      >>> bool(jnp.allclose(one(images), block(images), rtol=1e-4, atol=1e-5))
      True
    """
    folded = fold_batch_norm(model)
    for path, module in list(nnx.iter_modules(folded)):
        merge = getattr(module, "merge_branches", None)
        if merge is not None:
            merge("/".join(map(str, path)) or "the block")
    return folded
