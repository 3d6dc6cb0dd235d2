"""Networks with a few blocks, one or more of each family, for tests that run or build them."""

import contextlib
import dataclasses

import pytest

import jds
from jds import zoo

# One network of each family, with rows of its table: as few as have each kind of block, with and without a skip
# connection, each size of kernel, and stride 2. What two families share, one of them has.
MIXED = jds.models.mixnet.S
SQUEEZED = jds.models.mnasnet.A1[2]._replace(repeats=2)
CONV_SMALL = jds.models.mobilenet_v4.CONV_SMALL
HYBRID = jds.models.mobilenet_v4.HYBRID_MEDIUM
SMALLEST = {
    "mobilenetv1_100": {"rows": jds.models.mobilenet_v1.ROWS[:3], "width": 0.25},
    "mobilenetv2_035": {"rows": jds.models.mobilenet_v2.ROWS[:2]},
    "mobilenetv3_small_050": {"rows": jds.models.mobilenet_v3.SMALL[:3]},
    "mobilenetv4_conv_small_035": {"rows": (*CONV_SMALL[:2], (*CONV_SMALL[2][:2], CONV_SMALL[2][-1]))},
    "mobilenetv4_hybrid_medium_075": {"rows": (HYBRID[0], HYBRID[1], (*HYBRID[2][:2], HYBRID[2][4])), "width": 0.25},
    "efficientnet_b0": {"rows": jds.models.efficientnet.ROWS[:3:2]},
    "efficientnet_lite0": {"rows": jds.models.efficientnet.ROWS[:2]},
    "semnasnet_050": {"rows": (jds.models.mnasnet.A1[0], SQUEEZED)},
    "mixnet_s": {"rows": (*MIXED[:2], (MIXED[2][0], MIXED[2][1]._replace(repeats=1))), "width": 0.5},
    "legacy_xception": {
        "rows": (jds.models.xception.XceptionRow((16, 16), 2), jds.models.xception.XceptionRow((24, 24), 1))
    },
    "convnext_atto": {"rows": jds.models.convnext.rows(8, (1, 1, 2, 1))},
    "mobileone_s0": {
        "rows": (jds.models.mobileone.MobileOneRow(16, 2, 1.0), jds.models.mobileone.MobileOneRow(24, 1, 1.0, 1))
    },
}


@contextlib.contextmanager
def small_zoo():
    """Makes the public networks above small under their own names, for what builds networks by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, options in (*SMALLEST.items(), ("keras/Xception", SMALLEST["legacy_xception"])):
            variant = zoo.VARIANTS[name]
            patch.setitem(zoo.VARIANTS, name, variant._replace(config=dataclasses.replace(variant.config, **options)))
        yield
