"""Interleaved timing of several functions."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

_MIN_ROUNDS = 3


class Spread(NamedTuple):
    """A median with its quartiles.

    Example:
      >>> from jds import cost
      >>> cost.spread([1.0, 2.0, 3.0, 4.0, 100.0]).half_width
      1.0
    """

    low: float
    median: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interquartile range."""
        return (self.high - self.low) / 2


def measure(
    contenders: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]],
    *,
    seconds: float = 1.0,
    sample_seconds: float = 0.005,
) -> dict[str, tuple[float, ...]]:
    """Times several functions in one process, interleaved so that disturbances affect all of them equally.

    Everything is compiled and warmed up first. A round takes one sample of each contender: the mean over as many calls
    as fill `sample_seconds`, each waited for with `jax.block_until_ready`. Every other round runs in reverse order.

    Args:
      contenders: for each name, a function, jitted or not, and its arguments.
      seconds: approximate duration of the measurement, excluding compilation; at least 3 rounds are run.
      sample_seconds: minimum duration of a sample, in seconds.

    Returns:
      For each name, its samples in seconds per call, one per round: the `i`-th samples of all names are from one round.

    Raises:
      TypeError: `contenders` has another form.
      ValueError: a duration is negative.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> samples = cost.measure({"sine": (jnp.sin, (jnp.ones(9),)), "cosine": (jnp.cos, (jnp.ones(9),))}, seconds=0.0)
      >>> len(samples["sine"]) == len(samples["cosine"]) >= 3
      True
    """
    _check_contenders(contenders)
    check_seconds("measure", "seconds", seconds)
    if not sample_seconds > 0:
        raise ValueError(f"measure: `sample_seconds` must be more than 0, got {sample_seconds!r}")
    calls = {name: (jit(fun), args) for name, (fun, args) in contenders.items()}
    repeats = {}
    for name, (fun, args) in calls.items():
        _seconds_per_call(fun, args, 1)  # compiles
        # Use the fastest of three calls: the first ones are often slow and would make the samples too short.
        fastest = min(_seconds_per_call(fun, args, 1) for _ in range(3))
        repeats[name] = math.ceil(sample_seconds / fastest)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    start = time.perf_counter()
    rounds = 0
    while rounds <= _MIN_ROUNDS or time.perf_counter() - start < seconds:
        for name in order:
            samples[name].append(_seconds_per_call(*calls[name], repeats[name]))
        order.reverse()
        rounds += 1
    # The first round is a warm-up.
    return {name: tuple(values[1:]) for name, values in samples.items()}


def check_seconds(function: str, name: str, value: float) -> None:
    """Raises ValueError, with the names of a function and of its argument, unless this is a duration."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{function}: `{name}` must be a number of seconds from 0, got {value!r}")


def _check_contenders(contenders: Any) -> None:
    form = 'measure: `contenders` must be functions with their arguments, as in {"sine": (jnp.sin, (x,))}'
    if not isinstance(contenders, Mapping):
        raise TypeError(f"{form}, got {type(contenders).__name__}; for one program, call `measure_program(fun, *args)`")
    for name, pair in contenders.items():
        match pair:
            case (fun, tuple() | list()) if callable(fun):
                continue
            case (one, other):
                words = f"({type(one).__name__}, {type(other).__name__})"
            case _:
                words = type(pair).__name__
        raise TypeError(f"{form}, got {words} for {name!r}")


def spread(samples: Sequence[float]) -> Spread:
    """Summarizes samples by their median and quartiles.

    Args:
      samples: at least two numbers.

    Returns:
      The lower quartile, the median and the upper quartile.

    Raises:
      ValueError: there are fewer than two.

    Example:
      >>> from jds import cost
      >>> cost.spread([1.0, 2.0, 3.0, 4.0, 100.0])
      Spread(low=2.0, median=3.0, high=4.0)
    """
    if len(samples) < 2:
        raise ValueError(f"spread: `samples` must be at least two numbers, got {list(samples)}")
    return Spread(*statistics.quantiles(samples, n=4, method="inclusive"))


def ratios(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """Divides samples by a reference's samples, round by round.

    Args:
      samples, reference: samples of the same rounds, as returned by `measure`.

    Returns:
      One ratio per round.

    Raises:
      ValueError: the numbers of rounds differ.

    Example:
      >>> from jds import cost
      >>> cost.ratios((1.0, 3.0), (2.0, 4.0))
      (0.5, 0.75)
    """
    if len(samples) != len(reference):
        raise ValueError(
            "ratios: `samples` and `reference` must be of the same rounds, "
            f"got {len(samples)} and {len(reference)} samples"
        )
    return tuple(sample / other for sample, other in zip(samples, reference, strict=True))


def jit(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Jits a function unless it is already jitted or compiled, to compile it only once."""
    return fun if isinstance(fun, jax.stages.Wrapped | jax.stages.Compiled) else jax.jit(fun)


def _seconds_per_call(fun: Callable[..., Any], args: tuple[Any, ...], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(fun(*args))
    return (time.perf_counter() - start) / repeats
