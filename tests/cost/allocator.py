"""Runs a jaxpr equation by equation, loops iteration by iteration, and allocates and frees its arrays."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jax.interpreters import partial_eval

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
         "checkpoint": "jaxpr", "remat2": "jaxpr", "closed_call": "call_jaxpr"}  # fmt: skip
SAME = ("reshape", "squeeze", "expand_dims", "stop_gradient", "optimization_barrier")
ELEMENTWISE = [
    "add",
    "sub",
    "mul",
    "div",
    "max",
    "min",
    "neg",
    "one_minus_square",
    "exp",
    "log",
    "tanh",
    "logistic",
    "sin",
    "cos",
    "gt",
    "lt",
    "ge",
    "eq",
    "select_n",
    "integer_pow",
    "add_any",
    "sqrt",
    "rsqrt",
    "pow",
    "sign",
    "abs",
    "square",
]
UPDATES = ("dynamic_update_slice", "scatter", "scatter-add")


PRODUCTS = ("dot_general", "conv_general_dilated")


class Event(NamedTuple):
    kind: str  # "in place", "update", "repeat", "product", "transpose", or ""
    reads: list
    writes: list


KINDS = (
    dict.fromkeys(ELEMENTWISE, "in place") | dict.fromkeys(UPDATES, "update") | dict.fromkeys(PRODUCTS, "product")
    | {"broadcast_in_dim": "repeat", "transpose": "transpose"}
)  # fmt: skip


class Array(NamedTuple):
    """A value, and the buffer in which it lies; None for a literal."""

    value: object
    buffer: int | None


class Machine:
    """Records which buffers each equation reads and writes."""

    def __init__(self):
        self.sizes, self.events = [], []
        self.made_from = {}  # by element-wise equations
        self.is_backward = False

    def new(self, value):
        self.sizes.append(math.prod(value.shape) * value.dtype.itemsize)
        return Array(value, len(self.sizes) - 1)

    def record(self, kind, reads, writes):
        buffers = [array.buffer for array in reads if array.buffer is not None]
        if buffers or writes:
            self.events.append(Event(kind, buffers, [array.buffer for array in writes]))

    def run(self, jaxpr, inputs):
        env = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

        def read(atom):
            return Array(atom.val, None) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            outputs = self.equation(eqn, [read(atom) for atom in eqn.invars])
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def closed(self, body, inputs):
        jaxpr = getattr(body, "jaxpr", body)
        consts = [self.new(jnp.asarray(value)) for value in getattr(body, "consts", ())]
        return self.run(jaxpr, [*consts, *inputs])

    def equation(self, eqn, inputs):
        outer, self.is_backward = self.is_backward, self.is_backward or "transpose(" in str(eqn.source_info.name_stack)
        outputs = self.apply(eqn, inputs)
        self.is_backward = outer
        return outputs

    def apply(self, eqn, inputs):
        name, params = eqn.primitive.name, eqn.params
        if name in CALLS:
            return self.closed(params[CALLS[name]], inputs)
        if name in ("scan", "while", "cond"):
            return {"scan": self.scan, "while": self.loop, "cond": self.cond}[name](eqn, inputs)
        values = eqn.primitive.bind(*(array.value for array in inputs), **params)
        values = values if eqn.primitive.multiple_results else [values]
        if name in SAME and inputs[0].buffer is not None:
            return [Array(value, array.buffer) for value, array in zip(values, inputs, strict=True)]
        outputs = [self.new(value) for value in values]
        if name in ELEMENTWISE and not self.is_backward:
            alike = [
                a.buffer
                for a in inputs
                if a.buffer is not None and self.sizes[a.buffer] == self.sizes[outputs[0].buffer]
            ]
            self.made_from[outputs[0].buffer] = set(alike).union(*(self.made_from.get(b, ()) for b in alike))
        self.record(KINDS.get(name, ""), inputs, outputs)
        return outputs

    def scan(self, eqn, inputs):
        params, body, length = eqn.params, eqn.params["jaxpr"].jaxpr, eqn.params["length"]
        # The names of the parameters that tell this differ between versions of JAX.
        sliced = sum(jnp.ndim(x.value) > len(var.aval.shape) for x, var in zip(inputs, body.invars, strict=True))
        pairs = zip(eqn.outvars, body.outvars, strict=True)
        carries = sum(len(out.aval.shape) == len(inner.aval.shape) for out, inner in pairs)
        consts = len(inputs) - sliced - carries
        constants, carried, xs = inputs[:consts], inputs[consts : consts + carries], inputs[consts + carries :]
        stacks = [self.new(jnp.zeros((length, *var.aval.shape), var.aval.dtype)) for var in body.outvars[carries:]]
        self.record("", [], stacks)
        for i in range(length):
            i = length - 1 - i if params["reverse"] else i
            slices = [self.new(x.value[i]) for x in xs]
            self.record("", xs, slices)
            results = self.run(body, [*constants, *carried, *slices])
            carried, parts = results[:carries], results[carries:]
            stacks = [
                Array(stack.value.at[i].set(part.value), stack.buffer)
                for stack, part in zip(stacks, parts, strict=True)
            ]
            self.record("", [*carried, *stacks, *parts], [])
        return [*carried, *stacks]

    def loop(self, eqn, inputs):
        params = eqn.params
        split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        of_condition, of_body, carried = inputs[: split[0]], inputs[split[0] : split[1]], inputs[split[1] :]
        while self.closed(params["cond_jaxpr"], [*of_condition, *carried])[0].value:
            carried = self.closed(params["body_jaxpr"], [*of_body, *carried])
            self.record("", carried, [])
        return carried

    def cond(self, eqn, inputs):
        return self.closed(eqn.params["branches"][int(inputs[0].value)], inputs[1:])

    def peak(self, inputs, held, results):
        """Returns the most bytes at a time.

        Args:
          inputs: all arguments' arrays.
          held: buffers of the arguments that stay.
          results: the results' arrays.
        """
        held = set(held) | {array.buffer for array in results} & {array.buffer for array in inputs}
        results = {array.buffer for array in results} - held
        self._forget_repeats(results)
        results = self._order_products(results)
        last = {}
        for now, event in enumerate(self.events):
            last |= dict.fromkeys(event.reads, now)
        place = {array.buffer: array.buffer for array in inputs}  # where each live buffer lies
        memory = {array.buffer: self.sizes[array.buffer] for array in inputs}
        most = 0
        for now, event in enumerate(self.events):
            free = [
                place[b] for b in dict.fromkeys(event.reads)
                if last[b] == now and b not in results and sum(place.get(c) == place[b] for c in place) == 1
            ]  # fmt: skip
            for out in event.writes:
                home = None
                overwritten = {"in place": event.reads, "repeat": event.reads, "update": event.reads[:1]}
                for candidate in (place[b] for b in overwritten.get(event.kind, ()) if b in place):
                    if candidate not in free:
                        continue
                    if memory[candidate] == self.sizes[out] and candidate not in held:
                        home = candidate
                        break
                if home is None:
                    memory[out] = self.sizes[out]
                    place[out] = out
                else:
                    free.remove(home)
                    place[out] = home
            most = max(most, sum(memory.values()))
            for b in {*event.reads, *event.writes}:
                if last.get(b, now) <= now and b not in results and b in place:
                    home = place.pop(b)
                    if home not in held and home not in place.values():
                        memory.pop(home, None)
            for array in inputs:  # arguments that nothing reads
                if now == 0 and array.buffer not in last and array.buffer not in held and array.buffer in memory:
                    memory.pop(array.buffer)
                    place.pop(array.buffer, None)
        return most

    def _order_products(self, results):
        """Lets products write their results in the order of axes in which their only reader wants them."""
        made = {event.writes[0]: event for event in self.events if event.kind == "product"}
        for event in [each for each in self.events if each.kind == "transpose"]:
            (source,), (out,) = event.reads or (None,), event.writes
            readers = [each for each in self.events if source in each.reads]
            if source in made and source not in results and readers == [event]:
                results = {source if b == out else b for b in results}
                self.events = [
                    each._replace(
                        reads=[source if b == out else b for b in each.reads],
                        writes=[b for b in each.writes if b != out],
                    )
                    for each in self.events
                ]
        return results

    def _forget_repeats(self, results):
        """Lets element-wise equations read the array whose elements are repeated, where only they do."""
        source = {}
        for event in self.events:
            if event.kind == "repeat":
                (out,) = event.writes
                readers = [other for other in self.events if out in other.reads]
                if out not in results and all(other.kind in ("in place", "repeat") for other in readers):
                    source[out] = event.reads[0] if event.reads else None
        kept = []
        for event in self.events:
            if event.kind == "repeat" and event.writes[0] in source:
                continue
            reads = []
            for buffer in event.reads:
                while buffer in source:
                    buffer = source[buffer]
                if buffer is not None:
                    reads.append(buffer)
            if reads or event.writes:
                kept.append(event._replace(reads=reads))
        self.events = kept


def brute_force_peak(fun, args, held=()):
    """Returns the peak memory of a function in bytes; `held` are the indices of the arguments that stay."""
    closed = jax.make_jaxpr(fun)(*args)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    machine = Machine()
    consts = [machine.new(jnp.asarray(value)) for value in closed.consts]
    inputs = [machine.new(jnp.asarray(arg)) for arg in args]
    results = machine.run(jaxpr, [*consts, *inputs])
    stay = {inputs[i].buffer for i in held} | {array.buffer for array in consts}
    # The update of an argument, which no gradient is, replaces it.
    for array in results:
        stay -= set(sorted(machine.made_from.get(array.buffer, set()) & stay)[:1])
    return machine.peak([*consts, *inputs], stay, results)
