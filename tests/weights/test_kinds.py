"""The forms that weights come in: from every version of Keras, without top, inside other networks, under other names."""

import functools
import json
import re
import zipfile

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import jds
from checks.synthetic_weights import filled
from jds.models import convnext, efficientnet, mobilenet_v1, mobilenet_v2, mobilenet_v3, xception
from jds.weights import _files, _keras, _keras_match, _safetensors_file
from jds.weights._load import emptied, shapes_of

SMALL = {"width": 0.35, "num_classes": 5}
NETWORKS = {
    "keras/MobileNetV2": SMALL | {"rows": mobilenet_v2.ROWS[:3]},
    "keras/MobileNetV3Small": SMALL | {"rows": mobilenet_v3.SMALL[:3]},
    "keras/MobileNet": SMALL | {"rows": mobilenet_v1.ROWS[:3]},
    "keras/Xception": {"rows": tuple(xception.XceptionRow((8 * n, 8 * n), 2) for n in (1, 2, 3, 4)), "num_classes": 5},
    "keras/ConvNeXtTiny": {"rows": convnext.rows(8, (1, 1, 2, 1)), "num_classes": 5},
    "keras/EfficientNetB0": SMALL | {"rows": efficientnet.ROWS[:3]},
}


@functools.cache
def weights_of(name):
    """The entries of a network, as its package would have made them."""
    options = NETWORKS.get(name, {"num_classes": 5})
    shapes = shapes_of(nnx.eval_shape(lambda: jds.create_model(name, **options)), jds.zoo.find(name).source)
    return filled({key: list(like.shape) for key, like in shapes.items()}, 1.0)


def holds(model, wanted, without=()):
    found = emptied(model, model.source)
    kept = {key: array for key, array in wanted.items() if key.partition("/")[0] not in without}
    return all(np.array_equal(found[key].ravel(), array.ravel()) for key, array in kept.items())


def layers_of(entries):
    layers = {}
    for name, array in entries.items():
        layer, _, variable = name.partition("/")
        layers.setdefault(layer.replace("#", "_"), {})[variable] = array
    return layers


def write_legacy(path, layers):
    """Writes as `save_weights_to_hdf5_group` of Keras 2 and 3 does."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.asarray([name.encode() for name in layers])
        for name, variables in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.asarray([variable.encode() for variable in variables])
            for variable, array in variables.items():
                group[variable] = array


def write_current(target, layers, *, with_names=True):
    """Writes as `keras.src.saving.saving_lib` does: layers are numbered within their class."""
    counts = {}
    with h5py.File(target, "w") as file:
        for name, variables in layers.items():
            kind = _keras_match._kind({key: array.shape for key, array in variables.items()})
            number = counts[kind] = counts.get(kind, -1) + 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            if with_names:
                group.attrs["name"] = name
            for place, array in enumerate(variables.values()):
                group[str(place)] = array
        file.create_group("layers/dropout/seed_generator/vars")["0"] = np.zeros(2, np.uint32)
        file.create_group("optimizer/vars")["0"] = np.zeros(3, np.float32)


def todays(path, layers):
    write_legacy(path, {name: {f"{name}/{key}:0": a for key, a in layer.items()} for name, layer in layers.items()})


def by_order(path, layers):
    """Writes a file as in 2017: a few names are those of today, all others are not."""
    names = {name: name if place < 2 else f"mobl{place}_conv" for place, name in enumerate(layers)}
    todays(path, {names[name]: layer for name, layer in layers.items()})


def a_network_as_a_layer(path, layers):
    """Writes as `model.save` of a network with this one as a layer: trainable weights first, then all others."""
    *inner, head = layers
    flat = {f"{name}/{key}": array for name in inner for key, array in layers[name].items()}
    still = {key: array for key, array in flat.items() if "moving" in key}
    nested = {key: array for key, array in flat.items() if key not in still} | still
    write_legacy(path, {"network_1.00": nested, "dense": {f"dense/{key}": a for key, a in layers[head].items()}})


def with_names(path, layers):
    write_current(path, layers)


def without_names(path, layers):
    write_current(path, layers, with_names=False)


def archive(path, layers):
    write_current(path.with_suffix(".h5"), layers)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
        file.write(path.with_suffix(".h5"), "model.weights.h5")


KINDS = {
    "todays.h5": todays,
    "order.h5": by_order,
    "nested.h5": a_network_as_a_layer,
    "current.weights.h5": with_names,
    "numbered.weights.h5": without_names,
    "archive.keras": archive,
}


# Networks differ in their names of layers, which files in order lack; all other kinds have the names in their own ways.
@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("keras/MobileNetV2", kind) for kind in KINDS), *(("keras/MobileNetV3Small", kind) for kind in [*KINDS][1:4])],
)
def test_keras_files_of_every_kind_are_loaded(name, kind, tmp_path):
    path, layers = tmp_path / kind, layers_of(weights_of(name))
    KINDS[kind](path, layers)
    assert holds(jds.create_model(name, path, **NETWORKS[name]), weights_of(name))
    if kind == "nested.h5":
        return
    top = _keras.top(nnx.eval_shape(lambda: jds.create_model(name, **NETWORKS[name])))
    KINDS[kind](path, {layer: variables for layer, variables in layers.items() if layer not in top})
    with pytest.warns(jds.FreshClassifierWarning, match=rf"has no {', '.join(sorted(top))}; re-initializing it"):
        model = jds.create_model(name, path, **NETWORKS[name])
    assert holds(model, weights_of(name), without=top)
    assert np.std(model.classifier.kernel) > 0


@pytest.mark.parametrize("kind", ["todays.h5", "current.weights.h5"])
@pytest.mark.parametrize("name", ["keras/Xception", "keras/ConvNeXtTiny", "keras/EfficientNetB0", "keras/MobileNet"])
def test_keras_files_of_the_other_families_are_loaded(name, kind, tmp_path):
    KINDS[kind](tmp_path / kind, layers_of(weights_of(name)))
    assert holds(jds.create_model(name, tmp_path / kind, **NETWORKS[name]), weights_of(name))


def test_sequences_of_two_layers_that_a_file_has_as_one_are_loaded(tmp_path):
    # As Keras 3.0 writes ConvNeXt's stem and downsampling: with only the names of the variables.
    name, found = "keras/ConvNeXtTiny", {}
    for layer, variables in layers_of(weights_of(name)).items():
        sequence = re.sub(r"(stem|downsampling)_(conv|layernorm)", lambda m: m[1], layer)
        sequence = re.sub(r"downsampling_(\d)", r"downsampling_block_\1", sequence)
        found.setdefault(f"convnext_tiny_{sequence}", {}).update(variables)
    assert "convnext_tiny_stem" in found
    assert "convnext_tiny_downsampling_block_0" in found
    write_legacy(tmp_path / "a.h5", found)
    assert holds(jds.create_model(name, tmp_path / "a.h5", **NETWORKS[name]), weights_of(name))


def test_layers_that_the_network_lacks_are_reported(tmp_path):
    layers = layers_of(weights_of("keras/MobileNetV2"))
    todays(tmp_path / "a.h5", layers | {"dense_1": {"kernel": np.ones((5, 7)), "bias": np.ones(7)}})
    with pytest.raises(
        jds.WeightsError, match=r"^.*a\.h5 does not match this network:\n2 unexpected: dense_1/0, dense_1/1$"
    ):
        jds.create_model("keras/MobileNetV2", tmp_path / "a.h5", **NETWORKS["keras/MobileNetV2"])
    with pytest.raises(jds.WeightsError, match=r"a\.h5 is a Keras file, but the network uses timm's names"):
        jds.create_model("mobilenetv2_035", tmp_path / "a.h5", num_classes=5)


NAME = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def torch_like():
    return weights_of(NAME)


def load(weights, **options):
    return jds.create_model(NAME, weights, **{"num_classes": 5} | options)


def test_a_mapping_of_arrays_is_loaded(torch_like, unchecked_types):
    assert holds(load(torch_like), torch_like)
    of_jax = {name: jax.device_put(np.array(array)) for name, array in torch_like.items()}
    assert holds(load(of_jax), torch_like)
    # The network has memory of its own.
    mine = {name: np.array(array) for name, array in torch_like.items()}
    model = load(mine)
    for array in mine.values():
        array[...] = 3
    assert holds(model, torch_like)
    for wrong in ({1: np.ones(3)}, {"a": "text"}, {"a": {"b": np.ones(3)}}):
        with pytest.raises(TypeError, match=r"weights.* must be (an array|a mapping of names to arrays)"):
            load(wrong)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "model.encoder."])
def test_a_common_prefix_is_removed(prefix, torch_like):
    assert holds(load({prefix + name: array for name, array in torch_like.items()}), torch_like)
    # Other entries keep their names and are reported.
    with pytest.raises(jds.WeightsError, match=r"does not match this network:\n1 unexpected: queue$"):
        load({prefix + name: array for name, array in torch_like.items()} | {"queue": np.ones(3)})


def test_entries_can_be_renamed(torch_like):
    other = {name.replace("blocks", "layers"): array for name, array in torch_like.items()} | {"queue": np.ones(3)}

    def rename(name):
        return None if name == "queue" else name.replace("layers", "blocks")

    assert holds(load(other, rename=rename), torch_like)
    some = {"stem.w" if name == "conv_stem.weight" else name: array for name, array in torch_like.items()}
    assert holds(load(some, rename={"stem.w": "conv_stem.weight"}), torch_like)
    with pytest.raises(jds.WeightsError, match=r"rename: 'conv_stem.weight' and 'bn1.weight' both become 'x'"):
        load(torch_like, rename=lambda name: "x")


def test_layers_of_a_keras_file_can_be_renamed(tmp_path):
    name = "keras/MobileNetV2"
    with_names(tmp_path / "a.weights.h5", {f"my {key}": layer for key, layer in layers_of(weights_of(name)).items()})
    model = jds.create_model(
        name, tmp_path / "a.weights.h5", rename=lambda layer: layer.removeprefix("my "), **NETWORKS[name]
    )
    assert holds(model, weights_of(name))


def test_entries_with_other_names_are_matched_in_order(torch_like):
    counter = {"c": np.zeros((), np.int64)}
    other = {f"p{place}": array for place, array in enumerate(torch_like.values())} | counter
    with pytest.warns(jds.OrderWarning, match=r"are not timm's: its entries were matched by order"):
        assert holds(load(other), torch_like)
    swapped = dict(zip(other, [*torch_like.values()][::-1], strict=False)) | counter
    with pytest.raises(jds.WeightsError, match="does not match this network"):
        load(swapped)


def test_without_a_classifier_in_the_file_it_is_reinitialized(torch_like, tmp_path):
    backbone = {name: array for name, array in torch_like.items() if not name.startswith("classifier")}
    _safetensors_file.write(tmp_path / "a.safetensors", backbone)
    with pytest.warns(jds.FreshClassifierWarning, match=r"a\.safetensors has no classifier; re-initializing it"):
        model = load(tmp_path / "a.safetensors")
    assert holds(model, backbone)
    assert np.std(model.classifier.kernel) > 0
    assert holds(load(tmp_path / "a.safetensors", num_classes=0), backbone)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_kernels_are_adapted_to_the_number_of_channels(channels, torch_like):
    # https://github.com/huggingface/pytorch-image-models/blob/v1.0.20/timm/models/_manipulate.py, adapt_input_conv
    kernel = torch_like["conv_stem.weight"]
    repeated = np.tile(kernel, (1, 2, 1, 1))[:, :channels] * np.float32(3 / channels)
    wanted = kernel.sum(1, keepdims=True) if channels == 1 else repeated
    found = emptied(load(torch_like, in_features=channels), "timm")
    np.testing.assert_allclose(found["conv_stem.weight"], wanted, rtol=1e-6)
    ours = jds.create_model(
        "keras/MobileNetV2", weights_of("keras/MobileNetV2"), in_features=channels, **NETWORKS["keras/MobileNetV2"]
    )
    assert ours.stem.conv.kernel.shape[2] == channels


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bn1.weight", np.nan, "1 with NaN or infinity: bn1.weight as float32"),
        ("conv_stem.weight", np.inf, "1 with NaN or infinity: conv_stem.weight as float32"),
        ("bn1.running_var", -1e-3, "1 negative variances: bn1.running_var"),
    ],
)
def test_values_that_are_not_weights_are_refused(name, value, message, torch_like):
    wrong = torch_like[name].copy()
    wrong.flat[1] = value
    with pytest.raises(jds.WeightsError, match=rf"has values that cannot be weights:\n{message}$"):
        load(torch_like | {name: wrong})


def test_values_too_large_for_the_parameters_are_refused(torch_like):
    with pytest.raises(jds.WeightsError, match=r"1 with NaN or infinity: conv_stem.weight as float16"):
        load(torch_like | {"conv_stem.weight": 1e6 * torch_like["conv_stem.weight"]}, param_dtype=jnp.float16)


def test_float8_is_converted(torch_like, tmp_path):
    eighths = torch_like | {"conv_stem.weight": torch_like["conv_stem.weight"].astype(ml_dtypes.float8_e4m3fn)}
    text, start = {}, 0
    for name, array in eighths.items():
        kind = "F8_E4M3" if array.dtype.itemsize == 1 else "F32"
        text[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, start := start + array.nbytes]}
    header = json.dumps(text).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"".join(a.tobytes() for a in eighths.values()))
    assert holds(load(path), eighths | {"conv_stem.weight": eighths["conv_stem.weight"].astype(np.float32)})


def test_a_file_is_compared_before_it_is_read(torch_like, tmp_path):
    path = tmp_path / "a.safetensors"
    _safetensors_file.write(path, torch_like)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["huge"] = {"dtype": "F32", "shape": [10**10], "data_offsets": [len(data) - 8 - length, 0]}
    header["huge"]["data_offsets"][1] = header["huge"]["data_offsets"][0] + 4 * 10**10
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data[8 + length :])
        file.truncate(8 + len(text) + header["huge"]["data_offsets"][1])  # a sparse file of 40 GB
    with pytest.raises(jds.WeightsError, match=r"1 unexpected: huge$"):
        load(path)


def test_the_error_names_the_network_that_the_weights_belong_to(torch_like, tmp_path):
    with pytest.raises(jds.WeightsError, match=rf"\nits kernels match .*{NAME}.*$"):
        jds.create_model("mobilenetv2_035", torch_like, num_classes=5)
    name = "keras/EfficientNetB0"
    shapes = shapes_of(nnx.eval_shape(lambda: jds.create_model(name)), "keras")
    ones = {key: np.ones(like.shape, np.float32) for key, like in shapes.items()}
    todays(tmp_path / "a.h5", layers_of(ones))
    with pytest.raises(jds.WeightsError, match=rf"\nits kernels match .*{name}"):
        jds.create_model("keras/EfficientNetB1", tmp_path / "a.h5")
    with pytest.raises(jds.WeightsError) as error:
        load({name: array for name, array in torch_like.items() if name != "bn1.weight"})
    assert "its kernels" not in str(error.value)


def test_control_characters_in_names_are_escaped(torch_like, tmp_path):
    hostile = torch_like | {"\x1b]0;title\x07\u202e": np.ones(3, np.float32)}
    with pytest.raises(jds.WeightsError, match=r"1 unexpected: \\x1b\]0;title\\x07\\u202e$"):
        load(hostile)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["\x1b[2J"] = h5py.SoftLink("/x")
    for path in (tmp_path / "a.h5", tmp_path / "\x1b[2J.npz"):
        with pytest.raises(jds.WeightsError) as error:
            load(path)
        assert "\x1b" not in str(error.value)


def test_all_kinds_of_files_are_named_in_the_docstring():
    assert all(suffix in jds.create_model.__doc__ for suffix in _files._READERS)
