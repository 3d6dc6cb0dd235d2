"""Interleaved timing, with a clock that the test advances."""

import jax.numpy as jnp

from jds import cost
from jds.cost import _timing


def test_contenders_take_turns_and_every_sample_is_long_enough(monkeypatch):
    now = 0.0
    calls = []

    def contender(name, seconds):
        def call():
            nonlocal now
            now += seconds
            calls.append(name)
            return jnp.zeros(())

        return call

    monkeypatch.setattr(_timing, "jit", lambda fun: fun)
    monkeypatch.setattr(_timing.time, "perf_counter", lambda: now)
    contenders = {"slow": (contender("slow", 1.0), ()), "fast": (contender("fast", 0.25), ())}
    samples = cost.measure(contenders, seconds=9.0, sample_seconds=0.5)

    # A round takes 1.0 + 2 * 0.25, and the first is not kept.
    assert samples == {"slow": (1.0,) * 5, "fast": (0.25,) * 5}
    assert calls == ["slow"] * 4 + ["fast"] * 4 + ["slow", "fast", "fast", "fast", "fast", "slow"] * 3


def test_at_least_three_rounds_are_kept():
    samples = cost.measure({"a": (jnp.sin, (jnp.ones(3),)), "b": (jnp.cos, (jnp.ones(3),))}, seconds=0.0)
    assert [len(values) for values in samples.values()] == [3, 3]
    assert min(map(min, samples.values())) > 0


def test_ratios_are_taken_round_by_round():
    assert cost.spread(cost.ratios((1.0, 9.0, 2.0), (2.0, 9.0, 8.0))) == (0.375, 0.5, 0.75)
    assert cost.spread((1.0, 2.0, 3.0, 4.0, 9.0)).half_width == 1.0


def test_machine_facts_name_the_machine_and_the_versions():
    facts = cost.machine_facts()
    assert {"cpu", "cores", "platform", "backend", "device", "python", "jax", "jaxlib", "xla_flags"} == set(facts)
    assert facts["cpu"]
    assert all(facts[name] for name in ("cores", "jax", "jaxlib"))
