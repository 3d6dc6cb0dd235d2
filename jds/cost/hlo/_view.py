"""XLA's view of a program: its counts, and the instructions of the optimized program."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.name_stack import Origin
from jds._common.text import as_text
from jds._common.traceable import Traceable, as_traceable
from jds.cost.hlo import _parse
from jds.cost.hlo._flops import Work, flops, work
from jds.cost.hlo._origins import origins_of_instructions
from jds.cost.hlo._tags import mark


class XlaCounts(NamedTuple):
    """XLA's counts for one call of a program; None if unknown.

    Attributes:
      flops: operations: a multiply-add counts as two, padding is excluded, integers and booleans count like
        floating-point numbers, and the body of a loop counts once.
      transcendentals: number of elements of exponentials, roots and other transcendental functions.
      bytes: bytes read and written by all instructions.
    """

    flops: float | None
    transcendentals: float | None
    bytes: float | None


class XlaMemory(NamedTuple):
    """The memory of a compiled program, in bytes.

    Attributes:
      arguments, results: sizes of the arguments and of the results.
      temporaries: size of the buffers for everything between them.
      peak: all of them together, with memory that arguments and results share counted once.
    """

    arguments: int
    results: int
    temporaries: int
    peak: int


class XlaInstruction(NamedTuple):
    """An instruction of the optimized program; a fusion counts as one instruction.

    Attributes:
      name, operation: as printed by XLA; the operation of a foreign call includes its target.
      shape: shape of its result, such as `f32[8,16]`.
      flops: FLOPs of one run, including everything fused into it; None for foreign code.
      parts: the same by HLO opcode, excluding foreign code.
      bytes: bytes of its operands and its result.
      times: number of runs; None inside a loop whose trip count XLA does not know.
      layer: path of its source equation.
      primitive: primitive of its source equation; for a fusion, of the last one.
      in_loop: whether it is directly in the body or the condition of a `while`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> view = cost.xla(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> [(instruction.shape, instruction.bytes) for instruction in view.instructions]
      [('f32[8,4]', 896)]
    """

    name: str
    operation: str
    shape: str
    flops: int | None
    parts: dict[str, int]
    bytes: int
    times: int | None
    layer: str
    primitive: str
    in_loop: bool

    @property
    def product_flops(self) -> int:
        """FLOPs of matrix products and convolutions."""
        return sum(self.parts.get(opcode, 0) for opcode in ("dot", "convolution"))


class XlaView(NamedTuple):
    """A program before and after XLA's compilation; prints as a table of its most expensive instructions.

    Attributes:
      lowered, compiled: XLA's counts.
      memory: the compiled program's memory; None if unknown.
      lowered_instructions: instructions of the program before compilation, without layers.
      instructions: instructions of the optimized program, in the order of its computations.
      foreign_calls: targets of foreign calls, whose FLOPs XLA does not count.
      devices: number of devices that the optimized program is partitioned across; counts and instructions are per
        device.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> view = cost.xla(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> view.lowered.flops
      1024.0
      >>> print(view)  # doctest: +ELLIPSIS
      FLOPs: 1,024 lowered, 1,024 compiled. Peak memory: ...
    """

    lowered: XlaCounts
    compiled: XlaCounts
    memory: XlaMemory | None
    lowered_instructions: tuple[XlaInstruction, ...]
    instructions: tuple[XlaInstruction, ...]
    foreign_calls: tuple[str, ...]
    devices: int

    @property
    def peak_bytes(self) -> int | None:
        """Total bytes of arguments, results and temporary buffers; None if unknown."""
        return self.memory and self.memory.peak

    def table(self, lines: int = 20) -> Table:
        """Returns the most expensive instructions of the optimized program as a table, unknown FLOPs first.

        Args:
          lines: number of instructions to show.
        """
        found = Table("operation", "shape", "FLOPs", "bytes", "layer", box=None)
        order = sorted(self.instructions, key=lambda i: (i.flops is not None, -(i.flops or 0)))
        for each in order[:lines]:
            flops = "unknown" if each.flops is None else f"{each.flops:,}"
            found.add_row(each.operation, each.shape, flops, f"{each.bytes:,}", each.layer)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        names = "lowered_instructions", "instructions"
        lists = {name: [instruction._asdict() for instruction in getattr(self, name)] for name in names}
        memory = self.memory and self.memory._asdict()
        counts = {"lowered": self.lowered._asdict(), "compiled": self.compiled._asdict()}
        return self._asdict() | counts | {"memory": memory, "peak_bytes": self.peak_bytes} | lists

    def __rich__(self) -> RenderableType:
        def known(count: int | float | None) -> str:
            return "unknown" if count is None else f"{count:,.0f}"

        counts = f"FLOPs: {known(self.lowered.flops)} lowered, {known(self.compiled.flops)} compiled."
        return Group(f"{counts} Peak memory: {known(self.peak_bytes)} bytes.", "", self.table())

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        return str(self)


def xla(fun: Callable[..., Any] | Traceable, *args: Any, **kwargs: Any) -> XlaView:
    """Compiles a program, without running it, and returns XLA's view of it.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as in `analyze`.
      **kwargs: its keyword arguments, like `args`.

    Returns:
      The counts and the instructions.

    Raises:
      ValueError, TypeError: the function cannot be traced with these arguments.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> view = cost.xla(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> view.lowered.flops, [(i.shape, i.flops) for i in view.instructions]
      (1024.0, [('f32[8,4]', 1024)])
    """
    program = as_traceable(fun, args, kwargs)
    # XLA keeps the marks, so that no name of a module is mistaken for one that JAX or XLA adds.
    marked = mark(program)
    lowered, compiled = marked.lowered, marked.compiled
    modules = _parse.parse(lowered.as_text(dialect="hlo") or ""), _parse.parse(compiled.as_text() or "")
    before = tuple(_of_computation(modules[0], modules[0].entry, 1, {}))
    optimized = tuple(_of_computation(modules[1], modules[1].entry, 1, origins_of_instructions(marked)))
    return XlaView(
        lowered=read_counts(lowered.cost_analysis(), work(modules[0])),
        compiled=read_counts(compiled.cost_analysis(), work(modules[1])),
        memory=read_memory(compiled),
        lowered_instructions=tuple(each for each in before if not _parse.is_marker(each.operation.partition(":")[2])),
        instructions=optimized,
        foreign_calls=tuple(dict.fromkeys(i.operation.partition(":")[2] for i in optimized if i.flops is None)),
        devices=modules[1].partitions,
    )


def read_counts(properties: Any, counted: Iterable[Work]) -> XlaCounts:
    """Reads XLA's counts from a dictionary, or None; a missing key or -1 means unknown."""
    # XLA adds -1 for each call whose cost it does not know.
    calls = sum(each.flops is None for each in counted)

    def read(key: str, correction: int = 0) -> float | None:
        count = (properties or {}).get(key)
        return None if count is None or count + correction < 0 else float(count + correction)

    return XlaCounts(read("flops", calls), read("transcendentals"), read("bytes accessed", calls))


def read_memory(compiled: jax.stages.Compiled) -> XlaMemory | None:
    """Reads the memory of a compiled program; None if XLA does not tell."""
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    sizes = stats.argument_size_in_bytes, stats.output_size_in_bytes, stats.temp_size_in_bytes
    return XlaMemory(*sizes, peak=sum(sizes) - stats.alias_size_in_bytes)


# Instructions that move no data.
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id")


def _of_computation(
    module: _parse.Module, name: str, times: int | None, origins: Mapping[str, Origin], in_loop: bool = False
) -> Iterator[XlaInstruction]:
    computation = module.computations[name]
    shapes = {instruction.name: instruction.shapes for instruction in computation}
    for instruction in computation:
        opcode = instruction.opcode
        if opcode in ("while", "conditional", "call"):
            trips = instruction.trips if opcode == "while" else 1
            for called in instruction.called:
                yield from _of_computation(module, called, _times(times, trips), origins, opcode == "while")
        elif opcode not in _FREE:
            read = sum(shape.bytes for operand in instruction.operands for shape in shapes.get(operand, ()))
            written = sum(shape.bytes for shape in instruction.shapes)
            target = instruction.attribute("custom_call_target").strip('"')
            flops, parts = _flops(module, instruction, shapes)
            layer, primitive = origins.get(instruction.name, Origin("", ""))
            yield XlaInstruction(
                name=instruction.name,
                operation=f"{opcode}:{target}" if target else opcode,
                shape=" ".join(f"{s.dtype}[{','.join(map(str, s.sizes))}]" for s in instruction.shapes),
                flops=flops,
                parts=parts,
                bytes=read + written,
                times=times,
                layer=layer,
                primitive=primitive,
                in_loop=in_loop,
            )


def _times(outer: int | None, inner: int | None) -> int | None:
    return None if outer is None or inner is None else outer * inner


def _flops(
    module: _parse.Module, instruction: _parse.Instruction, shapes: Mapping[str, Any]
) -> tuple[int | None, dict[str, int]]:
    """Returns the FLOPs of an instruction and everything fused into it, in total and by opcode."""
    if instruction.opcode != "fusion":
        count = flops(module, instruction, shapes)
        return count, {instruction.opcode: count} if count else {}
    total, parts = 0, collections.Counter[str]()
    for called in instruction.called:
        computation = module.computations[called]
        inner = {each.name: each.shapes for each in computation}
        for each in computation:
            count, of_each = _flops(module, each, inner)
            total = None if total is None or count is None else total + count
            parts.update(of_each)
    return total, dict(parts)
