"""Public networks compute the same function as in their packages, from a file with the packages' names."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds
from checks.synthetic_weights import filled
from jds import cost, zoo
from jds.weights import _safetensors_file
from jds.weights._load import shapes_of

DATA = Path(__file__).parents[1] / "data"
FILES = sorted((DATA / "weights").glob("*.json"))
COUNTED = json.loads((DATA / "counted_costs.json").read_text())


def public_name(source, name):
    return name if source == "timm" else f"{source}/{name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_logits_match_and_weights_are_saved_unchanged(file, tmp_path, quick_compilation):
    facts = json.loads(file.read_text())
    entries = filled(facts["shapes"], facts["gain"])
    path = tmp_path / "weights.safetensors"
    _safetensors_file.write(path, entries)
    name = public_name(facts["source"], facts["name"])
    model = jds.create_model(name, path)
    assert jds.count_parameters(model) == facts["num_params"]
    # Weights with other names are matched in this order.
    assert [*shapes_of(model, facts["source"])] == [key for key in facts["shapes"] if not key.endswith("_tracked")]
    model.eval()
    size = facts["image_size"]
    images = np.random.default_rng(0).standard_normal((2, size, size, 3)).astype(np.float32)
    logits = nnx.jit(lambda model, images: model(images))(model, jnp.asarray(images))
    wanted = np.asarray(facts["logits"])
    assert np.linalg.norm(logits - wanted) < 1e-4 * np.linalg.norm(wanted)

    jds.save_weights(model, tmp_path / "again.safetensors")
    again = _safetensors_file.read(tmp_path / "again.safetensors")
    assert again.keys() == entries.keys()
    for key, array in again.items():
        np.testing.assert_array_equal(array, entries[key])


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_multiply_accumulates_match_the_public_counts(name):
    counted, (source, _, rest) = COUNTED[name], name.partition("/")
    # `test_records.py` compares the figures with the networks.
    known = zoo.figures()[public_name(source, rest)]
    assert known.parameters == counted["params"]
    if known.image_size == counted["image_size"]:
        assert known.multiply_adds == counted["conv_and_matmul_macs"]
        return
    model = nnx.eval_shape(lambda: jds.create_model(public_name(source, rest)))
    model.eval()
    images = jax.ShapeDtypeStruct((1, counted["image_size"], counted["image_size"], 3), jnp.float32)
    assert cost.analyze(model, images).total.macs == counted["conv_and_matmul_macs"]
