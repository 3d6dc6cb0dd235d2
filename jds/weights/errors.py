"""What is wrong with weights."""


class WeightsError(ValueError):
    """A file of weights is damaged, or is not of this network; the message says all that is wrong.

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
      …/weights.safetensors is no sound safetensors file: Error while deserializing header: header too large
    """


class FreshClassifierWarning(UserWarning):
    """Weights are for another number of classes: the classifier was drawn afresh, and is to be trained."""
