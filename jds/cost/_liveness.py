"""Which arrays of a program are in memory at each operation.

The model: an operation allocates its results, and an array is freed after the last operation that reads it; arguments,
too, except for parameters, state and the optimizer's state, which the caller keeps unless the program returns their
update. An element-wise operation, or one that updates a part of an array, writes into an operand of the same size that
nothing reads later. A change of shape takes no memory, nor do elements that are repeated for element-wise operations.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jds.cost._fusion import fused_groups, is_order_of_product
from jds.cost._parts import HELD, Part, parts_of
from jds.cost._program import Branches, Loop, Operation, Program
from jds.cost.rules import UPDATES

_REPEATS = "broadcast_in_dim"
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
      arguments: the bytes of the memory of arguments at this step.
      results: those of other memory in which results are at the end.
    """

    steps: tuple[Step, ...]
    parts: dict[Part, int]
    peak: int | None
    arguments: int
    results: int

    @property
    def bytes(self) -> int:
        """The most bytes in memory at a time."""
        return sum(self.parts.values())


@dataclasses.dataclass
class _Buffer:
    """A piece of memory.

    Attributes:
      bytes: its size.
      first, last: the events between which it holds an array, or arrays that are written in its place.
      part: what it holds.
      home: the buffer in which it lies, if not in its own memory.
    """

    bytes: int
    first: int
    last: int
    part: Part
    home: int | None = None


class _Event(NamedTuple):
    """An operation, or the beginning or end of an iteration, that runs.

    Attributes:
      operation: the operation.
      reads, writes: buffers.
      overwrites: those of `reads` in whose place it can write.
      conditional: whether it stands for a conditional.
    """

    operation: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    overwrites: tuple[int, ...] = ()
    conditional: bool = False


# For a branch, and the operands that stay in memory while it runs: the most bytes that it needs besides its operands.
_Needs = dict[tuple[int, frozenset[int]], int]


def liveness(program: Program, *, fused: bool = False) -> Liveness:
    """Returns what is in memory at each operation.

    Args:
      program: the program.
      fused: whether operations run in groups, as in `fused_groups`, whose intermediate values take no memory.
    """
    return _Run(program, fused, {}).run()


class _Run:
    """Runs a program, loops up to three times, and notes which operations read and write which buffers."""

    def __init__(self, program: Program, fused: bool, needs: _Needs, held: frozenset[int] = frozenset()):
        """Prepares a run; `held` are the inputs that stay, of a branch, and `needs` is kept between branches."""
        self.program, self.fused, self.needs, self.held = program, fused, needs, held
        self.parts = parts_of(program)
        self.buffers: list[_Buffer] = []
        self.events: list[_Event] = []
        # The buffer of each value; None for one that takes no memory.
        self.buffer_of: dict[int, int | None] = {}
        self.depth = 0  # number of loops around
        self.after: dict[int, int] = {}  # for the event of a conditional, the last one of its counted branch
        # What runs at the place of an operation.
        self.at: dict[int, tuple[int, ...]] = (
            dict(fused_groups(program)) if fused else {i: (i,) for i in range(len(program.operations))}
        )

    def run(self) -> Liveness:
        for number in self.program.inputs:
            self.buffer_of[number] = self._allocate(number)
        self._range(0, len(self.program.operations), self.program.loops)
        return self._finish()

    def _allocate(self, number: int) -> int:
        """Returns a new buffer for a value."""
        now, value = len(self.events), self.program.values[number]
        shards = self.program.shards.get(number, ())
        # A device has only its shard of an array that nothing but `shard_map` reads.
        is_sharded = shards and value.used_by == [None] * len(shards)
        size = max(self.program.values[i].bytes for i in shards) if is_sharded else value.bytes
        self.buffers.append(_Buffer(size, now, now, self.parts.of[number]))
        return len(self.buffers) - 1

    def _buffer(self, number: int | None) -> int | None:
        """Returns the buffer of a value; one that enters or leaves without a loop has that on the other side."""
        while number is not None and number not in self.buffer_of:
            number = self.program.values[number].source
        return None if number is None else self.buffer_of[number]

    def _range(self, start: int, end: int, loops: Sequence[Loop]) -> None:
        """Runs the operations from `start` to before `end`; `loops` are the loops directly among them."""
        now = start
        conditionals: list[int] = []  # the events of those whose counted branch runs
        for loop in loops:
            self._operations(now, loop.start, conditionals)
            self._loop(loop)
            now = loop.end
        self._operations(now, end, conditionals)

    def _operations(self, start: int, end: int, conditionals: list[int]) -> None:
        for number in range(start, end):
            self._leave_branches(number, conditionals)
            if number in self.at:
                self._run_group(number, self.at[number])
            if number in self.program.other_branches:
                conditionals.append(len(self.events) - 1)
        self._leave_branches(end, conditionals)

    def _leave_branches(self, now: int, conditionals: list[int]) -> None:
        """Gives the results of the conditionals that end before an operation memory of their own."""
        while conditionals and (branches := self._branches(conditionals[-1])).end <= now:
            for number in branches.copies:
                outer = self._buffer(self.program.values[number].source)
                new = self.buffer_of[number] = self._allocate(number)
                self._add(now - 1, [outer], [new], whole=set())
            self.after[conditionals.pop()] = len(self.events) - 1

    def _branches(self, event: int) -> Branches:
        return self.program.other_branches[self.events[event].operation]

    def _run_group(self, place: int, members: Sequence[int]) -> None:
        """Runs operations as one, at the place of an operation."""
        operations, values = self.program.operations, self.program.values
        inside, reads, writes, whole = set(members), [], [], set[int | None]()
        for number in members:
            operation = operations[number]
            entering = [i for i in operation.inputs if values[i].made_by not in inside]
            reads += map(self._buffer, entering)
            changed = entering if _is_elementwise(operation) else operation.operands[: operation.name in UPDATES]
            whole.update(self._buffer(i) for i in entering if i not in changed)
            for out in operation.outputs:
                users = values[out].used_by
                if (operation.name == _REPEATS and all(map(self._is_elementwise, users))) or (
                    entering and is_order_of_product(self.program, number)
                ):
                    self.buffer_of[out] = self._buffer(operation.operands[0])
                elif users and all(user in inside for user in users):
                    self.buffer_of[out] = None
                else:
                    writes.append(self._allocate(out))
                    self.buffer_of[out] = writes[-1]
        self._add(place, reads, writes, whole, place in self.program.other_branches)

    def _is_elementwise(self, user: int | None) -> bool:
        return user is not None and _is_elementwise(self.program.operations[user])

    def _add(
        self,
        place: int,
        reads: Iterable[int | None],
        writes: Sequence[int] = (),
        whole: set[int | None] | None = None,
        conditional: bool = False,
    ) -> None:
        """Adds an event, unless nothing is read or written; by default it needs the `whole` of what it reads."""
        buffers = tuple(buffer for buffer in reads if buffer is not None)
        for buffer in buffers:
            self.buffers[buffer].last = len(self.events)
        if buffers or writes or conditional:
            overwrites = () if whole is None else tuple(buffer for buffer in buffers if buffer not in whole)
            self.events.append(_Event(place, buffers, tuple(writes), overwrites, conditional))

    def _loop(self, loop: Loop) -> None:
        stacks = [self._allocate(result) for _, result in loop.stacks]
        self._add(loop.start, (), stacks)
        carried = [self._buffer(carry.initial) for carry in loop.carries]
        most = _ITERATIONS if self.depth < _DEEPEST else 1
        self.depth += 1
        for _ in range(most if loop.trips is None else min(loop.trips, most)):
            for carry, buffer in zip(loop.carries, carried, strict=True):
                self.buffer_of |= dict.fromkeys(carry.inside, buffer)
            slices = [self._allocate(inner) for _, inner in loop.slices]
            self.buffer_of |= {inner: buffer for (_, inner), buffer in zip(loop.slices, slices, strict=True)}
            self._add(loop.start, [self._buffer(outer) for outer, _ in loop.slices], slices)
            self._range(loop.start, loop.end, loop.inner)
            carried = [self._buffer(carry.after) for carry in loop.carries]
            stacked = [self._buffer(inner) for inner, _ in loop.stacks]
            self._add(max(loop.start, loop.end - 1), [*carried, *stacks, *stacked])
        self.depth -= 1
        self.buffer_of |= {carry.result: buffer for carry, buffer in zip(loop.carries, carried, strict=True)}
        self.buffer_of |= {result: buffer for (_, result), buffer in zip(loop.stacks, stacks, strict=True)}

    def _finish(self) -> Liveness:
        """Returns what is in memory at each event."""
        # The inputs have the first buffers.
        end, inputs = len(self.events), dict(enumerate(self.program.inputs))
        found = map(self._buffer, self.program.results)
        results = {buffer for buffer in found if buffer is not None}
        kept = {buffer for buffer, number in inputs.items() if self._is_kept(number)}
        for buffer in results | kept:
            self.buffers[buffer].last = end
        more = [self._needed(now) for now in range(end)]
        self._share(kept)
        changes = [0] * (end + 2)
        for buffer in self.buffers:
            if buffer.home is None:
                changes[buffer.first] += buffer.bytes
                changes[buffer.last + 1] -= buffer.bytes
        sizes = itertools.accumulate(changes)
        steps = tuple(map(Step, (each.operation for each in self.events), map(int.__add__, sizes, more)))
        peak = max(range(end), key=lambda i: steps[i].bytes, default=None)
        return self._at_peak(steps, peak, more[peak] if peak is not None else 0, set(inputs), results)

    def _is_kept(self, number: int) -> bool:
        """Whether an input stays in memory until the end."""
        is_held = self.parts.of[number] in HELD and number not in self.parts.replaced
        return is_held or number in self.held or number in self.program.passed_on

    def _needed(self, now: int) -> int:
        """Returns the bytes that a conditional needs in the branches that are not counted, besides its operands."""
        event = self.events[now]
        if not event.conditional:
            return 0
        branches, after = self._branches(now), self.after[now]
        operands = self.program.operations[event.operation].operands
        staying = [i for i, number in enumerate(operands) if self._last(number) > after]
        written = sum(self.buffers[buffer].bytes for buffer in event.writes)
        return max(0, *(self._inside(branch, len(operands), staying) - written for branch in branches.programs))

    def _last(self, number: int | None) -> int:
        buffer = self._buffer(number)
        return -1 if buffer is None else self.buffers[buffer].last

    def _inside(self, branch: Program, operands: int, staying: Iterable[int]) -> int:
        """Returns the most bytes that a branch needs besides its operands, of which some stay in memory."""
        constants = len(branch.inputs) - operands
        held = frozenset((*branch.inputs[:constants], *(branch.inputs[constants + i] for i in staying)))
        key = id(branch), held
        if key not in self.needs:
            given = sum(branch.values[number].bytes for number in branch.inputs)
            self.needs[key] = _Run(branch, self.fused, self.needs, held).run().bytes - given
        return self.needs[key]

    def _share(self, kept: set[int]) -> None:
        """Lets operations write their results in place."""
        for now, event in enumerate(self.events):
            homes = dict.fromkeys(map(self._home, event.overwrites))
            free = [home for home in homes if self.buffers[home].last == now and home not in kept]
            for out in event.writes:
                buffer = self.buffers[out]
                fitting = [home for home in free if self.buffers[home].bytes == buffer.bytes]
                if fitting:  # rather where there was the same
                    home = min(fitting, key=lambda home: self.buffers[home].part != buffer.part)
                    buffer.home = home
                    self.buffers[home].last = buffer.last
                    free.remove(home)

    def _home(self, number: int) -> int:
        while (home := self.buffers[number].home) is not None:
            number = home
        return number

    def _at_peak(
        self, steps: tuple[Step, ...], peak: int | None, more: int, inputs: set[int], results: set[int]
    ) -> Liveness:
        """Returns what is in memory at the peak, with what a conditional needs `more` there."""
        now = peak or 0
        holds: dict[int, Part] = {}
        final = set[int]()
        for number, buffer in enumerate(self.buffers):
            home = self._home(number)
            if self.buffers[home].first <= now <= self.buffers[home].last:
                if number in results:
                    final.add(home)
                if buffer.first <= now:  # the last one is what it holds
                    holds[home] = buffer.part
        parts: dict[Part, int] = {}
        for home, part in holds.items():
            parts[part] = parts.get(part, 0) + self.buffers[home].bytes
        if more:
            is_backward = self.program.operations[steps[now].operation].phase == "backward"
            part: Part = "gradients" if is_backward else "activations"
            parts[part] = parts.get(part, 0) + more
        arguments, of_results = (
            sum(self.buffers[home].bytes for home in homes) for homes in (holds.keys() & inputs, final - inputs)
        )
        return Liveness(steps, parts, peak, arguments, of_results)


def _is_elementwise(operation: Operation) -> bool:
    return operation.is_elementwise or operation.name == _REPEATS
