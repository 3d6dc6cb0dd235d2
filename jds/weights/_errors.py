"""Errors and warnings about weights."""


def printable(text: str) -> str:
    r"""Escapes control and invisible characters, for printing names from untrusted files.

    Example:
      >>> from jds.weights._errors import printable
      >>> print(printable("conv\x1b[31m.weight"))
      conv\x1b[31m.weight
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class WeightsError(ValueError):
    """A weights file is damaged or does not match this network; the message lists all problems.

    Example:
      >>> import jds, tempfile
      >>> from pathlib import Path
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "weights.safetensors"
      ...     _ = file.write_bytes(b"half of a file")
      ...     try:
      ...         jds.create_model("mobilenetv2_035", file)
      ...     except jds.WeightsError as error:
      ...         print(str(error).replace(folder, "…"))
      …/weights.safetensors is not a valid safetensors file: Error while deserializing header: header too large
    """


class MismatchError(WeightsError):
    """A valid weights file does not match this network."""


class FreshClassifierWarning(UserWarning):
    """The classifier is missing, or has another number of classes: it was re-initialized and must be trained.

    Example:
      >>> import jds, warnings
      >>> from jds.weights._load import emptied
      >>> weights = emptied(jds.create_model("mobilenetv2_035", num_classes=3), "timm")
      >>> with warnings.catch_warnings(record=True) as caught:
      ...     warnings.simplefilter("always")
      ...     model = jds.create_model("mobilenetv2_035", weights, num_classes=2)
      >>> print(caught[0].message)
      the mapping of weights has 3 classes, not 2; re-initializing the classifier, which must be trained
    """


class OrderWarning(UserWarning):
    """The names of the weights do not match the network's: the entries were matched by order.

    Example:
      >>> import jds, warnings
      >>> from jds.weights._load import emptied
      >>> weights = emptied(jds.create_model("mobilenetv2_035", num_classes=3), "timm")
      >>> others = {f"tensor {place}": array for place, array in enumerate(weights.values())}
      >>> with warnings.catch_warnings(record=True) as caught:
      ...     warnings.simplefilter("always")
      ...     model = jds.create_model("mobilenetv2_035", others, num_classes=3)
      >>> print(str(caught[0].message).partition(":")[0])
      the names in the mapping of weights are not timm's
    """
