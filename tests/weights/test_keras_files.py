"""A Keras network with random weights, from both kinds of Keras files."""

import warnings

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds
from checks import variants


def test_logits_match_those_of_keras(tmp_path, monkeypatch, quick_compilation):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # All other Keras networks are compared by `python -m checks.variants`.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = variants.keras_model("MobileNet", 65, {"alpha": 0.25, "classes": 12})
        variants.fill_keras(model, 1.1)
        images = np.random.default_rng(1).uniform(-1, 1, (2, 65, 65, 3)).astype(np.float32)
        wanted = model.predict_on_batch(images)  # compiled as one program, unlike a call
        assert variants.distance(*wanted) > 0.1  # the logits depend on the image, not only on biases
        model.save_weights(tmp_path / "current.weights.h5")
        model.save(tmp_path / "legacy.h5")
    for file in ("current.weights.h5", "legacy.h5"):
        ours = jds.create_model("keras/MobileNet", tmp_path / file, num_classes=12, width=0.25)
        ours.eval()
        found = nnx.jit(lambda model, images: model(images))(ours, jnp.asarray(images))
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)
    jds.save_weights(ours, tmp_path / "again.safetensors")
    again = jds.create_model("keras/MobileNet", tmp_path / "again.safetensors", num_classes=12, width=0.25)
    np.testing.assert_array_equal(again.classifier.kernel, ours.classifier.kernel)
    with pytest.warns(UserWarning, match="has 12 classes, not 5"):
        jds.create_model("keras/MobileNet", tmp_path / "legacy.h5", num_classes=5, width=0.25)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(jds.WeightsError, match="is not a valid Keras weights file"):
        jds.create_model("keras/MobileNet", path)
    with pytest.raises(FileNotFoundError):
        jds.create_model("keras/MobileNet", tmp_path / "none.h5")


ARRAY = "layers/conv2d/vars/0"


def _linked(file):
    file[ARRAY] = h5py.ExternalLink("secret.h5", "/data")


def _stored_elsewhere(file):
    file.create_dataset(ARRAY, (4,), "f4", external=[("secret.bin", 0, 16)])


def _virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "data", (4,), "f4")
    file.create_virtual_dataset(ARRAY, layout)


def _soft(file):
    file[ARRAY] = h5py.SoftLink("/elsewhere")


def _cycle(file):
    file.create_group("layers")["self"] = file["/"]


def _bomb(file):
    file.create_dataset(ARRAY, (2**33,), "f4", chunks=(2**20,), compression="gzip")


def _chunk(file):
    file.create_dataset(ARRAY, (4,), "f4", chunks=(2**29,), maxshape=(None,))


def _deep(file):
    group = file
    for _ in range(3000):
        group = group.create_group("layers")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_linked, "is a link, and only data"),
        (_soft, "is a link, and only data"),
        (_stored_elsewhere, "is in another file"),
        (_virtual, "is in another file"),
        (_cycle, "occurs twice"),
        (_bomb, "is compressed or empty"),
        (_chunk, "has chunks larger than the array"),
        (_deep, "nested more than 40 levels deep"),
    ],
)
def test_a_file_with_links_or_excessive_sizes_is_refused(make, reason, tmp_path):
    # In an untrusted file, the contents of linked files would end up in what `jds.save_weights` writes.
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["data"] = np.zeros(4, np.float32)
    path = tmp_path / "hostile.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(jds.WeightsError, match=rf"hostile\.h5 is not a valid Keras weights file: .*{reason}"):
        jds.create_model("keras/MobileNetV2", path)
