"""Groups the operations of a program as devices fuse them: a product or a reduction with what is done to its result."""

from collections.abc import Iterator
from typing import NamedTuple

from jds.cost._program import Program, loops_around

# They repeat elements or make constants, and run as a part of the operation that reads the result.
_DEFERRED = frozenset(("broadcast_in_dim", "iota"))
_PRODUCTS = frozenset(("dot_general", "conv_general_dilated"))


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
    Passes are apart: the update of a parameter does not join the product that makes its gradient.

    Args:
      program: the program.

    Returns:
      The groups, in the order of their anchors, in which they can run.
    """
    return _Fusion(program).groups()


def is_order_of_product(program: Program, number: int) -> bool:
    """Whether an operation changes the order of axes of a product that nothing else reads, which can write them so."""
    operation = program.operations[number]
    if operation.name != "transpose" or operation.operands[0] is None:
        return False
    product = program.values[operation.operands[0]]
    return (
        product.used_by == [number]
        and product.made_by is not None
        and program.operations[product.made_by].name in _PRODUCTS
    )


class _Fusion:
    """The groups while they are formed.

    Attributes:
      group_of: for each operation, its group; missing while it waits for a reader.
      anchors: for each group, its anchor.
      numbers: single numbers that are computed from arguments alone, such as the rate of the learning.
    """

    def __init__(self, program: Program):
        self.program = program
        self.group_of: dict[int, int] = {}
        self.anchors: list[int] = []
        self.numbers: set[int] = set()
        self.loop_of = [around[-1] if around else None for around in loops_around(program)]

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
        is_change_of_shape = not operation.operands and not operation.outputs
        if self.anchors and is_change_of_shape and number not in self.program.other_branches:
            self.group_of[number] = len(self.anchors) - 1
            return
        if operation.is_elementwise or is_order_of_product(self.program, number):
            entering = set(self._groups_before(number))
            if not entering:  # computed from arguments alone
                if self._elements(number) == 1:
                    self.numbers.update(operation.outputs)
                return
            (group, *others) = entering
            if not others and group >= 0 and self._is_alike(number, self.anchors[group]):
                self._enter(number, group)
                return
            self._enter(number, self._new_group(number))
            for value in operation.inputs:
                self._pull(value, number)
            return
        self._enter(number, self._new_group(number))

    def _pull(self, value: int, number: int) -> None:
        """Moves what computes a value that only an operation reads to its group, if all that it reads is kept anyway.

        So the terms of an update are computed where they are added, from the optimizer's new state.
        """
        values, operations, pulled, waiting = self.program.values, self.program.operations, {number}, [value]
        while waiting:
            value = waiting.pop()
            maker = values[value].made_by
            if maker is None or maker in pulled or self._is_kept(value, pulled):
                continue
            group = self.group_of.get(maker)
            if not pulled.issuperset(values[value].used_by) or group is None or maker == self.anchors[group]:
                return
            if not operations[maker].is_elementwise or not self._is_alike(maker, number):
                return
            pulled.add(maker)
            waiting += operations[maker].inputs
        self.group_of |= dict.fromkeys(pulled, self.group_of[number])

    def _is_kept(self, value: int, pulled: set[int]) -> bool:
        """Whether a value is a single number, or leaves the group that makes it, not only for what is pulled out."""
        maker, users = self.program.values[value].made_by, self.program.values[value].used_by
        own = None if maker is None else self.group_of.get(maker)
        groups = {-1 if user is None else self.group_of.get(user, own) for user in users if user not in pulled}
        return value in self.numbers or bool(groups - {own})

    def _is_alike(self, one: int, other: int) -> bool:
        """Whether two operations have as many elements, in the same loop and pass."""
        operations = self.program.operations
        is_in_same_loop = self.loop_of[one] is self.loop_of[other]
        is_in_same_pass = operations[one].phase == operations[other].phase
        return is_in_same_loop and is_in_same_pass and self._elements(one) == self._elements(other)

    def _elements(self, number: int) -> int:
        outputs = self.program.operations[number].outputs
        return self.program.values[outputs[0]].elements if outputs else 0

    def _groups_before(self, number: int) -> Iterator[int]:
        """Yields the groups whose results an operation reads, also when they are repeated first; -1 for others."""
        for value in self.program.operations[number].inputs:
            maker = self.program.values[value].made_by
            if value in self.numbers:
                continue
            if maker is None:
                if self.program.values[value].source is not None and not self._is_held(value):
                    yield -1  # it comes from outside of the loop
            elif maker in self.group_of:
                yield self.group_of[maker]
            elif self.program.operations[maker].name in _DEFERRED:
                yield from self._groups_before(maker)

    def _is_held(self, value: int) -> bool:
        """Whether a value inside a loop is, or begins as, a part of an argument that the caller keeps."""
        values = self.program.values
        while values[value].made_by is None and (source := values[value].source) is not None:
            value = source
        return values[value].role in ("parameter", "optimizer", "state")

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
