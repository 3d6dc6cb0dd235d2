"""Fine-tunes a public network on a folder of images by class, or on a Hugging Face dataset.

python experiments/finetune.py --data FOLDER --model mobilenetv2_100 --weights timm/mobilenetv2_100.ra_in1k

The folder has one folder of image files per class; hidden files and images in deeper folders are ignored. --out
receives checkpoints, metrics as JSON lines, a figure, and the weights with a config.json as timm writes it, so that
`jds predict IMAGE --weights OUT` prints your classes. If the run is killed at any moment and restarted with the same
command, it resumes from its last checkpoint and produces the same numbers as without the interruption.

A finished run continues if it is restarted with more --epochs. From then on it uses the learning rate schedule of the
longer run, so its numbers differ from those of a run that had as many epochs from the start. The only other setting
that may change is --save-every.
"""

import dataclasses
import functools
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro
from flax import nnx
from PIL import Image
from rich.console import Console
from rich.progress import Progress, track

import jds
from jds.models import Network

sys.path.insert(0, str(Path(__file__).parent))  # for importing this file by its path
from finetune_data import Mistake, Part, Source, shown, source_of, split, unreadable
from finetune_output import claim, draw, kept_lines, make_folder, settings_before, write_weights


@dataclasses.dataclass(frozen=True)
class Settings:
    """The network, the data, and the options of training."""

    data: str  # a folder with one folder of images per class, or the name of a Hugging Face dataset
    model: str = "mobilenetv3_small_100"  # a name from `jds models`
    weights: str | None = None  # a file, or the id of a Hugging Face repository; none: from scratch
    out: Path = Path("finetuned")  # folder for the results
    image_size: int = 0  # height and width; 0 for the network's own
    batch: int = 64  # images per step, on all devices together
    epochs: int = 10
    learning_rate: float = 1e-3  # peak value
    warmup: float = 0.1  # fraction of the steps in which the rate rises
    weight_decay: float = 1e-4
    average: float = 0.99  # decay of the moving average of the parameters, which is evaluated and saved
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    held_out: float = 0.1  # fraction of each class that is held out for evaluation
    save_every: int = 100  # steps between checkpoints
    seed: int = 0


def check(settings: Settings) -> None:
    """Raises Mistake for a setting that is wrong whatever the data."""
    for name, is_right, rule in (
        ("image_size", settings.image_size >= 0, "positive, or 0 for the network's own"),
        ("batch", settings.batch > 0, "positive"),
        ("batch", settings.batch % jax.device_count() == 0, f"a multiple of {jax.device_count()} devices"),
        ("epochs", settings.epochs > 0, "positive"),
        ("learning_rate", 0 < settings.learning_rate < math.inf, "positive"),
        ("warmup", 0 <= settings.warmup <= 1, "from 0 to 1"),
        ("weight_decay", 0 <= settings.weight_decay < math.inf, "0 or more"),
        ("average", 0 <= settings.average < 1, "from 0 to less than 1"),
        ("held_out", 0 <= settings.held_out < 1, "from 0 to less than 1"),
        ("save_every", settings.save_every > 0, "positive"),
        ("seed", 0 <= settings.seed < 2**32, "from 0 to 2**32 - 1"),
    ):
        if not is_right:
            raise Mistake(f"--{name.replace('_', '-')} must be {rule}, got {getattr(settings, name)}")


@dataclasses.dataclass(frozen=True)
class Augment(grain.transforms.RandomMap):
    """Random resized crop, flipped horizontally with probability 1/2."""

    size: int
    normalize: Callable[[np.ndarray], np.ndarray]

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
        return {"image": self.normalize(np.asarray(image)), "label": np.int32(element["label"])}


def training_data(part: Part, settings: Settings, prepare: Any, start: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches from step `start` on: a batch depends only on its number, so that a run can resume at any step."""

    def normalize(pixels: np.ndarray) -> np.ndarray:
        return (pixels.astype(np.float32) / 255 - prepare.mean) / np.asarray(prepare.std, np.float32)

    source: Any = part
    augment = Augment(prepare.image_size, normalize)
    data = grain.MapDataset.source(source).seed(settings.seed).shuffle().random_map(augment)
    batches = data.batch(settings.batch, drop_remainder=True).repeat(settings.epochs)
    return iter(batches[start:].to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))


def loss_of(model: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy, in float32."""
    logits = model(images).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_step(graph: Any, random: Any, optimizer: optax.GradientTransformation, settings: Settings) -> Any:
    """A training step: a pure function of the state and a batch, sharded as its arguments are."""

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
        # In the first steps, the decay is smaller, so that the average forgets the initial values sooner.
        decay = jnp.minimum(settings.average, (1 + state["step"]) / (10 + state["step"]))
        average = optax.incremental_update(params, state["average"], 1 - decay)
        new = {"params": params, "rest": rest, "optimizer": moments, "average": average, "step": state["step"] + 1}
        return new, value

    return step


def random_state(like: Any, seed: int, step: jax.Array) -> Any:
    """Keys for dropout and stochastic depth, which depend only on the step, so that they need not be saved."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    leaves, structure = jax.tree.flatten(like)
    new = [
        jax.random.fold_in(key, place) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, new)


@nnx.jit
def classes_of(model: Network, images: jax.Array) -> jax.Array:
    """The index of the most probable class of each image."""
    return model(images).argmax(-1)


def accuracy(model: Network, part: Part, settings: Settings, sharded: jax.NamedSharding) -> float:
    """The fraction of images that are classified correctly."""
    model.eval()
    right = 0
    for start in range(0, len(part), settings.batch):
        rows = [part[place] for place in range(start, min(start + settings.batch, len(part)))]
        images = np.concatenate([np.asarray(model.preprocess(row["image"])) for row in rows])
        padded = np.pad(images, ((0, settings.batch - len(rows)), (0, 0), (0, 0), (0, 0)))  # one trace for all
        found = np.asarray(classes_of(model, jax.device_put(padded, sharded)))[: len(rows)]
        right += int((found == [row["label"] for row in rows]).sum())
    return right / len(part)


def new_model(settings: Settings, classes: int) -> Network:
    """The network to start from.

    Raises:
      Mistake: the network does not exist, or the weights do not fit it.
    """
    dtype = jnp.bfloat16 if settings.dtype == "bfloat16" else jnp.float32
    rngs = nnx.Rngs(settings.seed)
    try:
        model = jds.create_model(settings.model, settings.weights, rngs=rngs, num_classes=classes, dtype=dtype)
    except (OSError, ValueError) as error:
        what = "model" if settings.weights is None or settings.model not in jds.list_models() else "weights"
        raise Mistake(f"--{what}: {' '.join(str(error).removeprefix('create_model: ').split())}") from None
    if settings.image_size:
        prepare: Any = model.preprocessing
        model.preprocessing = dataclasses.replace(prepare, image_size=settings.image_size)
    return model


def new_optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """AdamW with linear warmup and cosine decay; weight decay applies to kernels, not to biases and scales."""
    warmup = min(max(1, round(settings.warmup * steps)), steps - 1)
    return optax.adamw(
        optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, warmup, steps),
        weight_decay=settings.weight_decay,
        mask=lambda params: jax.tree.map(lambda array: array.ndim > 1, params),
    )


def refuse_unreadable(source: Source, console: Console) -> None:
    """Raises Mistake with the names of all images that cannot be read, if there are any."""
    look = functools.partial(track, description="looking at images", console=console, transient=True)
    found = unreadable(source, look if console.is_terminal else iter)
    if found:
        raise Mistake(
            "\n  ".join([f"--data has {len(found)} images that cannot be read; repair or remove them:", *found])
        )


def main(settings: Settings) -> None:
    """Trains, evaluates after each epoch, and saves the averaged parameters."""
    # All mistakes in the settings and the data are found here, before anything is written.
    check(settings)
    before = settings_before(settings)
    if settings.model not in jds.list_models():
        new_model(settings, 2)
    source = source_of(settings.data)
    training, evaluation = split(source, settings.held_out)
    per_epoch = len(training) // settings.batch
    if not per_epoch:
        raise Mistake(f"--batch must be at most the {len(training)} training images, got {settings.batch}")
    steps = per_epoch * settings.epochs
    model = new_model(settings, len(source.classes))
    prepare: Any = model.preprocessing
    console = Console(highlight=False, markup=False, soft_wrap=True)
    classes = ", ".join([*map(shown, source.classes[:10]), *(["…"] if len(source.classes) > 10 else [])])
    console.print(
        f"{len(source)} images of {len(source.classes)} classes, {classes}: "
        f"{len(training)} to train on, {len(evaluation)} to evaluate on"
    )
    for line in source.skipped:
        console.print(f"skipped {line}")
    refuse_unreadable(source, console)

    # Parameters are replicated over the devices, images are sharded.
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, sharded = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P("data")))
    graph, params, rest, random = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    optimizer = new_optimizer(settings, steps)
    state = {
        "params": params,
        "rest": rest,
        "optimizer": optimizer.init(params),
        "average": jax.tree.map(jnp.copy, params),
        "step": jnp.zeros((), jnp.int32),
    }
    state = jax.device_put(state, everywhere)
    step = make_step(graph, random, optimizer, settings)

    make_folder(settings.out)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns whenever a checkpoint waits for the previous one
    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=settings.save_every)
    with ocp.CheckpointManager((settings.out / "checkpoints").resolve(), options=options) as manager:
        latest = manager.latest_step()
        done = latest or 0
        ended = per_epoch * int(before["epochs"]) if before else steps
        if ended != steps and done != ended:
            raise Mistake(f"--epochs can only grow once a run has ended; {settings.out} is at step {done} of {ended}")
        if latest is not None:
            state = manager.restore(latest, args=ocp.args.StandardRestore(state))
        where = f"resumes after step {done} of" if done else "begins:"
        console.print(f"{where} {steps} steps, {per_epoch} per epoch")
        metrics = settings.out / "metrics.jsonl"
        lines = kept_lines(metrics, done)
        with metrics.open("a") as log, Progress(console=console, disable=not console.is_terminal) as progress:

            def note(line: dict[str, Any]) -> None:
                lines.append(line)
                log.write(json.dumps(line) + "\n")
                log.flush()

            task = progress.add_task("training", total=steps, completed=done)
            batches = training_data(training, settings, prepare, done)
            for number, batch in enumerate(batches, start=done + 1):
                images, labels = (jax.device_put(batch[name], sharded) for name in ("image", "label"))
                state, loss = step(state, images, labels)
                line = {"step": number, "loss": float(loss)}
                if number == done + 1:
                    claim(settings)
                note(line)
                if number % per_epoch == 0:
                    words = f"epoch {number // per_epoch}: loss {line['loss']:.4f}"
                    if len(evaluation):
                        averaged = nnx.merge(graph, state["average"], state["rest"], random)
                        share = accuracy(averaged, evaluation, settings, sharded)
                        note({"step": number, "epoch": number // per_epoch, "accuracy": share})
                        words += f", held-out accuracy {share:.2%}"
                    console.print(words)
                # Written in the background.
                manager.save(number, args=ocp.args.StandardSave(state), force=number == steps)
                progress.update(task, completed=number)
        manager.wait_until_finished()
    write_weights(
        nnx.merge(graph, state["average"], state["rest"], random), settings.model, source.classes, settings.out
    )
    title = f"{settings.model}, {len(training)} images of {len(source.classes)} classes"
    draw(lines, settings.out / "metrics.png", title)
    console.print(f"the weights are in {settings.out}: jds predict IMAGE --weights {settings.out}")


def run() -> None:
    """Runs the script; errors are printed on one line."""
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        main(tyro.cli(Settings, description=__doc__))
    except Mistake as mistake:
        print(f"finetune: {mistake}", file=sys.stderr)
        sys.exit(mistake.code)
    except OSError as error:
        print(f"finetune: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("finetune: interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
