"""Published peak rates and latencies: their form, and the counts of the networks."""

import random

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jds import cost, zoo
from jds.cost.devices._published import MEASURED
from jds.cost.devices._table import ALIASES, DEVICES

ARITHMETIC = {"float64", "float32", "tfloat32", "bfloat16", "float16", "int8"}
BYTES = {"float32": 4, "float16": 2, "int8": 1}
# TensorFlow prints more for them than their checkpoints have.
PRINTED_OTHERWISE = {"v3-small_224_1.0", "v3-small-minimalistic_224_1.0"}
BUILDS = sorted({row.build for row in MEASURED if row.build}, key=str)


@pytest.mark.parametrize("name", DEVICES)
def test_devices_have_a_source_and_plausible_rates(name):
    peak = DEVICES[name]
    assert peak.source.startswith(("https://", "http://"))
    assert peak.rates.keys() <= ARITHMETIC
    # Fewer bits are never slower, except that V100's tensor cores have no int8.
    order = [peak.rates[key] for key in ("float64", "float32", "tfloat32", "float16", "int8") if key in peak.rates]
    assert order == sorted(order) or name == "v100"
    assert max(peak.rates.values()) < 1e16
    # The operations per byte at which arithmetic becomes the limit.
    assert all(0.05 < rate / peak.bytes < 10_000 for rate in peak.rates.values())


def test_aliases_are_names_of_devices_that_are_not_names_themselves():
    assert set(ALIASES.values()) <= DEVICES.keys()
    assert not ALIASES.keys() & DEVICES.keys()
    assert all(alias == alias.lower() for alias in ALIASES)


def test_rows_name_devices_that_have_their_arithmetic():
    assert len({row[:2] + row[5:8] for row in MEASURED}) == len(MEASURED)
    for row in MEASURED:
        assert row.dtype in DEVICES[row.device].rates
        assert row.source.startswith("https://github.com/")
        assert 0 < row.seconds < 10
        size = row.build[2] if row.build else 224
        assert row.traffic == BYTES[row.dtype] * (row.parameters + 3 * size**2 + 1000)


def test_no_row_is_faster_than_the_device():
    for row in MEASURED:
        peak = DEVICES[row.device]
        assert row.seconds > 2 * row.macs / peak.rates[row.dtype]
        weights = row.parameters * BYTES[row.dtype]
        is_cached = weights < (peak.cache or 0)
        assert row.seconds > (row.traffic - is_cached * weights) / peak.bytes


def test_multiply_adds_are_those_that_the_sources_print():
    for row in MEASURED:
        if row.millions is None or row.network in PRINTED_OTHERWISE:
            continue
        if "lite" in row.network:  # also counts other operations
            assert 1.03 < row.millions / (row.macs / 1e6) < 1.06
        else:  # rounded or cut off
            assert abs(row.macs / 1e6 - row.millions) < 1


@pytest.mark.parametrize("build", random.Random(0).sample(BUILDS, 5), ids=str)
def test_counts_are_those_of_the_zoo(build):
    name, width, size = build
    model = nnx.eval_shape(lambda: zoo.create_model(name, **({} if width is None else {"width": width})))
    model.eval()
    found = cost.analyze(model, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    rows = {(row.macs, row.parameters) for row in MEASURED if row.build == build}
    assert rows == {(found.total.macs, found.total.parameters)}


def test_counts_at_the_networks_own_size_are_the_recorded_ones():
    figures = zoo.figures()
    for row in MEASURED:
        if row.build and row.build[1] in (None, 1.0) and row.build[2] == figures[row.build[0]].image_size:
            assert (row.macs, row.parameters) == figures[row.build[0]][1::-1]
