"""The classes of ImageNet: https://www.image-net.org/challenges/LSVRC/2012."""

from importlib import resources

LABELS: tuple[str, ...] = tuple(
    resources.files("jds.models").joinpath("imagenet.txt").read_text(encoding="utf-8").splitlines()
)


def labels_of(classes: int) -> tuple[str, ...]:
    """Returns the labels for ImageNet's number of classes; none for any other."""
    return LABELS if classes == len(LABELS) else ()
