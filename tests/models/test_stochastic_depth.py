"""The drop rates of stochastic depth are those of timm 1.0.31 with `drop_path_rate=0.2`."""

import jax
import pytest
from flax import nnx

import jds
from jds.models.convnext import ConvNeXtDownsample

# A block's rate is 0.2 times its number, from 0, divided by this: the number of blocks, which in timm includes the last
# convolution of V3 and V4; for ConvNeXt and MobileOne, the number less 1, where MobileOne's blocks count twice.
BLOCKS = {
    "mobilenetv2_100": 17,
    "mobilenetv3_large_100": 16,
    "tf_mobilenetv3_small_100": 12,
    "mobilenetv4_conv_small": 17,
    "mobilenetv4_hybrid_large": 37,
    "efficientnet_b2": 23,
    "semnasnet_075": 16,
    "mixnet_l": 19,
    "convnext_atto": 11,
    "mobileone_s0": 41,
}
# The largest rate in use in timm's modules: that of the last block with a skip connection.
LAST = {
    "mobilenetv3_large_100": 0.175,
    "tf_mobilenetv3_small_100": 0.16667,
    "mobilenetv4_conv_small": 0.17647,
    "mobilenetv4_hybrid_large": 0.18919,
    "efficientnet_b2": 0.1913,
    "semnasnet_075": 0.175,
    "mixnet_l": 0.18947,
    "convnext_atto": 0.2,
    "mobileone_s0": 0.19024,
    "mobilenetv2_100": 0.17647,
}


def has_rate(block):
    return getattr(block, "skip", None) is not None and block.skip.dropout is not None


@pytest.mark.parametrize("name", BLOCKS)
def test_rates_are_those_of_timm(name):
    model = nnx.eval_shape(lambda: jds.create_model(name, drop_path=0.2))
    blocks = [block for stage in model.stages for block in stage if not isinstance(block, ConvNeXtDownsample)]
    rates = {number: block.skip.dropout.rate for number, block in enumerate(blocks) if has_rate(block)}
    for number, rate in rates.items():
        assert rate == pytest.approx(0.2 * number / BLOCKS[name])
    assert max(rates.values()) == pytest.approx(LAST[name], abs=1e-5)


def test_keys_are_those_of_the_given_stream_and_counting_does_not_print_the_traced_program(monkeypatch):
    streams, given = nnx.Rngs(dropout=3, params=0), nnx.Rngs(dropout=3, params=0)
    model = jds.create_model("mobilenetv2_050", drop_path=0.2, dropout=0.1, rngs=given)
    dropouts = [block.skip.dropout for stage in model.stages for block in stage if has_rate(block)] + [model.dropout]
    for dropout in dropouts:
        expected = streams.dropout.fork()
        for _ in range(2):
            assert (jax.random.key_data(dropout.rngs()) == jax.random.key_data(expected())).all()
    assert given.dropout.count[...] == streams.dropout.count[...] == len(dropouts)

    def assigned(*_):
        raise AssertionError("a part of a counter was assigned, for which Flax prints the program")

    monkeypatch.setattr(nnx.RngCount, "__setitem__", assigned)
    model = nnx.eval_shape(lambda: jds.create_model("mobilenetv2_050", drop_path=0.2, dropout=0.1))
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    assert nnx.eval_shape(lambda model, images: model(images), model, images).shape == (2, 1000)
