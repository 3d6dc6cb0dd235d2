"""Trains a small MobileNet, and the same network with ordinary convolutions, on real handwritten digits.

    python experiments/train_digits.py
    python experiments/train_digits.py --epochs 4 --seeds 0

The digits come with scikit-learn: 1797 images of 8×8, here enlarged to 16×16. The two networks differ only in their
convolutions, as in table 4 of MobileNets, https://arxiv.org/abs/1704.04861. Writes `metrics.jsonl`, with one line per
seed, epoch and network and a summary in the last line, and `curves.png`.
"""

import dataclasses
import functools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jds
from jds import cost

DIGITS, SIZE, CLASSES = 1797, 16, 10
NETWORKS = ("separable", "ordinary")
STEM = 32
# features, stride
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))

Array = jax.Array | np.ndarray
# A run has fewer than 200 steps: with momentum 0.99, averages would still include the first ones.
batch_norm = functools.partial(nnx.BatchNorm, momentum=0.9)


# Epochs and learning rate were tuned on a fifth of the training images, never on the held-out ones.
@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the command."""

    epochs: int = 8  # passes over the training images
    batch_size: int = 64  # images per step; an epoch drops the images after its last whole batch
    learning_rate: float = 1e-2  # peak rate of Adam: linear warmup in a tenth of the steps, then cosine decay to 0
    seeds: tuple[int, ...] = (0, 1, 2)  # each trains both networks; sets parameters, order and shifts, never the split
    digits: int = DIGITS  # number of the 1797 images to use, for a quick look
    results: Path = Path("results/train_digits")  # folder for the results


class Network(nnx.Module):
    """A MobileNet for small images; "ordinary" has an ordinary convolution in place of each separable block."""

    def __init__(self, name: str, *, rngs: nnx.Rngs):
        block = {"separable": separable_block, "ordinary": conv_norm_relu}[name]
        self.stem = conv_norm_relu(1, STEM, 1, rngs=rngs)
        self.blocks, features = nnx.List(), STEM
        for wider, stride in BLOCKS:
            self.blocks.append(block(features, wider, stride, rngs=rngs))
            features = wider
        self.classifier = nnx.Linear(features, CLASSES, rngs=rngs)

    def __call__(self, images: Array) -> jax.Array:
        """Classifies `(batch, 16, 16, 1)` to logits `(batch, 10)`."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((-3, -2)))


def conv_norm_relu(features: int, wider: int, stride: int, *, rngs: nnx.Rngs) -> nnx.Module:
    conv = nnx.Conv(features, wider, (3, 3), stride, use_bias=False, rngs=rngs)
    return nnx.Sequential(conv, batch_norm(wider, rngs=rngs), jax.nn.relu)


def separable_block(features: int, wider: int, stride: int, *, rngs: nnx.Rngs) -> nnx.Module:
    return jds.nn.SeparableConv(
        features,
        wider,
        (3, 3),
        strides=stride,
        depthwise_norm=batch_norm,
        depthwise_activation=jax.nn.relu,
        pointwise_norm=batch_norm,
        pointwise_activation=jax.nn.relu,
        use_bias=False,
        rngs=rngs,
    )


def layers() -> list[cost.Layer]:
    """The layers of the same network, to count its multiplications in both forms."""
    rows = [cost.Layer("stem", (SIZE, SIZE, 1), STEM, (3, 3), separable=False)]
    for wider, stride in BLOCKS:
        rows.append(cost.Layer("block", rows[-1].output_size, wider, (3, 3), strides=stride))
    return [*rows, cost.Layer("classifier", (1, rows[-1].out_features), CLASSES, (1,), separable=False)]


def held_out(digits: int) -> int:
    return round(digits / 5)


def load(digits: int = DIGITS) -> tuple[np.ndarray, ...]:
    """Training images, held-out images `(number, 16, 16, 1)` from 0 to 1, training labels, held-out labels.

    The split is the same in every run and holds out a fifth of each class; nothing is tuned on the held-out part.
    """
    images, labels = load_digits(return_X_y=True)
    images = images[:digits].reshape(-1, 8, 8, 1).astype(np.float32) / 16
    images = np.asarray(jax.image.resize(images, (digits, SIZE, SIZE, 1), "linear"))
    labels = labels[:digits].astype(np.int32)
    parts = train_test_split(images, labels, test_size=held_out(digits), stratify=labels, random_state=0)
    return tuple(map(np.asarray, parts))


def shift(images: Array, key: jax.Array) -> jax.Array:
    """Shifts each image by up to two pixels, one of the original image, along each axis."""
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 5)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), (SIZE, SIZE, 1)))(padded, corners)


def loss_and_accuracy(network: Network, images: Array, labels: Array) -> tuple[jax.Array, jax.Array]:
    logits = network(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, (logits.argmax(-1) == labels).mean()


evaluate = nnx.jit(loss_and_accuracy)


@nnx.jit
def train_step(network: Network, optimizer: nnx.Optimizer, images: Array, labels: Array, key: jax.Array):
    images = shift(images, jax.random.fold_in(key, optimizer.step[...]))
    values, gradients = nnx.value_and_grad(loss_and_accuracy, has_aux=True)(network, images, labels)
    optimizer.update(network, gradients)
    return values


@functools.cache  # part of the jitted step's key: each network's step compiles once for all seeds
def adam(learning_rate: float, steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps))


def train(name: str, seed: int, data: tuple[np.ndarray, ...], *, settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains one network; yields a record per epoch, whose `seconds` cover only the training steps."""
    images, held_out_images, labels, held_out_labels = data
    steps = len(labels) // settings.batch_size
    network = Network(name, rngs=nnx.Rngs(seed))
    optimizer = nnx.Optimizer(network, adam(settings.learning_rate, settings.epochs * steps), wrt=nnx.Param)
    key, order = jax.random.key(seed), np.random.default_rng(seed)
    for epoch in range(1, settings.epochs + 1):
        network.train()
        start = time.perf_counter()
        batches = order.permutation(len(labels))[: steps * settings.batch_size].reshape(steps, -1)
        values = [train_step(network, optimizer, images[batch], labels[batch], key) for batch in batches]
        loss, accuracy = np.mean(jax.device_get(values), axis=0)
        seconds = time.perf_counter() - start
        network.eval()
        held_out_loss, held_out_accuracy = evaluate(network, held_out_images, held_out_labels)
        yield {"kind": "epoch", "network": name, "seed": seed, "epoch": epoch, "seconds": seconds} | {
            "training_loss": float(loss),
            "training_accuracy": float(accuracy),
            "held_out_loss": float(held_out_loss),
            "held_out_accuracy": float(held_out_accuracy),
        }


def over_seeds(records: Sequence[dict[str, Any]], name: str, key: str) -> np.ndarray:
    """One quantity of one network from the records, `(seeds, epochs)`."""
    mine = [record for record in records if record["network"] == name]
    return np.array([record[key] for record in mine]).reshape(-1, mine[-1]["epoch"])


def mean_and_spread(values: np.ndarray) -> dict[str, Any]:
    """Mean and spread: the standard deviation over the seeds, or 0 for a single seed."""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "spread": float(spread), "each": values.tolist()}


def summarize(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    multiplications = cost.multiplications(layers())
    networks, seconds = {}, {}
    for name in NETWORKS:
        network = nnx.eval_shape(lambda name=name: Network(name, rngs=nnx.Rngs(0)))
        seconds[name] = over_seeds(records, name, "seconds")
        if seconds[name].shape[1] > 1:
            seconds[name] = seconds[name][:, 1:]  # the first epoch compiles
        networks[name] = {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))),
            "multiplications": getattr(multiplications, name),
            "held_out_accuracy": mean_and_spread(over_seeds(records, name, "held_out_accuracy")[:, -1]),
            "seconds_per_epoch": mean_and_spread(np.median(seconds[name], axis=1)),
        }
    time_ratio = mean_and_spread(np.median(seconds["separable"] / seconds["ordinary"], axis=1))
    return {"networks": networks, "theoretical_ratio": float(multiplications.ratio), "time_ratio": time_ratio}


def draw(records: Sequence[dict[str, Any]], summary: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    separable, ordinary = (summary["networks"][name]["held_out_accuracy"]["mean"] for name in NETWORKS)
    time_ratio, theoretical_ratio = summary["time_ratio"]["mean"], summary["theoretical_ratio"]
    figure.suptitle(
        f"Separable convolutions read {separable:.1%} of the held-out digits, ordinary ones {ordinary:.1%}:\n"
        f"separable ones take {time_ratio:.0%} of the training time and {theoretical_ratio:.0%} of the multiplications"
    )
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        # Two of Okabe and Ito's colors, which color-blind readers can tell apart.
        for name, color in zip(NETWORKS, ("#0072B2", "#D55E00"), strict=True):
            for part, line in (("held_out", "-"), ("training", ":")):
                values = over_seeds(records, name, f"{part}_{quantity}")
                epochs = np.arange(1, values.shape[1] + 1)
                axes.plot(epochs, values.mean(0), line, color=color, label=f"{name}, {part.replace('_', '-')}")
                axes.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.axes[0].yaxis.set_major_formatter("{x:.0%}")
    if min(separable, ordinary) > 0.9:
        figure.axes[0].set_ylim(0.75, 1.005)  # hides the first epochs to show the last ones in detail
    figure.axes[0].legend(title="mean over seeds, lowest to highest shaded", frameon=False)
    figure.axes[1].set_yscale("log")
    return figure


def tabulate(summary: dict[str, Any]) -> Table:
    time_ratio = summary["time_ratio"]
    table = Table(
        *("network", "parameters", "multiplications", "held-out accuracy", "seconds per epoch"),
        title="Handwritten digits",
        caption=f"separable / ordinary: {time_ratio['mean']:.3f} ± {time_ratio['spread']:.3f} of the time, "
        f"{summary['theoretical_ratio']:.3f} in theory",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name, facts in summary["networks"].items():
        accuracy, seconds = facts["held_out_accuracy"], facts["seconds_per_epoch"]
        table.add_row(
            name,
            f"{facts['parameters']:,}",
            f"{facts['multiplications']:,}",
            f"{accuracy['mean']:.2%} ± {accuracy['spread']:.2%}",
            f"{seconds['mean']:.2f} ± {seconds['spread']:.2f}",
        )
    return table


def check(settings: Settings) -> None:
    """Raises ValueError for settings that would otherwise fail later, at worst after the training."""
    if settings.epochs < 1:
        raise ValueError(f"train_digits: `epochs` must be at least 1, got {settings.epochs}")
    if not settings.seeds or len(set(settings.seeds)) < len(settings.seeds) or min(settings.seeds) < 0:
        raise ValueError(
            f"train_digits: `seeds` must not be empty, and must be distinct and not negative, got {settings.seeds}"
        )
    if not 100 <= settings.digits <= DIGITS:
        raise ValueError(f"train_digits: `digits` must be from 100 to {DIGITS}, got {settings.digits}")
    images = settings.digits - held_out(settings.digits)
    if not 1 <= settings.batch_size <= images:
        raise ValueError(f"train_digits: `batch_size` must be from 1 to the {images} images, got {settings.batch_size}")
    if not settings.learning_rate > 0:
        raise ValueError(f"train_digits: `learning_rate` must be positive, got {settings.learning_rate}")
    try:
        settings.results.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.results).close()
    except OSError as error:
        raise ValueError(f"train_digits: `results` must be a folder that can be written: {error}") from error


def main(settings: Settings) -> None:
    check(settings)
    data = load(settings.digits)
    records, seconds = [], []
    metrics = settings.results / "metrics.jsonl"
    # Renamed at the end; an interrupted run leaves its epochs here.
    temporary = metrics.with_name(f"{metrics.name}.part")
    with temporary.open("w") as log, Progress() as progress:
        task = progress.add_task("", total=len(settings.seeds) * settings.epochs)
        for seed in settings.seeds:
            start = time.perf_counter()
            # The networks alternate by epoch, so that other load on the machine affects both.
            for pair in zip(*(train(name, seed, data, settings=settings) for name in NETWORKS), strict=True):
                records.extend(pair)
                log.writelines(json.dumps(record) + "\n" for record in pair)
                log.flush()
                news = ", ".join(f"{record['network']} {record['held_out_accuracy']:.1%}" for record in pair)
                progress.update(task, advance=1, description=f"seed {seed}, held out: {news}")
            seconds.append(time.perf_counter() - start)
    summary = {"kind": "summary", **summarize(records), "seconds_per_seed": seconds, "machine": cost.machine_facts()}
    summary["settings"] = dataclasses.asdict(settings) | {"results": str(settings.results)}
    with temporary.open("a") as log:
        log.write(json.dumps(summary) + "\n")
    os.replace(temporary, metrics)
    curves = settings.results / "curves.png"
    temporary = curves.with_name(f"{curves.name}.part")
    draw(records, summary).savefig(temporary, format="png", dpi=150)
    os.replace(temporary, curves)
    Console().print(tabulate(summary), f"metrics.jsonl and curves.png are in {settings.results}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
