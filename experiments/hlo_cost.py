"""Asks XLA what the gradient of a depthwise convolution costs, and explains why it differs from theory.

    python experiments/hlo_cost.py
    python experiments/hlo_cost.py --size 28 --features 256 --batch 1

`lax.conv_general_dilated` is differentiated with respect to its kernel and compiled, but never run. On the CPU the
compiled program has many times the operations of the program that JAX handed to XLA: the gradient has become a dense
convolution of every channel with every other, with all but the diagonal masked away. jds's own convolution follows.
"""

import dataclasses

import jax
import jax.numpy as jnp
import tyro
from jax import lax
from rich.console import Console

import jds
from jds import cost


@dataclasses.dataclass(frozen=True)
class Settings:
    """Asks XLA what a depthwise convolution and its gradient cost."""

    size: int = 56  # height and width of the images
    features: int = 128  # channels
    batch: int = 16  # images
    kernel: int = 3  # height and width of the filters
    lines: int = 6  # instructions to show, the most expensive first


def by_xla(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A depthwise convolution in plain lax."""
    numbers = ("NHWC", "HWIO", "NHWC")
    groups = images.shape[-1]
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


def gradient_of(convolution):
    """The gradient of a loss with respect to the kernel."""

    def loss(kernel, images):
        with jax.named_scope("depthwise layer"):
            return jnp.sum(convolution(images, kernel))

    return jax.grad(loss)


def main(settings: Settings) -> None:
    """Prints the costs of both implementations, in theory and in XLA."""
    sizes = dataclasses.asdict(settings)
    if min(sizes.values()) < 1:
        raise SystemExit(f"hlo_cost: all settings must be positive, got {sizes}")
    images = jax.ShapeDtypeStruct((settings.batch, settings.size, settings.size, settings.features), jnp.float32)
    kernel = jax.ShapeDtypeStruct((settings.kernel, settings.kernel, 1, settings.features), jnp.float32)
    console = Console(highlight=False)
    for name, convolution in (("lax.conv_general_dilated", by_xla), ("jds.depthwise_conv", jds.depthwise_conv)):
        gradient = gradient_of(convolution)
        theory = cost.analyze(gradient, kernel, images).total
        view = cost.xla(gradient, kernel, images)
        console.rule(f"{name}, kernel gradient")
        console.print(f"in theory: {theory.macs:,} multiply-accumulates, at least {theory.traffic:,} bytes")
        console.print(f"in XLA: {view.peak_bytes:,} bytes of memory\n" if view.peak_bytes else "")
        console.print(cost.reconcile(gradient, kernel, images), "")
        console.print(view.table(settings.lines), "")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
