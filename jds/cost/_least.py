"""The least work and traffic that is left of a program, whatever a compiler leaves out and whichever branches run."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

from jds._common.text import Number
from jds.cost._arithmetic import work_by_arithmetic
from jds.cost._counts import Counts
from jds.cost._demand import least_demand
from jds.cost._merging import merged
from jds.cost._program import Loop, Operation, Program, all_loops
from jds.cost._traffic import Traffic
from jds.cost.devices import Peak
from jds.cost.rules import UPDATES, Cost, find_rule, size


class LeastWork(NamedTuple):
    """What is left of a program.

    Attributes:
      operations: the operations, with the runs and the counts that are left.
      conditionals: the runs of each conditional, and what is left of each branch, of which one runs.
      shares: for each value, the share of its elements that is needed.
    """

    operations: Sequence[Operation]
    conditionals: Sequence[tuple[int, Sequence["LeastWork"]]]
    shares: Sequence[Number]

    def by_arithmetic(self, peak: Peak, dtype: str | None) -> collections.Counter[str]:
        """Returns the operations in each arithmetic of a device, as `work_by_arithmetic`."""
        found = work_by_arithmetic(self.operations, peak, dtype)
        for runs, branches in self.conditionals:
            counts = [branch.by_arithmetic(peak, dtype) for branch in branches]
            for name in counts[0]:
                found[name] += runs * min(count[name] for count in counts)
        return found


class Least(NamedTuple):
    """The least work of a program, and its least traffic in bytes."""

    work: LeastWork
    bytes: Number


def least_of(program: Program, traffic: Traffic) -> Least:
    """Returns what is left of a program after all that a compiler may leave out.

    It may merge equal operations, compute what does not change in a loop before it, leave out elements that no result
    depends on, work on constants, and factors such as 1. Of the branches of a conditional, the one with the least work
    is counted, of a loop with an unknown number of iterations none. Of the work, only what any algorithm does is
    counted: products without padding, and sums and element-wise functions of several arrays. That a product is computed
    term by term is assumed: fast algorithms for convolutions, such as Winograd's, need fewer multiplications.

    Args:
      program: the program.
      traffic: the traffic of its operations.
    """
    following = _Least(program, {})
    work = following.run()
    return Least(work, _bytes(program, following.merged.same_as, work, traffic))


def _bytes(program: Program, same_as: Sequence[int], least: LeastWork, traffic: Traffic) -> Number:
    """Returns the bytes of what is needed of the arguments, and of the results, each once."""
    read = sum(least.shares[number] * program.values[number].bytes for number in program.inputs)
    # A branch, or no iteration, may leave an argument as it is.
    uncertain = {number for branches in program.other_branches.values() for number in branches.outputs}
    uncertain |= {carry.result for loop in all_loops(program.loops) if loop.trips is None for carry in loop.carries}
    results = {same_as[number]: traffic.written[number] for number in program.results if number not in uncertain}
    return read + sum(results.values())


class _Least:
    """Follows a program from its results to its arguments.

    Attributes:
      shares: for each value, the share of its elements that is needed.
      computed: the same if it is the result of a product. Of `where(flag, a, b)`, only one argument may be read, but
        both products are computed.
      live: the values of which anything is needed, or that are changed in place.
      updated: the values that only have to be changed in place, and the share of them that stays.
      branches: what is left of the branches that were followed.
      conditionals: what is left of this program's conditionals.
    """

    def __init__(self, program: Program, branches: dict[int, LeastWork]):
        self.program = program
        self.merged = merged(program)
        self.shares = [0.0] * len(program.values)
        self.computed = [0.0] * len(program.values)
        self.live: set[int] = set()
        self.updated: dict[int, float] = {}
        self.branches = branches
        self.conditionals: dict[int, tuple[int, Sequence[LeastWork]]] = {}
        self.all_loops = list(all_loops(program.loops))
        self.carries = {
            number: (loop, carry)
            for loop in self.all_loops
            for carry in loop.carries
            for number in (*carry.inside, carry.result)
        }
        self.stacked = {result for loop in self.all_loops for _, result in loop.stacks}
        self.conditional_around = program.conditional_around
        self.copies = {copy: number for number, branches in program.other_branches.items() for copy in branches.copies}

    def run(self) -> LeastWork:
        self._find_live()
        for number in self.program.results:
            self._keep(number)
        for loop in self.all_loops:
            if loop.trips:
                self._keep_in(loop)
        for number in reversed(range(len(self.program.values))):
            if self._is_left(number):
                self._follow(number)
            else:
                self._need(number, self.shares[number], self.computed[number])
        left = map(self._left_of, range(len(self.program.operations)))
        return LeastWork([each for each in left if each], list(self.conditionals.values()), self.shares)

    def _is_left(self, number: int) -> bool:
        return self.merged.same_as[number] == number and number not in self.merged.uniform and number in self.live

    def _find_live(self) -> None:
        waiting: list[int | None] = list(self.program.results)
        while waiting:
            if (number := waiting.pop()) is None:
                continue
            number = self.merged.same_as[number]
            if number not in self.live and number not in self.merged.uniform:
                self.live.add(number)
                waiting += self._sources(number)

    def _sources(self, number: int) -> Sequence[int | None]:
        """Returns the values from which a value is computed."""
        value, operations = self.program.values[number], self.program.operations
        if number in self.copies:
            return operations[self.copies[number]].operands
        if value.made_by is not None:
            return operations[self.conditional_around.get(value.made_by, value.made_by)].operands
        if number in self.carries:
            carry = self.carries[number][1]
            return carry.initial, carry.after
        return (value.source,)

    def _need(self, number: int | None, share: Number, computed: Number = 0) -> None:
        """Notes that a share of a value is needed."""
        if number is not None:
            number = self.merged.same_as[number]
            self.shares[number] = max(self.shares[number], min(1.0, share))
            self.computed[number] = max(self.computed[number], min(1.0, max(share, computed)))

    def _keep(self, number: int | None, share: Number = 1.0) -> None:
        """Notes that a value leaves the program, or is handed on: it is needed, or else only changed in place."""
        if number is None:
            return
        number = self.merged.same_as[number]
        maker = self.program.values[number].made_by
        if maker is not None and self.program.operations[maker].name in UPDATES:
            self.updated[number] = max(self.updated.get(number, 0.0), share)
        else:
            self._need(number, share)

    def _update(self, number: int | None, share: Number) -> None:
        """Notes that a value is changed in place, and a share of it stays: of an argument, nothing is read for that."""
        if number is None:
            return
        number = self.merged.same_as[number]
        value = self.program.values[number]
        if value.made_by is not None:
            self._keep(number, share)
        elif number in self.carries and number != self.carries[number][1].result:
            self._update(self.carries[number][1].initial, share)

    def _keep_in(self, loop: Loop) -> None:
        """Notes what a loop hands on: whole arrays, even if only a part of them is read later."""
        for carry in loop.carries:
            if any(self.merged.same_as[number] in self.live for number in (*carry.inside, carry.result)):
                self._keep(carry.after)
        for part, result in loop.stacks:
            if self.merged.same_as[result] in self.live:
                self._keep(part)

    def _follow(self, number: int) -> None:
        """Notes what is needed of the values from which a value is computed."""
        value, share = self.program.values[number], (self.shares[number], self.computed[number])
        if number in self.copies:
            self._follow_conditional(self.copies[number])
        elif value.made_by is not None:
            self._follow_operation(value.made_by, number)
        elif number in self.carries:
            loop, carry = self.carries[number]
            if bool(loop.trips) == (number != carry.result) and loop.trips is not None:
                self._need(carry.initial, *share)
        elif value.source is not None and number not in self.stacked:
            self._need(value.source, *share)

    def _follow_operation(self, place: int, number: int) -> None:
        operations = self.program.operations
        if place in self.conditional_around:
            self._follow_conditional(self.conditional_around[place])
            return
        operation = operations[place]
        if number != min(filter(self._is_left, operation.outputs)) or not self.merged.runs[place]:
            return
        if operation.name == "cond":
            self._follow_conditional(place)
            return
        shares = self.computed if _is_product(operation) else self.shares
        needed, computed = (self._elements(operation.outputs, each) for each in (shares, self.computed))
        is_choice = operation.name == "select_n" and size(operation.equation.inputs[0]) == 1
        for position, operand in enumerate(operation.operands):
            whole = max(1, size(operation.equation.inputs[position]))
            share = 0.0 if is_choice and position else least_demand(operation, position, needed) / whole
            self._need(operand, share, least_demand(operation, position, computed) / whole)
        if number in self.updated:
            array, changed = (size(operation.equation.inputs[i]) for i in (0, UPDATES[operation.name]))
            self._update(operation.operands[0], max(0.0, self.updated[number] - changed / max(1, array)))
            if operation.name == "dynamic_update_slice":
                self._need(operation.operands[1], 1.0)

    def _elements(self, outputs: Sequence[int], shares: Sequence[Number]) -> Number:
        return sum(shares[output] * self.program.values[output].elements for output in outputs)

    def _follow_conditional(self, place: int) -> None:
        if place in self.conditionals:
            return
        self.conditionals[place] = 0, ()
        conditional = self.program.other_branches[place]
        outputs = self.program.operations[place].outputs if conditional.counted is None else conditional.outputs
        made = [self.merged.same_as[number] for number in outputs if number is not None]
        if not all(number in self.live or number in self.merged.uniform for number in made):
            return  # XLA leaves out what only computes results that are not used
        programs = [*conditional.programs, *([conditional.counted] if conditional.counted else [])]
        branches = [self._branch(program) for program in programs]
        self.conditionals[place] = self.merged.runs[place], branches
        if not self.merged.runs[place]:
            return
        operands = self.program.operations[place].operands
        for position, operand in enumerate(operands, -len(operands)):
            shares = [
                branch.shares[program.inputs[position]] for branch, program in zip(branches, programs, strict=True)
            ]
            self._need(operand, min(shares))

    def _branch(self, program: Program) -> LeastWork:
        if id(program) not in self.branches:
            self.branches[id(program)] = _Least(program, self.branches).run()
        return self.branches[id(program)]

    def _left_of(self, place: int) -> Operation | None:
        operation, runs = self.program.operations[place], self.merged.runs[place]
        if operation.cost is None or not runs or place in self.conditional_around or operation.name == "cond":
            return None
        outputs = [number for number in operation.outputs if self._is_left(number)]
        if all(self.merged.constant[number] for number in outputs):
            return None
        shares = self.computed if _is_product(operation) else self.shares
        share = 1.0 if operation.name in UPDATES else max(shares[number] for number in outputs)
        counts = Counts(*(int(share * count) for count in self._counts(operation)))
        return operation._replace(cost=operation.cost._replace(counts=counts), times=runs) if any(counts) else None

    def _counts(self, operation: Operation) -> Counts:
        """Returns the counts of one run, without those that another algorithm, or other operations, may make fewer."""
        cost = operation.cost
        if cost is None or cost.kind in _BY_ALGORITHM:
            return Counts()
        several = {number for number in operation.operands if number is not None and number not in self.merged.uniform}
        repeated = {number for number in several if self._is_repeated(number)}
        if operation.is_elementwise and len(several - repeated) < 1 + (not repeated):
            return Counts()
        if cost.kind == "reduction" and repeated:
            return Counts()
        return (_without_padding(operation) or cost).counts

    def _is_repeated(self, number: int) -> bool:
        maker = self.program.values[number].made_by
        return maker is not None and self.program.operations[maker].name == "broadcast_in_dim"


def _without_padding(operation: Operation) -> Cost | None:
    """Returns the cost without products with padding; None if it has no rule."""
    rule = find_rule(operation.name)
    if rule is None:  # an operation of a file
        return operation.equation.params.get("without_padding")
    return rule(operation.equation._replace(count_padding=False))


def _is_product(operation: Operation) -> bool:
    return operation.cost is not None and operation.cost.counts.macs > 0


# How much work they are depends on the algorithm.
_BY_ALGORITHM = ("sorting", "transform", "communication", "random")
