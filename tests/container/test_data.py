from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch

from classifier import loading, machine
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


def spoil(root: Path, *names: str) -> None:
    for name in names:
        (root / "train" / name).write_text("not a photograph")


@pytest.mark.parametrize("workers", [0, 3])
def test_bad_photographs_are_named_and_skipped(root: Path, workers: int) -> None:
    spoil(root, "blue/1.jpg", "blue/4.jpg")
    told: list[str] = []
    split = find_split("train", root / "train")
    photographs = Photographs(split, SMALL, bad=BadImages(2, told.append))
    for _ in range(2):
        batches = list(Batches(photographs, 4, workers))
    assert sorted(line.split(" cannot")[0] for line in told) == [
        "input: the photograph train/blue/1.jpg", "input: the photograph train/blue/4.jpg",
    ]  # fmt: skip
    pixels, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert tuple(labels.tolist()) == split.labels
    assert torch.equal(pixels[6], pixels[7]) and torch.equal(pixels[9], pixels[5]), "others of blue take their places"


def test_too_many_bad_photographs(root: Path) -> None:
    spoil(root, "blue/1.jpg", "amber/4.jpg", "green/0.jpg")
    photographs = Photographs(find_split("train", root / "train"), SMALL, bad=BadImages(2))
    with pytest.raises(
        InputError, match=r"3 photographs cannot be used, and max-bad-images=2: train/amber/4.jpg"
    ) as error:
        list(Batches(photographs, 4, 0))
    assert "train/green/0.jpg" in str(error.value) and "raise max-bad-images" in str(error.value)


def test_a_class_without_a_good_photograph(root: Path) -> None:
    spoil(root, *(f"blue/{i}.jpg" for i in range(5)))
    photographs = Photographs(find_split("train", root / "train"), SMALL, bad=BadImages(99))
    with pytest.raises(InputError, match="no photograph of the class 'blue' in channel `train` can be used"):
        list(Batches(photographs, 4, 2))


def test_a_photograph_that_goes_away_is_named(root: Path) -> None:
    photographs = Photographs(find_split("train", root / "train"), SMALL)
    (root / "train" / "amber" / "2.jpg").unlink()
    with pytest.raises(InputError, match=r"train/amber/2.jpg cannot be used: it cannot be read: No such file"):
        list(Batches(photographs, 4, 0))


def test_the_input_tells_when_the_network_waits_for_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_WORTH_A_WORD", 0.0)
    monkeypatch.setattr(loading, "_WORTH_A_WORD_S", 0.0)
    monkeypatch.setattr(machine, "cpus", lambda: 4)
    for workers, advice in ((1, "workers=4 would help"), (4, "an instance with more CPUs")):
        told: list[str] = []
        batches = Batches(Photographs(find_split("train", root / "train"), SMALL), 4, workers, tell=told.append)
        for _ in range(3):
            list(batches)
        assert len(told) == 1 and advice in told[0]


def test_abandoned_batches_leave_no_thread(root: Path) -> None:
    before = threading.active_count()
    batches = iter(Batches(Photographs(find_split("train", root / "train"), SMALL), 2, 2))
    next(batches)
    del batches
    assert threading.active_count() == before
