"""The script on real images: it learns, produces the same numbers if killed and resumed, and reports mistakes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from flax import nnx
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits

import jds
from jds.weights import _safetensors_file

SCRIPT = Path(__file__).parents[2] / "experiments" / "finetune.py"
sys.path.insert(0, str(SCRIPT.parent))
import finetune  # noqa: E402
import finetune_output  # noqa: E402

pytestmark = pytest.mark.usefixtures("small_networks")

# Runs a script with small networks.
SMALL = """
import runpy, sys
from networks import small_zoo
del sys.argv[0]
with small_zoo():
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
OPTIONS = "--model mobilenetv1_100 --image-size 32 --batch 32 --epochs 2 --save-every 3 --dtype float32 --seed 3"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """160 handwritten zeros and ones as PNG files."""
    folder, data = tmp_path_factory.mktemp("digits"), load_digits()
    chosen = [place for place in range(len(data.target)) if data.target[place] < 2][:160]
    for place in chosen:
        file = folder / str(data.target[place]) / f"{place:04}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((15 * data.images[place]).astype(np.uint8)).resize((32, 32)).save(file)
    (folder / "notes.txt").touch()
    return folder


def start(digits, out, options=OPTIONS, script=("-c", SMALL, str(SCRIPT))):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_NUM_CPU_DEVICES": str(jax.device_count()),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, *script, "--data", str(digits), "--out", str(out), *options.split()]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process, status=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def run_here(digits, out):
    """Runs the script without the time that a process takes to import all its packages."""
    settings = tyro.cli(finetune.Settings, args=["--data", str(digits), "--out", str(out), *OPTIONS.split()])
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # as in the process, for Optax
        finetune.main(settings)


def lines(out):
    """The metrics written so far."""
    file = out / "metrics.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_numbers(digits, tmp_path, capsys, quick_compilation):
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    run_here(digits, whole)
    output = capsys.readouterr().out.splitlines()
    assert output[:3] == [
        "160 images of 2 classes, 0, 1: 144 to train on, 16 to evaluate on",
        "skipped 1 files that are not images of a class: notes.txt",
        "begins: 8 steps, 4 per epoch",
    ]
    assert output[4].startswith("epoch 2: loss")
    wanted = lines(whole)
    process = start(digits, killed)
    while process.poll() is None and len(lines(killed)) < 4:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < len(lines(killed)) < len(wanted)
    run_here(digits, killed)
    assert "resumes after step " in capsys.readouterr().out
    assert lines(killed) == wanted
    one, other = (_safetensors_file.read(out / "model.safetensors") for out in (whole, killed))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert {path.name for path in whole.iterdir()} == {
        "checkpoints", "config.json", "metrics.jsonl", "metrics.png", "model.safetensors", "settings.json"
    }  # fmt: skip
    model = jds.create_model("mobilenetv1_100", whole / "model.safetensors", num_classes=2)
    assert model.config.num_classes == 2


def test_training_learns(quick_compilation):
    # On a single batch, which it can memorize; on varying batches, the loss after a few steps is mostly chance.
    settings = finetune.Settings(data="", model="mobilenetv2_035", learning_rate=3e-3, warmup=0.1, dtype="float32")
    model = finetune.new_model(settings, 2)
    graph, params, rest, random = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    optimizer = finetune.new_optimizer(settings, 20)
    average = jax.tree.map(jnp.copy, params)
    state = {"params": params, "rest": rest, "optimizer": optimizer.init(params), "average": average, "step": 0}
    step = finetune.make_step(graph, random, optimizer, settings)
    images = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
    losses = []
    with jax.numpy_dtype_promotion("standard"):  # needed by Optax
        for _ in range(20):
            state, loss = step(state, images, jnp.arange(8) % 2)
            losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


def test_the_weights_come_with_a_config_in_timm_s_format(tmp_path):
    """The fields are those of `timm.models.save_for_hf` and of the repositories at https://huggingface.co/timm."""
    model = jds.create_model("mobilenetv2_035", num_classes=3)
    model.preprocessing = dataclasses.replace(model.preprocessing, image_size=96)
    finetune_output.write_weights(model, "mobilenetv2_035", ["ant", "bee", "cat"], tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "architecture": "mobilenetv2_035",
        "num_classes": 3,
        "label_names": ["ant", "bee", "cat"],
        "pretrained_cfg": {
            "input_size": [3, 96, 96],
            "crop_pct": 0.875,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "num_classes": 3,
        },
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "no/such/folder"}, "--data must be a folder or the name of a dataset on Hugging Face, got 'no/such"),
        ({"data": "."}, "--data must have one folder of images per class, and at least 2 classes"),
        ({"data": __file__}, "--data must be a folder, got the file"),
        ({"model": "nope"}, "--model: there is no 'nope'; did you mean"),
        ({"weights": "nope.safetensors"}, "--weights: .*nope.safetensors"),
        ({"weights": __file__}, "--weights: weights must be"),
        ({"batch": 500}, "--batch must be at most the 144 training images, got 500"),
        ({"batch": 18}, "--batch must be a multiple of 4 devices, got 18"),
        ({"batch": 0}, "--batch must be positive, got 0"),
        ({"epochs": 0}, "--epochs must be positive, got 0"),
        ({"save_every": 0}, "--save-every must be positive, got 0"),
        ({"image_size": -1}, "--image-size must be positive, or 0 for the network's own, got -1"),
        ({"warmup": 2.0}, "--warmup must be from 0 to 1, got 2.0"),
        ({"learning_rate": -1.0}, "--learning-rate must be positive, got -1.0"),
        ({"learning_rate": float("nan")}, "--learning-rate must be positive, got nan"),
        ({"weight_decay": -0.1}, "--weight-decay must be 0 or more, got -0.1"),
        ({"average": 1.0}, "--average must be from 0 to less than 1, got 1.0"),
        ({"held_out": 1.0}, "--held-out must be from 0 to less than 1, got 1.0"),
        ({"held_out": -0.1}, "--held-out must be from 0 to less than 1, got -0.1"),
        ({"seed": -1}, "--seed must be from 0 to 2"),
        ({"out": Path(__file__)}, "--out must be a folder, got"),
        ({"out": Path("/proc/x")}, "--out must be a folder that can be written, got /proc/x"),
    ],
)
def test_wrong_settings_are_found_before_anything_is_written(change, message, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"data": str(digits), "model": "mobilenetv2_035", "batch": 16, "out": tmp_path / "out"} | change
    with pytest.raises(SystemExit, match=message) as exit:
        finetune.main(finetune.Settings(**settings))
    assert exit.value.code == 2
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_reported_on_one_line(digits, tmp_path):
    options = OPTIONS.replace("--epochs 2", "--epochs 0")
    assert (
        finished(start(digits, tmp_path, options, [str(SCRIPT)]), 2) == "finetune: --epochs must be positive, got 0\n"
    )


def test_unreadable_images_are_all_named_before_anything_is_written(digits, tmp_path):
    whole = next((digits / "0").iterdir()).read_bytes()
    data, out = tmp_path / "data", tmp_path / "out"
    for name, content in {"x": b"no image", "y": whole[: len(whole) // 2], "z": b"", "w": whole}.items():
        for label in ("a", "b"):
            (data / label).mkdir(exist_ok=True, parents=True)
            (data / label / f"{name}.png").write_bytes(content)
    with pytest.raises(SystemExit) as exit:
        finetune.main(finetune.Settings(data=str(data), model="mobilenetv2_035", batch=4, out=out, held_out=0.2))
    assert exit.value.code == 2
    heading, *named = str(exit.value).splitlines()
    assert heading == "--data has 6 images that cannot be read; repair or remove them:"
    assert [line.split(":")[0].strip() for line in named] == [
        str(data / label / f"{name}.png") for label in ("a", "b") for name in ("x", "y", "z")
    ]
    assert not out.exists()


def test_a_run_that_dies_before_its_first_step_does_not_claim_the_folder(digits, tmp_path, monkeypatch):
    def dies(*_):
        raise MemoryError

    settings = finetune.Settings(data=str(digits), model="mobilenetv2_035", image_size=32, batch=16, out=tmp_path)
    monkeypatch.setattr(finetune, "make_step", lambda *_: dies)
    for epochs in (1, 2):
        with pytest.raises(MemoryError):
            finetune.main(dataclasses.replace(settings, epochs=epochs))


def test_a_folder_with_a_different_run_is_refused(tmp_path):
    settings = finetune.Settings(data="images", out=tmp_path, epochs=3)
    assert finetune_output.settings_before(settings) is None
    finetune_output.claim(settings)
    for same in (settings, dataclasses.replace(settings, epochs=4), dataclasses.replace(settings, save_every=1)):
        assert finetune_output.settings_before(same)["epochs"] == "3"
    with pytest.raises(SystemExit, match="has a run with epochs 3, not 2"):
        finetune_output.settings_before(dataclasses.replace(settings, epochs=2))
    with pytest.raises(SystemExit, match="has a run with epochs 3, not 4; seed 0, not 1"):
        finetune_output.settings_before(dataclasses.replace(settings, epochs=4, seed=1))


def test_epochs_can_be_added_to_a_run_that_has_ended(digits, tmp_path, monkeypatch, capsys):
    def step(state, images, labels):
        return state | {"step": state["step"] + 1}, 1 / (1 + state["step"])

    monkeypatch.setattr(finetune, "make_step", lambda *_: step)
    settings = finetune.Settings(
        data=str(digits), model="mobilenetv1_100", image_size=32, batch=40, epochs=1, out=tmp_path, held_out=0
    )
    finetune_output.claim(dataclasses.replace(settings, epochs=2))
    with pytest.raises(SystemExit, match=r"--epochs can only grow once a run has ended; .* is at step 0 of 8"):
        finetune.main(dataclasses.replace(settings, epochs=3))
    for epochs, where in ((2, "begins: 8 steps, 4 per epoch"), (3, "resumes after step 8 of 12 steps, 4 per epoch")):
        finetune.main(dataclasses.replace(settings, epochs=epochs))
        out = capsys.readouterr().out
        assert where in out
        assert f"epoch {epochs}: loss {1 / (4 * epochs):.4f}" in out
    assert [json.loads(line)["step"] for line in lines(tmp_path)] == list(range(1, 13))


def test_the_ticks_of_the_figure_are_whole_steps(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (figures.append(figure), path.touch()))
    metrics = [{"step": step, "loss": 1.0} for step in range(1, 4)] + [{"step": 3, "accuracy": 0.5}]
    finetune_output.draw(metrics, tmp_path / "metrics.png", "title")
    ticks = figures[0].axes[1].get_xticks()
    assert len(ticks) > 1
    assert all(tick == round(tick) for tick in ticks)
