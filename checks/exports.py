"""Exports every public network to ONNX and to LiteRT: same values, and one operation for each layer.

    pip install -e ".[onnx,litert]" onnxruntime
    python -m checks.exports [--pattern NAME]

All parameters are random, those of the normalizations too. The ONNX file has a free batch, and is run with 1, 2 and 5
images; the LiteRT file has 2. The error is relative to the greatest logit. Convolutions,
with their groups, must be those of the network; transposes are allowed around channels-last norms and in attention
only; XNNPACK must run the LiteRT file in one part, or, of Xception, in three.

The record is checks/results/exports.json. `code` is a hash of the sources that wrote the files; a result is valid for
the same sources only.
"""

import ast
import collections
import functools
import hashlib
import io
import tempfile
import tokenize
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from flax import nnx

import jds
from checks import sweep

RECORD = sweep.RESULTS / "exports.json"
IMAGE_SIZE, BATCH = 96, 2
GREATEST_ERROR = 1e-4
# Parts of a file that XNNPACK runs: one, but for Xception.
MOST_PARTS = 3
# Beginnings of the names of modules that round, run and read files.
NOT_WRITERS = ("_quantize", "_session", "_file_", "_read_")
WRITERS = ("_equations", "_patterns", "_prepare", "litert/_convert", "litert/_products")


@functools.cache
def code() -> str:
    """Hashes the sources that write these files, without comments and docstrings."""
    folder = Path(jds.__file__).parent / "exporting"
    files = [folder / f"{name}.py" for name in WRITERS]
    files += [file for file in sorted(folder.glob("onnx/*.py")) if not file.name.startswith(NOT_WRITERS)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(statements(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def statements(source: str) -> str:
    """Returns a program without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(line for line in lines if line.strip())


def export(name: str) -> dict[str, Any]:
    """Exports a network; returns errors and the form of the files."""
    import onnx

    model = jds.create_model(name)
    vary(model)
    found: dict[str, Any] = {"groups": _counted(groups_of(model, IMAGE_SIZE))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        report = jds.export(model, path, image_size=IMAGE_SIZE, batch=None)
        groups = _counted(groups_in(onnx.load(path).graph))
        found["onnx"] = {"error": report.check and report.check.error, "nodes": dict(report.layers), "groups": groups}
        path = Path(folder) / "network.tflite"
        report = jds.export(model, path, image_size=IMAGE_SIZE, batch=BATCH)
        found["litert"] = {
            "error": report.check and report.check.error,
            "operations": dict(report.layers),
            "parts": _parts(path),
        }
    return found


def vary(model: nnx.Module) -> None:
    """Makes the parameters and statistics of a new model differ from channel to channel, as training does."""
    generator = np.random.default_rng(0)

    def varied(leaf: jax.Array) -> jax.Array:
        factors, offsets = (generator.uniform(low, high, leaf.shape) for low, high in ((0.8, 1.2), (0, 0.02)))
        # `jnp.asarray` would compile a program for each shape.
        return jax.device_put(np.asarray(leaf) * factors.astype(leaf.dtype) + offsets.astype(leaf.dtype))

    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(varied, state))


def is_right(result: dict[str, Any]) -> bool:
    nodes, operations = result["onnx"]["nodes"], result["litert"]["operations"]
    depthwise = sum(count for groups, count in result["groups"].items() if int(groups) > 1)
    # Two around each norm, four in each attention.
    transposes = 2 * nodes.get("LayerNormalization", 0) + 4 * nodes.get("Softmax", 0)
    return (
        all(result[kind]["error"] <= GREATEST_ERROR for kind in ("onnx", "litert"))
        and result["onnx"]["groups"] == result["groups"]
        and nodes.get("Transpose", 0) <= transposes
        and operations.get("DEPTHWISE_CONV_2D", 0) == depthwise
        and result["litert"]["parts"] <= (MOST_PARTS if "MAX_POOL_2D" in operations else 1)
    )


def groups_of(model: Any, image_size: int) -> list[int]:
    """Returns the groups of each convolution of a network, as it is exported."""
    evaluated = nnx.clone(model)
    evaluated.eval()
    images = jax.ShapeDtypeStruct((1, image_size, image_size, model.config.in_features), np.float32)
    jaxpr = jds.expand_jaxpr(jax.make_jaxpr(jds.reparameterize(evaluated))(images))
    return [e.params["feature_group_count"] for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]


def groups_in(graph: Any) -> list[int]:
    """Returns the groups of each convolution of an ONNX graph.

    A grouped convolution that is not depthwise stands for several convolutions of the network, one per group.
    """
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    found = []
    for node in graph.node:
        # A convolution without strides is a product.
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == "Conv" and "strides" in attributes:
            groups, depth = attributes["group"], shapes[node.input[1]][1]
            found += [1] * groups if depth > 1 else [groups]
    return found


def _counted(groups: Any) -> dict[str, int]:
    return {str(count): number for count, number in sorted(collections.Counter(groups).items())}


def _parts(path: Path) -> int:
    """Number of parts of a file that XNNPACK runs."""
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter: Any = Interpreter(str(path))
    interpreter.allocate_tensors()
    return sum(operation["op_name"] == "DELEGATE" for operation in interpreter._get_ops_details())


if __name__ == "__main__":
    settings = tyro.cli(sweep.Settings, description=__doc__)
    packages = ("jax", "flax", "onnx", "onnxruntime", "litert-converter", "ai-edge-litert")
    sweep.run(RECORD, settings, export, is_right, packages=packages, image_size=IMAGE_SIZE, code=code())
