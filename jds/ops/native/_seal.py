"""The seal of the compiled library: a file next to it with hashes of its bytes and of the sources it was built from.

Uses only the standard library: when the build writes the seal, neither jds nor JAX is installed.
"""

import hashlib
import json
from pathlib import Path


def seal_of(library: Path) -> Path:
    """Returns the path of a library's seal."""
    return library.with_suffix(".json")


def seal(library: Path, sources: str) -> str:
    """Returns the seal of a library that was built from sources with this fingerprint."""
    return json.dumps({"library": _digest([library]), "sources": sources}, indent=2) + "\n"


def check(library: Path, sources: Path) -> None:
    """Compares a library with its seal, and the seal with the sources.

    Raises:
      OSError: the library is damaged, or was built from other sources; the message says which.
    """
    try:
        found = json.loads(seal_of(library).read_bytes())
        digests = found["library"], found["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        raise OSError(f"{seal_of(library)}, which identifies the library, cannot be read; reinstall jds") from None
    if digests[0] != _digest([library]):
        raise OSError(f"{library} is damaged: it is not the file that was built; reinstall jds")
    if digests[1] != fingerprint(sources):
        raise OSError(f"{library} was built from sources other than those next to it; reinstall jds")


def fingerprint(sources: Path) -> str:
    """Returns a hash of the names and contents of all C++ files below a folder."""
    files = [file for pattern in ("*.cc", "*.h") for file in sources.rglob(pattern)]
    return _digest(sorted(files, key=lambda file: file.relative_to(sources).as_posix()), sources)


def _digest(files: list[Path], folder: Path | None = None) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        if folder:
            digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
