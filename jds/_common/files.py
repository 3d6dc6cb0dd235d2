"""Atomic writes: files and folders are written next to their destination, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Files and folders being written, which must be removed if the process ends before they are renamed.
_unfinished: set[Path] = set()


def write_atomically(path: Path, writer: Callable[[Path], object]) -> None:
    """Writes a file atomically: calls `writer` with a temporary path next to `path`, then renames the file.

    Args:
      path: the file to write; one that exists is replaced.
      writer: function called with the temporary path, which has the suffix of `path`.

    Raises:
      OSError: the file cannot be written; an existing file at `path` is not changed.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from jds._common.files import write_atomically
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_atomically(Path(folder) / "a.txt", lambda path: path.write_text("text"))
      ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
      [('a.txt', 'text')]
    """
    with _temporary(path) as temporary:
        writer(temporary)
        os.replace(temporary, path)


def write_folder_atomically(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder next to its destination, then renames it; one that exists is replaced.

    Args:
      path: the folder to write.
      files: the contents of its files, by their paths in it; a path that ends in a slash is an empty folder.

    Raises:
      OSError: the folder cannot be written; an existing one at `path` is not changed.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from jds._common.files import write_folder_atomically
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_folder_atomically(Path(folder) / "a", {"b/c.txt": b"text"})
      ...     (Path(folder) / "a/b/c.txt").read_text()
      'text'
    """
    with _temporary(path) as temporary:
        write_files(temporary, files)
        if path.is_dir():  # only an empty folder can be replaced by renaming
            _exchange(temporary, path)
        else:
            os.replace(temporary, path)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files, by their paths in a folder; a path that ends in a slash is an empty folder."""
    for name, content in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(content)


def read_files(folder: Path) -> dict[str, bytes]:
    """Returns the contents of a folder's files, by their paths in it; of an empty folder, the path ends in a slash."""
    parts = sorted(part for part in folder.rglob("*") if part.is_file() or not any(part.iterdir()))
    return {
        part.relative_to(folder).as_posix() + "/" * part.is_dir(): b"" if part.is_dir() else part.read_bytes()
        for part in parts
    }


def check_writable(path: Path) -> None:
    """Raises the OSError that `write_atomically` would raise, without writing the file."""
    temporary = _beside(path)
    temporary.touch()
    temporary.unlink()


def remove_unfinished() -> None:
    """Removes the files being written, for a process about to end without running its `finally` clauses."""
    for temporary in list(_unfinished):
        _remove(temporary)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, and removes what is left there."""
    temporary = _beside(path)
    _unfinished.add(temporary)
    try:
        yield temporary
    finally:
        _remove(temporary)
        _unfinished.discard(temporary)


def _exchange(new: Path, path: Path) -> None:
    """Puts a folder in the place of another one, which comes back if that fails."""
    old = _beside(new)
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    # The suffix is kept, because it selects the format of a figure.
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
