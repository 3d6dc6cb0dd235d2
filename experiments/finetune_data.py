"""Images and their classes, from a folder or a Hugging Face dataset, and the split into training and evaluation."""

import collections
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from jds.models.pictures import IMAGE_SUFFIXES, as_picture, is_leftover

# As on Hugging Face: owner/name.
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class Mistake(SystemExit):
    """An error of the user; the message says what to do. Ends the script with status 2."""

    def __init__(self, message: str):
        super().__init__(message)
        self.code = 2


class Source:
    """Images, each with a class.

    Attributes:
      classes: names of the classes.
      labels: the index of each image's class.
      skipped: descriptions of files that are ignored.
    """

    classes: Sequence[str]
    labels: Sequence[int]
    skipped: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def file(self, place: int) -> tuple[str, Any]:
        """The name of an image, and a path or stream to read it from."""
        raise NotImplementedError

    def __getitem__(self, place: int) -> dict[str, Any]:
        """A picture under "image", and the index of its class under "label"."""
        name, file = self.file(place)
        try:
            with Image.open(file) as image:
                return {"image": in_color(image), "label": self.labels[place]}
        except Exception as error:  # Pillow's readers raise all kinds of errors
            raise Mistake(f"{name} cannot be read as an image: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why an image cannot be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__


def in_color(image: Image.Image) -> Image.Image:
    """Converts to upright 8-bit RGB, as `jds predict` does."""
    return as_picture(image, "RGB")


class Folder(Source):
    """A folder with one folder of image files per class; images in deeper folders are ignored."""

    def __init__(self, path: Path):
        folders = sorted(child for child in path.iterdir() if child.is_dir() and not is_leftover(child))
        self.path, self.classes = path, [folder.name for folder in folders]
        self.files: list[Path] = []
        labels, others, deeper = [], [], []
        for label, folder in enumerate(folders):
            for child in sorted(folder.iterdir()):
                if is_leftover(child):
                    continue
                if child.is_dir():
                    deeper.append(child)
                elif child.suffix.lower() in IMAGE_SUFFIXES:
                    self.files.append(child)
                    labels.append(label)
                else:
                    others.append(child)
        others += [child for child in sorted(path.iterdir()) if not child.is_dir() and not is_leftover(child)]
        self.labels = labels
        self.skipped = [
            f"{len(found)} {what}: {self._few(found)}"
            for found, what in ((others, "files that are not images of a class"), (deeper, "folders within classes"))
            if found
        ]
        if len(folders) < 2 or not self.files:
            raise Mistake(
                f"--data must have one folder of images per class, and at least 2 classes, got {shown(path)} with "
                f"{len(folders)} folders, {len(self.files)} images in them"
            )
        refuse_empty(self, f"; its folder must hold {', '.join(IMAGE_SUFFIXES)} files, not only folders of them")

    def file(self, place: int) -> tuple[str, Any]:
        return shown(self.files[place]), self.files[place]

    def _few(self, found: Sequence[Path]) -> str:
        names = [shown(file.relative_to(self.path)) for file in found[:3]]
        return ", ".join([*names, *(["…"] if len(found) > 3 else [])])


class HuggingFace(Source):
    """The training split of a Hugging Face dataset with images and their classes."""

    def __init__(self, name: str):
        import datasets  # imported here because it takes a second

        try:
            rows: Any = datasets.load_dataset(name, split="train")
        except Exception as error:  # from the network, the hub, a file, or the dataset's own format
            raise Mistake(no_data(name, error)) from None
        columns = rows.features
        kinds = [type(column) for column in columns.values()]
        if datasets.Image not in kinds or datasets.ClassLabel not in kinds:
            raise Mistake(f"--data: the dataset {name!r} must have images and classes, got {dict(columns)}")
        image, label = (list(columns)[kinds.index(kind)] for kind in (datasets.Image, datasets.ClassLabel))
        self.classes, self.labels, self.image = columns[label].names, list(rows[label]), image
        for place, number in enumerate(self.labels):
            if number is None or not 0 <= number < len(self.classes):
                raise Mistake(f"--data: each image of {name!r} must have a class, row {place} has {number}")
        if len(self.classes) < 2:
            raise Mistake(f"--data must have at least 2 classes, {name!r} has {len(self.classes)}")
        refuse_empty(self)
        # Decoded here, as the files of a folder are.
        self.rows = rows.cast_column(image, datasets.Image(decode=False))

    def file(self, place: int) -> tuple[str, Any]:
        found = self.rows[place][self.image] or {"bytes": b"", "path": None}
        name = f"row {place}" + (f" ({shown(found['path'])})" if found["path"] else "")
        return name, found["path"] if found["bytes"] is None else io.BytesIO(found["bytes"])


def source_of(data: str) -> Source:
    """The folder `data` if it exists, else the Hugging Face dataset of that name.

    Raises:
      Mistake: neither exists.
    """
    path = Path(data)
    if path.is_dir():
        return Folder(path)
    if path.exists():
        raise Mistake(f"--data must be a folder, got the file {data!r}")
    # Not looked up on Hugging Face, which could only find it by mistake, after many retries if there is no network.
    if not REPOSITORY.fullmatch(data):
        raise Mistake(no_data(data, "there is no such folder, and datasets are named as owner/name"))
    go_offline_if_unreachable(data)
    return HuggingFace(data)


def go_offline_if_unreachable(name: str) -> None:
    """Asks Hugging Face once for a dataset; without an answer, `datasets` uses its local cache only.

    Raises:
      Mistake: the dataset does not exist.
    """
    from huggingface_hub import HfApi, constants  # imported here because it takes a third of a second
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        HfApi().dataset_info(name, timeout=5)
    except RepositoryNotFoundError:
        raise Mistake(no_data(name, "Hugging Face has no such dataset, or it requires a login")) from None
    except Exception:  # each layer of the network raises its own errors
        from datasets import config

        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True


def no_data(name: str, reason: object) -> str:
    """The message for data that cannot be found, on one line."""
    words = " ".join(str(reason).split())
    return f"--data must be a folder or the name of a dataset on Hugging Face, got {name!r}: {words}"


def shown(path: object) -> str:
    """A path for printing, with unprintable characters escaped."""
    text = os.fspath(path) if isinstance(path, Path) else str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def refuse_empty(source: Source, remedy: str = "") -> None:
    """Raises Mistake if a class has no images."""
    counts = collections.Counter(source.labels)
    empty = [shown(name) for label, name in enumerate(source.classes) if not counts[label]]
    if empty:
        raise Mistake(f"--data must have images of each class, there are none of {', '.join(empty)}{remedy}")


class Part:
    """A part of a source, given by the places of its images."""

    def __init__(self, source: Any, places: Sequence[int]):
        self.source, self.places = source, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.source[self.places[place]]


def split(source: Source, held_out: float) -> tuple[Part, Part]:
    """Splits into training and evaluation: `held_out` of each class, evenly spaced among its images, is for evaluation.

    Each class has an image in both parts, unless `held_out` is 0.

    Raises:
      Mistake: a class has a single image.
    """
    places_of: dict[int, list[int]] = collections.defaultdict(list)
    for place, label in enumerate(source.labels):
        places_of[label].append(place)
    chosen: set[int] = set()
    for label, places in places_of.items():
        count = len(places)
        if held_out and count < 2:
            raise Mistake(
                f"--held-out: the class {shown(source.classes[label])} must have an image for training and one for "
                "evaluation, has 1 image; add some, or use --held-out 0"
            )
        kept = min(max(round(count * held_out), 1), count - 1) if held_out else 0
        chosen.update(places[(2 * number + 1) * count // (2 * kept)] for number in range(kept))
    training = [place for place in range(len(source)) if place not in chosen]
    return Part(source, training), Part(source, sorted(chosen))


def unreadable(source: Source, wrapped: Callable[[range], Iterable[int]] = iter) -> list[str]:
    """Decodes every image once, on all cores; returns a line for each that cannot be read."""

    def fault(place: int) -> str | None:
        name, file = source.file(place)
        try:
            with Image.open(file) as image:
                image.draft("RGB", (1, 1))  # JPEG is read completely, but decoded at an eighth of its size
                in_color(image)
        except Exception as error:  # Pillow's readers raise all kinds of errors
            return f"{name}: {reason(error)}"
        return None

    found: list[str | None] = []
    chunk = 256
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in wrapped(range(0, len(source), chunk)):
            found += pool.map(fault, range(start, min(start + chunk, len(source))))
    return [line for line in found if line is not None]
