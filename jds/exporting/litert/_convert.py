"""Converts a program to a LiteRT file."""

import platform
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from jds.exporting._attached import attach
from jds.exporting._blame import equations, unsupported
from jds.exporting._description import Description
from jds.exporting._formats import Calibration, Converted, require
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.exporting._quiet import quiet
from jds.exporting.litert._metadata import NAME, metadata
from jds.exporting.litert._model import described, layers, read
from jds.exporting.litert._products import writable
from jds.exporting.litert._quantize import SIGNATURE, left_in_float, quantized, with_float16_weights
from jds.ops._lowering import override

# The StableHLO operations that LiteRT's interpreter runs as they are; the others must have been converted.
_RUNNABLE = {f"stablehlo.{name}" for name in ("gather", "scatter", "composite", "rng_bit_generator", "shift_left")}
_LOOPS = ("while", "scan", "cond")
_SYSTEMS = "Linux on x86-64 and macOS on Apple silicon"


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a program to a file.

    Raises:
      NotImplementedError: an operation has no form in LiteRT.
      ImportError: the converter is not installed, or does not exist for this system.
    """
    # Convolutions are left whole, whatever implementation the model names; TPUs have the fewest rules of their own.
    with override("xla"):
        program = jax.jit(prepared.traced(run=writable(prepared)))
        exported = jax.export.export(program, platforms=["tpu"])(*prepared.inputs.values())
    content = _converted(prepared, exported.mlir_module_serialized)
    if calibration is not None:
        ((name, images),) = prepared.inputs.items()
        content = quantized(content, calibration, name, images.shape[0])
    elif options.float16:
        content = with_float16_weights(content)
    model = read(content)
    inputs, outputs = described(model)
    return Converted(
        content=attach(content, prepared.description),
        format="LiteRT",
        layers=layers(model),
        inputs=dict(zip(prepared.inputs, inputs, strict=True)),
        outputs=dict(zip(prepared.output_names, outputs, strict=True)),
        packages=("litert-converter",) if calibration is None else ("litert-converter", "litert-quantizer"),
        in_float=None if calibration is None else left_in_float(model),
        notes=_notes(prepared.description),
    )


def _notes(description: Description | None) -> tuple[str, ...]:
    if description is None or description.preprocessing is None or description.pixels:
        return ()
    preprocessing = description.preprocessing
    if len({*preprocessing.mean}) == len({*preprocessing.std}) == 1:
        return ()
    return (
        "MediaPipe's image classifiers, for Android and iOS, need the same mean and std for all channels, or a file "
        "that normalizes pixels itself: normalize=True.",
    )


def _converted(prepared: Prepared, program: bytes) -> bytes:
    with quiet() as written:
        ir = _converter("mlir.ir")
        stablehlo = _converter("mlir.dialects.stablehlo")
        passes = _converter("mlir.passmanager")
        api = _converter("converter_api_ext")
        context = ir.Context()
        api.prepare_mlir_context(context)
        with context:
            module = stablehlo.deserialize_portable_artifact(context, program)
            (main,) = (op for op in module.body.operations if ir.StringAttr(op.attributes["sym_name"]).value == "main")
            api.set_signature(
                main.operation,
                signature_name=SIGNATURE,
                input_names=list(prepared.inputs),
                output_names=list(prepared.output_names),
            )
            if prepared.description is not None:
                named = {NAME: ir.StringAttr.get(metadata(prepared.description))}
                module.operation.attributes["tfl.metadata"] = ir.DictAttr.get(named)
            fault: Exception | None = None
            content = b""
            try:
                api.run_convert_to_tfl_passes(module, passes.PassManager(), api.ConvertToTFLConfig())
                content = api.export_flatbuffer_to_bytes(module.operation)
            except Exception as error:  # the converter raises ValueError or RuntimeError, often without a reason
                fault = error
            left = [(op.name, str(op.location)) for op in _operations(module.operation) if _is_left(op.name)]
    if left or fault is not None:
        raise NotImplementedError(_message(prepared, left, f"{fault or ''} {written.text}".strip())) from fault
    return content


def _converter(module: str) -> Any:
    if platform.system() == "Windows" or (platform.system() == "Linux" and platform.machine() != "x86_64"):
        raise ImportError(
            f"export: `litert-converter` exists for {_SYSTEMS} only, not for {platform.system()} on "
            f"{platform.machine()}; export there, or export to ONNX, which LiteRT's other converters read"
        )
    return require(f"litert_converter.{module}", "litert", "LiteRT")


def _operations(operation: Any) -> Iterator[Any]:
    for region in operation.regions:
        for block in region.blocks:
            for op in block.operations:
                yield op.operation
                yield from _operations(op.operation)


def _is_left(name: str) -> bool:
    """Whether an operation was not converted."""
    return name.startswith(("stablehlo.", "chlo.", "vhlo.")) and name not in _RUNNABLE


def _message(prepared: Prepared, left: Sequence[tuple[str, str]], reason: str) -> str:
    found = list(equations(prepared.jaxpr))
    for name, location in left:
        # The first name in quotes that is a primitive's is the equation's; the rest is where it was called.
        words = [text.rpartition("/")[2] for text in re.findall(r'"([^"]+)"', location)]
        for equation in found:
            if str(equation.primitive) in words:
                return _about(equation, f"LiteRT has no `{re.sub(r'^[a-z]+[.]|_v[0-9]+$', '', name)}`")
    for equation in found:
        if str(equation.primitive) in _LOOPS:
            return _about(equation, "loops and conditionals are not supported")
    names = ", ".join(sorted({name for name, _ in left}))
    return f"export: {prepared.name} cannot be written to LiteRT: {names or reason or 'the converter gives no reason'}"


def _about(equation: Any, reason: str) -> str:
    return unsupported(equation, str(equation.primitive), equation.invars, equation.outvars, "LiteRT", reason)
