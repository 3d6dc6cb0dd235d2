"""How each primitive passes on what its operands depend on. Those without a rule have unknown results."""

import itertools
from collections.abc import Callable, Sequence

from jds.cost.fields._layout import Group, Layout, Placed, Special, State, labels, merged, plain, slide
from jds.cost.rules import ELEMENTWISE, REDUCTIONS, WINDOWS, Equation, WindowAxis, convolution_axes, window_axes

# A function of the equation and the states of its operands, of which one at least depends on the image, which returns
# the state of its results: of each, or one for all.
FieldRule = Callable[[Equation, Sequence[State]], State | list[State]]

FIELD_RULES: dict[str, FieldRule] = {}
# Their results may be known if an operand is not.
TOLERANT = frozenset(["concatenate"])
# They move the elements of an image on the way to its first convolution.
MOVES = frozenset(["transpose", "broadcast_in_dim", "pad", "slice", "concatenate", "split", "dynamic_slice", "copy"])


def _rule(*names: str) -> Callable[[FieldRule], FieldRule]:
    def decorator(rule: FieldRule) -> FieldRule:
        FIELD_RULES.update(dict.fromkeys(names, rule))
        return rule

    return decorator


@_rule(*ELEMENTWISE, "copy", "real", "imag", "complex")
def _elementwise(equation: Equation, states: Sequence[State]) -> State:
    after = equation.outputs[0].shape
    if all(aval.shape == after for aval, state in zip(equation.inputs, states, strict=True) if state is not None):
        return merged(states)
    return merged(_spread(state, aval.shape, after) for aval, state in zip(equation.inputs, states, strict=True))


def _spread(state: State, before: Sequence[int], after: Sequence[int]) -> State:
    """Returns an array whose axes of one element are repeated, or a scalar, in the shape `after`."""
    sizes = before or (1,) * len(after)

    def change(layout: Layout) -> Layout:
        groups = layout or ((),) * len(after)
        return tuple(group if size == to else plain(to) for group, size, to in zip(groups, sizes, after, strict=True))

    return _rearranged(state, change)


@_rule("transpose")
def _transpose(equation: Equation, states: Sequence[State]) -> State:
    return _rearranged(states[0], lambda layout: tuple(layout[axis] for axis in equation.params["permutation"]))


def _rearranged(state: State, change: Callable[[Layout], Layout]) -> State:
    return state._replace(layout=change(state.layout)) if isinstance(state, Placed) else state


@_rule("broadcast_in_dim")
def _broadcast(equation: Equation, states: Sequence[State]) -> State:
    before, after = equation.inputs[0].shape, equation.outputs[0].shape

    def change(layout: Layout) -> Layout:
        groups = [plain(size) for size in after]
        for axis, to in enumerate(equation.params["broadcast_dimensions"]):
            if before[axis] == after[to]:
                groups[to] = layout[axis]
        return tuple(groups)

    return _rearranged(states[0], change)


@_rule("reduce", *REDUCTIONS)
def _reduce(equation: Equation, states: Sequence[State]) -> State:
    params = equation.params
    axes = params["dimensions"] if equation.primitive == "reduce" else params["axes"]
    state = merged(states)
    if not isinstance(state, Placed):
        return state
    gone = labels(state.layout[axis] for axis in axes)
    return Placed(
        tuple(None if label in gone else pattern for label, pattern in enumerate(state.patterns)),
        tuple(group for axis, group in enumerate(state.layout) if axis not in axes),
    )


@_rule("conv_general_dilated")
def _convolution(equation: Equation, states: Sequence[State]) -> State:
    lhs, (out,), params = equation.inputs[0], equation.outputs, equation.params
    state, kernel = states
    if not isinstance(state, Placed) or (kernel is not None and _has_positions(kernel)):
        return Special.UNKNOWN
    of_lhs, _, of_out = params["dimension_numbers"]
    batch = state.layout[of_lhs[0]]
    if labels([batch]) and params["batch_group_count"] > 1:
        return Special.UNKNOWN
    if _sees_all([state.layout[of_lhs[1]]]):
        return Special.EVERYTHING
    result = slide(state._replace(layout=tuple(state.layout[axis] for axis in of_lhs[2:])), convolution_axes(equation))
    batch = batch if out.shape[of_out[0]] == lhs.shape[of_lhs[0]] else plain(out.shape[of_out[0]])

    def change(spatial: Layout) -> Layout:
        groups = dict(zip(of_out, (batch, plain(out.shape[of_out[1]]), *spatial), strict=True))
        return tuple(groups[axis] for axis in range(len(groups)))

    return _rearranged(result, change)


def _has_positions(state: State) -> bool:
    return not isinstance(state, Placed) or bool(labels(state.layout))


def _sees_all(groups: Sequence[Group]) -> bool:
    """Whether a sum over these axes is one over several positions of the image."""
    return any(factor.size > 1 and factor.label is not None for group in groups for factor in group)


@_rule(*WINDOWS)
def _windows(equation: Equation, states: Sequence[State]) -> State:
    state = merged(states)
    if not isinstance(state, Placed):
        return state
    return slide(state, window_axes(equation.inputs[0], equation.outputs[0], equation.params))


@_rule("pad")
def _pad(equation: Equation, states: Sequence[State]) -> State:
    state, (out,) = merged(states), equation.outputs
    if not isinstance(state, Placed):
        return state
    windows = [
        WindowAxis(before, 1, after, low=low, lhs_dilation=holes + 1)
        for before, after, (low, _, holes) in zip(
            equation.inputs[0].shape, out.shape, equation.params["padding_config"], strict=True
        )
    ]
    return slide(state, windows)


@_rule("slice")
def _slice(equation: Equation, states: Sequence[State]) -> State:
    (array,), (out,), (state,) = equation.inputs, equation.outputs, states
    strides = equation.params["strides"] or (1,) * len(out.shape)
    windows = [
        WindowAxis(before, 1, after, stride, -start)
        for before, after, stride, start in zip(
            array.shape, out.shape, strides, equation.params["start_indices"], strict=True
        )
    ]
    return slide(state, windows) if isinstance(state, Placed) else state


@_rule("split")
def _split(equation: Equation, states: Sequence[State]) -> list[State]:
    (array,), (state,), params = equation.inputs, states, equation.params
    ends = itertools.accumulate(params["sizes"])
    parts = zip(params["sizes"], ends, strict=True)
    return [_part(state, array.shape, params["axis"], size, end - size) for size, end in parts]


def _part(state: State, shape: Sequence[int], axis: int, size: int, start: int) -> State:
    """Returns the positions from `start` along an axis; those outside of the array are padding."""
    if not isinstance(state, Placed):
        return state
    windows = [WindowAxis(n, 1, n) for n in shape]
    windows[axis] = WindowAxis(shape[axis], 1, size, low=-start)
    return slide(state, windows)


@_rule("dynamic_slice")
def _dynamic_slice(equation: Equation, states: Sequence[State]) -> State:
    state, (out,) = states[0], equation.outputs
    kept = [before == after for before, after in zip(equation.inputs[0].shape, out.shape, strict=True)]
    if not isinstance(state, Placed) or any(states[1:]):
        return Special.UNKNOWN
    if labels(group for group, is_kept in zip(state.layout, kept, strict=True) if not is_kept):
        return Special.UNKNOWN  # where it starts is data
    groups = zip(state.layout, kept, out.shape, strict=True)
    return state._replace(layout=tuple(group if is_kept else plain(size) for group, is_kept, size in groups))


@_rule("concatenate")
def _concatenate(equation: Equation, states: Sequence[State]) -> State:
    axis, (out,) = equation.params["dimension"], equation.outputs
    sizes = [aval.shape[axis] for aval in equation.inputs]
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    state = states[longest]
    if isinstance(state, Placed) and labels([state.layout[axis]]):
        # The others are its border.
        is_most = 2 * sizes[longest] > sum(sizes)
        start = -sum(sizes[:longest])
        return _part(state, equation.inputs[longest].shape, axis, sum(sizes), start) if is_most else Special.UNKNOWN
    if any(isinstance(other, Placed) and labels([other.layout[axis]]) for other in states):
        return Special.UNKNOWN
    whole = (plain(out.shape[axis]),)
    return merged(_rearranged(each, lambda layout: (*layout[:axis], *whole, *layout[axis + 1 :])) for each in states)


@_rule("rev", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort")
def _along_axes(equation: Equation, states: Sequence[State]) -> State:
    params = equation.params
    axes = params.get("dimensions") or (params["axis"] if "axis" in params else params["dimension"],)
    state = merged(states)
    if isinstance(state, Placed) and labels(state.layout[axis] for axis in axes):
        return Special.UNKNOWN
    return state


@_rule("dot_general")
def _product(equation: Equation, states: Sequence[State]) -> State:
    (contracted, batch), (out,) = equation.params["dimension_numbers"], equation.outputs
    ranks = [len(aval.shape) for aval in equation.inputs]
    free = [
        [axis for axis in range(rank) if axis not in (*summed, *shared)]
        for rank, summed, shared in zip(ranks, contracted, batch, strict=True)
    ]
    starts = (len(batch[0]), len(batch[0]) + len(free[0]))
    sides: list[State] = []
    for side, state in enumerate(states):
        if not isinstance(state, Placed):
            sides.append(state)
            continue
        summed = [state.layout[axis] for axis in contracted[side]]
        if _sees_all(summed):
            is_dense = states[1 - side] is not None or equation.weights[1 - side] or any(map(_is_mixed, summed))
            return Special.EVERYTHING if is_dense else Special.UNKNOWN  # a constant matrix may resize
        groups = [plain(size) for size in out.shape]
        for to, axis in (*enumerate(batch[side]), *enumerate(free[side], starts[side])):
            groups[to] = state.layout[axis]
        sides.append(state._replace(layout=tuple(groups)))
    return merged(sides)


def _is_mixed(group: Group) -> bool:
    """Whether an axis has both positions of the image and others."""
    return len({factor.label is None for factor in group}) > 1
