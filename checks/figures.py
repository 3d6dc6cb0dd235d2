"""Counts the parameters and multiply-adds of every public network, which `jds models` prints.

    python -m checks.figures

Takes about two minutes. The record is jds/zoo.json, which is part of the library.
"""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from rich.progress import track

import jds
from benchmarks.harness.record import replace
from jds import cost, zoo
from jds.weights import Found, kernels_of, shapes_of


def figures(name: str) -> dict[str, Any]:
    """A network's entry in the record, for one image of its default size in evaluation mode."""
    size = zoo.VARIANTS[name].preprocessing.image_size
    model = nnx.eval_shape(functools.partial(jds.create_model, name))
    model.eval()
    counted = cost.analyze(model, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)).total
    return {
        "parameters": jds.count_parameters(model),
        "multiply_adds": counted.macs,
        "image_size": size,
        "kernels": kernels_of(Found(shapes_of(model, zoo.VARIANTS[name].source))),
    }


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(figures(name))}" for name in track(jds.list_models())]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    replace(zoo.FIGURES, lambda temporary: temporary.write_text(text))
