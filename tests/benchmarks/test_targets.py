"""The targets that given results meet and miss."""

import pytest
from made_up import measured, result

from benchmarks import models, ops, train
from benchmarks.harness import targets
from benchmarks.harness.workloads import MOBILENET_V1
from jds.cost import Spread


def test_a_target_says_whether_it_is_met():
    ratio = Spread(0.5, 0.7, 0.9)
    met, missed, unknown = (targets.of_ratio("one / two", *of) for of in ((0.7, ratio), (0.6, ratio), (0.7, None)))
    assert str(met) == "one / two: 0.7 (0.5 to 0.9), target 0.7: met"
    assert missed.verdict == "MISSED"
    assert str(unknown) == "one / two: not measured (target 0.7)"


def test_layers_are_judged_by_their_geometric_mean_and_the_slowest():
    ratios = [Spread(0.4, 0.5, 0.6), Spread(1.0, 2.0, 3.0)]
    mean, slowest = targets.of_cases("layers", 1.0, ratios, worst=1.5)
    assert (mean.value, mean.verdict) == (pytest.approx(1.0), "met")
    assert (slowest.value, slowest.quartiles, slowest.verdict) == (2.0, (1.0, 3.0), "MISSED")
    assert [t.verdict for t in targets.of_cases("layers", 1.0, [*ratios, None], worst=1.5)] == ["not measured"] * 2
    assert len(targets.of_cases("layers", 1.0, ratios)) == 1


def test_the_hardest_of_several_ratios_is_the_greatest():
    assert targets.hardest([None, Spread(0, 1, 2), Spread(0, 3, 4)]) == (0, 3, 4)
    assert targets.hardest([None]) is None


def layer(kind, workload, **times):
    spec = {"pass": kind, "workload": workload._asdict(), "batch": 1}
    return result(ops.CONTENDERS, spec, times)


def test_targets_of_the_layers_compare_each_pass_and_the_block():
    workloads = MOBILENET_V1[2], MOBILENET_V1[8]
    results = [layer(kind, w, jds=1.0, xla=8.0, torch=2.0) for kind in ops.PASSES for w in workloads]
    results += [layer("block", w, jds=1.2 * ops.theoretical_ratio(w), ordinary=1.0) for w in workloads]
    found = {target.name: target for target in ops.targets(results)}
    assert found["forward, batch 1: jds / PyTorch, geometric mean"].value == pytest.approx(0.5)
    assert found["forward, batch 1: jds / XLA's own, geometric mean"].verdict == "MISSED"
    assert found["kernel gradient, batch 1: jds / XLA's own, slowest layer"].verdict == "met"
    block = found["block, batch 1: jds / XLA's ordinary convolution / ratio in theory, geometric mean"]
    assert (block.value, block.verdict) == (pytest.approx(1.2), "met")
    assert ops.theoretical_ratio(workloads[0]) == pytest.approx(1 / 128 + 1 / 9)


def network(name, batch=1, allocator=None, **times):
    table = models.IN_KERAS_ONLY if name == models.KERAS else models.CONTENDERS
    times = {contender.replace("_", "-"): at for contender, at in times.items()}
    return result(table, {"network": name, "batch": batch}, times, name=f"{name}, batch {batch}", allocator=allocator)


def test_targets_of_the_networks_use_the_fastest_peers_and_files_and_the_system_s_allocator():
    times = {"timm": 10.0, "timm_compiled": 8.0, "onnxruntime": 7.0, "onnxruntime_timm": 3.0}
    times |= {"openvino": 8.0, "openvino_timm": 8.0, "litert": 4.0}
    results = [
        network("mixnet_s", jds=6.0, **times),
        network("mixnet_s", jds=60.0, **times, allocator="liballocator.so"),
        network("mixnet_s", batch=2, jds=60.0, **times),
        network("mobilenetv1_100", jds=1.5, **times),
        network("mobilenetv1_100", batch=16, jds=2.0, **times),
        *(network(models.KERAS, batch, keras_jds=1.0, keras=10.0) for batch in (1, 16)),
    ]
    found = {target.name: (target.value, target.verdict) for target in models.targets(results)}
    engines = "the best of ONNX Runtime, OpenVINO and LiteRT"
    timm = "the better of timm eager and compiled"
    exported = "exported by jds / by timm"
    assert found == {
        f"batch 1: jds / {timm}, geometric mean": (pytest.approx(0.375), "met"),
        f"batch 1: jds / {timm}, slowest network": (pytest.approx(0.75), "met"),
        f"batch 1: jds / {engines}, geometric mean": (pytest.approx(1.0), "MISSED"),
        f"batch 1: jds / {engines}, slowest network": (pytest.approx(2.0), "MISSED"),
        f"ONNX Runtime, batch 1: {exported}, geometric mean": (pytest.approx(7 / 3), "MISSED"),
        f"ONNX Runtime, batch 1: {exported}, slowest network": (pytest.approx(7 / 3), "MISSED"),
        f"OpenVINO, batch 1: {exported}, geometric mean": (pytest.approx(1), "met"),
        f"OpenVINO, batch 1: {exported}, slowest network": (pytest.approx(1), "met"),
        f"mobilenetv1_100, batch 16: jds / {timm}": (pytest.approx(0.25), "met"),
        f"mobilenetv1_100, batch 16: jds / {engines}": (pytest.approx(2 / 3), "met"),
        "Keras MobileNetV2, batch 1: with / without jds.accelerate": (pytest.approx(0.1), "met"),
    }


def test_targets_whose_contenders_are_missing_are_not_measured():
    found = models.targets([network("mixnet_s", jds=6.0, timm=10.0)])
    assert [target.verdict for target in found] == ["met"] * 2 + ["not measured"] * 6


def test_targets_of_training_are_for_the_step_and_its_compilation():
    times = {
        "jds": measured(9, 9, 9, compiled=(2.0, 4.0, 6.0)),
        "xla": measured(99, 99, 99, compiled=(2.0, 2.0, 2.0)),
        "torch": 10,
    }
    step, compiled = train.targets([result(train.CONTENDERS, {"batch": 16}, times)])
    assert (step.value, step.verdict) == (pytest.approx(0.9), "met")
    assert (compiled.value, compiled.verdict) == (pytest.approx(2), "MISSED")
    step, compiled = train.targets([result(train.CONTENDERS, {"batch": 16}, {"jds": 1.0})])
    assert step.verdict == compiled.verdict == "not measured"
