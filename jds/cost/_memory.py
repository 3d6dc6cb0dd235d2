"""The peak memory of a program: how much, when, and of what."""

from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, in_layer, plain_table, short_number
from jds.cost._liveness import Liveness, liveness
from jds.cost._parts import Part
from jds.cost._program import Program

# What stays in memory between two runs.
KEPT: tuple[Part, ...] = ("parameters", "state", "optimizer")
PART_NAMES: dict[Part, str] = {
    "parameters": "parameters",
    "state": "state",
    "optimizer": "optimizer state",
    "inputs": "inputs",
    "activations": "activations",
    "saved": "activations saved for the backward pass",
    "gradients": "gradients",
}


class Moment(NamedTuple):
    """An operation of a program as it runs.

    Attributes:
      layer: the path of its layer.
      operation: its primitive.
      bytes: size of all arrays in memory.
    """

    layer: str
    operation: str
    bytes: int


class Memory(NamedTuple):
    """The memory that a program needs, by the liveness of its arrays; prints as a table.

    An operation allocates its results, and an array is freed after the last operation that reads it; inputs, too,
    unless they are results. Parameters, state and the optimizer's state stay, and an updated one replaces the old one,
    as if it were donated. Element-wise operations work in place where nothing reads the operand later. Changes of shape
    take no memory, nor do elements that are repeated for element-wise operations, nor does the order of a product's
    axes. Elements of less than a byte are packed. The working memory of a kernel is not included.

    Under `jax.shard_map`, it is the memory of one device. An array that only `shard_map` reads, or that leaves it,
    counts with the device's shard; any other array outside counts as a whole.

    Attributes:
      bytes: the most bytes in memory at a time.
      parts: what they are, in bytes: `"parameters"`, `"state"` (of modules, such as running averages, and
        constants), `"optimizer"`
        (its state), `"inputs"`, `"activations"`, `"saved"` (activations that the backward pass reads) and
        `"gradients"`, with what an optimizer computes from them before it changes parameters and its state.
      layer, operation: where that is.
      fused_activation_bytes: `activation_bytes` on a device that fuses element-wise operations, such as normalizations
        and activations, with the operation before them, and the terms of an update with one another.
      curve: the operations as they run; a loop is repeated until its iterations are alike.

    Example:
      >>> import jax
      >>> from jds import cost, create_model
      >>> model = create_model("mobilenetv1_100")
      >>> model.eval()
      >>> memory = cost.analyze(model, jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")).memory
      >>> memory.activation_bytes == 4 * 112 * 112 * (32 + 64), memory.layer
      (True, 'stages/0/0/pointwise')
    """

    bytes: int
    parts: dict[Part, int]
    layer: str
    operation: str
    fused_activation_bytes: int
    curve: tuple[Moment, ...]

    @property
    def place(self) -> str:
        """Where the peak is, in words that follow a comma; empty for a program without layers."""
        has_layers = any(moment.layer for moment in self.curve)
        return f", {in_layer(self.layer)}" if has_layers else ""

    @property
    def activation_bytes(self) -> int:
        """The part of `bytes` that is not kept between two runs: all but parameters, state and optimizer state."""
        return _activations(self.parts)

    def table(self) -> Table:
        """Returns the parts as a table, for Rich to print."""
        lines = plain_table()
        lines.add_column(f"peak memory{self.place}: {self.operation}" if self.curve else "peak memory")
        lines.add_column("bytes", justify="right")
        for part, size in self.parts.items():
            lines.add_row(PART_NAMES[part], short_number(size))
        lines.add_section()
        lines.add_row("total", short_number(self.bytes))
        return lines

    def summary(self) -> str:
        """Returns the figures in a sentence or two."""
        parts = " + ".join(f"{short_number(size)} {PART_NAMES[part]}" for part, size in self.parts.items() if size)
        found = f"Peak memory: {short_number(self.bytes)} bytes{f' = {parts}' if parts else ''}{self.place}."
        shown, fused = short_number(self.activation_bytes), short_number(self.fused_activation_bytes)
        if fused != shown:
            kept = "without parameters and state" if self.activation_bytes < self.bytes else "in all"
            first = f"{shown}; " if shown != short_number(self.bytes) else ""
            found += f" {kept.capitalize()} {first}{fused} if element-wise operations are fused."
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        curve = [moment._asdict() for moment in self.curve]
        return self._asdict() | {"activation_bytes": self.activation_bytes, "curve": curve}

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", self.summary())

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def memory_of(program: Program) -> Memory:
    """Returns the peak memory of a program."""
    found = liveness(program)
    moments = [_moment(program, found, i) for i in range(len(found.steps))]
    place = moments[found.peak] if found.peak is not None else Moment("", "", 0)
    parts: dict[Part, int] = {part: found.parts[part] for part in PART_NAMES if part in found.parts}
    # What does not save memory need not be fused.
    fused = min(_activations(found.parts), _activations(liveness(program, fused=True).parts))
    return Memory(found.bytes, parts, place.layer, place.operation, fused, tuple(moments))


def _moment(program: Program, found: Liveness, number: int) -> Moment:
    step = found.steps[number]
    operation = program.operations[step.operation] if step.operation < len(program.operations) else None
    if operation is None:
        return Moment("", "", step.bytes)
    return Moment("/".join(operation.path), operation.name, step.bytes)


def _activations(parts: dict[Part, int]) -> int:
    return sum(size for part, size in parts.items() if part not in KEPT)
