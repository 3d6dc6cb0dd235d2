"""`jds cost`: prints the cost of a program in the terminal."""

import dataclasses
import functools
import itertools
import json
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jds import cost
from jds._common.traceable import Traceable
from jds.cli._options import (
    UsageError,
    check_different,
    check_output,
    check_positive,
    flag,
    option,
    write,
    write_text,
)
from jds.cli._output import show
from jds.cli._quantities import limits, number, ranges
from jds.cli._target import OPTIMIZERS, Kind, Target, user_code
from jds.cost._fits import batch_record
from jds.cost._grouping import Sort
from jds.cost.devices import device_fault, device_key

# The stages of the networks of jds.
_STAGES = 2
# The options that apply to each kind of target.
_OPTIONS_OF: dict[Kind, tuple[str, ...]] = {
    "network": ("image_size", "width", "batch", "grad", "optimizer"),
    "function": ("arguments", "grad", "optimizer", "trip_counts"),
    "file": ("batch",),
}
_ROWS = ("by", "depth", "sort", "top")
# The options that have no effect with another one.
_UNUSED: dict[str, tuple[str, ...]] = {
    "sweep": ("xla", "at_most", "trace", "measure_peaks", *_ROWS),
    "against": ("xla", "at_most", "trace", "measure_peaks", "measure", "device", "plot", "top"),
    "batch_that_fits": (
        *("xla", "at_most", "trace", "measure_peaks", "measure", "device", "plot", "csv", "html", "count_padding"),
        *_ROWS,
    ),
    # The program is compiled and measured in its own dtypes.
    "xla": ("as_dtype",),
    "measure": ("as_dtype",),
}
_FILES = ("json", "csv", "html", "plot", "trace")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Count the cost of a network, of any JAX function, or of an exported file, layer by layer: multiply-adds,
    parameters, bytes, peak memory, and time on a device.

    Nothing is run, except with --measure. A function or an NNX module is written as module:name or file.py:name;
    --arguments specifies the dtypes and shapes of its arguments.
    """

    target: Annotated[
        tyro.conf.Positional[str],
        option("MODEL|module:function|FILE", "a network listed by `jds models`, a function, an .onnx or .tflite file"),
    ]
    arguments: Annotated[
        tuple[str, ...],
        option("[NAME=]DTYPE[SIZES]", "a function's arguments, such as f32[8,224,224,3] y=int32[8], or key"),
    ] = ()
    image_size: Annotated[int | None, option("INT", "height and width of a network's images (default: its own)")] = None
    width: Annotated[float | None, option("FLOAT", "a network's width multiplier (default: 1)")] = None
    batch: Annotated[int | None, option("INT", "batch size of a network or a file (default: 1)")] = None
    grad: Annotated[bool, option("", "also count the gradient of the sum of the results, by the parameters")] = False
    optimizer: Annotated[
        Literal["sgd", "momentum", "rmsprop", "adam", "adamw", "lion"] | None,
        option("|".join(OPTIMIZERS), "also count an update of the parameters; with --grad"),
    ] = None
    as_dtype: Annotated[
        Literal["float16", "bfloat16", "int8"] | None,
        tyro.conf.arg(
            name="as",
            metavar="float16|bfloat16|int8",
            help="store weights and activations in this dtype, as deployed",
            help_behavior_hint="",
        ),
    ] = None
    by: Annotated[cost.By, option("layer|fused|kind|operation|equation", "how to group the rows (default: layer)")] = (
        "layer"
    )
    depth: Annotated[int | None, option("INT", "number of names of a layer's path to tell apart (default: all)")] = None
    sort: Annotated[
        Sort,
        option(
            "FIELD", "order: program, name, macs, flops, parameters, bytes_in, bytes_out, traffic (default: program)"
        ),
    ] = "program"
    top: Annotated[int | None, option("INT", "number of rows to show (default: all)")] = None
    count_padding: Annotated[bool, option("", "count products with padding, as papers do (default: yes)")] = True
    trip_counts: Annotated[int | None, option("INT", "number of iterations of `while` loops")] = None
    against: Annotated[
        str | None, option("MODEL|module:function|FILE", "compare with another program, by default stage by stage")
    ] = None
    against_arguments: Annotated[
        tuple[str, ...], option("[NAME=]DTYPE[SIZES]", "arguments of the other function (default: the same)")
    ] = ()
    sweep: Annotated[
        tuple[str, ...] | None,
        option(
            "NAME=LOW:HIGH[:STEP]", "a network's width, image_size and batch, such as width=0.25:1.4 image_size=96,128"
        ),
    ] = None
    at_most: Annotated[
        tuple[str, ...] | None,
        option(
            "LIMITS",
            "exit with status 1 above a limit: macs=300M,flops=1G,params=5M,peak=1MiB,memory=8MiB,time=3ms@DEVICE,"
            "bound=1ms@DEVICE",
        ),
    ] = None
    batch_that_fits: Annotated[str | None, option("SIZE", "the largest batch in a memory, such as 16GiB")] = None
    xla: Annotated[bool, option("", "compile it, and explain how XLA's counts differ from theory")] = False
    device: Annotated[
        str | None,
        option("NAME", "lower bound and published times for a device such as `pixel 4`; `this` measures this machine"),
    ] = None
    measure: Annotated[bool, option("", "run it on this machine, and show measured times next to the bounds")] = False
    measure_peaks: Annotated[bool, option("", "measure the peak rates of this machine again")] = False
    json: Annotated[Path | None, option("FILE", "write the counts, memory and times as JSON")] = None
    csv: Annotated[Path | None, option("FILE", "write the rows as CSV")] = None
    html: Annotated[Path | None, option("FILE", "write a page in HTML")] = None
    plot: Annotated[Path | None, option("FILE", "plot the layers, or a sweep: .png, .svg or .pdf")] = None

    trace: Annotated[Path | None, option("FILE", "write a measured run for ui.perfetto.dev: .json or .json.gz")] = None

    def run(self) -> None:
        """Prints the requested analysis, and writes its files."""
        self._check()
        target = self._target(self.target)
        if self.sweep:
            self._run_sweep(target)
        elif self.batch_that_fits is not None:
            self._run_batch_that_fits(target)
        elif self.against is not None:
            self._run_against(target, self._target(self.against, is_reference=True))
        else:
            self._run_one(target)

    def _target(self, name: str, *, is_reference: bool = False) -> Target:
        """Returns a target with the options that apply to its kind."""
        target = Target(name, count_padding=self.count_padding)
        applying = {each: getattr(self, each) for each in _OPTIONS_OF[target.kind]}
        if is_reference and self._target(self.target).kind == target.kind:
            applying.pop("width", None)  # it is what is compared
        if is_reference and self.against_arguments:
            applying["arguments"] = self.against_arguments
        return dataclasses.replace(target, **applying)

    def _has(self, name: str) -> bool:
        """Whether an option was given, with another value than its default."""
        return getattr(self, name) != getattr(type(self), name)

    @property
    def _is_here(self) -> bool:
        """Whether times are for this machine."""
        return self.measure if self.device is None else device_key(self.device) == "this"

    @property
    def _grouping(self) -> cost.Grouping:
        return cost.Grouping(self.by, self.depth, self.sort, self.top)

    def _check(self) -> None:
        check_positive(self, "image_size", "width", "batch", "depth", "top")
        if self.trip_counts is not None and self.trip_counts < 0:
            raise UsageError(f"`--trip-counts` must be 0 or more, got {self.trip_counts}")
        for name in ("sweep", "at_most"):
            if getattr(self, name) == ():
                raise UsageError(f"`{flag(name)}` must be followed by values; see `jds cost --help`")
        for name in _FILES:
            check_output(name, getattr(self, name))
        check_different(self, _FILES, [self.target, self.against])
        self._check_targets()
        modes = [name for name in ("sweep", "against", "batch_that_fits") if self._has(name)]
        if len(modes) > 1:
            raise UsageError(f"{' and '.join(f'`{flag(name)}`' for name in modes)} do not go together")
        if self.optimizer and not self.grad:
            raise UsageError("`--optimizer` requires `--grad`")
        if self.depth is not None and self.by not in ("layer", "fused"):
            raise UsageError(f"`--depth` is for rows by layer or fused, not by {self.by}")
        if self.device is not None and (fault := device_fault(self.device)):
            raise UsageError(f"`--device` {fault}")
        if self.trace is not None and not self.measure:
            raise UsageError("`--trace` requires `--measure`")
        if self.measure and not self._is_here:
            raise UsageError(f"`--measure` runs on this machine, not on {self.device}; leave out `--device`")
        for mode, unused in _UNUSED.items():
            for name in unused:
                if self._has(mode) and self._has(name):
                    raise UsageError(f"`{_typed(name)}` does not go together with `{flag(mode)}`")
        if self.measure_peaks and not self._is_here:
            raise UsageError("`--measure-peaks` requires `--measure` or `--device this`: it is for this machine")

    def _check_targets(self) -> None:
        """Refuses options that have no effect with the programs that are counted."""
        kinds: set[Kind] = {Target(name).kind for name in (self.target, self.against) if name is not None}
        for name in sorted({name for names in _OPTIONS_OF.values() for name in names}):
            if self._has(name) and not any(name in _OPTIONS_OF[kind] for kind in kinds):
                raise UsageError(f"`{flag(name)}` {_reason(name, self.target)}")
        if self.against_arguments and (self.against is None or Target(self.against).kind != "function"):
            raise UsageError("`--against-arguments` requires a function to compare with, as in `--against mine:g`")

    def _analysis(self, target: Target, program: Traceable | None = None) -> cost.Analysis:
        found = target.analysis(program)
        return found if self.as_dtype is None else found.as_dtype(self.as_dtype)

    def _run_one(self, target: Target) -> None:
        budget = limits(self.at_most) if self.at_most else []
        if target.kind == "file" and (self.xla or self.measure):
            raise UsageError(f"`--xla` and `--measure` require a JAX program, not the file {target.name}")
        program = None if target.kind == "file" else target.program()
        found = self._analysis(target, program)
        peak, measured = self._peak(), None
        if self.measure and program is not None:
            _progress("compiling the program and measuring it")
            with user_code(f"{target.name} cannot be measured"):
                measured = cost.measure_program(program)
        bounds = None if peak is None else cost.estimate(found, peak, self._grouping, measured)
        show(found.name, "", found.table(self._grouping, width=_columns(), estimate=bounds), "", *found.notes())
        if bounds is not None:
            show(*bounds.notes())
        asked: dict[str, Any] = {}
        if self.device is not None and not self._is_here:
            asked["forecast"] = cost.forecast(found, self.device)
            show("", asked["forecast"])
        if self.xla and program is not None:
            _progress("compiling the program")
            with user_code(f"{target.name} cannot be compiled"):
                asked["reconciliation"] = cost.reconcile(program, trip_counts=self.trip_counts)
            show("", asked["reconciliation"])
        verdict = cost.check_budget(found, budget)
        if budget:
            asked["budget"] = verdict
        self._write(found, bounds, peak, measured, asked)
        if budget:
            show("", verdict)
        if not verdict.is_kept:
            sys.exit(1)

    def _peak(self) -> cost.Peak | None:
        if self.measure_peaks:
            _progress("measuring the peak rates of this machine, which takes a few seconds")
            cost.measure_peak(again=True)
        if self._is_here and not self.measure_peaks:
            _progress("looking up the peak rates of this machine, which takes a few seconds the first time")
        name = "this" if self._is_here else self.device
        return None if name is None else cost.find_device(name)

    def _write(
        self,
        found: cost.Analysis,
        bounds: cost.Estimate | None,
        peak: cost.Peak | None,
        measured: cost.Measurement | None,
        asked: Mapping[str, Any],
    ) -> None:
        """Writes the files; `asked` is what else is printed, for the record."""
        by_layer = None
        if peak is not None and (self.json is not None or self.plot is not None):
            by_layer = cost.estimate(found, peak, measured=measured)
        if self.json is not None:
            _write_json(self.json, found.to_dict(by_layer) | {name: each.to_dict() for name, each in asked.items()})
        if self.csv is not None:
            write_text("csv", self.csv, found.to_csv(self._grouping, bounds))
        if self.html is not None:
            write_text("html", self.html, found.to_html(self._grouping, bounds))
        if self.plot is not None:
            write("plot", self.plot, lambda path: found.plot(path, by_layer))
        if self.trace is not None and measured is not None:
            write("trace", self.trace, measured.to_perfetto)

    def _run_against(self, target: Target, reference: Target) -> None:
        depth = self.depth or (_STAGES if self.by == "layer" else None)
        grouping = self._grouping._replace(depth=depth)
        found = cost.compare(self._analysis(target), self._analysis(reference), grouping)
        show(found)
        self._write_rows(found)

    def _write_rows(self, found: cost.Comparison | cost.Sweep) -> None:
        if self.json is not None:
            _write_json(self.json, found.to_dict())
        if self.csv is not None:
            write_text("csv", self.csv, found.to_csv())
        if self.html is not None:
            write_text("html", self.html, found.to_html())

    def _run_sweep(self, target: Target) -> None:
        settings = ranges(self.sweep or ())
        if target.kind != "network":
            raise UsageError(f"`--sweep` requires a network, not {target.name}")
        for name in settings:
            if getattr(self, name) is not None:
                raise UsageError(f"`{flag(name)}` and `--sweep {name}=...` do not go together")
        points, number = math.prod(map(len, settings.values())), itertools.count(1)

        def analysis(**chosen: Any) -> cost.Analysis:
            words = ", ".join(f"{name} {value:.6g}" for name, value in chosen.items())
            _progress(f"{next(number)} of {points} points: {words}")
            return self._analysis(dataclasses.replace(target, **chosen))

        def seconds(**chosen: Any) -> float:
            with user_code(f"{target.name} cannot be measured"):
                program = dataclasses.replace(target, **chosen).program()
                return cost.measure_program(program, seconds=0.3).total.median

        found = cost.sweep(target.name, analysis, settings, self.device, seconds if self.measure else None)
        show(f"{target.name}, {' × '.join(settings)}", "", found)
        self._write_rows(found)
        if self.plot is not None:
            write("plot", self.plot, found.plot)

    def _run_batch_that_fits(self, target: Target) -> None:
        written = self.batch_that_fits or ""
        size = math.floor(number("--batch-that-fits", written))
        if not size:
            raise UsageError(f"`--batch-that-fits` must be at least one byte, got {written}")
        if target.kind != "network":
            raise UsageError(f"`--batch-that-fits` requires a network, not {target.name}")
        if self.batch is not None:
            raise UsageError("`--batch` and `--batch-that-fits` do not go together")

        @functools.cache
        def analysis(batch: int) -> cost.Analysis:
            return self._analysis(dataclasses.replace(target, batch=batch))

        try:
            batch = cost.largest_batch(lambda batch: analysis(batch).memory.bytes, size)
        except ValueError as error:
            words = str(error).removeprefix("largest_batch: ")
            raise UsageError(f"`--batch-that-fits {self.batch_that_fits}` is too much: {words}") from None
        found = analysis(batch or 1)
        show(f"{found.name} {'fits' if batch else 'does not fit'} into {written}.", "", found.memory)
        if self.json is not None:
            _write_json(self.json, batch_record(found, batch, size))
        if not batch:
            sys.exit(1)


def _typed(name: str) -> str:
    """Returns an option as it is typed to change its default."""
    return "--no-count-padding" if name == "count_padding" else "--as" if name == "as_dtype" else flag(name)


def _reason(name: str, target: str) -> str:
    """Says why an option does not apply to a target."""
    match Target(target).kind:
        case "file":
            return f"does not apply to the file {target}"
        case "network":
            return f"requires a function, not the network {target}"
    return "requires a network, for example `jds cost mobilenetv1_100`"


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text("json", path, json.dumps(record, indent=1) + "\n")


def _progress(words: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"jds: {words} ...", file=sys.stderr)


def _columns() -> int:
    return shutil.get_terminal_size().columns
