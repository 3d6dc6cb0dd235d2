"""Converts a program to a Core ML package."""

import contextlib
import importlib.metadata
import inspect
import tempfile
from pathlib import Path
from typing import Any

import jax

from jds._common.files import read_files
from jds.exporting._blame import unsupported
from jds.exporting._description import Description
from jds.exporting._equations import Program, read, simplify
from jds.exporting._formats import Calibration, Converted, counted, in_words
from jds.exporting._options import Options
from jds.exporting._patterns import find_patterns
from jds.exporting._prepare import Prepared
from jds.exporting.coreml._interface import Interface, interface_of
from jds.exporting.coreml._operations import register
from jds.exporting.coreml._packages import packages, silent
from jds.exporting.coreml._program import compute, find_clips, refused
from jds.exporting.coreml._session import runs_here
from jds.ops._lowering import override

_NOT_RUN = (
    "The file was not run, as Core ML runs on Apple systems only: compare its results on a Mac before you ship it."
)
_NO_CLASSIFIER = "The labels are in the metadata alone: with softmax=True, the file is a classifier that returns them."


def convert(prepared: Prepared, options: Options, calibration: Calibration | None = None) -> Converted:
    """Converts a program to a package for iOS 18, macOS 15 and later; int8 is not offered.

    With float16, it is also computed in float16, as the Neural Engine does.

    Raises:
      ValueError: the options need what Core ML does not have.
      NotImplementedError: an operation has no form in Core ML.
      ImportError: the packages are not installed, or do not exist for this system.
    """
    packages()
    interface = interface_of(prepared, options)
    program = find_clips(simplify(find_patterns(read(prepared.jaxpr, prepared.constants))))
    try:
        with silent():
            model = _converted(program, interface, is_float16=options.float16)
    except Exception as error:
        raise NotImplementedError(_message(prepared.name, program, error)) from error
    _describe(model, prepared)
    spec = model.get_spec()
    description = spec.description
    return Converted(
        content=_files(model),
        format="Core ML, iOS 18",
        layers=_layers(spec),
        inputs={feature.name: _type_in_words(feature.type) for feature in description.input},
        outputs={feature.name: _type_in_words(feature.type) for feature in description.output},
        packages=("coremltools", "stablehlo-coreml"),
        notes=_notes(prepared.description),
    )


def _notes(description: Description | None) -> tuple[str, ...]:
    lacks_classifier = description is not None and description.labels and description.output == "logits"
    return (*([] if runs_here() else [_NOT_RUN]), *([_NO_CLASSIFIER] if lacks_classifier else []))


def _converted(program: Program, interface: Interface, *, is_float16: bool) -> Any:
    register()
    coremltools, stablehlo_coreml, *_ = packages()
    target = coremltools.target.iOS18
    converted = stablehlo_coreml.convert(_lowered(program, interface), minimum_deployment_target=target)
    _name_outputs(converted.functions["main"], interface.outputs)
    precision = coremltools.precision
    return coremltools.convert(
        converted,
        source="milinternal",
        inputs=interface.input_types(),
        classifier_config=interface.classifier(),
        minimum_deployment_target=target,
        compute_precision=precision.FLOAT16 if is_float16 else precision.FLOAT32,
        pass_pipeline=stablehlo_coreml.build_pass_pipeline(),
        skip_model_load=True,
    )


def _lowered(program: Program, interface: Interface) -> Any:
    """Returns the program in StableHLO."""
    avals: list[Any] = [var.aval for var in program.inputs]
    dtypes = [aval.dtype for aval in avals]

    def main(*arrays: jax.Array) -> list[jax.Array]:
        return interface.stored(compute(program, interface.loaded(arrays, dtypes)))

    # The inputs get these names.
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in interface.inputs]
    named: Any = main
    named.__signature__ = inspect.Signature(parameters)
    # Convolutions are left whole, whatever implementation the model names; TPUs have the fewest rules of their own.
    with override("xla"):
        lowered = jax.jit(main).trace(*interface.inputs.values()).lower(lowering_platforms=("tpu",))
    return lowered.compiler_ir("stablehlo")


def _name_outputs(function: Any, names: tuple[str, ...]) -> None:
    """Names the outputs; one that is an input, a constant or another output is copied, as it has a name."""
    outputs = list(function.outputs)
    with function:
        for place, (var, name) in enumerate(zip(outputs, names, strict=True)):
            if var.op is None or var.op.op_type == "const" or var in outputs[:place]:
                outputs[place] = packages().mil.identity(x=var, name=name)
            else:
                var.name = name
        function.set_outputs(outputs)


def _message(name: str, program: Program, error: Exception) -> str:
    equation, reason = refused(program, error), " ".join(str(error).split()).rstrip(".!")
    if equation is None:
        return f"export: {name} cannot be written to Core ML: {reason or type(error).__name__}"
    return unsupported(equation.source, equation.name, equation.inputs, equation.outputs, "Core ML", reason)


def _describe(model: Any, prepared: Prepared) -> None:
    """Writes what an app's programmer sees in Xcode, and what `Description.read` reads."""
    description = prepared.description
    model.short_description = f"{prepared.name}, exported by jds"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # jds is not installed, only on the path
        model.version = importlib.metadata.version("jds")
    if description is not None:
        model.user_defined_metadata.update(description.entries())


def _files(model: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder, silent():
        path = Path(folder) / "a.mlpackage"
        model.save(str(path))
        # Without large constants, the folder of the weights is empty, but the manifest names it.
        return read_files(path)


def _layers(spec: Any) -> dict[str, int]:
    blocks = spec.mlProgram.functions["main"].block_specializations.values()
    kinds = [operation.type for block in blocks for operation in block.operations]
    return counted(kind for kind in kinds if kind != "const")


def _type_in_words(feature: Any) -> str:
    """Returns the type of an input or output."""
    kind = feature.WhichOneof("Type")
    if kind == "multiArrayType":
        array = feature.multiArrayType
        return in_words(array.ArrayDataType.Name(array.dataType).lower(), array.shape)
    if kind == "imageType":
        image = feature.imageType
        space = image.ColorSpace.Name(image.colorSpace)
        return f"image[{image.height},{image.width}] {space}"
    return {"stringType": "string", "dictionaryType": "probability by label"}[kind]
