"""The script on a small layer finds the dense convolution and reports it."""

import runpy
from pathlib import Path

import jax
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "hlo_cost.py"


def test_the_dense_convolution_is_found(capsys):
    assert len(SCRIPT.read_text().splitlines()) < 100
    script = runpy.run_path(str(SCRIPT))
    script["main"](script["Settings"](size=8, features=8, batch=2))
    out = " ".join(capsys.readouterr().out.split())
    # 2 images, 8 channels; on each axis, 22 of the 24 taps are on data, not padding.
    assert "in theory: 9,216 multiply-accumulates" in out
    assert f"padding: XLA does not count products with padding {2 * 2 * 8 * (22 * 22 - 24 * 24):+,}" in out
    if jax.default_backend() == "cpu":
        assert f"{2 * 2 * 8 * 8 * 22 * 22:,} FLOPs instead of {2 * 2 * 8 * 22 * 22:,}, 8.0 times as many" in " ".join(
            out.split()
        )
    assert "jds.depthwise_conv, kernel gradient" in out


def test_settings_that_make_no_sense_are_refused():
    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(SystemExit, match=r"all settings must be positive, got .*'size': 0"):
        script["main"](script["Settings"](size=0))
