"""Networks with a few blocks, one or more of each family, for tests that run or build them."""

import contextlib
import dataclasses

import pytest

import jds
from jds import zoo

# One network of each family, with the first rows of its table.
HYBRID = tuple(stage[:6] for stage in jds.models.mobilenet_v4.HYBRID_MEDIUM[:3])
SMALLEST = {
    "mobilenetv1_100": {"rows": jds.models.mobilenet_v1.ROWS[:3], "width": 0.25},
    "mobilenetv2_035": {"rows": jds.models.mobilenet_v2.ROWS[:3]},
    "mobilenetv3_small_050": {"rows": jds.models.mobilenet_v3.SMALL[:3]},
    "mobilenetv4_conv_small_035": {"rows": jds.models.mobilenet_v4.CONV_SMALL[:3]},
    "mobilenetv4_hybrid_medium_075": {"rows": HYBRID, "width": 0.25},
    "efficientnet_b0": {"rows": jds.models.efficientnet.ROWS[:3]},
    "efficientnet_lite0": {"rows": jds.models.efficientnet.ROWS[:3]},
    "semnasnet_050": {"rows": jds.models.mnasnet.A1[:3]},
    "mixnet_s": {"rows": jds.models.mixnet.S[:3], "width": 0.5},
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
