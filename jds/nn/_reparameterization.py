"""Merges branches that are added up into one convolution."""

from typing import TypeVar

from flax import nnx

from jds.nn._batch_norm_folding import fold_batch_norm

M = TypeVar("M", bound=nnx.Module)


def reparameterize(model: M) -> M:
    """Returns a model for evaluation in which each of MobileOne's blocks is one convolution.

    Once batch normalizations are folded, the sum of convolutions of the same inputs is one convolution with the sum of
    their kernels. A 1×1 kernel is padded with zeros to the size of the others, and the identity is a 1×1 kernel of
    ones. From MobileOne, https://arxiv.org/abs/2206.04040.

    After folding, every module that has a method `merge_branches(name)`, as `MobileOneBlock` does, is told to make its
    branches one in place; `name` is its path in the model, for messages.

    A sum of 16-bit kernels is rounded once more than the kernels were: where the inputs' mean is several times their
    standard deviation, the rounding error of the results is up to about twice as large.

    Args:
      model: any module in evaluation mode. It is not changed.

    Returns:
      A model of the same type, in which batch normalizations are also folded as by `fold_batch_norm`.

    Raises:
      TypeError: the model is not an `nnx.Module`.
      ValueError: a batch normalization is in training mode, or strided branches have padding `"SAME"`, so that the
        centers of their kernels are at different positions.

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
