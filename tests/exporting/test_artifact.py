"""Artifacts of `jax.export`."""

import functools
import subprocess
import sys

import jax
import numpy as np
import pytest
from exported import network
from flax import nnx

import jds
from checks.exports import groups_of

X = np.random.default_rng(0).standard_normal((2, 8, 6, 5)).astype(np.float32)
ALONE = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jds", "flax"):
            raise ImportError(name)
sys.meta_path.insert(0, Forbidden())
import jax, numpy as np
file, images, results = sys.argv[1:]
exported = jax.export.deserialize(bytearray(open(file, "rb").read()))
np.save(results, exported.call(np.load(images)))
"""


@pytest.fixture(autouse=True)
def as_users_call(unchecked_types):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# The lowering for the CPU depends on the implementation; what a batch without a size changes, it changes for each.
@pytest.mark.parametrize(
    ("implementation", "batch"), [(None, 2), (None, None), ("native", None), ("shifted", None), ("xla", None)]
)
def test_the_cpu_has_no_grouped_convolution_whatever_the_batch_and_the_model(
    implementation, batch, tmp_path, quick_compilation
):
    model = network("mobilenetv2_035", implementation=implementation)
    report = jds.export(model, tmp_path / "a.jax", image_size=32, batch=batch)
    assert report.check.error < 1e-5
    exported = jax.export.deserialize(bytearray((tmp_path / "a.jax").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    lines = exported.mlir_module().splitlines()
    grouped = [line for line in lines if "stablehlo.convolution" in line and "feature_group_count = 1 " not in line]
    assert len(grouped) == 2 * sum(groups > 1 for groups in groups_of(model, 32))  # for the GPU and for the TPU
    cpu = jax.jit(exported.call).lower(np.zeros((2, 32, 32, 3), np.float32)).compile().as_text()
    assert "feature_group_count" not in cpu


def test_it_runs_without_jds(tmp_path, quick_compilation):
    model = network("mixnet_s")
    jds.export(model, tmp_path / "a.jax", image_size=32, batch=None)
    model.eval()
    images = np.random.default_rng(0).standard_normal((3, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in ("a.jax", "images.npy", "results.npy")]
    subprocess.run([sys.executable, "-c", ALONE, *files], check=True, timeout=120)
    wanted = nnx.jit(lambda model, images: model(images))(model, images)
    np.testing.assert_allclose(np.load(files[2]), wanted, rtol=1e-4, atol=1e-4)


def test_a_function_is_called_as_before(tmp_path):
    def fun(tree, *, scale=2.0):
        return {"sum": tree["a"] + tree["b"][0] * scale, "pair": (tree["a"], tree["b"][0].mean())}

    tree = {"a": X, "b": [X + 1]}
    report = jds.export(fun, tmp_path / "a.jax", tree)
    assert list(report.inputs) == ["tree_a", "tree_b_0"]
    exported = jax.export.deserialize(bytearray((tmp_path / "a.jax").read_bytes()))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exported.call(tree), fun(tree))
