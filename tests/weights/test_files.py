"""Weight files: valid, mismatched, damaged and hostile ones."""

import contextlib
import json
import random
import struct

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from huggingface_hub.errors import EntryNotFoundError

import jds
from jds.weights import _safetensors_file

NAME = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def model():
    return jds.create_model(NAME, rngs=nnx.Rngs(5), num_classes=10)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    jds.save_weights(model, path)
    return path


def load(path, **options):
    return jds.create_model(NAME, path, **{"num_classes": 10} | options)


def equal(a, b):
    (_, ours), (_, theirs) = (nnx.split(model, (nnx.Param, nnx.BatchStat), ...)[:2] for model in (a, b))
    one, other = dict(nnx.to_flat_state(ours)), dict(nnx.to_flat_state(theirs))
    return one.keys() == other.keys() and all(np.array_equal(one[path][...], other[path][...]) for path in one)


def test_saving_and_loading_keeps_all_weights(model, file):
    assert equal(load(file), model)
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_a_classifier_with_other_classes_is_reinitialized_with_a_warning(model, file):
    with pytest.warns(UserWarning, match=r"has 10 classes, not 7; re-initializing the classifier"):
        other = load(file, num_classes=7)
    assert other.classifier.kernel.shape == (1024, 7)
    assert 0.5 < other.classifier.kernel[...].std() * 1024**0.5 < 1.5
    np.testing.assert_array_equal(other.stem.conv.kernel, model.stem.conv.kernel)
    none = load(file, num_classes=0)
    assert none.classifier is None
    np.testing.assert_array_equal(none.neck.conv.kernel, model.neck.conv.kernel)


def test_dropout_of_a_loaded_network_has_its_own_keys(file, quick_compilation):
    loaded = jds.create_model(NAME, file, num_classes=10, drop_path=0.5, rngs=nnx.Rngs(3))
    keys = [leaf for _, leaf in nnx.to_flat_state(nnx.state(loaded, nnx.RngKey))]
    assert len(keys) > 3
    assert len({str(key[...]) for key in keys}) == len(keys)
    assert nnx.jit(lambda model, images: model(images))(loaded, jnp.ones((2, 32, 32, 3))).shape == (2, 10)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_point_types_are_converted(model, file, dtype, tmp_path):
    entries = {name: np.asarray(array).astype(dtype) for name, array in _safetensors_file.read(file).items()}
    path = tmp_path / "other.safetensors"
    _safetensors_file.write(path, entries)
    loaded = load(path)
    assert loaded.stem.conv.kernel.dtype == jnp.float32
    np.testing.assert_allclose(loaded.stem.conv.kernel, model.stem.conv.kernel, rtol=1e-2)


def test_all_mistakes_are_reported_at_once(file, tmp_path):
    entries = {name: np.asarray(array) for name, array in _safetensors_file.read(file).items()}
    entries["conv_stm.weight"] = entries.pop("conv_stem.weight")
    entries["bn1.bias"] = entries["bn1.bias"][:3]
    entries["bn1.weight"] = np.arange(16)
    del entries["blocks.0.0.bn1.running_mean"]
    path = tmp_path / "wrong.safetensors"
    _safetensors_file.write(path, entries)
    with pytest.raises(jds.WeightsError) as error:
        load(path)
    text = str(error.value)
    assert f"{path} does not match this network:" in text
    assert "2 missing: conv_stem.weight (is it conv_stm.weight?), blocks.0.0.bn1.running_mean" in text
    assert "1 unexpected: conv_stm.weight (is it conv_stem.weight?)" in text
    assert "1 with the wrong shape: bn1.bias is (3,), not (16,)" in text
    assert "1 with the wrong dtype: bn1.weight is int64, not floating point" in text


def test_weights_of_another_network_are_refused(file):
    with pytest.raises(jds.WeightsError, match=r"missing: .*, …\n\d+ unexpected: .*, …"):
        jds.create_model("mobilenetv2_035", file, num_classes=10)


def corrupted(data, kind, rng):
    """A damaged or hostile copy of a safetensors file."""
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    one, other = rng.sample(names, 2)
    if kind == "truncated":
        return data[: rng.randrange(len(data))]
    if kind == "longer":
        return data + bytes(rng.randrange(1, 100))
    if kind == "length":
        return struct.pack("<Q", rng.choice([0, 2**30, 2**40, 2**63, length + rng.randrange(1, 10**6)])) + data[8:]
    if kind == "header bytes":
        place = 8 + rng.randrange(length)
        # A name may change by one letter, but then the file must not load.
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    if kind == "overlap":
        header[one]["data_offsets"] = header[other]["data_offsets"]
    elif kind == "beyond":
        start, end = header[one]["data_offsets"]
        header[one]["data_offsets"] = [start, end + rng.randrange(1, 2**50)]
    elif kind == "backwards":
        header[one]["data_offsets"] = header[one]["data_offsets"][::-1]
        if header[one]["data_offsets"][0] == header[one]["data_offsets"][1]:
            header[one]["data_offsets"] = [9, 3]
    elif kind == "negative":
        header[one]["data_offsets"] = [-rng.randrange(1, 99), 4]
    elif kind == "type":
        header[one]["dtype"] = rng.choice(["F64", "F16", "I8", "X99", "", None, 7])
    elif kind == "shape":
        header[one]["shape"] = rng.choice([[2**62, 4], [-1], [0], "many", [[3]], None, [3, 5, 7]])
    elif kind == "missing key":
        del header[one][rng.choice(["dtype", "shape", "data_offsets"])]
    elif kind == "no object":
        return struct.pack("<Q", 4) + rng.choice([b"[{}]", b"null", b"3.14", b"\xff\xfe{}"]) + body
    elif kind == "gone":
        header.pop(one)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


KINDS = """
    truncated longer length header_bytes overlap beyond backwards negative type shape missing_key no_object gone
"""


@pytest.mark.parametrize("kind", KINDS.split())
def test_damaged_and_hostile_files_are_refused(kind, model, file, tmp_path):
    data, rng = file.read_bytes(), random.Random(kind)
    path = tmp_path / "bad.safetensors"
    for _ in range(25):
        bad = corrupted(data, kind.replace("_", " "), rng)
        if bad == data:
            continue
        path.write_bytes(bad)
        loaded = None
        # A changed byte may be harmless only where it is not read: in a space, or in the file's metadata.
        refused = contextlib.suppress(jds.WeightsError) if kind == "header_bytes" else pytest.raises(jds.WeightsError)
        with refused:
            loaded = load(path)
        if loaded is not None:
            assert equal(loaded, model)


def test_missing_files_and_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")
    (tmp_path / "weights.npz").write_bytes(b"\x80\x04pickle")
    with pytest.raises(
        jds.WeightsError,
        match=r"must be a \.safetensors, \.h5, .* file, a Hugging Face repository id, a folder",
    ):
        load(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match=r"`path` must end in .safetensors, got"):
        jds.save_weights(load_nothing(), tmp_path / "weights.pt")


def load_nothing():
    return nnx.eval_shape(lambda: jds.create_model(NAME))


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(model, file, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="no-such-folder"):
        jds.save_weights(model, tmp_path / "no-such-folder" / "x.safetensors")
    before = file.read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        jds.save_weights(model, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_a_repository_is_fetched_from_the_hub(monkeypatch, file, model):
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        if name == "config.json":
            raise EntryNotFoundError(name)
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert equal(load("someone/some.network"), model)
    assert asked == [("someone/some.network", "config.json"), ("someone/some.network", "model.safetensors")]


def test_a_repository_that_cannot_be_reached_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"config.json of nobody/nothing cannot be downloaded"):
        load("nobody/nothing")
