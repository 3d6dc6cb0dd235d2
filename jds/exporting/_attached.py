"""A description attached to a file as a zip archive, whose readers ignore what follows them."""

import io
import json
import zipfile
from collections.abc import Mapping

from jds.exporting._description import Description

# The entries of the archive: the description in JSON, and the labels, one per line.
_DESCRIPTION, LABELS = "jds.json", "labels.txt"


def attach(content: bytes, description: Description | None) -> bytes:
    """Returns the content of a file followed by an archive."""
    if description is None:
        return content
    whole = io.BytesIO(content)
    whole.seek(0, io.SEEK_END)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, text in _texts(description).items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time of writing, so equal files are equal
    return whole.getvalue()


def attached(content: bytes) -> Description | None:
    """Returns the description that is attached to a file, or None.

    Raises:
      ValueError: it is damaged.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if _DESCRIPTION not in archive.namelist():
            return None
        return Description.read(json.loads(archive.read(_DESCRIPTION)))


def _texts(description: Description) -> Mapping[str, str]:
    entries = json.dumps(description.entries(), indent=1, ensure_ascii=False)
    return {_DESCRIPTION: entries} | ({LABELS: "\n".join(description.labels)} if description.labels else {})
