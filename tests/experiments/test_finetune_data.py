"""The files of a folder or dataset that count as data, and the split for evaluation."""

import collections
import importlib
import random
import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import finetune_data


class Labels(finetune_data.Source):
    """A source without images."""

    def __init__(self, labels):
        self.classes = sorted({f"class {label}" for label in labels})
        self.labels = labels


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=12),
    held_out=st.one_of(st.sampled_from([0.1, 0.2, 0.5, 0.9, 0.999, 1e-9]), st.floats(0, 1, exclude_max=True)),
    order=st.sampled_from(["sorted", "in turn", "shuffled"]),
)
def test_the_same_share_of_each_class_is_held_out(counts, held_out, order):
    """As the script documents `held_out`: the fraction of each class that is held out for evaluation."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    if order == "in turn":  # such as 0, 1, …, 9, 0, 1, …, where every tenth row has the same class
        labels = [label for turn in range(max(counts)) for label, count in enumerate(counts) if turn < count]
    elif order == "shuffled":
        random.Random(0).shuffle(labels)
    training, evaluation = finetune_data.split(Labels(labels), held_out)
    assert sorted([*training.places, *evaluation.places]) == list(range(len(labels)))
    found = collections.Counter(labels[place] for place in evaluation.places)
    for label, count in enumerate(counts):
        assert abs(found[label] - count * held_out) <= 1
        assert found[label] < count
        assert (found[label] > 0) == (held_out > 0)
    assert finetune_data.split(Labels(labels), held_out)[1].places == evaluation.places


def test_a_class_of_one_image_cannot_be_in_both_parts():
    with pytest.raises(SystemExit, match="--held-out: the class class 1 must have an image for training and one"):
        finetune_data.split(Labels([0, 0, 1]), 0.1)
    training, evaluation = finetune_data.split(Labels([0, 0, 1]), 0)
    assert (list(training.places), list(evaluation.places)) == ([0, 1, 2], [])


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / name, "PNG")


def test_files_that_are_hidden_or_left_by_a_system_are_not_data(tmp_path):
    wanted = ["ant/1.png", "ant/2.JPG", "bee/1.png"]
    hidden = [
        ".git/x.png",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/ant/1.png",
        ".DS_Store",
        "ant/._1.png",
        "ant/.x/1.png",
    ]
    make(tmp_path, *wanted, *hidden, "ant/Thumbs.db", "desktop.ini", ".empty/")
    source = finetune_data.Folder(tmp_path)
    assert source.classes == ["ant", "bee"]
    assert [file.relative_to(tmp_path).as_posix() for file in source.files] == wanted
    assert list(source.labels) == [0, 0, 1]
    assert source.skipped == []


def test_skipped_files_are_reported(tmp_path):
    make(tmp_path, "ant/1.png", "bee/1.png", "ant/old/1.png", "ant/notes.txt", "a.txt", "b.txt", "c.png")
    assert finetune_data.Folder(tmp_path).skipped == [
        f"4 files that are not images of a class: {Path('ant/notes.txt')}, a.txt, b.txt, …",
        f"1 folders within classes: {Path('ant/old')}",
    ]


@pytest.mark.parametrize("empty", ["cat/", "cat/notes.txt", "cat/train/1.png", "cat/.1.png"])
def test_an_empty_class_is_refused_by_its_name(empty, tmp_path):
    make(tmp_path, "ant/1.png", "bee/1.png", empty)
    with pytest.raises(
        SystemExit, match="--data must have images of each class, there are none of cat; its folder must"
    ):
        finetune_data.Folder(tmp_path)


def test_control_characters_in_a_name_are_escaped(tmp_path):
    make(tmp_path, "ant/1.png", "bee/1.png", "a\x1b[2Jb/")
    with pytest.raises(SystemExit, match=r"there are none of a\\x1b\[2Jb;"):
        finetune_data.Folder(tmp_path)


def test_a_hugging_face_dataset_is_read_as_a_folder_is(tmp_path, monkeypatch):
    """`datasets` reads a folder on disk as it reads a repository."""
    datasets = importlib.import_module("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rng = np.random.default_rng(0)
    for place in range(6):
        path = tmp_path / "data" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(rng.integers(0, 256, (4, 3), np.uint8)).save(path)
    source, folder = (
        of(tmp_path / "data") for of in (lambda path: finetune_data.HuggingFace(str(path)), finetune_data.Folder)
    )
    assert source.classes == folder.classes
    one, other = (
        sorted((row["label"], row["image"].tobytes()) for row in map(of.__getitem__, range(6)))
        for of in (source, folder)
    )
    assert one == other
    assert not finetune_data.unreadable(source)


@pytest.mark.parametrize("name", ["nofolder", "no/such/folder", "./x", "../data", "data/", "/no"])
def test_a_missing_folder_is_not_taken_for_a_dataset(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finetune_data, "HuggingFace", lambda _: pytest.fail("asked Hugging Face"))
    with pytest.raises(
        SystemExit, match=r"must be a folder or the name of a dataset on Hugging Face, got .*: there is no"
    ):
        finetune_data.source_of(name)


def test_without_a_network_there_is_a_short_error_at_once(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    datasets = importlib.import_module("datasets")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    for constants in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    start = time.monotonic()
    with pytest.raises(SystemExit, match=r"got 'no/such': Couldn't reach 'no/such' on the Hub[^\n]*$") as exit:
        finetune_data.source_of("no/such")
    assert exit.value.code == 2
    assert time.monotonic() - start < 10  # retries would take half a minute
