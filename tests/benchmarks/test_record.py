"""The record, the tables and the pictures, made from given results."""

import dataclasses
import importlib
import json
import re

import pytest
from made_up import measured, result
from rich.console import Console

from benchmarks import models, ops, tables
from benchmarks.harness import pictures, record, report, roofline
from benchmarks.harness.targets import Target
from benchmarks.harness.workloads import MOBILENET_V1


@pytest.fixture
def results():
    times = {"jds": measured(1.23456789, 2.0, 3.0), "timm": 4.0}
    spec = {"network": "mixnet_s", "batch": 1, "folder": "/a/path"}
    return [result(models.CONTENDERS, spec, times, allocator=name) for name in (None, "liballocator.so")]


def layers():
    specs = [
        {"pass": kind, "workload": workload._asdict(), "batch": 1}
        for kind in ("forward", "block")
        for workload in MOBILENET_V1[:2]
    ]
    return [result(ops.CONTENDERS, spec, {"jds": 1.0, "torch": 2.0, "ordinary": 9.0}) for spec in specs]


def references():
    sizes = [*(roofline.needs(workload, 1).traffic for workload in MOBILENET_V1[:2]), roofline.LARGE]
    copies = [result((roofline.COPY,), {"pass": "copy", "bytes": size}, {"numpy": 10.0}) for size in sizes]
    table = (roofline.PRODUCT, *ops.CONTENDERS)
    return [*copies, result(table, {"pass": "product", "size": 1000}, {"jax": 20.0, "torch": 10.0})]


def text(*renderables):
    console = Console(width=report.WIDTH)
    with console.capture() as capture:
        console.print(*renderables)
    return capture.get()


def test_the_record_has_a_schema_the_machine_and_every_sample(results):
    target = Target("one / two", 1.0, 0.123456789, (0.1, 0.2))
    found = record.significant(record.record("models", {"rounds": 3}, (), results, [target]))
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["schema"] == {"name": "jds.benchmarks.models", "version": 3}
    assert re.fullmatch(r"[0-9a-f]{40}( and changes)?|unknown", found["commit"])
    assert {"cpu", "cores", "jax", "jaxlib", "jds"} <= found["machine"].keys()
    assert found["targets"] == [
        {"name": "one / two", "limit": 1.0, "value": 0.123457, "quartiles": [0.1, 0.2], "verdict": "met"}
    ]
    first, other = found["results"]
    assert (first["allocator"], other["allocator"]) == (None, "liballocator.so")
    assert first["case"] == {"network": "mixnet_s", "batch": 1}  # no path of this machine
    assert first["ratios"] == {"timm": {"low": 0.404321, "median": 0.5, "high": 0.625}}
    assert first["contenders"]["jds"]["samples"] == [[0.00123457], [0.002], [0.003]]
    assert first["contenders"]["jds"]["compile_seconds"] == [2.0, 3.0]
    assert first["contenders"]["jds"]["mib"] == {"imported": 50, "prepared": 60, "compiling": 300, "running": 200}


@pytest.mark.parametrize("name", ["ops", "models", "other_layers", "train"])
def test_the_published_record_is_of_a_commit_and_of_the_command_with_its_defaults(name):
    found = tables.load(name)
    assert found["command"] == f"python -m benchmarks.{name}"
    assert re.fullmatch("[0-9a-f]{40}", found["commit"])
    defaults = dataclasses.asdict(importlib.import_module(f"benchmarks.{name}").Settings())
    # The allocator that was found.
    chosen = {"out", "allocator"}
    assert {key: found["settings"][key] for key in defaults.keys() - chosen} == json.loads(
        json.dumps({key: value for key, value in defaults.items() if key not in chosen})
    )


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "record.json"
    record.write(path, {"x": (1.23456789, 1)})  # one line per entry
    assert path.read_text() == '{\n"x": [\n1.23457,\n1\n]\n}\n'
    with pytest.raises(TypeError):
        record.write(path, {"x": object()})
    with pytest.raises(ZeroDivisionError):
        record.replace(path, lambda temporary: (temporary.write_text("half"), 1 / 0))
    assert path.read_text() == '{\n"x": [\n1.23457,\n1\n]\n}\n'
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_tables_show_times_and_ratios(results):
    rows = text(report.network_table(results[0]))
    assert "a case, the system's allocator; × = time of jds / this" in rows
    assert [[cell.strip() for cell in line.split("│")[1:5]] for line in rows.splitlines() if "│" in line] == [
        ["jds", "2 ±0.44", "", "3.0"],
        ["timm eager", "4 ±0", "0.500 (0.404–0.625)", "3.0"],
    ]
    rows = text(report.layer_table("block", layers()[2:]), report.cost_table(layers()))
    assert "2 (0.50)" in rows
    assert "9 (0.11)" in rows
    assert "112x112x64 /2" in rows
    assert "…" not in rows


def test_networks_are_compared_with_the_fastest_of_each_engine_and_int8_with_float():
    times = {"jds": 6.0, "xla": 60.0, "timm": 10.0, "timm-compiled": 8.0, "litert": 4.0, "litert-int8": 1.0}
    times |= {"onnxruntime": 7.0, "onnxruntime-timm": 3.0, "openvino": 12.0, "openvino-timm": 24.0}
    times |= {"onnxruntime-int8": 14.0, "openvino-int8": 3.0}
    spec = {"network": "mixnet_s", "batch": 1}
    found = [result(models.CONTENDERS, spec, times, name="mixnet_s", allocator=name) for name in (None, "other")]
    found.append(result(models.IN_KERAS_ONLY, {"network": models.KERAS}, {"keras-jds": 1.0, "keras": 2.0}))
    lines = tables.networks({"results": [record.entry(result) for result in found]})
    assert lines[0].endswith("| jds, ms | timm | XLA's own | ONNX Runtime | OpenVINO | LiteRT | the fastest engine |")
    assert lines[2:4] == ["| mixnet_s | 6.00 | 0.75 | 0.10 | 2.00 | 0.50 | 1.50 | 2.00 |", ""]
    assert lines[-4:] == [
        "| network | ONNX Runtime | OpenVINO | LiteRT |",
        "| --- | --- | --- | --- |",
        "| mixnet_s | 2.00 | 0.25 | 0.25 |",
        "",
    ]


def test_the_duration_and_the_replaced_record_are_announced_before_measuring(results, tmp_path, capsys):
    cases, out = [result.case for result in results], tmp_path / "models.json"
    report.announce(cases, 9, 3.0, out)  # two cases of two contenders, ten rounds with the one that warms up
    assert (
        f"2 cases: the turns take 2.0 minutes; starting and compiling come on top. At the end {out} will be written.\n"
        == capsys.readouterr().err
    )
    out.touch()
    report.announce(cases, 9, 3.0, out)
    assert f"At the end {out}, which exists, will be replaced." in capsys.readouterr().err


def test_publishing_writes_and_prints_everything(results, tmp_path, capsys):
    target = Target("one / two", 1.0, None)
    out, picture = tmp_path / "models.json", tmp_path / "models.png"
    figures = {picture: pictures.networks(results)}
    report.publish(out, {"schema": 1}, figures, ["[a table]"], [target], ["Two [two] is left out"])
    printed = capsys.readouterr().out
    assert "one / two: not measured (target 1)\nTwo [two] is left out\n" in printed
    assert json.loads(out.read_text()) == {"schema": 1}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_pictures_show_each_contender_and_layer(results):
    (axes,) = pictures.networks(results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["jds", "timm eager"]
    forward, block = pictures.layers(layers()).axes
    assert [label.get_text() for label in forward.get_yticklabels()] == [
        "112x112x32, batch 1",
        "112x112x64 /2, batch 1",
    ]
    assert forward.get_legend_handles_labels()[1] == ["jds / PyTorch", "jds / XLA, ordinary"]
    assert block.get_title(loc="left") == "block"
    points = roofline.points(layers(), references())
    (axes,) = pictures.roofline(points, references()).axes
    assert axes.get_legend_handles_labels()[1][2:] == ["jds, batch 1", "PyTorch, batch 1"]


def test_roofs_are_a_copy_of_the_layer_s_size_and_the_fastest_product():
    first, *_ = points = roofline.points(layers(), references())
    assert len(points) == 4  # two forward passes, two contenders
    workload = MOBILENET_V1[0]
    assert first.bytes == roofline.needs(workload, 1).traffic == 4 * (2 * 112 * 112 * 32 + 9 * 32)
    assert first.flops == roofline.needs(workload, 1).flops == 2 * 9 * 112 * 112 * 32
    assert first.product == pytest.approx(2 * 1000**3 / 10e-3)
    # In total, 2**28 bytes in 10 ms, in whole copies.
    assert first.copy == pytest.approx(2**28 // first.bytes * first.bytes / 10e-3)
    # At 2.25 operations per byte, the copy is the lower roof.
    assert first.intensity == pytest.approx(2.25, rel=1e-3)
    assert first.share == pytest.approx(first.bytes / 1e-3 / first.copy)
    strided = MOBILENET_V1[1]
    assert roofline.needs(strided, 2).traffic == 4 * 64 * (2 * (112**2 + 56**2) + 9)
    assert roofline.needs(strided, 2).flops == 2 * 2 * 9 * 56 * 56 * 64
    assert "of roof" in text(roofline.table(points, references()))
    entry = record.significant(roofline.entry(points, references()))
    assert entry["points"][0]["layer"] == "112x112x32"


def test_roofs_have_cases_for_any_set_of_contenders():
    cases = roofline.cases(MOBILENET_V1, (1,), ops.CONTENDERS[:1])
    assert [case.contenders[0].name for case in cases[-2:]] == ["numpy", "jax"]
    assert len(cases) == len({roofline.needs(workload, 1).traffic for workload in MOBILENET_V1}) + 2
