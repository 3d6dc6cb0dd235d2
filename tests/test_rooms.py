"""The imports between the folders ("rooms") of jds, checked in every file against one table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jds

PACKAGE = Path(jds.__file__).parent
REPOSITORY = Path(__file__).parents[1]

# The rooms that each room may import, besides itself; "public" is `jds` itself.
ALLOWED = {
    "_common": set(),
    "ops": {"_common"},
    "cost": {"_common"},
    "nn": {"_common", "ops"},
    "models": {"_common", "nn"},
    "weights": {"_common", "models", "nn"},
    "zoo": {"_common", "models", "weights"},
    "compare": {"_common", "cost", "models", "public"},
    "exporting": {"_common", "cost", "models", "nn", "ops"},
    "evaluating": {"_common", "cost", "exporting", "models", "nn", "public", "weights"},
    "cli": {"_common", "compare", "cost", "evaluating", "exporting", "models", "nn", "ops", "public", "weights", "zoo"},
}
# Packages that `import jds` must not import: they take longer than jds itself.
SLOW = ("coremltools", "h5py", "huggingface_hub", "matplotlib", "onnx", "pandas", "PIL", "tyro")
PUBLIC_FILES = {"__init__", "zoo"}


def imports(file: Path, top_level_only: bool = False):
    """The modules that a file imports; for `from a import b`, `a.b` if that is a module of jds, else `a`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                path = PACKAGE.parent / full.replace(".", "/")
                is_module = full.startswith("jds.") and (path.is_dir() or path.with_suffix(".py").exists())
                yield full if is_module else node.module


def room_of(module: str) -> str:
    """The room of a module of jds; "public" for `jds` itself."""
    return module.split(".")[1] if "." in module else "public"


def files(folder: Path):
    return sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)


def test_the_table_has_all_rooms():
    assert {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py") and path.name != "__pycache__"} == {
        *ALLOWED,
        "__init__",
    }


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_the_table_allows(room):
    found = PACKAGE / f"{room}.py"
    wrong = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in ([found] if found.exists() else files(PACKAGE / room))
        for module in imports(file)
        if module.partition(".")[0] == "jds" and room_of(module) not in ALLOWED[room] | {room}
    ]
    assert wrong == []


def test_private_modules_are_underscored_or_used_through_their_package():
    # The module of a network is public: users may read its tables and change them.
    for file in files(PACKAGE):
        *folders, name = file.relative_to(PACKAGE).with_suffix("").parts
        is_private = name.startswith("_") or any(folder.startswith("_") for folder in folders)
        assert is_private or name in PUBLIC_FILES or folders == ["models"], file


@pytest.mark.parametrize(
    "package",
    [
        "ops.native",
        "ops.shifted",
        "cost.devices",
        "cost.fields",
        "cost.figures",
        "cost.hlo",
        "cost.pages",
        "cost.rules",
    ],
)
def test_inner_packages_are_used_only_through_their_init(package):
    inner = PACKAGE / package.replace(".", "/")
    wrong = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in files(PACKAGE)
        if inner not in file.parents
        for module in imports(file)
        if module.startswith(f"jds.{package}.")
    ]
    assert wrong == []


@pytest.mark.parametrize(("module", "needed"), [("jds", set()), ("jds.cli", {"tyro"})])
def test_importing_is_quick(module, needed):
    script = f"import sys, {module}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == needed


def test_no_name_in_a_package_hides_a_module():
    for init in PACKAGE.rglob("__init__.py"):
        modules = {path.stem for path in init.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                package = ".".join(("jds", *init.parent.relative_to(PACKAGE).parts))
                names = {alias.asname or alias.name for alias in node.names}
                assert node.module == package or not names & modules, (init, names & modules)
            assert getattr(node, "name", None) not in modules or not isinstance(node, ast.FunctionDef), init


@pytest.mark.parametrize("folder", ["benchmarks", "checks", "experiments"])
def test_code_outside_the_library_uses_only_its_public_names(folder):
    assert (REPOSITORY / folder).exists()
    wrong = [
        f"{file.relative_to(REPOSITORY)}: {module}"
        for file in files(REPOSITORY / folder)
        for module in imports(file)
        if module.startswith("jds.") and any(part.startswith("_") for part in module.split("."))
    ]
    assert wrong == []
