"""Groups the operations of a program as devices fuse them: a product or a reduction with what is done to its result."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jds.cost._program import Loop, Program

# They repeat elements or make constants, and run as a part of the operation that reads the result.
_DEFERRED = frozenset(("broadcast_in_dim", "iota"))


class Group(NamedTuple):
    """Operations that a device runs as one.

    Attributes:
      anchor: the operation whose result the others change, or, if all are element-wise, the first. It has the group's
        place in the program.
      members: all operations, in order.
    """

    anchor: int
    members: tuple[int, ...]


def fused_groups(program: Program) -> list[Group]:
    """Groups operations into those that a device runs as one.

    An element-wise operation joins the operation whose result it changes, such as a convolution followed by its
    normalization and activation, if nothing else that is computed enters: a sum of two branches is a group of its own.
    What is computed from arguments alone, such as the factors of a normalization, joins the first group that reads it.

    Args:
      program: the program.

    Returns:
      The groups, in the order of their anchors, in which they can run.
    """
    return _Fusion(program).groups()


class _Fusion:
    """The groups while they are formed.

    Attributes:
      group_of: for each operation, its group; missing while it waits for a reader.
      anchors: for each group, its anchor.
    """

    def __init__(self, program: Program):
        self.program = program
        self.group_of: dict[int, int] = {}
        self.anchors: list[int] = []
        self.loop_of = _loops_of(program.loops, len(program.operations))

    def groups(self) -> list[Group]:
        for number in range(len(self.program.operations)):
            self._place(number)
        for number in range(len(self.program.operations)):  # nobody reads their results but the caller
            if number not in self.group_of:
                self._enter(number, self._new_group(number))
        members: list[list[int]] = [[] for _ in self.anchors]
        for number, group in sorted(self.group_of.items()):
            members[group].append(number)
        return sorted(map(Group, self.anchors, map(tuple, members)))

    def _place(self, number: int) -> None:
        operation = self.program.operations[number]
        if operation.name in _DEFERRED:
            return
        if self.anchors and not operation.operands and not operation.outputs:  # a change of shape
            self.group_of[number] = len(self.anchors) - 1
            return
        if operation.is_elementwise:
            entering = set(self._groups_before(number))
            if not entering:
                return  # computed from arguments alone
            (group, *others) = entering
            if not others and group >= 0 and self._can_join(number, group):
                self._enter(number, group)
                return
        self._enter(number, self._new_group(number))

    def _can_join(self, number: int, group: int) -> bool:
        anchor = self.anchors[group]
        is_in_same_loop = self.loop_of[number] is self.loop_of[anchor]
        return is_in_same_loop and self._elements(number) == self._elements(anchor)

    def _elements(self, number: int) -> int:
        outputs = self.program.operations[number].outputs
        return self.program.values[outputs[0]].elements if outputs else 0

    def _groups_before(self, number: int) -> Iterator[int]:
        """Yields the groups whose results an operation reads, also when they are repeated first; -1 for others."""
        for value in self.program.operations[number].inputs:
            maker = self.program.values[value].made_by
            if maker is None:
                source = self.program.values[value].source
                if source is not None:
                    yield -1  # it comes from outside of the loop
            elif maker in self.group_of:
                yield self.group_of[maker]
            elif self.program.operations[maker].name in _DEFERRED:
                yield from self._groups_before(maker)

    def _new_group(self, number: int) -> int:
        self.anchors.append(number)
        return len(self.anchors) - 1

    def _enter(self, number: int, group: int) -> None:
        """Adds an operation to a group, and those before it that wait for a reader."""
        entering = [number]
        while entering:
            member = entering.pop()
            self.group_of[member] = group
            for value in self.program.operations[member].inputs:
                maker = self.program.values[value].made_by
                if maker is not None and maker not in self.group_of and self.loop_of[maker] is self.loop_of[member]:
                    entering.append(maker)


def _loops_of(loops: Sequence[Loop], count: int) -> list[Loop | None]:
    """Returns, for each operation, the innermost loop around it."""
    found: list[Loop | None] = [None] * count
    waiting = list(loops)
    while waiting:
        loop = waiting.pop()  # always before the loops in it
        found[loop.start : loop.end] = [loop] * (loop.end - loop.start)
        waiting += loop.inner
    return found
