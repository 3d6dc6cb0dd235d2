"""The records of the checks: they have every network, as it is now, and every result is right."""

import math

import numpy as np
import pytest
from jax import lax

from checks import exports, figures, outdated, sweep, training_steps, variants
from checks.fingerprint import fingerprint, row_fingerprint
from jds import zoo
from jds.models import mobilenet_v2

RECORDS = {check: sweep.load(check.RECORD) for check in (variants, training_steps, exports)}
# Small networks, in each package's conventions; `python -m checks.outdated` compares all networks.
SMALLEST = [
    "mobilenetv1_100",
    "tf_mobilenetv3_small_minimal_100",
    "convnext_atto",
    "torchvision/mobilenet_v2",
    "keras/MobileNetV3Small",
]


def test_the_records_have_all_networks_and_every_result_is_right():
    judges = {variants: variants.is_equal, training_steps: training_steps.is_right, exports: exports.is_right}
    for check, is_right in judges.items():
        assert RECORDS[check].keys() == zoo.VARIANTS.keys()
        assert all(map(is_right, RECORDS[check].values()))


@pytest.mark.parametrize("name", zoo.VARIANTS)
def test_the_results_and_figures_are_of_the_networks_with_these_rows(name):
    variant, known = zoo.VARIANTS[name], zoo.figures()[name]
    assert {record[name]["row"] for record in RECORDS.values()} == {row_fingerprint(variant)}
    assert known.parameters == RECORDS[variants][name]["public_parameters"]
    assert known.image_size == variant.preprocessing.image_size


@pytest.mark.parametrize("name", SMALLEST)
def test_the_results_and_figures_are_of_the_networks_as_they_are_now(name):
    now = fingerprint(name)
    codes = {exports: exports.code()}
    assert all(sweep.is_valid(record[name], now, codes.get(check)) for check, record in RECORDS.items())
    assert zoo.Figures(**figures.figures(name)) == zoo.figures()[name]


def test_outdated_exits_with_the_commands_to_run_again_and_only_if_there_are_any(monkeypatch):
    outdated.main("mobilenetv1_100")
    monkeypatch.setattr(outdated, "fingerprint", lambda name: "another")
    with pytest.raises(SystemExit, match=r"python -m checks\.training_steps --pattern mobilenetv1_100"):
        outdated.main("mobilenetv1_100")


def test_all_networks_have_figures():
    # `python -m checks.figures` updates them.
    assert zoo.figures().keys() == zoo.VARIANTS.keys()


def test_the_images_of_the_comparison_tell_the_paddings_apart():
    size = variants.IMAGE_SIZE
    for _ in range(4):
        assert lax.padtype_to_pads((size,), (3,), (2,), "SAME") == [(0, 1)]  # PyTorch pads (1, 1)
        size //= 2


CHANGES = [
    {"epsilon": 1e-4}, {"momentum": 0.8}, {"padding": "SAME"}, {"drop_path": 0.1}, {"dropout": 0.1},
    {"output_stride": 8}, {"unbiased_variance": False}, {"num_classes": 9}, {"dtype": "bfloat16"},
]  # fmt: skip


def test_a_change_of_a_network_changes_its_fingerprint_and_a_change_of_its_implementation_does_not():
    # Down to a stride of 16, with a skip connection.
    small = {"rows": tuple(row._replace(repeats=1 + (row.strides == 1)) for row in mobilenet_v2.ROWS[:4])}
    found = {str(change): fingerprint("mobilenetv2_035", **small, **change) for change in [{}, *CHANGES]}
    assert len({*found.values()}) == len(found)
    assert fingerprint("mobilenetv2_035", **small, implementation="xla") == found["{}"]


@pytest.mark.parametrize(
    "wrong", [{"parameters": 6}, {"difference": 2e-4}, {"difference": np.nan}, {"of_images": 1e-3}]
)
def test_results_that_differ_or_do_not_depend_on_the_image_are_not_equal(wrong):
    equal = {"parameters": 5, "public_parameters": 5, "difference": 1e-6, "of_images": 0.1}
    equal |= {"folded": 1e-6, "folded_float64": 1e-14}
    assert variants.is_equal(equal)
    assert not variants.is_equal(equal | wrong)


@pytest.mark.parametrize(
    "wrong", [{"losses": [1.0, 1.1]}, {"losses": [1.0, math.nan]}, {"traces": 2}, {"grouped": 1}], ids=str
)
def test_a_network_that_does_not_learn_is_not_right(wrong):
    right = {"losses": [1.0, 1.1, 0.9], "traces": 1, "grouped": 0}
    assert training_steps.is_right(right)
    assert not training_steps.is_right(right | wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("onnx", {"error": 2e-4}),
        ("litert", {"error": math.nan}),
        ("onnx", {"groups": {"1": 3}}),
        ("onnx", {"nodes": {"Transpose": 1}}),
        ("litert", {"operations": {}}),
        ("litert", {"parts": 2}),
    ],
    ids=str,
)
def test_an_export_with_other_values_or_another_form_is_not_right(kind, wrong):
    groups = {"1": 2, "8": 1}
    right = {
        "groups": groups,
        "onnx": {"error": 1e-6, "groups": groups, "nodes": {"Conv": 3}},
        "litert": {"error": 1e-6, "operations": {"DEPTHWISE_CONV_2D": 1}, "parts": 1},
    }
    assert exports.is_right(right)
    assert not exports.is_right(right | {kind: right[kind] | wrong})


def test_words_are_no_statements():
    source = '"""Words."""\n\n# More.\ndef f(x):\n    """And\n\n    more."""\n    return f"{x} # {x}"  # the end\n'
    assert exports.statements(source) == 'def f(x):\n    return f"{x} # {x}"'
