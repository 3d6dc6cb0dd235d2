"""Trains every public network for a few steps, as the tests do for a few blocks of each family.

    python -m checks.training_steps [--pattern NAME]

Each network trains on a fixed batch at 64×64 for 5 steps, or for up to 20 until the loss has fallen. The loss must
fall, with a single trace, and no grouped convolution may be left in the program for the CPU.

The record is checks/results/training_steps.json.
"""

import math
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

import jds
from checks import sweep

RECORD = sweep.RESULTS / "training_steps.json"
IMAGE_SIZE = 64
FEWEST, MOST = 5, 20


def train(name: str, **options: Any) -> dict[str, Any]:
    """Losses, number of traces, and number of grouped convolutions that are left."""
    model = jds.create_model(name, num_classes=4, drop_path=0.0, **options)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, IMAGE_SIZE, IMAGE_SIZE, 3)), jnp.float32)
    labels = jnp.arange(4)
    traces = 0

    @nnx.jit
    def step(model, optimizer, images, labels):
        nonlocal traces
        traces += 1

        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    text = step.lower(model, optimizer, images, labels).as_text()
    groups = [int(count) for count in re.findall(r"(?:feature|batch)_group_count = (\d+)", text)]
    losses: list[float] = []
    while len(losses) < FEWEST or (len(losses) < MOST and not min(losses[1:]) < losses[0]):
        losses.append(float(step(model, optimizer, images, labels)))
    return {"losses": losses, "traces": traces, "grouped": sum(count > 1 for count in groups)}


def is_right(result: dict[str, Any]) -> bool:
    falls = all(map(math.isfinite, result["losses"])) and min(result["losses"][1:]) < result["losses"][0]
    return falls and result["traces"] == 1 and not result["grouped"]


if __name__ == "__main__":
    settings = tyro.cli(sweep.Settings, description=__doc__)
    sweep.run(RECORD, settings, train, is_right, packages=("jax", "flax", "optax"), image_size=IMAGE_SIZE)
