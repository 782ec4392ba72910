"""Shards: what is in them is read as from class folders, and what is wrong with them is said."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from classifier import data, embedding, features, fitting, material, shards
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.precision import Precision
from classifier.preprocessing import Preprocessing
from orchestrate import dataset, sharding
from photographs import CLASSES, data_set

CPU = Precision(torch.device("cpu"), None)
CONFIG = Config(weights="none", image_size=32, batch_size=8, epochs=1, augment=True, views=2, freeze_backbone="false")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = data_set(tmp_path_factory.mktemp("folders"), {"train": 7, "valid": 3})
    (root / "train" / CLASSES[1]).rename(root / "train" / "a class.of two words")
    (root / "valid" / CLASSES[1]).rename(root / "valid" / "a class.of two words")
    return root


@pytest.fixture(scope="module")
def written(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in several shards a split."""
    root = tmp_path_factory.mktemp("shards") / "set"
    layout = dataset.read(folders)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "SHARD_BYTES", 20_000)
        sharding.write(dataset.targets(layout), sorted(layout["train"]), root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return shutil.copytree(written, tmp_path / "set")


def channels(root: Path) -> dict[str, Path]:
    return {split: root / split for split in ("train", "valid")}


def job(root: Path, place: Path) -> Job:
    return Job("job", channels(root), place, place, place, place / "no-hook", place, threading.Event())


def same(one: data.Split, other: data.Split) -> bool:
    told = (one.classes, one.names, one.labels) == (other.classes, other.names, other.labels)
    return told and all(one.store.read(i) == other.store.read(i) for i in range(len(one)))


@pytest.mark.parametrize("indexed", [True, False])
def test_a_split_is_that_of_the_folders(folders: Path, root: Path, indexed: bool) -> None:
    if not indexed:
        for index in root.rglob("index.json"):
            index.unlink()
    assert len(shards.find(root / "train")) > 2
    there, here = data.find_splits(channels(folders)), data.find_splits(channels(root))
    assert all(same(there[name], here[name]) for name in ("train", "valid"))
    assert data.fingerprint(list(there.values())) == data.fingerprint(list(here.values()))


def test_training_on_shards_is_training_on_folders(folders: Path, written: Path) -> None:
    """Bit for bit, the one without threads and the other with some."""
    states = []
    for root, workers in ((folders, 0), (written, 3)):
        given = material.of_photographs(replace(CONFIG, workers=workers), channels(root), [], CPU)
        fitting.fit(CONFIG, given, CPU, [])
        states.append(given.network.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_features_of_shards_are_those_of_folders(folders: Path, written: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, freeze_backbone="true")
    one, other = (features.read(embedding.embed(config, job(root, tmp_path / root.name), CPU))
                  for root in (folders, written))  # fmt: skip
    assert one.key == other.key
    for name in ("train", "valid"):
        assert torch.equal(one.splits[name].vectors, other.splits[name].vectors)
        assert torch.equal(one.splits[name].labels, other.splits[name].labels)


def test_the_usual_reader_reads_them(folders: Path, written: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    found = {}
    for shard in shards.find(written / "train"):
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
            found[sample["__key__"] + ".jpg"] = (sample["jpg"], int(sample["cls"]))
    split = data.find_split("train", folders / "train")
    assert found == {name: (split.store.read(i), split.labels[i]) for i, name in enumerate(split.names)}


def test_the_same_photographs_give_the_same_bytes(folders: Path, tmp_path: Path) -> None:
    layout = dataset.read(folders)
    for name in ("a", "b"):
        sharding.write(dataset.targets(layout), sorted(layout["train"]), tmp_path / name)
    one, other = ([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))] for name in ("a", "b"))
    assert one == other and len(one) == 4


def cut_off(train: Path) -> None:
    path = shards.find(train)[1]
    path.write_bytes(path.read_bytes()[:-3000])


def lose_one(train: Path) -> None:
    shards.find(train)[1].unlink()


def add_one(train: Path) -> None:
    shutil.copyfile(shards.find(train)[0], train / "more.tar")


def exchange(train: Path) -> None:
    path = shards.find(train)[0]
    content = bytearray(path.read_bytes())
    content[:512] = bytes(512)
    path.write_bytes(content)


def another_index(train: Path) -> None:
    (train / "index.json").write_text(json.dumps({"format": "kennel-shards/9"}))


def half_an_index(train: Path) -> None:
    text = (train / "index.json").read_text()
    (train / "index.json").write_text(text[: len(text) // 2])


def no_tar(train: Path) -> None:
    (train / "index.json").unlink()
    shards.find(train)[1].write_text("I am a text")


def compressed(train: Path) -> None:
    (train / "index.json").unlink()
    path = shards.find(train)[1]
    path.write_bytes(gzip.compress(path.read_bytes()))


def cut_off_without_an_index(train: Path) -> None:
    """Between two photographs, where it looks whole."""
    index = shards.read_index(train)
    at = max(member.offset for member in index.members if member.shard == 1) - 512
    path = shards.find(train)[1]
    path.write_bytes(path.read_bytes()[:at])
    (train / "index.json").unlink()


def folders_as_well(train: Path) -> None:
    (train / CLASSES[0]).mkdir()


def others_only(train: Path) -> None:
    for path in train.iterdir():
        path.unlink()
    (train / "shard.00000.mds").write_bytes(b"x")


def one_class(train: Path) -> None:
    """What some tool made of one class folder."""
    for path in train.iterdir():
        path.unlink()
    with tarfile.open(train / "all.tar", "w") as tar:
        tar.add(__file__, "amber/0.jpg")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_off, r"train-000001.tar is cut off: it has [\d,]+ bytes and should have [\d,]+; copy it again"),
        (cut_off_without_an_index, "train-000001.tar is cut off: copy it again"),
        (lose_one, "train-000001.tar is missing: copy the whole folder again"),
        (add_one, "index.json does not know the shard more.tar"),
        (exchange, "train-000000.tar is damaged"),
        (another_index, "index.json has format 'kennel-shards/9', this version reads"),
        (half_an_index, "index.json is damaged"),
        (no_tar, "train-000001.tar cannot be read .*: it must be a tar file, not compressed"),
        (compressed, "train-000001.tar cannot be read .*: it must be a tar file, not compressed"),
        (folders_as_well, "holds the class folder 'amber' and the shard 'train-000000.tar': give it class folders or"),
        (others_only, "holds no class folder and no shard .*, but shard.00000.mds"),
        (one_class, "holds only the class folder 'amber'"),
    ],
)
def test_what_is_wrong_is_said(root: Path, damage: Callable[[Path], None], sentence: str) -> None:
    damage(root / "train")
    with pytest.raises(InputError, match=sentence) as caught:
        data.find_split("train", root / "train")
    assert "\n" not in str(caught.value)


def test_a_bad_photograph_in_a_shard_is_named(root: Path) -> None:
    split = data.find_split("train", root / "train")
    index = shards.read_index(root / "train")
    member = index.members[9]
    with (root / "train" / index.shards[member.shard][0]).open("r+b") as file:
        file.seek(member.offset)
        file.write(bytes(member.size))
    views = data.Views(split, Preprocessing.for_size(32), False, 0, 0)
    with pytest.raises(InputError, match=f"the photograph train/{member.name} cannot be used: the bytes are no image"):
        views[9]
