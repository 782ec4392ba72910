from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from classifier.data import BadImages, Batches, Photographs, find_split, find_splits, fingerprint
from classifier.errors import InputError
from classifier.fingerprint import fingerprint as pure_fingerprint
from classifier.fingerprint import is_photograph
from classifier.images import Preprocessing
from classifier.loading import choose_workers
from photographs import CLASSES, data_set

SMALL = Preprocessing(resize=36, crop=32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return data_set(tmp_path / "data", {"train": 5, "valid": 2})


def test_classes_are_sorted_and_shared_between_splits(root: Path) -> None:
    train = find_split("train", root / "train")
    assert train.classes == CLASSES
    assert train.labels == (0,) * 5 + (1,) * 5 + (2,) * 5
    shutil.rmtree(root / "valid" / "amber")
    valid = find_split("valid", root / "valid", train.classes)
    assert valid.labels == (1, 1, 2, 2)


def test_bad_folders(root: Path) -> None:
    with pytest.raises(InputError, match="channel `test` is missing"):
        find_split("test", root / "test")
    (root / "valid" / "pink").mkdir()
    with pytest.raises(InputError, match="class folder 'pink', which channel `train` lacks"):
        find_split("valid", root / "valid", CLASSES)
    (root / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="class folder 'empty' of channel `train` holds no photograph"):
        find_split("train", root / "train")
    for name in ("empty", "blue", "green"):
        shutil.rmtree(root / "train" / name)
    with pytest.raises(InputError, match="holds only the class folder 'amber': at least two classes"):
        find_split("train", root / "train")


def test_fingerprint_tells_data_sets_apart(root: Path, tmp_path: Path) -> None:
    before = fingerprint([find_split("train", root / "train")])
    shutil.copytree(root, tmp_path / "moved")
    assert fingerprint([find_split("train", tmp_path / "moved" / "train")]) == before
    (root / "train" / "blue" / "0.jpg").rename(root / "train" / "green" / "x.jpg")
    assert fingerprint([find_split("train", root / "train")]) != before


def test_a_listing_of_names_and_sizes_has_the_same_fingerprint(root: Path) -> None:
    """What a bucket lists: every object, in an order of its own, whatever is a photograph of the data set or not."""
    (root / "train" / "blue" / ".hidden.jpg").write_bytes(b"x")
    (root / "train" / "blue" / "deeper").mkdir()
    (root / "train" / "blue" / "0.jpg").rename(root / "train" / "blue" / "deeper" / "0.JPG")
    (root / "train" / "blue" / "notes.txt").write_text("x")
    (root / "train" / "manifest.jpg").write_bytes(b"x")
    splits = find_splits({name: root / name for name in ("train", "valid")})
    listed = [
        (name, path.relative_to(root / name), path.stat().st_size)
        for name in ("valid", "train")
        for path in sorted((root / name).rglob("*"), reverse=True)
        if path.is_file() and is_photograph(path.relative_to(root / name))
    ]
    assert len(listed) == 15 + 6
    assert pure_fingerprint(listed) == fingerprint(list(splits.values()))


@pytest.mark.parametrize("augment", [False, True])
def test_the_same_batches_whatever_the_number_of_workers(root: Path, augment: bool) -> None:
    split = find_split("train", root / "train")

    def epochs(workers: int) -> list[torch.Tensor]:
        photographs = Photographs(split, SMALL, augment, seed=3)
        source = Batches(photographs, 4, workers, shuffle=True, seed=3)
        seen = []
        for epoch in (1, 2):
            source.set_epoch(epoch)
            seen += [pixels for pixels, _ in source]
        return seen

    here, there = epochs(0), epochs(2)
    assert len(here) == len(there) == 8
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert not torch.equal(here[0], here[4])


def test_a_last_batch_of_one_is_left_out_of_training_only(root: Path) -> None:
    photographs = Photographs(find_split("train", root / "train"), SMALL)  # 15 of them
    assert [len(labels) for _, labels in Batches(photographs, 7, 0, shuffle=True)] == [7, 7]
    assert [len(labels) for _, labels in Batches(photographs, 7, 0)] == [7, 7, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_text_file_named_jpg_is_named(root: Path, workers: int) -> None:
    (root / "train" / "blue" / "notes.jpg").write_text("not a photograph")
    source = Batches(Photographs(find_split("train", root / "train"), SMALL), 4, workers)
    with pytest.raises(InputError) as error:
        list(source)
    assert str(error.value).startswith("the photograph train/blue/notes.jpg cannot be used: the bytes are no image")
    assert "\n" not in str(error.value)


def test_workers_as_asked() -> None:
    assert choose_workers(3) == 3
    assert 0 <= choose_workers(-1) <= 16
