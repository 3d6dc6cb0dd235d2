"""Keras's own network with random weights, from both of its kinds of files."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds
from benchmarks import variants


def test_logits(tmp_path, monkeypatch, quick_compilation):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # All other networks of Keras's are compared by `python -m benchmarks.variants`.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = variants.keras_model("MobileNet", 65, {"alpha": 0.25, "classes": 12})
        variants.fill_keras(model, 1.1)
        images = np.random.default_rng(1).uniform(-1, 1, (2, 65, 65, 3)).astype(np.float32)
        wanted = np.asarray(model(images, training=False))
        assert variants.distance(*wanted) > 0.1  # not a matter of biases alone
        model.save_weights(tmp_path / "current.weights.h5")
        model.save(tmp_path / "legacy.h5")
    for file in ("current.weights.h5", "legacy.h5"):
        ours = jds.create_model("keras/MobileNet", tmp_path / file, num_classes=12, width=0.25)
        ours.eval()
        found = nnx.jit(lambda model, images: model(images))(ours, jnp.asarray(images))
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)
    jds.save(ours, tmp_path / "again.safetensors")
    again = jds.create_model("keras/MobileNet", tmp_path / "again.safetensors", num_classes=12, width=0.25)
    np.testing.assert_array_equal(again.classifier.kernel, ours.classifier.kernel)
    with pytest.warns(UserWarning, match="classifies 12 classes, not 5"):
        jds.create_model("keras/MobileNet", tmp_path / "legacy.h5", num_classes=5, width=0.25)


def test_damaged_files(tmp_path):
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(jds.WeightsError, match="is no sound HDF5 file of a Keras model's weights"):
        jds.create_model("keras/MobileNet", path)
    with pytest.raises(FileNotFoundError):
        jds.create_model("keras/MobileNet", tmp_path / "none.h5")
