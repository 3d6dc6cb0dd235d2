"""The files of a run: its settings, metrics, a figure, and the weights with their config."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune_data import Mistake

import jds
from jds.models import Network
from jds.weights import to_timm

# The numbers do not depend on these, which may change when a run resumes.
IRRELEVANT = ("out", "save_every")


def settings_before(settings: Any) -> dict[str, str] | None:
    """The settings of the earlier run in the folder, or None.

    Raises:
      Mistake: its settings differ, other than by fewer epochs, or the folder cannot be written.
    """
    out: Path = settings.out
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not above.is_dir():
        raise Mistake(f"--out must be a folder, got {out}: {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise Mistake(f"--out must be a folder that can be written, got {out}: Permission denied in {above}")
    file = out / "settings.json"
    if not file.exists():
        return None
    old, new = json.loads(file.read_text(encoding="utf-8")), in_words(settings)
    other = [name for name, value in new.items() if old.get(name) != value]
    if other and (other != ["epochs"] or int(old["epochs"]) > settings.epochs):
        words = "; ".join(f"{name} {old.get(name)}, not {new[name]}" for name in other)
        raise Mistake(f"--out must be another folder, {out} has a run with {words}")
    return old


def make_folder(out: Path) -> None:
    """Makes the folder; raises Mistake if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--out must be a folder that can be written, got {out}: {error.strerror}") from None


def claim(settings: Any) -> None:
    """Marks the folder as this run's, after its first step, so that a run that never began claims nothing."""
    write_whole(settings.out / "settings.json", json.dumps(in_words(settings), indent=1) + "\n")


def in_words(settings: Any) -> dict[str, str]:
    """Every setting that the numbers depend on, as text."""
    return {name: str(value) for name, value in dataclasses.asdict(settings).items() if name not in IRRELEVANT}


def kept_lines(path: Path, step: int) -> list[dict[str, Any]]:
    """Drops the lines of steps after this one, which run again, and an incomplete last line."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    kept = [line for line in lines if line["step"] <= step]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def write_weights(model: Network, name: str, classes: Sequence[str], out: Path) -> None:
    """Writes the weights and, as timm does, a config with the network's name, classes and preprocessing."""
    prepare: Any = model.preprocessing
    config = {
        "architecture": name,
        "num_classes": len(classes),
        "label_names": list(classes),
        "pretrained_cfg": {**to_timm(prepare), "num_classes": len(classes)},
    }
    write_whole(out / "config.json", json.dumps(config, indent=1) + "\n")
    jds.save_weights(model, out / "model.safetensors")


def write_whole(path: Path, text: str) -> None:
    """Writes to a temporary file and renames it, so that the file is never incomplete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def draw(lines: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Plots loss and accuracy by step."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

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
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.set_title(title, loc="left", fontweight="bold")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    figure.savefig(temporary, dpi=150)
    os.replace(temporary, path)
