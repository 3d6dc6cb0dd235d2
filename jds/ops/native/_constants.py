"""The constants shared by Python and the compiled library. Python needs them even without the library."""

import json

# Maximum number of products per result of a depthwise convolution or its gradients.
MAX_TAPS = 1024
# Maximum number of features that a depthwise convolution contracts: in an input gradient, the channel multiplier.
MAX_CONTRACTED_FEATURES = 256
# The library's functions that XLA calls.
TARGETS = (
    "jds_depthwise",
    "jds_kernel_gradient",
    "jds_grouped_gradient",
    "jds_matrix_product",
    "jds_matrix_gradient",
    "jds_separable",
    "jds_ordinary",
    "jds_mean",
    "jds_squeeze_excite",
)


def check(text: str) -> None:
    """Compares the constants above with a library's.

    Args:
      text: the JSON that the library's `jds_constants` returns.

    Raises:
      OSError: some constants differ; the message lists them.
    """
    expected = {
        "max_taps": MAX_TAPS,
        "max_contracted_features": MAX_CONTRACTED_FEATURES,
        "targets": list(TARGETS),
    }
    found = json.loads(text)
    del found["activations"]  # which Python asks the library for
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise OSError(
                f"`{name}` is {found.get(name)!r} in the library and {expected.get(name)!r} in Python; make them equal "
                "in `jds/ops/native/_constants.py` and in `jds/ops/native/src/`, or reinstall jds"
            )
