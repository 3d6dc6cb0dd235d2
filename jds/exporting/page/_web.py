"""The page's own files, and its HTML, whose scripts and styles are beside it or inside it."""

import importlib.resources
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable

from jds.exporting.page._runtime import Kind

# The module of jds that runs a network, and the modules that only it needs.
_ADAPTERS: dict[Kind, tuple[str, ...]] = {"tflite": ("litert.js", "loader.js"), "onnx": ("onnx.js",)}


def own_files(kind: Kind) -> dict[str, bytes]:
    """Returns style and modules, by their paths in the page."""
    others = {name for other, names in _ADAPTERS.items() if other != kind for name in names}
    modules = {
        f"jds/{file.name}": file.read_bytes() for file in (_folder() / "jds").iterdir() if file.name not in others
    }
    return {"style.css": (_folder() / "style.css").read_bytes(), **dict(sorted(modules.items()))}


def imports(files: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the file of each module, by the name that it is imported by.

    Modules do not import each other by path, so that the same text works from a file and from memory.
    """
    adapter = next(f"jds/{names[0]}" for names in _ADAPTERS.values() if f"jds/{names[0]}" in files)
    named = {path: path for path in files if path.startswith("jds/")} | {"jds/runtime.js": adapter}
    if "runtime/litert.js" in files:
        return named | {"@litertjs/core": "runtime/litert.js", "@litertjs/wasm-utils": "jds/loader.js"}
    return named | {"onnxruntime-web": "runtime/onnxruntime-web.js"}


def html_of_folder(modules: Mapping[str, str]) -> str:
    """Returns the HTML of a page whose files are beside it."""
    addresses = {name: f"./{path}" for name, path in modules.items()}
    if "onnxruntime-web" in addresses:
        addresses["onnxruntime-web/threads"] = f"{addresses['onnxruntime-web']}?threads"
    imported = json.dumps({"imports": addresses}, indent=2)
    return _html(
        '<link rel="stylesheet" href="style.css">',
        f'<script type="importmap">\n{imported}\n</script>\n<script type="module" src="jds/page.js"></script>',
    )


def html_of_one_file(style: str, modules: Mapping[str, str], packed: Mapping[str, str]) -> str:
    """Returns the HTML of a page with everything inside."""
    elements = [f'<script type="text/plain" data-file="{path}">{text}</script>' for path, text in packed.items()]
    elements.append(f'<script type="application/json" id="imports">{json.dumps(modules)}</script>')
    elements.append(f"<script>\n{_text('unpack.js')}</script>")
    return _html(f"<style>\n{style}</style>", "\n".join(elements)).replace(
        '<html lang="en">', '<html lang="en" data-one-file>', 1
    )


def _html(style: str, scripts: str) -> str:
    return _text("index.html").replace("<!-- style -->", style, 1).replace("<!-- scripts -->", scripts, 1)


def _text(name: str) -> str:
    return (_folder() / name).read_text(encoding="utf-8")


def _folder() -> Traversable:
    return importlib.resources.files("jds.exporting.page") / "web"
