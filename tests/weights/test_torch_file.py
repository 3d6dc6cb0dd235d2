"""Files of `torch.save`, made here with the standard library only."""

import collections
import io
import pickle
import random
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import jds
from jds.weights import _safetensors_file, _torch_file


class Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.args = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Eighths:
    """A float8 tensor, whose storage has no type."""

    def __init__(self, storage, shape):
        self.storage, self.shape = storage, shape

    def __reduce__(self):
        torch, rest = sys.modules["torch"], (False, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v3, (
            self.storage, 0, self.shape, (self.shape[1], 1), *rest, torch.float8_e4m3fn, None
        )  # fmt: skip


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = {"f": "FloatStorage", "i": "LongStorage", "V": "UntypedStorage"}[obj.array.dtype.kind]
            module = sys.modules["torch.storage" if kind == "UntypedStorage" else "torch"]
            return "storage", getattr(module, kind), obj.key, "cpu", obj.array.size
        return None


@pytest.fixture
def save(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = types.ModuleType("torch.storage")
    for module, names in (
        (torch, ("FloatStorage", "LongStorage", "float8_e4m3fn")),
        (utils, ("_rebuild_tensor_v2", "_rebuild_tensor_v3")),
        (storage, ("UntypedStorage",)),
    ):
        for name in names:
            setattr(module, name, type(name, (), {"__module__": module.__name__}))
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def write(path, root, storages, compression=zipfile.ZIP_STORED):
        buffer = io.BytesIO()
        Pickler(buffer, 2).dump(root)
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", buffer.getvalue())
            archive.writestr("archive/byteorder", "little")
            for storage in storages:
                archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())

    return write


def save_as_before_1_6(path, root, storages, little_endian=True):
    """Writes a file as PyTorch did before version 1.6; `save` must have run, for the names of its classes."""
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": little_endian}):
            pickle.dump(value, file, 2)
        Pickler(file, 2).dump(root)
        pickle.dump([storage.key for storage in storages], file, 2)
        for storage in storages:
            file.write(storage.array.size.to_bytes(8, "little") + storage.array.tobytes())


def of(arrays):
    storages = {name: Storage(str(n), np.ascontiguousarray(array)) for n, (name, array) in enumerate(arrays.items())}
    tensors = collections.OrderedDict(
        (name, Tensor(storages[name], 0, array.shape, tuple(s // array.itemsize for s in array.strides)))
        for name, array in arrays.items()
    )
    return tensors, list(storages.values())


def test_a_network_is_loaded_from_a_pth_file(save, tmp_path):
    name = "mobilenetv3_small_050"
    model = jds.create_model(name, num_classes=10, rngs=nnx.Rngs(5))
    jds.save_weights(model, tmp_path / "a.safetensors")
    entries = _safetensors_file.read(tmp_path / "a.safetensors")
    tensors, storages = of({name: np.asarray(array) for name, array in entries.items()})
    save(tmp_path / "a.pth", {"epoch": 3, "args": types.SimpleNamespace(), "state_dict": tensors}, storages)
    again = jds.create_model(name, tmp_path / "a.pth", num_classes=10)
    np.testing.assert_array_equal(again.stem.conv.kernel, model.stem.conv.kernel)
    np.testing.assert_array_equal(again.classifier.kernel, model.classifier.kernel)


def test_strides_and_offsets_are_respected(save, tmp_path):
    storage = Storage("0", np.arange(12, dtype=np.float32))
    save(tmp_path / "a.pth", {"t": Tensor(storage, 2, (2, 3), (1, 3))}, [storage])
    np.testing.assert_array_equal(_torch_file.read(tmp_path / "a.pth")["t"], [[2, 5, 8], [3, 6, 9]])


def test_float8_is_read(save, tmp_path):
    values = np.asarray([[0.5, -2, 448], [0, 0.25, 1]], ml_dtypes.float8_e4m3fn)
    storage = Storage("0", values)
    save(tmp_path / "a.pth", {"t": Eighths(storage, (2, 3))}, [storage])
    np.testing.assert_array_equal(_torch_file.read(tmp_path / "a.pth")["t"], values)


@pytest.mark.parametrize("args", [(8, (2, 3), (3, 1)), (0, (13,), (0,)), (-1, (2,), (1,)), (0, (2,), (-1,))])
def test_tensors_that_exceed_their_storage_are_refused(save, tmp_path, args):
    storage = Storage("0", np.arange(12, dtype=np.float32))
    save(tmp_path / "a.pth", {"t": Tensor(storage, *args)}, [storage])
    with pytest.raises(jds.WeightsError, match=r"t (extends|has invalid sizes)"):
        _torch_file.read(tmp_path / "a.pth")


class Call:
    def __reduce__(self):
        return print, ("called",)


def test_pickled_functions_are_not_called(save, tmp_path, capsys):
    save(tmp_path / "a.pth", {"t": Call()}, [])
    with pytest.raises(jds.WeightsError, match=r"t is created by __builtin__\.print.*weights_only=True"):
        _torch_file.read(tmp_path / "a.pth")
    assert not capsys.readouterr().out


def test_files_of_before_pytorch_1_6_are_read(save, tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3), "c": np.float32(7).reshape(1)}
    save_as_before_1_6(tmp_path / "a.pth", *of(arrays))
    found = _torch_file.read(tmp_path / "a.pth")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    save_as_before_1_6(tmp_path / "a.pth", *of(arrays), little_endian=False)
    with pytest.raises(jds.WeightsError, match="big-endian"):
        _torch_file.read(tmp_path / "a.pth")


def test_compressed_files_and_other_pickles_are_refused(save, tmp_path):
    save(tmp_path / "a.pth", {}, [], zipfile.ZIP_DEFLATED)
    with pytest.raises(jds.WeightsError, match="compressed"):
        _torch_file.read(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({}))
    with pytest.raises(jds.WeightsError, match="as a file of PyTorch"):
        _torch_file.read(tmp_path / "b.pth")


@pytest.mark.parametrize("is_old", [False, True], ids=["archive", "before 1.6"])
def test_damaged_files_are_refused(is_old, save, tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3)}
    (save_as_before_1_6 if is_old else save)(tmp_path / "a.pth", *of(arrays))
    whole, draw = (tmp_path / "a.pth").read_bytes(), random.Random(0)
    for _ in range(500):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / "b.pth").write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            found = {name: np.asarray(entry) for name, entry in _torch_file.read(tmp_path / "b.pth").items()}
        except (jds.WeightsError, OSError):
            continue
        if not is_old:  # archives have checksums
            assert found.keys() == arrays.keys()
            assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_saving_a_custom_module_raises_what_to_do_instead(tmp_path):
    with pytest.raises(TypeError, match=r"made by `jds\.create_model`, got Linear.*Orbax"):
        jds.save_weights(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), tmp_path / "a.safetensors")


def test_saved_files_respect_the_umask_and_a_missing_folder_is_reported(tmp_path):
    _safetensors_file.write(tmp_path / "a.safetensors", {"a": np.zeros(2)})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode
    with pytest.raises(OSError, match=r"there is no folder '.*none'"):
        _safetensors_file.write(tmp_path / "none" / "a.safetensors", {})
