"""The experiment end to end on a few digits, with networks cut to one block, and the promises about its data."""

import collections
import importlib.util
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

SCRIPT = Path(__file__).parents[2] / "experiments" / "train_digits.py"


def load_script():
    """A fresh copy, so that nothing is jitted yet."""
    spec = importlib.util.spec_from_file_location("train_digits", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="module", autouse=True)
def settings_of_jax():
    # Compiling takes most of the time, so it is reduced. Optax's Adam mixes integers and floats, so promotion is allowed.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.numpy_dtype_promotion("standard"):
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def script():
    return load_script()


Run = collections.namedtuple("Run", ("script", "settings", "records", "summary", "traces"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    script = load_script()
    script.STEM, script.BLOCKS = 16, ((64, 2),)
    traces = collections.Counter()
    shift = script.shift

    def counted(images, key):
        # Called only by the training step, while it is traced.
        traces["train_step"] += 1
        return shift(images, key)

    script.shift = counted
    results = tmp_path_factory.mktemp("digits") / "new" / "folder"
    settings = script.Settings(epochs=2, batch_size=8, seeds=(0, 1), digits=300, results=results)
    script.main(settings)
    *records, summary = map(json.loads, (results / "metrics.jsonl").read_text().splitlines())
    return Run(script, settings, records, summary, traces)


def test_each_epoch_of_each_network_and_seed_has_one_line(run):
    expected = [(seed, epoch, name) for seed in (0, 1) for epoch in (1, 2) for name in ("separable", "ordinary")]
    assert [(record["seed"], record["epoch"], record["network"]) for record in run.records] == expected
    keys = {"kind", "network", "seed", "epoch", "seconds"}
    keys |= {f"{part}_{quantity}" for part in ("training", "held_out") for quantity in ("loss", "accuracy")}
    for record in run.records:
        assert record.keys() == keys
        assert record["kind"] == "epoch"
        assert record["seconds"] > 0
        assert math.isfinite(record["held_out_loss"])
        assert 0 <= record["held_out_accuracy"] <= 1


def test_the_loss_falls(run):
    losses = {(r["network"], r["seed"], r["epoch"]): r["training_loss"] for r in run.records}
    for name in run.script.NETWORKS:
        for seed in run.settings.seeds:
            assert losses[name, seed, 2] < losses[name, seed, 1]
            assert losses[name, seed, 2] < math.log(10)  # the loss of guessing


def test_the_summary_agrees_with_the_records(run):
    summary = run.summary
    assert summary["kind"] == "summary"
    assert summary.keys() == {
        "kind",
        "networks",
        "theoretical_ratio",
        "time_ratio",
        "seconds_per_seed",
        "machine",
        "settings",
    }
    for name, facts in summary["networks"].items():
        last = [r for r in run.records if r["network"] == name and r["epoch"] == 2]
        accuracies = [r["held_out_accuracy"] for r in last]
        assert facts["held_out_accuracy"]["each"] == accuracies
        assert facts["held_out_accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
        assert facts["held_out_accuracy"]["spread"] == pytest.approx(np.std(accuracies, ddof=1))
        # The first of the two epochs compiles and does not count.
        assert facts["seconds_per_epoch"]["each"] == [r["seconds"] for r in last]
    ordinary, separable = summary["networks"]["ordinary"], summary["networks"]["separable"]
    times = np.divide(separable["seconds_per_epoch"]["each"], ordinary["seconds_per_epoch"]["each"])
    assert summary["time_ratio"]["each"] == pytest.approx(times)
    assert summary["theoretical_ratio"] == separable["multiplications"] / ordinary["multiplications"]
    assert len(summary["seconds_per_seed"]) == 2
    assert summary["settings"]["seeds"] == [0, 1]


def test_the_picture_is_a_png_and_no_other_files_are_left(run):
    picture = (run.settings.results / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 10_000
    assert {path.name for path in run.settings.results.iterdir()} == {"metrics.jsonl", "curves.png"}


def test_the_training_step_is_traced_once_for_each_network(run):
    assert run.traces["train_step"] == 2


def test_the_same_seed_gives_the_same_losses(run):
    def losses(records):
        return [(record["training_loss"], record["held_out_loss"]) for record in records]

    first, other = (
        losses(r for r in run.records if r["network"] == "separable" and r["seed"] == seed) for seed in (0, 1)
    )
    data = run.script.load(run.settings.digits)
    assert losses(run.script.train("separable", 0, data, settings=run.settings)) == first
    assert first != other


def test_the_split_is_stratified_disjoint_and_fixed(script):
    parts = script.load()
    images, held_out_images, labels, held_out_labels = parts
    assert (len(images), len(held_out_images)) == (len(labels), len(held_out_labels)) == (1438, 359)
    assert images.shape[1:] == held_out_images.shape[1:] == (16, 16, 1)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    share = np.bincount(held_out_labels) / np.bincount(np.concatenate([labels, held_out_labels]))
    np.testing.assert_allclose(share, 0.2, atol=0.006)
    # No two of the digits are equal, so no image is in both parts.
    assert len({image.tobytes() for image in np.concatenate([images, held_out_images])}) == 1797
    np.random.seed(1)
    for part, again in zip(parts, script.load(), strict=True):
        np.testing.assert_array_equal(part, again)


def test_shift_moves_each_image_separately_and_by_at_most_two_pixels(script):
    images = np.zeros((64, 16, 16, 1), np.float32)
    images[:, 8, 8] = 1
    moved = np.argwhere(script.shift(images, jax.random.key(0)))[:, 1:3] - 8
    assert len(moved) == 64
    assert (moved.min(), moved.max()) == (-2, 2)
    assert len({tuple(by) for by in moved.tolist()}) > 10


def activations(script, name):
    """Shapes after the stem and after each block."""

    def forward(images):
        x = [network.stem(images)]
        for block in network.blocks:
            x.append(block(x[-1]))
        return x, network(images)

    network = script.Network(name, rngs=nnx.Rngs(0))
    network.eval()
    images = jax.ShapeDtypeStruct((2, 16, 16, 1), np.float32)
    shapes = [x.shape for x in jax.tree.leaves(jax.eval_shape(forward, images))]
    return shapes, jax.make_jaxpr(network)(jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32))


def multiplications(jaxpr):
    """Counted from the program: products per result, times the number of results."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            features = equation.outvars[0].aval.shape[-1]
            total += equation.outvars[0].aval.size * equation.invars[1].aval.size // features
        elif equation.primitive.name == "dot_general":
            total += equation.outvars[0].aval.size * equation.invars[0].aval.shape[-1]
    return total


def test_both_networks_have_activations_of_the_same_shapes_and_the_reported_multiplications(run):
    separable, separable_program = activations(run.script, "separable")
    ordinary, ordinary_program = activations(run.script, "ordinary")
    assert separable == ordinary
    assert separable == [(2, 16, 16, 16), (2, 8, 8, 64), (2, 10)]
    networks = run.summary["networks"]
    assert multiplications(separable_program.jaxpr) == networks["separable"]["multiplications"]
    assert multiplications(ordinary_program.jaxpr) == networks["ordinary"]["multiplications"]
    # Kernels, scales and offsets of the normalizations, and the classifier.
    stem, classifier = 9 * 16 + 2 * 16, 64 * 10 + 10
    assert networks["ordinary"]["parameters"] == stem + (9 * 16 * 64 + 2 * 64) + classifier
    assert networks["separable"]["parameters"] == stem + (9 * 16 + 2 * 16) + (16 * 64 + 2 * 64) + classifier


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"epochs": -3}, "`epochs` must be at least 1, got -3"),
        ({"batch_size": 0}, "`batch_size` must be from 1 to the 1438 images, got 0"),
        ({"batch_size": 2000}, "`batch_size` must be from 1 to the 1438 images, got 2000"),
        ({"batch_size": 161, "digits": 200}, "`batch_size` must be from 1 to the 160 images, got 161"),
        ({"digits": 5000}, "`digits` must be from 100 to 1797, got 5000"),
        ({"seeds": ()}, r"`seeds` must not be empty, and must be distinct and not negative, got \(\)"),
        ({"seeds": (1, 1)}, r"`seeds` must not be empty, and must be distinct and not negative, got \(1, 1\)"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
    ],
)
def test_bad_settings_raise_before_anything_is_written(script, tmp_path, wrong, message):
    results = tmp_path / "results"
    with pytest.raises(ValueError, match=f"^train_digits: {message}$"):
        script.main(script.Settings(results=results, **wrong))
    assert not results.exists()


def test_results_that_cannot_be_written_raise_before_the_training(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "train", lambda *args, **kwargs: pytest.fail("trained"))
    occupied = tmp_path / "file"
    occupied.touch()
    for results in (occupied, occupied / "below"):
        with pytest.raises(ValueError, match=r"^train_digits: `results` must be a folder that can be written: .*file"):
            script.main(script.Settings(results=results))
