"""Makes one HTML file of a page."""

import base64
import gzip
from collections.abc import Mapping

from jds.exporting.page import _web

# Builds of the runtime for some browsers only: the one for all of them is enough, and each adds 4 MB.
_LEFT_OUT = ("runtime/litert_wasm_internal.", "runtime/litert_wasm_threaded_internal.")


def as_one_file(files: Mapping[str, bytes]) -> bytes:
    """Returns one HTML file with all that is in the folder of a page; it opens from the disk.

    Args:
      files: the files of the folder, as from `build`.
    """
    inside = {
        path: content
        for path, content in files.items()
        if path not in ("index.html", "style.css") and not path.startswith(_LEFT_OUT)
    }
    html = _web.html_of_one_file(files["style.css"].decode(), _web.imports(files), _packed(inside))
    return html.encode()


def _packed(files: Mapping[str, bytes]) -> dict[str, str]:
    # The time stamp is fixed, so that the same files give the same page.
    return {path: base64.b64encode(gzip.compress(content, mtime=0)).decode() for path, content in files.items()}
