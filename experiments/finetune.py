"""Fine-tunes a public network on a folder of images by class, or on a dataset of Hugging Face's.

python experiments/finetune.py --data FOLDER --model mobilenetv2_100 --weights timm/mobilenetv2_100.ra_in1k

The folder has one folder of image files for each class. Under --out come checkpoints, metrics as JSON lines, the
weights as a safetensors file, and a picture. Killed at any moment and started again with the same command, it goes on
from its last checkpoint, to the same numbers as if it had not been disturbed.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro
from flax import nnx
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress

import jds
from jds.models import Network

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to train, on what, and how."""

    data: str  # a folder with a folder of images for each class, or a dataset's name on Hugging Face
    model: str = "mobilenetv3_small_100"  # one that `jds models` lists
    weights: str | None = None  # a file, or a repository's id on Hugging Face; none: from scratch
    out: Path = Path("finetuned")  # a folder for all that is written
    image_size: int = 0  # height and width; 0 for the network's own
    batch: int = 64  # images in a step, on all devices together
    epochs: int = 10
    learning_rate: float = 1e-3  # at its highest
    warmup: float = 0.1  # share of the steps in which it rises
    weight_decay: float = 1e-4
    average: float = 0.99  # decay of the moving average of the parameters, which is evaluated and kept
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    held_out: float = 0.1  # share of each class's images that is evaluated on
    save_every: int = 100  # steps between checkpoints
    seed: int = 0


class Source(Protocol):
    """Images and their classes."""

    classes: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> dict[str, Any]:
        """A picture under "image", and the number of its class under "label"."""
        ...


class Folder:
    """A folder with a folder of image files for each class."""

    def __init__(self, path: Path):
        self.classes = sorted(child.name for child in path.iterdir() if child.is_dir())
        self.files = [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((path / name).iterdir())
            if file.suffix.lower() in IMAGE_SUFFIXES
        ]
        if len(self.classes) < 2 or not self.files:
            raise SystemExit(
                f"finetune: --data must have a folder of images for each of at least 2 classes, got {path}"
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> dict[str, Any]:
        file, label = self.files[place]
        try:
            with Image.open(file) as image:
                return {"image": image.convert("RGB"), "label": label}
        except (UnidentifiedImageError, OSError) as error:
            raise SystemExit(f"finetune: {file} cannot be read as an image: {error}") from None


class HuggingFace:
    """The training part of a dataset of Hugging Face's that has images and their classes."""

    def __init__(self, name: str):
        import datasets  # here, because it takes a second

        try:
            self.rows: Any = datasets.load_dataset(name, split="train")
        except (OSError, ValueError) as error:
            raise SystemExit(
                f"finetune: --data must be a folder or the name of a dataset on Hugging Face, got {name!r}: {error}"
            ) from None
        columns = self.rows.features
        kinds = [type(column) for column in columns.values()]
        if datasets.Image not in kinds or datasets.ClassLabel not in kinds:
            raise SystemExit(f"finetune: the dataset {name!r} must have images and classes, got {dict(columns)}")
        self.image, self.label = (list(columns)[kinds.index(kind)] for kind in (datasets.Image, datasets.ClassLabel))
        self.classes = columns[self.label].names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        row = self.rows[place]
        return {"image": row[self.image].convert("RGB"), "label": row[self.label]}


class Part:
    """Some places of a source."""

    def __init__(self, source: Source, places: Sequence[int]):
        self.source, self.places = source, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.source[self.places[place]]


def split(source: Source, held_out: float) -> tuple[Part, Part]:
    """A part to train on, and one of every class to evaluate on."""
    count = len(source)
    every = max(2, round(1 / held_out)) if held_out else count + 1
    chosen = range(every - 1, count, every)
    return Part(source, [place for place in range(count) if place not in chosen]), Part(source, list(chosen))


@dataclasses.dataclass(frozen=True)
class Augment(grain.transforms.RandomMap):
    """A random part of the image, as large as the network's input, and its mirror image every other time."""

    size: int
    normalise: Callable[[np.ndarray], np.ndarray]

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        image = element["image"]
        share, ratio = rng.uniform(0.4, 1.0), np.exp(rng.uniform(-0.3, 0.3))
        side = (share * image.width * image.height) ** 0.5
        width, height = min(image.width, side * ratio), min(image.height, side / ratio)
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        box = (left, top, left + width, top + height)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        if rng.integers(2):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return {"image": self.normalise(np.asarray(image)), "label": np.int32(element["label"])}


def training_data(part: Part, settings: Settings, prepare: Any, start: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches from a step on: each depends on its number alone, so that a run can begin anywhere."""

    def normalise(pixels: np.ndarray) -> np.ndarray:
        return (pixels.astype(np.float32) / 255 - prepare.mean) / np.asarray(prepare.std, np.float32)

    source: Any = part
    augment = Augment(prepare.image_size, normalise)
    data = grain.MapDataset.source(source).seed(settings.seed).shuffle().random_map(augment)
    batches = data.batch(settings.batch, drop_remainder=True).repeat(settings.epochs)
    return iter(batches[start:].to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))


def loss_of(model: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy, in float32."""
    logits = model(images).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_step(graph: Any, random: Any, optimizer: optax.GradientTransformation, settings: Settings) -> Any:
    """One step: a pure function of the state and a batch, divided among the devices as those are laid out."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: dict[str, Any], images: jax.Array, labels: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        def loss(params):
            keys = random_state(random, settings.seed, state["step"])
            model = nnx.merge(graph, params, state["rest"], keys, copy=True)
            value = loss_of(model, images, labels)
            return value, nnx.state(model, nnx.BatchStat)

        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        # At first the average is that of the steps so far.
        decay = jnp.minimum(settings.average, (1 + state["step"]) / (10 + state["step"]))
        average = optax.incremental_update(params, state["average"], 1 - decay)
        new = {"params": params, "rest": rest, "optimizer": moments, "average": average, "step": state["step"] + 1}
        return new, value

    return step


def random_state(like: Any, seed: int, step: jax.Array) -> Any:
    """Keys of dropout and stochastic depth that depend on the step alone, so that they need not be kept."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    leaves, structure = jax.tree.flatten(like)
    new = [
        jax.random.fold_in(key, place) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, new)


@nnx.jit
def classes_of(model: Network, images: jax.Array) -> jax.Array:
    """The number of the most probable class of each image."""
    return model(images).argmax(-1)


def accuracy(model: Network, part: Part, settings: Settings, divided: jax.NamedSharding) -> float:
    """The share of images whose class is found."""
    model.eval()
    right = 0
    for start in range(0, len(part), settings.batch):
        rows = [part[place] for place in range(start, min(start + settings.batch, len(part)))]
        images = np.concatenate([np.asarray(model.preprocess(row["image"])) for row in rows])
        padded = np.pad(images, ((0, settings.batch - len(rows)), (0, 0), (0, 0), (0, 0)))  # one trace for all
        found = np.asarray(classes_of(model, jax.device_put(padded, divided)))[: len(rows)]
        right += int((found == [row["label"] for row in rows]).sum())
    return right / len(part)


def same_settings(settings: Settings) -> None:
    """Keeps the settings of a run, and raises SystemExit if a folder holds a run with others."""
    settings.out.mkdir(parents=True, exist_ok=True)
    file = settings.out / "settings.json"
    new = {name: str(value) for name, value in dataclasses.asdict(settings).items() if name != "out"}
    old = json.loads(file.read_text()) if file.exists() else new
    if old != new:
        other = [f"{name} {old.get(name)}, not {value}" for name, value in new.items() if old.get(name) != value]
        raise SystemExit(f"finetune: --out must be another folder, {settings.out} has a run with {'; '.join(other)}")
    write_whole(file, json.dumps(new, indent=1) + "\n")


def kept_lines(path: Path, step: int) -> list[dict[str, Any]]:
    """Drops the lines of steps after this one, which are run again, and a last line that is not whole."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    kept = [line for line in lines if line["step"] <= step]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def write_whole(path: Path, text: str) -> None:
    """Writes beside and renames, so that there is never half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def draw(lines: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Draws loss and accuracy by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    loss, right = figure.subplots(2, 1, sharex=True)
    rows = [line for line in lines if "loss" in line]
    loss.plot([line["step"] for line in rows], [line["loss"] for line in rows], color="#0072B2")
    rows = [line for line in lines if "accuracy" in line]
    right.plot([line["step"] for line in rows], [100 * line["accuracy"] for line in rows], "o-", color="#D55E00")
    for axes, label in ((loss, "training loss"), (right, "held-out accuracy, %")):
        axes.set_ylabel(label)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    right.set_xlabel("step")
    loss.set_title(title, loc="left", fontweight="bold")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    figure.savefig(temporary, dpi=150)
    os.replace(temporary, path)


def main(settings: Settings) -> None:
    """Trains, evaluates after each epoch, and keeps the averaged parameters."""
    folder = Path(settings.data)
    source: Any = Folder(folder) if folder.is_dir() else HuggingFace(settings.data)
    training, evaluation = split(source, settings.held_out)
    a_epoch = len(training) // settings.batch
    if not a_epoch:
        raise SystemExit(f"finetune: --batch must be at most the {len(training)} training images, got {settings.batch}")
    if settings.batch % jax.device_count():
        raise SystemExit(f"finetune: --batch must be a multiple of {jax.device_count()} devices, got {settings.batch}")
    steps = a_epoch * settings.epochs
    same_settings(settings)

    dtype = jnp.bfloat16 if settings.dtype == "bfloat16" else jnp.float32
    rngs = nnx.Rngs(settings.seed)
    model = jds.create_model(settings.model, settings.weights, rngs=rngs, num_classes=len(source.classes), dtype=dtype)
    prepare: Any = model.preprocessing
    if settings.image_size:
        prepare = model.preprocessing = dataclasses.replace(prepare, image_size=settings.image_size)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, max(1, round(settings.warmup * steps)), steps
    )
    # Kernels decay; biases and the scales of normalisations do not.
    optimizer = optax.adamw(
        schedule,
        weight_decay=settings.weight_decay,
        mask=lambda params: jax.tree.map(lambda array: array.ndim > 1, params),
    )

    # Parameters on all devices, images divided among them.
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, divided = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P("data")))
    graph, params, rest, random = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    state = {
        "params": params,
        "rest": rest,
        "optimizer": optimizer.init(params),
        "average": jax.tree.map(jnp.copy, params),
        "step": jnp.zeros((), jnp.int32),
    }
    state = jax.device_put(state, everywhere)
    step = make_step(graph, random, optimizer, settings)

    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=settings.save_every)
    with ocp.CheckpointManager((settings.out / "checkpoints").resolve(), options=options) as manager:
        latest = manager.latest_step()
        if latest is not None:
            state = manager.restore(latest, args=ocp.args.StandardRestore(state))
        done = latest or 0
        metrics = settings.out / "metrics.jsonl"
        lines = kept_lines(metrics, done)
        console = Console()
        with metrics.open("a") as log, Progress(console=console, disable=not console.is_terminal) as progress:

            def note(line: dict[str, Any]) -> None:
                lines.append(line)
                log.write(json.dumps(line) + "\n")
                log.flush()

            task = progress.add_task("training", total=steps, completed=done)
            batches = training_data(training, settings, prepare, done)
            for number, batch in enumerate(batches, start=done + 1):
                images, labels = (jax.device_put(batch[name], divided) for name in ("image", "label"))
                state, loss = step(state, images, labels)
                note({"step": number, "loss": float(loss)})
                if number % a_epoch == 0 and len(evaluation):
                    averaged = nnx.merge(graph, state["average"], state["rest"], random)
                    share = accuracy(averaged, evaluation, settings, divided)
                    note({"step": number, "epoch": number // a_epoch, "accuracy": share})
                    console.print(f"epoch {number // a_epoch}: loss {float(loss):.4f}, held-out accuracy {share:.2%}")
                # Written while training goes on.
                manager.save(number, args=ocp.args.StandardSave(state), force=number == steps)
                progress.update(task, completed=number)
        manager.wait_until_finished()
    averaged = nnx.merge(graph, state["average"], state["rest"], random)
    jds.save(averaged, settings.out / "model.safetensors")
    write_whole(settings.out / "classes.json", json.dumps(list(source.classes)) + "\n")
    draw(
        lines,
        settings.out / "metrics.png",
        f"{settings.model}, {len(training)} images of {len(source.classes)} classes",
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
