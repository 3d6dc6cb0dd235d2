"""The JSON records of `Analysis.to_dict`, and their schema."""

import copy
import csv
import functools
import io
import json

import jax
import jax.numpy as jnp
import jsonschema
import pytest
from flax import nnx

import jds
from jds import cost
from jds.cost._fits import batch_record
from jds.cost._graph import Graph, Node, Tensor

SHAPES = [jax.ShapeDtypeStruct((4, 8), "float32"), jax.ShapeDtypeStruct((8, 8), "float32")]


def layer(x, w):
    with jax.named_scope("layer"):
        return jnp.tanh(x @ w)


def branches(x):
    x = jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: jnp.linalg.eigh(x)[1], x)
    return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x + 1, x)


@functools.cache
def network():
    model = nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100", width=0.25))
    model.eval()
    return model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@functools.cache
def analyzed():
    return cost.analyze(*network())


@functools.cache
def gradient():
    model, images = network()
    return cost.analyze(nnx.grad(lambda model, x: model(x).sum()), model, images)


def measured():
    found = cost.analyze(layer, *SHAPES)
    spread = cost.Spread(1e-6, 2e-6, 3e-6)
    times = cost.Measurement(spread, {"layer": spread, "(call)": spread}, spread)
    return found.to_dict(cost.estimate(found, "a100", measured=times))


def of_a_file():
    tensors = {name: Tensor((2, 2), "float32", 16, name == "w") for name in "xwy"}
    node = Node("layer", "Gemm", ("x", "w"), ("y",), cost.Cost("dense", cost.Counts(8, 8, 16)))
    return cost.analyze_graph(Graph("file", tensors, (node,), ("x",), ("y",)))


def unknown():
    return cost.analyze(branches, jax.ShapeDtypeStruct((4, 4), "float32"))


def swept(device=None, measure=None):
    def make(width, batch):
        return cost.analyze(
            layer, jax.ShapeDtypeStruct((batch, int(8 * width)), "float32"), jnp.ones((int(8 * width), 8))
        )

    return cost.sweep("a layer", make, {"width": [0.5, 1], "batch": [1, 2]}, device, measure)


def on(device, analysis):
    return analysis.to_dict(cost.estimate(analysis, device))


def asked_for():
    """What the command adds to the record if it is asked for."""
    found = analyzed()
    limits = [cost.Limit("macs", 1e6), cost.Limit("time", 1e-3, "h100", "1 ms"), cost.Limit("memory", 1e9)]
    return with_parts(
        found,
        forecast=cost.forecast(found, "pixel 4"),
        budget=cost.check_budget(found, limits),
        reconciliation=cost.reconcile(jnp.cumsum, SHAPES[0]),
    )


def unknown_parts():
    found, limits = unknown(), [cost.Limit("macs", 1e9)]
    return with_parts(found, forecast=cost.forecast(found, "h100"), budget=cost.check_budget(found, limits))


def with_parts(found, **parts):
    return found.to_dict() | {name: part.to_dict() for name, part in parts.items()}


RECORDS = {
    "all that can be asked for": asked_for,
    "what is not known of it": unknown_parts,
    "a function": lambda: cost.analyze(layer, *SHAPES).to_dict(),
    "a network": lambda: analyzed().to_dict(),
    "with times": lambda: on("pixel 4", analyzed()),
    "on a device for int8": lambda: on("snapdragon_8_gen_3_npu", analyzed()),
    "as int8": lambda: on("pixel 4", analyzed().as_dtype("int8")),
    "measured": measured,
    "a gradient": lambda: gradient().to_dict(),
    "unknown trips": lambda: unknown().to_dict(),
    "known trips": lambda: cost.analyze(
        branches, jax.ShapeDtypeStruct((4, 4), "float32"), trip_counts={"": 3}
    ).to_dict(),
    "a file": lambda: of_a_file().to_dict(),
    "nothing": lambda: cost.analyze(lambda x: x, SHAPES[0]).to_dict(),
    "a comparison": lambda: cost.compare(gradient(), cost.analyze(layer, *SHAPES)).to_dict(),
    "a comparison of files": lambda: cost.compare(of_a_file(), of_a_file()).to_dict(),
    "a comparison with unknown trips": lambda: cost.compare(unknown(), cost.analyze(layer, *SHAPES)).to_dict(),
    "a sweep": lambda: swept().to_dict(),
    "a sweep on a device": lambda: swept("h100").to_dict(),
    "a measured sweep": lambda: swept(measure=lambda **_: 1e-3).to_dict(),
    "a largest batch": lambda: batch_record(cost.analyze(layer, *SHAPES), 3, 1000),
    "no batch that fits": lambda: batch_record(cost.analyze(layer, *SHAPES), 0, 1),
}


@functools.cache
def validator():
    schema = cost.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@functools.cache
def record_of(kind):
    return RECORDS[kind]()


@pytest.mark.parametrize("kind", RECORDS)
def test_records_have_the_schema(kind):
    record = json.loads(json.dumps(record_of(kind), allow_nan=False))
    error = jsonschema.exceptions.best_match(validator().iter_errors(record))
    assert error is None, f"{error.json_path}: {error.message}"


@pytest.mark.parametrize("kind", RECORDS)
def test_records_begin_alike(kind):
    record = record_of(kind)
    assert list(record)[:5] == ["schema", "name", "date", "jds", "machine"]
    assert record["machine"] == cost.machine_facts()
    # A record of one kind has the schema of no other kind.
    for name in {"jds.cost", "jds.cost.comparison", "jds.cost.sweep", "jds.cost.largest_batch"} - {
        record["schema"]["name"]
    }:
        other = json.loads(json.dumps(record)) | {"schema": {"name": name, "version": 4}}
        assert not validator().is_valid(other)


def test_rows_that_cost_more_than_is_counted_are_marked_in_all_data():
    found = unknown()
    # What has no rule, and what is in a loop of unknown length.
    marked = {"eigh", "slice", "squeeze", "lt", "add"}
    assert {row["name"] for row in found.to_dict()["operation"] if row["is_lower_bound"]} == marked
    # A data frame has the same columns.
    lines = csv.DictReader(io.StringIO(found.to_csv("operation")))
    assert {line["name"] for line in lines if line["is_lower_bound"] == "True"} == marked
    pairs = cost.compare(found, cost.analyze(layer, *SHAPES), "operation").to_dict()["rows"]
    assert {pair["name"] for pair in pairs if pair["row"] and pair["row"]["is_lower_bound"]} == marked
    assert all(point.is_lower_bound for point in cost.sweep("unknown", lambda n: found, {"n": [1, 2]}).points)


def every_object(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield schema
        for each in schema.values():
            yield from every_object(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from every_object(each)


def test_the_schema_is_strict_and_describes_everything():
    schema = cost.json_schema()
    for each in every_object(schema):
        assert each["additionalProperties"] is False
        is_record = each is schema["$defs"]["analysis"]
        optional = {"budget", "forecast", "reconciliation"} if is_record else set()
        assert set(each["properties"]) - set(each["required"]) == optional
        for name, about in each["properties"].items():
            assert about.get("description") or "const" in about, name


def test_rows_have_the_fields_of_the_schema():
    definitions = cost.json_schema()["$defs"]
    assert tuple(definitions["row"]["properties"]) == cost.CostRow._fields
    assert tuple(definitions["counts"]["properties"]) == cost.Counts._fields
    assert tuple(definitions["bound"]["properties"]) == (*cost.Bound._fields, "share")
    assert tuple(definitions["estimate"]["properties"]["peak"]["properties"]) == cost.Peak._fields
    assert tuple(definitions["reconciliation"]["properties"]) == cost.Reconciliation._fields
    assert tuple(definitions["difference"]["properties"]) == cost.Difference._fields
    assert tuple(definitions["forecast"]["properties"]) == cost.Forecast._fields
    neighbor = definitions["forecast"]["properties"]["neighbors"]["items"]
    assert tuple(neighbor["properties"]) == (*cost.Latency._fields, "bound", "ratio")
    verdict = definitions["budget"]["properties"]["verdicts"]["items"]
    assert tuple(verdict["properties"]["limit"]["properties"]) == cost.Limit._fields


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema", "version"), 2),
        (("name",), None),
        (("total", "counts", "macs"), -1),
        (("total", "counts", "macs"), 1.5),
        (("total", "kind"), "attention"),
        (("layer", 0, "surplus"), 1),
        (("estimate", "total", "limit"), "luck"),
        (("estimate", "peak", "rates", "float33"), 1e9),
        (("estimate", "rows", 0, "seconds"), None),
        (("memory", "parts", "luggage"), 1),
        (("conventions", "dtype"), "float64"),
        (("conventions", "trip_counts"), -1),
        (("machine", "cores"), "many"),
    ],
)
def test_wrong_records_are_refused(path, value):
    record = copy.deepcopy(example())
    target = record
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    assert not validator().is_valid(record)


@pytest.mark.parametrize("path", [("jds",), ("memory", "curve"), ("layer", 0, "output"), ("estimate", "peak", "cache")])
def test_incomplete_records_are_refused(path):
    record = copy.deepcopy(example())
    target = record
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    assert not validator().is_valid(record)


@functools.cache
def example():
    record = json.loads(json.dumps(measured()))
    assert validator().is_valid(record)
    return record
