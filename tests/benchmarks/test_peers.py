"""The values of the contenders that need only jds, computed in this process at small sizes."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import models, ops, train
from benchmarks.harness.contenders import BenchmarkError
from benchmarks.harness.workloads import MOBILENET_V1, Workload
from benchmarks.peers import exported, in_engines, in_jax, in_numpy, mobilenet_v1, mobilenet_v1_weights

SMALL = Workload("6x6x4 /2", 6, 4, 2, 3)


def out(target, spec):
    program = target(spec)
    return program.arrays(program.compile()())["out"]


@pytest.mark.parametrize("kind", [*ops.PASSES, "block"])
def test_jds_and_xla_compute_the_same_values(kind):
    found = {}
    for contender in ops.CONTENDERS:
        if contender.name != "torch" and (kind == "block" or contender.name != "ordinary"):
            spec = {**contender.options, "pass": kind, "workload": SMALL._asdict(), "batch": 2, "threads": 1}
            found[contender.name] = out(in_jax.op, spec)
    inputs, kernel, _, cotangent = SMALL.arrays(2)
    shapes = {"forward": cotangent, "input gradient": inputs, "kernel gradient": kernel, "block": cotangent[..., :3]}
    assert found["jds"].shape == shapes[kind].shape
    for array in found.values():
        np.testing.assert_allclose(array, found["xla"], rtol=1e-4, atol=1e-5)


def test_matrix_product_and_unknown_pass():
    spec = {"pass": "product", "size": 5, "implementation": None}
    assert out(in_jax.op, spec).shape == (5, 5)
    with pytest.raises(NotImplementedError, match="no pass 'sideways'"):
        in_jax.op(spec | {"pass": "sideways", "workload": SMALL._asdict(), "batch": 1})


def test_copy_copies_all_bytes_in_shares():
    assert out(in_numpy.copy, {"bytes": 2**12, "threads": 2}).tolist() == [1.0] * (2**12 // 8 // 2)
    assert in_numpy.copies(2**12) == 2**16
    assert in_numpy.copies(2**30) == 1


def test_workloads_are_the_same_in_every_process_and_have_the_right_sizes():
    for workload in MOBILENET_V1:
        call = jax.eval_shape(
            lambda x, k, w=workload: in_jax.jds.depthwise_conv(x, k, strides=w.stride), *SIZES[workload]
        )
        assert call.shape[1] == workload.out_size
    for one, other in zip(SMALL.arrays(1), SMALL.arrays(1), strict=True):
        np.testing.assert_array_equal(one, other)


SIZES = {
    w: (
        jax.ShapeDtypeStruct((1, w.size, w.size, w.features), "float32"),
        jax.ShapeDtypeStruct((3, 3, 1, w.features), "float32"),
    )
    for w in MOBILENET_V1
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    mobilenet_v1_weights.save(path, width=0.25)
    return {"weights": str(path), "width": 0.25, "implementation": "xla", "batch": 2, "image_size": 32}


def test_one_set_of_weights_reaches_the_model(spec):
    arrays = mobilenet_v1.load(spec)
    model = mobilenet_v1_weights.load(spec)
    assert mobilenet_v1_weights.flatten(in_jax.nnx.state(model)).keys() == arrays.keys()
    np.testing.assert_array_equal(model.stages[2][0].pointwise.kernel[...], arrays["blocks.3.pointwise.kernel"])
    np.testing.assert_array_equal(model.stem.norm.var[...], arrays["stem.norm.var"])
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert model.stem.norm.epsilon == mobilenet_v1.EPSILON
    assert model.stem.norm.momentum == mobilenet_v1.NORM_MOMENTUM
    assert 0.4 < arrays["blocks.3.pointwise_norm.var"].std() / (1 / 12**0.5) < 1.6


def test_convolutions_are_those_of_the_network_in_order(spec):
    arrays = mobilenet_v1.load(spec)
    rows = mobilenet_v1.convolutions(arrays)
    model = mobilenet_v1_weights.load(spec)
    assert len(rows) == 27
    for block, row in zip((block for stage in model.stages for block in stage), rows[1::2], strict=True):
        assert block.depthwise.strides == (row.stride, row.stride)
        assert row.groups == block.depthwise.in_features


def test_public_networks_compute_the_same_values_in_jax_and_in_an_engine(
    tmp_path, monkeypatch, quick_compilation, small_networks
):
    spec = {"network": "mobilenetv3_small_050", "gain": 1.0, "batch": 2, "image_size": 64, "threads": 1}
    ours, xla = (out(in_jax.inference, spec | {"implementation": name}) for name in (None, "xla"))
    # The logits depend on the image.
    assert np.linalg.norm(xla[0] - xla[1]) > 0.05 * np.linalg.norm(xla)
    assert np.linalg.norm(ours - xla) < 1e-4 * np.linalg.norm(xla)

    pytest.importorskip("onnxruntime")
    asked = []

    def run(command, check):
        asked.append(json.loads(command[3]))
        exported.by_jds(asked[0], Path(command[4]))

    monkeypatch.setattr(exported.subprocess, "run", run)
    spec |= {"writer": "jds", "int8": False, "folder": str(tmp_path)}
    logits = [out(in_engines.onnxruntime, spec) for _ in range(2)]
    assert asked == [spec]  # the second contender uses the file of the first
    np.testing.assert_array_equal(*logits)
    assert np.linalg.norm(logits[0] - xla) < 1e-4 * np.linalg.norm(xla)


@pytest.mark.parametrize("benchmark_module", [ops, models, train])
def test_bad_settings_are_refused(benchmark_module):
    settings = benchmark_module.Settings()
    # Without batches, `models` has those of each network.
    no_batches = [] if benchmark_module is models else [{"batches": ()}]
    for wrong in (*no_batches, {"rounds": 2}, {"batches": (0,)}, {"seconds": 0.0}):
        with pytest.raises(BenchmarkError, match="at least 3 `rounds`"):
            dataclasses.replace(settings, **wrong)
    with pytest.raises(BenchmarkError, match="unknown layer '5x5'; there are 112x112x32"):
        ops.Settings(layers=("5x5",))
    with pytest.raises(BenchmarkError, match="unknown network 'vgg'; there are mobilenetv1_100, mob"):
        models.Settings(networks=("vgg",))


def test_cases_are_those_of_the_settings(tmp_path):
    settings = ops.Settings(batches=(1,), layers=("7x7x1024",))
    cases = ops.cases(settings, ops.CONTENDERS)
    assert [case.spec["pass"] for case in cases] == [*ops.PASSES, "block"]
    assert ["ordinary" in [c.name for c in case.contenders] for case in cases] == [False, False, False, True]
    assert [case.spec["pass"] for case in ops.cases(settings, ops.CONTENDERS[3:])] == ["block"]
    table = (*models.CONTENDERS, *models.IN_KERAS_ONLY)
    settings = models.Settings(networks=("mobilenetv1_100", "legacy_xception", models.KERAS))
    cases = models.cases(settings, table, Path("a/folder"))
    assert {case.name: (case.spec["image_size"], case.contenders) for case in cases} == {
        "mobilenetv1_100, batch 1": (224, models.CONTENDERS),
        "mobilenetv1_100, batch 16": (224, models.CONTENDERS),
        "legacy_xception, batch 1": (299, models.CONTENDERS),
        "Keras MobileNetV2, batch 1": (224, models.IN_KERAS_ONLY),
    }
    settings = dataclasses.replace(settings, batches=(4,))
    assert [case.spec["batch"] for case in models.cases(settings, table[:2], Path("a/folder"))] == [4, 4]
    (case,) = train.cases(train.Settings(), train.CONTENDERS, tmp_path)
    assert (case.compiles, case.spec["batch"]) == (3, 16)
    assert train.Settings().are_full
    assert not train.Settings(image_size=64).are_full
