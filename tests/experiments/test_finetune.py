"""The script on real images: it learns, resumes after being killed to the same numbers, and tells what is wrong."""

import dataclasses
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import jds
from jds.weights import safetensors_file

SCRIPT = Path(__file__).parents[2] / "experiments" / "finetune.py"
OPTIONS = "--model mobilenetv1_100 --image-size 32 --batch 16 --epochs 2 --save-every 4 --dtype float32 --seed 3"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """160 handwritten zeros and ones as PNG files."""
    folder, data = tmp_path_factory.mktemp("digits"), load_digits()
    chosen = [place for place in range(len(data.target)) if data.target[place] < 2][:160]
    for place in chosen:
        file = folder / str(data.target[place]) / f"{place:04}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((15 * data.images[place]).astype(np.uint8)).resize((32, 32)).save(file)
    return folder


def start(digits, out, cache, options=OPTIONS):
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, str(SCRIPT), "--data", str(digits), "--out", str(out), *options.split()]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def lines(out):
    """What is written so far."""
    file = out / "metrics.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def test_a_run_that_is_killed_ends_at_the_same_numbers(digits, tmp_path):
    cache, whole, killed = (tmp_path / name for name in ("cache", "whole", "killed"))
    output = finished(start(digits, whole, cache))
    assert "epoch 2: loss" in output
    wanted = lines(whole)
    losses = [line["loss"] for line in map(json.loads, wanted) if "loss" in line]
    assert np.mean(losses[9:]) < np.mean(losses[:9])

    rng = random.Random(0)
    for _ in range(2):
        process = start(digits, killed, cache)
        reached = len(lines(killed)) + rng.randrange(1, 9)
        while process.poll() is None and len(lines(killed)) < reached:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished(start(digits, killed, cache))
    assert lines(killed) == wanted
    one, other = (safetensors_file.read(out / "model.safetensors") for out in (whole, killed))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert {path.name for path in whole.iterdir()} == {
        "checkpoints", "classes.json", "metrics.jsonl", "metrics.png", "model.safetensors", "settings.json"
    }  # fmt: skip
    model = jds.create_model("mobilenetv1_100", whole / "model.safetensors", num_classes=2)
    assert json.loads((whole / "classes.json").read_text()) == ["0", "1"]
    assert model.config.num_classes == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "no/such/folder"}, "--data must be a folder or the name of a dataset on Hugging Face, got 'no/such"),
        ({"data": "."}, "--data must have a folder of images for each of at least 2 classes"),
        ({"batch": 500}, "--batch must be at most the 144 training images, got 500"),
        ({"batch": 18}, "--batch must be a multiple of 4 devices, got 18"),
    ],
)
def test_wrong_settings(change, message, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(SystemExit, match=message):
        script["main"](script["Settings"](**{"data": str(digits), "out": tmp_path} | change))


def test_an_image_that_is_none(digits, tmp_path):
    script = runpy.run_path(str(SCRIPT))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"no image")
    source = script["Folder"](tmp_path)
    with pytest.raises(SystemExit, match=r"x.png cannot be read as an image"):
        source[0]


def test_a_folder_with_another_run(tmp_path):
    script = runpy.run_path(str(SCRIPT))
    settings = script["Settings"](data="images", out=tmp_path, epochs=3)
    for _ in range(2):
        script["same_settings"](settings)
    with pytest.raises(SystemExit, match="has a run with epochs 3, not 4"):
        script["same_settings"](dataclasses.replace(settings, epochs=4))


def test_a_dataset_of_hugging_face(digits, monkeypatch, tmp_path):
    """`datasets` reads a folder on disk as it reads a repository."""
    datasets = importlib.import_module("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    script = runpy.run_path(str(SCRIPT))
    source, folder = script["HuggingFace"](str(digits)), script["Folder"](digits)
    assert source.classes == folder.classes
    assert len(source) == len(folder) == 160
    one, other = (
        sorted((row["label"], row["image"].tobytes()) for row in map(of.__getitem__, range(160)))
        for of in (source, folder)
    )
    assert one == other
