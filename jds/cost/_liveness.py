"""Which arrays of a program are in memory at each operation.

The model: an operation allocates its results, and an array is freed after the last operation that reads it; arguments,
too, except for parameters, state and the optimizer's state, which the caller keeps unless the program returns their
update. An element-wise operation, or one that updates a part of an array, writes into an operand of the same size that
nothing reads later. A change of shape takes no memory, nor do elements that are repeated for element-wise operations.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from jds.cost._fusion import fused_groups
from jds.cost._program import Loop, Operation, Program
from jds.cost.rules import SCATTERS

Part = Literal["parameters", "optimizer", "state", "inputs", "activations", "saved", "gradients"]

_PARTS: Mapping[str | None, Part] = {
    "parameter": "parameters", "optimizer": "optimizer", "state": "state", "argument": "inputs", None: "inputs",
}  # fmt: skip
# The caller keeps them.
_HELD = ("parameters", "optimizer", "state")
_REPEATS = "broadcast_in_dim"
_UPDATES = {"dynamic_update_slice", *SCATTERS}
# After the third iteration of a loop, all later ones allocate and free the same.
_ITERATIONS = 3
# Loops inside of this many others run once, which keeps the time linear in the depth of nested loops.
_DEEPEST = 4


class Step(NamedTuple):
    """A moment of a program.

    Attributes:
      operation: the operation that runs.
      bytes: size of the arrays in memory.
    """

    operation: int
    bytes: int


class Liveness(NamedTuple):
    """The arrays in memory while a program runs.

    Attributes:
      steps: the operations as they run; a loop is repeated until its iterations are alike.
      parts: what the arrays in memory are, in bytes, at the first step with the most bytes.
      peak: index of this step; None for a program without steps.
    """

    steps: tuple[Step, ...]
    parts: dict[Part, int]
    peak: int | None

    @property
    def bytes(self) -> int:
        """The most bytes in memory at a time."""
        return sum(self.parts.values())


@dataclasses.dataclass
class _Buffer:
    """A piece of memory.

    Attributes:
      bytes: its size.
      first, last: the events between which it holds an array.
      part: what it holds.
      home: the buffer in which it lies, if not in its own memory.
    """

    bytes: int
    first: int
    last: int
    part: Part
    home: int | None = None


class _Event(NamedTuple):
    operation: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    is_in_place: bool = False
    more: int = 0  # bytes that it needs while it runs


def liveness(program: Program, *, fused: bool = False) -> Liveness:
    """Returns what is in memory at each operation.

    Args:
      program: the program.
      fused: whether operations run in groups, as in `fused_groups`, whose intermediate values take no memory.
    """
    return _liveness(program, fused, {})


def _liveness(program: Program, fused: bool, inside: dict[int, int]) -> Liveness:
    """Returns what is in memory; `inside` are the needs of branches that are known, which occur in several places."""
    run = _Run(program, fused, inside)
    run.run()
    return run.finish()


class _Run:
    """Runs a program, loops up to three times, and notes which operations read and write which buffers."""

    def __init__(self, program: Program, fused: bool, inside: dict[int, int]):
        self.program, self.fused, self.inside = program, fused, inside
        self.updates = _updates(program)
        self.buffers: list[_Buffer] = []
        self.events: list[_Event] = []
        # The buffer of each value; None for one that takes no memory.
        self.buffer_of: dict[int, int | None] = {}
        self.depth = 0  # number of loops around
        self.backward_begins = next(
            (i for i, operation in enumerate(program.operations) if operation.phase == "backward"), None
        )
        # What runs at the place of an operation.
        self.at: dict[int, tuple[int, ...]] = (
            dict(fused_groups(program)) if fused else {i: (i,) for i in range(len(program.operations))}
        )

    def run(self) -> None:
        program = self.program
        for number in program.inputs:
            value = program.values[number]
            self.buffer_of[number] = self._allocate(value.bytes, _PARTS[value.role])
        self._range(0, len(program.operations), program.loops)

    def _allocate(self, size: int, part: Part) -> int:
        now = len(self.events)
        self.buffers.append(_Buffer(size, now, now, part))
        return len(self.buffers) - 1

    def _buffer(self, number: int | None) -> int | None:
        """Returns the buffer of a value; one that enters or leaves without a loop has that on the other side."""
        while number is not None and number not in self.buffer_of:
            number = self.program.values[number].source
        return None if number is None else self.buffer_of[number]

    def _range(self, start: int, end: int, loops: Sequence[Loop]) -> None:
        """Runs the operations from `start` to before `end`; `loops` are the loops directly among them."""
        now = start
        for loop in loops:
            self._operations(now, loop.start)
            self._loop(loop)
            now = loop.end
        self._operations(now, end)

    def _operations(self, start: int, end: int) -> None:
        for number in range(start, end):
            if number in self.at:
                self._run_group(number, self.at[number])

    def _run_group(self, place: int, members: Sequence[int]) -> None:
        """Runs operations as one, at the place of an operation."""
        operations, values = self.program.operations, self.program.values
        inside, reads, writes = set(members), [], []
        for number in members:
            operation = operations[number]
            reads += [self._buffer(i) for i in operation.inputs if values[i].made_by not in inside]
            for out in operation.outputs:
                users = values[out].used_by
                if operation.name == _REPEATS and all(self._is_elementwise(user) for user in users):
                    self.buffer_of[out] = self._buffer(operation.operands[0])
                elif users and all(user in inside for user in users):
                    self.buffer_of[out] = None
                else:
                    writes.append(self._allocate(values[out].bytes, self._part(number)))
                    self.buffer_of[out] = writes[-1]
        self._add(
            place,
            reads,
            writes,
            is_in_place=all(
                operations[number].name in _UPDATES or _repeats_or_changes(operations[number]) for number in members
            ),
            more=sum(self._more(number) for number in members),
        )

    def _is_elementwise(self, user: int | None) -> bool:
        return user is not None and _repeats_or_changes(self.program.operations[user])

    def _part(self, number: int) -> Part:
        operation = self.program.operations[number]
        if operation.phase == "backward":
            return "gradients"
        is_update = self.backward_begins is not None and number > self.backward_begins
        return "optimizer" if is_update else "activations"

    def _more(self, number: int) -> int:
        """Returns what a conditional needs in the branches that are not counted."""
        branches = self.program.other_branches.get(number, ())
        return max(map(self._inside, branches), default=0)

    def _inside(self, branch: Program) -> int:
        """Returns the most bytes that a branch needs besides its operands."""
        if id(branch) not in self.inside:
            found = _liveness(branch, self.fused, self.inside)
            operands = sum(branch.values[number].bytes for number in branch.inputs)
            self.inside[id(branch)] = max(0, found.bytes - operands)
        return self.inside[id(branch)]

    def _add(
        self,
        place: int,
        reads: Iterable[int | None],
        writes: Sequence[int] = (),
        *,
        is_in_place: bool = False,
        more: int = 0,
    ) -> None:
        """Adds an event, unless nothing is read or written."""
        buffers = tuple(buffer for buffer in reads if buffer is not None)
        for buffer in buffers:
            self.buffers[buffer].last = len(self.events)
        if buffers or writes or more:
            self.events.append(_Event(place, buffers, tuple(writes), is_in_place, more))

    def _loop(self, loop: Loop) -> None:
        values = self.program.values
        stacks = [self._allocate(values[result].bytes, self._part(loop.start)) for _, result in loop.stacks]
        self._add(loop.start, (), stacks)
        carried = [self._buffer(carry.initial) for carry in loop.carries]
        most = _ITERATIONS if self.depth < _DEEPEST else 1
        self.depth += 1
        for _ in range(most if loop.trips is None else min(loop.trips, most)):
            for carry, buffer in zip(loop.carries, carried, strict=True):
                self.buffer_of |= dict.fromkeys(carry.inside, buffer)
            slices = [self._allocate(values[inner].bytes, self._part(loop.start)) for _, inner in loop.slices]
            self.buffer_of |= {inner: buffer for (_, inner), buffer in zip(loop.slices, slices, strict=True)}
            self._add(loop.start, [self._buffer(outer) for outer, _ in loop.slices], slices)
            self._range(loop.start, loop.end, loop.inner)
            carried = [self._buffer(carry.after) for carry in loop.carries]
            stacked = [self._buffer(inner) for inner, _ in loop.stacks]
            self._add(max(loop.start, loop.end - 1), [*carried, *stacks, *stacked])
        self.depth -= 1
        self.buffer_of |= {carry.result: buffer for carry, buffer in zip(loop.carries, carried, strict=True)}
        self.buffer_of |= {result: buffer for (_, result), buffer in zip(loop.stacks, stacks, strict=True)}

    def finish(self) -> Liveness:
        """Returns what is in memory at each event."""
        end = len(self.events)
        for number in self.program.results:
            buffer = self._buffer(number)
            if buffer is not None:
                self.buffers[buffer].last = end
        kept = self._kept()
        self._share(kept)
        changes = [0] * (end + 2)
        for number, buffer in enumerate(self.buffers):
            if number in kept:
                buffer.last = end
            if buffer.home is None:
                changes[buffer.first] += buffer.bytes
                changes[buffer.last + 1] -= buffer.bytes
        sizes = itertools.accumulate(changes)
        steps = tuple(Step(event.operation, size + event.more) for event, size in zip(self.events, sizes, strict=False))
        peak = max(range(end), key=lambda i: steps[i].bytes, default=None)
        return Liveness(steps, self._parts_at(peak), peak)

    def _kept(self) -> set[int]:
        """Returns the buffers that stay until the end, and notes what the updates of others hold."""
        for result, argument in self.updates.items():
            new, old = self._buffer(result), self._buffer(argument)
            if new is not None and old is not None:
                self.buffers[new].part = self.buffers[old].part
        replaced = set(self.updates.values())
        kept = (self._buffer(number) for number in self.program.inputs if number not in replaced)
        return {number for number in kept if number is not None and self.buffers[number].part in _HELD}

    def _share(self, kept: set[int]) -> None:
        """Lets operations write their results in place."""
        for now, event in enumerate(self.events):
            if not event.is_in_place:
                continue
            homes = dict.fromkeys(map(self._home, event.reads))
            free = [home for home in homes if self.buffers[home].last == now and home not in kept]
            for out in event.writes:
                buffer = self.buffers[out]
                for home in free:
                    if self.buffers[home].bytes == buffer.bytes:
                        buffer.home = home
                        self.buffers[home].last = buffer.last
                        free.remove(home)
                        break

    def _home(self, number: int) -> int:
        while (home := self.buffers[number].home) is not None:
            number = home
        return number

    def _parts_at(self, now: int | None) -> dict[Part, int]:
        found: dict[Part, int] = {}
        for buffer in self.buffers:
            if buffer.home is None and buffer.first <= (now or 0) <= buffer.last:
                part = buffer.part
                if part == "activations" and self._is_read_backward(buffer.last):
                    part = "saved"
                found[part] = found.get(part, 0) + buffer.bytes
        if now is not None and self.events[now].more:
            found["activations"] = found.get("activations", 0) + self.events[now].more
        return found

    def _is_read_backward(self, now: int) -> bool:
        if now >= len(self.events):
            return False
        return self.program.operations[self.events[now].operation].phase == "backward"


def _updates(program: Program) -> dict[int, int]:
    """Returns, for each result that updates an argument that the caller keeps, this argument.

    Such a result is computed from the argument by element-wise operations on arrays of its shape.
    """
    values, found = program.values, dict[int, int]()
    kept = {i for i in program.inputs if _PARTS[values[i].role] in _HELD}
    for result in program.results:
        waiting, seen = [result], set[int]()
        while waiting:
            number = waiting.pop()
            if number in kept:
                found[result] = number
                kept.remove(number)
                break
            maker = values[number].made_by
            if number in seen or maker is None or not program.operations[maker].is_elementwise:
                continue
            seen.add(number)
            alike = (i for i in program.operations[maker].inputs if values[i].bytes == values[result].bytes)
            waiting += alike
    return found


def _repeats_or_changes(operation: Operation) -> bool:
    return operation.is_elementwise or operation.name == _REPEATS
