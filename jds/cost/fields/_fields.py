"""The receptive field of each value of a program: the part of the image that one of its positions depends on.

The image is the argument that the first convolution reads or, without convolutions, the first window. The fields are
the theoretical ones of https://distill.pub/2019/computing-receptive-fields/: padding counts, and they may exceed the
image. They are exact, also after dilated and transposed convolutions, with two conventions. As in published tables, an
array without positions, such as a mean over the image or a gate computed from it, does not count where it is added to
or multiplied with a feature map; attention does. The elements of a block count as one position, as after moving pixels
to channels.
"""

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from jds.cost._deployed import is_floating
from jds.cost._program import Loop, Operation, Program, all_loops
from jds.cost.fields._layout import Factor, Placed, Special, State, labels, plain, reshaped
from jds.cost.fields._pattern import IMAGE
from jds.cost.fields._rules import FIELD_RULES, MOVES, TOLERANT, WINDOWS
from jds.cost.rules import ELEMENTWISE

# What may be done to an image before its first convolution.
_ON_THE_WAY = ELEMENTWISE.union(MOVES, WINDOWS)


class Field(NamedTuple):
    """The receptive field of an array.

    Attributes:
      size: for each spatial axis of the image, the number of its positions that one position depends on, from the first
        to the last; the most, if that varies. Along an axis of which all is read, as in a mean, the size of the image.
      stride: for each, positions of the image between neighbors: a fraction after a transposed convolution; None along
        an axis of which all is read.
      axes: for each, the axis of the array with its positions, the same for several if a reshape has merged them; None
        if there is none.
      is_global: whether all of the image is read, along every axis.
    """

    size: tuple[int, ...]
    stride: tuple[int | Fraction | None, ...]
    axes: tuple[int | None, ...]
    is_global: bool = False


class _Image(NamedTuple):
    """The program's image.

    Attributes:
      value: its number.
      axes: its spatial axes.
      sizes: their sizes.
    """

    value: int
    axes: tuple[int, ...]
    sizes: tuple[int, ...]


def receptive_fields(program: Program) -> list[Field | None]:
    """Returns the receptive field of each value of a program.

    It is None for values that do not depend on the image, and where it is unknown: in the backward pass, in loops and
    `shard_map` and after them, after an operation without a rule, such as a gather or a resize, and for sums of arrays
    with different strides.

    Args:
      program: the program.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jds
      >>> from jds import cost
      >>> def fun(image, kernel):
      ...     with jax.named_scope("first"):
      ...         image = jds.conv(image, kernel, strides=2)
      ...     with jax.named_scope("second"):
      ...         return jds.conv(image, kernel)
      >>> found = cost.analyze(fun, jnp.ones((1, 32, 32, 3)), jnp.ones((3, 3, 3, 3)))
      >>> [(row.name, row.receptive_field, row.stride) for row in found.by("layer")]
      [('first', (3, 3), (2, 2)), ('second', (7, 7), (2, 2))]
    """
    image = _find_image(program)
    if image is None:
        return [None] * len(program.values)
    states = _Walk(program, image.value, image.axes).until(len(program.operations))
    return [_field(states.get(number), image.sizes) for number in range(len(program.values))]


@functools.lru_cache(4096)
def _field(state: State, sizes: tuple[int, ...]) -> Field | None:
    if state is Special.EVERYTHING:
        nothing = (None,) * len(sizes)
        return Field(sizes, nothing, nothing, is_global=True)
    if not isinstance(state, Placed):
        return None
    return Field(
        tuple(whole if pattern is None else pattern.size for pattern, whole in zip(state.patterns, sizes, strict=True)),
        tuple(None if stride is None else _number(stride) for stride in state.strides),
        state.places,
        is_global=not any(state.patterns),
    )


def _number(stride: Fraction) -> int | Fraction:
    return int(stride) if stride.denominator == 1 else stride


def _find_image(program: Program) -> _Image | None:
    """Returns the argument that the first convolution reads or, without convolutions, the first window."""
    for axes_of in (_axes_of_convolution, _axes_of_window):
        seen: set[int] = set()
        for number, operation in enumerate(program.operations):
            if operation.phase == "backward" or not (axes := axes_of(operation)):
                continue
            argument = _argument_behind(program, operation, seen)
            image = None if argument is None else _image_read(program, argument, number, axes)
            if image is not None:
                return image
    return None


def _axes_of_convolution(operation: Operation) -> Sequence[int]:
    if operation.name != "conv_general_dilated":
        return ()
    return operation.equation.params["dimension_numbers"].lhs_spec[2:]


def _axes_of_window(operation: Operation) -> Sequence[int]:
    """Returns the axes along which a window slides."""
    if operation.name not in WINDOWS:
        return ()
    params = operation.equation.params
    sizes = zip(params["window_dimensions"], params["window_strides"], strict=True)
    return [axis for axis, each in enumerate(sizes) if max(each) > 1]


def _image_read(program: Program, argument: int, number: int, axes: Sequence[int]) -> _Image | None:
    """Returns an argument as an image with the axes that are these axes of an operation's first operand."""
    shape = program.values[argument].shape
    walk = _Walk(program, argument, range(len(shape)))
    walk.until(number)
    state = walk.operand(program.operations[number], 0)
    found = [labels([state.layout[axis]]) for axis in axes] if isinstance(state, Placed) else [[]]
    if any(len(each) != 1 for each in found):
        return None
    of_image = tuple(sorted(label for (label,) in found))
    return _Image(argument, of_image, tuple(shape[axis] for axis in of_image))


def _argument_behind(program: Program, operation: Operation, seen: set[int]) -> int | None:
    """Returns an array that may be an image, from which an operation's first operand is computed by element or window.

    Args:
      program: the program.
      operation: the operation.
      seen: values that have led to no image; more are added.
    """
    waiting = [operation.operands[0]]
    while waiting:
        number = waiting.pop()
        if number is None or number in seen:
            continue
        seen.add(number)
        value = program.values[number]
        if value.role == "argument" and len(value.shape) >= 3 and _is_picture(value.dtype):
            return number
        maker = None if value.made_by is None else program.operations[value.made_by]
        if maker is not None and maker.name in _ON_THE_WAY:
            waiting += reversed(maker.operands)
    return None


def _is_picture(dtype: Any) -> bool:
    return is_floating(dtype) or dtype == "uint8"


class _Walk:
    """Follows what values depend on through a program.

    Attributes:
      states: the states of the values that were reached.
      loop_of: for the values that a loop hands on, the loop.
      reads: for each loop, by its place, whether it reads what depends on the image.
    """

    def __init__(self, program: Program, argument: int, axes: Sequence[int]):
        self.program = program
        label_of = {axis: label for label, axis in enumerate(axes)}
        layout = tuple(
            (Factor(size, label_of[axis]),) if axis in label_of else plain(size)
            for axis, size in enumerate(program.values[argument].shape)
        )
        self.states: dict[int, State] = {argument: Placed((IMAGE,) * len(axes), layout)}
        self.loop_of = {
            inside: loop for loop in all_loops(program.loops) for carry in loop.carries for inside in carry.inside
        }
        self.reads: dict[tuple[int, int], bool] = {}

    def until(self, end: int) -> dict[int, State]:
        """Follows the operations before `end`; returns the states of all values."""
        for operation in self.program.operations[:end]:
            self._follow(operation)
        for number, value in enumerate(self.program.values):
            if value.source is not None:
                self.state(number)
        return self.states

    def operand(self, operation: Operation, place: int) -> State:
        """Returns the state of an operand, under the shape that the operation reads."""
        number = operation.operands[place]
        if number is None:
            return None
        state, shape = self.state(number), operation.equation.inputs[place].shape
        # Changes of shape are no values of their own.
        if isinstance(state, Placed) and shape != self.program.values[number].shape:
            return reshaped(state, shape)
        return state

    def state(self, number: int) -> State:
        """Returns the state of a value; one that enters or leaves a loop is unknown if it depends on the image."""
        if number not in self.states:
            loop, source = self.loop_of.get(number), self.program.values[number].source
            depends = self._reads_image(loop) if loop else source is not None and self.state(source) is not None
            self.states[number] = Special.UNKNOWN if depends else None
        return self.states[number]

    def _reads_image(self, loop: Loop) -> bool:
        place = loop.start, loop.end
        if place not in self.reads:
            self.reads[place] = False  # for the values that it hands on, which are read in it
            inside = self.program.operations[loop.start : loop.end]
            read = [
                *(carry.initial for carry in loop.carries),
                *(outer for outer, _ in loop.slices),
                *(i for operation in inside for i in operation.inputs if self._is_outside(i, loop)),
            ]
            self.reads[place] = any(i is not None and self.state(i) is not None for i in read)
        return self.reads[place]

    def _is_outside(self, number: int, loop: Loop) -> bool:
        maker = self.program.values[number].made_by
        return number in self.states or (maker is not None and maker < loop.start)

    def _follow(self, operation: Operation) -> None:
        if not any(self.state(number) is not None for number in operation.inputs):
            return
        if operation.name in ("swap", "addupdate") and operation.operands[0] is not None:
            self.states[operation.operands[0]] = Special.UNKNOWN  # it changes its first operand
        results = self._results(operation)
        if not isinstance(results, list):
            results = [results] * len(operation.outputs)
        self.states.update(zip(operation.outputs, results, strict=True))

    def _results(self, operation: Operation) -> State | list[State]:
        rule = FIELD_RULES.get(operation.name)
        if rule is None or operation.phase == "backward" or not operation.outputs:
            return Special.UNKNOWN
        states = [self.operand(operation, place) for place in range(len(operation.operands))]
        if Special.UNKNOWN in states and operation.name not in TOLERANT:
            return Special.UNKNOWN
        return Special.EVERYTHING if Special.EVERYTHING in states else rule(operation.equation, states)
