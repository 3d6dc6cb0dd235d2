"""Finds the images of a folder, by class if it has a folder for each."""

from pathlib import Path
from typing import NamedTuple

from jds.weights._errors import printable


class Photographs(NamedTuple):
    """The images of a folder.

    Attributes:
      folder: the folder.
      files: the image files.
      classes: names of the folders in it, sorted; empty if it holds the images itself.
      places: for each file, the index of its folder in `classes`.
      notes: what was ignored.
    """

    folder: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...]
    places: tuple[int, ...]
    notes: tuple[str, ...]


def read(folder: Path) -> Photographs:
    """Lists the images of a folder.

    They lie in one folder for each class, as for torchvision's `ImageFolder`, or in the folder itself. Deeper folders,
    hidden files and files that do not end like images are ignored.

    Raises:
      ValueError: it is no folder, or has no images.
      OSError: it cannot be read.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from jds.evaluating._folder import read
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("dog/1.jpg", "cat/2.png", "cat/3.txt"):
      ...         (Path(folder) / name).parent.mkdir(exist_ok=True)
      ...         (Path(folder) / name).touch()
      ...     found = read(Path(folder))
      >>> [file.name for file in found.files], found.classes, found.places, found.notes
      (['2.png', '1.jpg'], ('cat', 'dog'), (0, 1), ('Ignored: 1 file that does not end like an image.',))
    """
    if not folder.is_dir():
        found = "the file" if folder.exists() else "no such folder,"
        raise ValueError(f"the images must be in a folder, got {found} '{folder}'")
    folders, images, others = _sorted(folder)
    inner = [_sorted(child) for child in folders]
    if not any(found for _, found, _ in inner):
        if not images:
            raise ValueError(_empty(folder, folders, [deeper for deeper, _, _ in inner]))
        return Photographs(folder, tuple(images), (), (), _notes(len(others), len(folders), 0))
    others += [file for _, _, unknown in inner for file in unknown]
    return Photographs(
        folder,
        tuple(file for _, found, _ in inner for file in found),
        tuple(child.name for child in folders),
        tuple(place for place, (_, found, _) in enumerate(inner) for _ in found),
        _notes(len(others), sum(len(deeper) for deeper, _, _ in inner), len(images)),
    )


def _sorted(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Returns the folders, the images and the other files in a folder."""
    # Imported here, because Pillow is slow to import.
    from jds.models.pictures import IMAGE_SUFFIXES, is_leftover

    folders, images, others = [], [], []
    for child in sorted(folder.iterdir(), key=lambda path: path.name):
        if not is_leftover(child):
            is_image = child.suffix.lower() in IMAGE_SUFFIXES
            (folders if child.is_dir() else images if is_image else others).append(child)
    return folders, images, others


def _notes(others: int, deeper: int, loose: int) -> tuple[str, ...]:
    ignored = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (others, "file that does not end like an image", "files that do not end like images"),
            (deeper, "deeper folder", "deeper folders"),
            (loose, "image outside the folders of the classes", "images outside the folders of the classes"),
        )
        if count
    ]
    return (f"Ignored: {', '.join(ignored)}.",) if ignored else ()


def _empty(folder: Path, folders: list[Path], deeper: list[list[Path]]) -> str:
    from jds.models.pictures import IMAGE_SUFFIXES

    with_folders = [child for child, inner in zip(folders, deeper, strict=True) if inner]
    hint = f"; do you mean '{with_folders[0]}'?" if with_folders else ""
    names = ", ".join(printable(child.name) for child in folders[:3]) + ", …" * (len(folders) > 3)
    return (
        f"'{folder}' must have images ({', '.join(IMAGE_SUFFIXES)}), in one folder for each class or all together, got "
        + (f"{len(folders)} folders without any: {names}" if folders else "none")
        + hint
    )
