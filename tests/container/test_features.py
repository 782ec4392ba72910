"""Features: the pass that computes them, and a head's training on them, which must equal the ordinary way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from classifier import artifact, data, embedding, extraction, features, fitting, material, network
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.precision import Precision
from classifier.preprocessing import Preprocessing
from classifier.training import Epoch, Observer
from conftest import ROOT
from photographs import data_set
from train import run

CPU = Precision(torch.device("cpu"), None)
# A backbone of random weights, as no other is at hand everywhere; what it makes of the three hues can be told apart.
CONFIG = Config(weights="none", image_size=32, batch_size=8, epochs=3, optimizer="sgd", learning_rate=0.003, seed=5)
AUGMENTED = replace(CONFIG, augment=True, views=2)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 11, "valid": 4, "test": 3})


@pytest.fixture
def job(photographs: Path, tmp_path: Path) -> Job:
    for name in ("model", "output", "checkpoints"):
        (tmp_path / name).mkdir()
    return Job(
        "job", {name: photographs / name for name in ("train", "valid", "test")}, tmp_path / "model",
        tmp_path / "output", tmp_path / "checkpoints", tmp_path / "no-hook.json", tmp_path, threading.Event(),
    )  # fmt: skip


def on_features(job: Job, folder: Path) -> Job:
    return replace(job, channels={"features": folder})


@pytest.fixture
def embedded(job: Job) -> Path:
    return embedding.embed(AUGMENTED, job, CPU)


@pytest.mark.parametrize(
    ("compute", "rounding"),
    [(CPU, 2**-11), (Precision(torch.device("cpu"), torch.bfloat16), 2**-8)],
    ids=["float32", "bfloat16"],
)
@pytest.mark.parametrize("config", [CONFIG, AUGMENTED], ids=["plain", "augmented"])
def test_a_head_on_features_equals_the_ordinary_way(
    job: Job, config: Config, compute: Precision, rounding: float
) -> None:
    """Same order, losses and weights. float16 keeps 11 bits of a feature and bfloat16 8; in sums the errors add up."""
    ordinary = material.of_photographs(config, job.channels, [], compute)
    folder = embedding.embed(config, job, compute)
    head = material.of_features(config, features.read(folder), [], compute)

    for number in (1, 2, 3):
        ordinary.training.set_epoch(number)
        head.training.set_epoch(number)
        for (_, expected), (_, labels) in zip(ordinary.training, head.training, strict=True):
            assert torch.equal(expected, labels)

    histories: list[list[Epoch]] = [[], []]
    for given, history in zip((ordinary, head), histories, strict=True):
        fitting.fit(config, given, compute, [Collector(history)])
    for one, other in zip(*histories, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=8 * rounding)
        assert other.valid.loss == pytest.approx(one.valid.loss, rel=8 * rounding)

    one, other = ordinary.network.state_dict(), {**head.frozen, **head.network.state_dict()}
    assert one.keys() == other.keys()
    first = network.head(512, 3, config.seed).state_dict()
    for name, expected in one.items():
        if name in first:
            moved, apart = (torch.linalg.vector_norm(expected - state[name]) for state in (first, other))
            assert apart < moved * 8 * rounding
        else:
            assert torch.equal(other[name], expected), name


class Collector(Observer):
    def __init__(self, history: list[Epoch]) -> None:
        self.history = history

    def on_epoch(self, epoch: Epoch) -> None:
        self.history.append(epoch)


def test_views_are_what_the_epochs_show(job: Job) -> None:
    split = data.find_splits(job.channels)["train"]
    views = data.Views(split, Preprocessing.for_size(32), True, 5, 2)
    shown = data.Photographs(split, Preprocessing.for_size(32), True, 5, views=2)
    for epoch in (1, 2, 3):
        shown.set_epoch(epoch)
        assert torch.equal(shown[7][0], views[7][0][(epoch - 1) % 2])
    assert not torch.equal(views[7][0][0], views[7][0][1])


def test_each_mode_leaves_its_artifact(job: Job) -> None:
    run(replace(AUGMENTED, mode="embed"), job)
    told = json.loads((job.model_dir / "features.json").read_text())
    assert told["splits"]["train"] == {"photographs": 33, "shards": ["train-000-00000.safetensors"]}
    assert told["key"]["views"] == 2 and told["dimension"] == 512
    folder = job.model_dir.rename(job.model_dir.with_name("features"))
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        for path in folder.iterdir():
            if path.suffix != ".gz":
                tar.add(path, path.name)
                path.unlink()
    job.model_dir.mkdir()
    run(AUGMENTED, on_features(job, folder))
    model = artifact.read(job.model_dir)
    assert model.provenance["dataset"] == {
        "fingerprint": told["key"]["data_fingerprint"], "train": 33, "valid": 12, "test": 9,
    }  # fmt: skip
    assert {"test:accuracy", "valid:loss"} <= model.metrics.keys()
    network.load(model)  # the whole network, backbone included


def test_hosts_share_the_work(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD", 6)
    alone = features.read(embedding.embed(AUGMENTED, job, CPU))
    together = replace(job, checkpoints=job.checkpoints / "together")
    for rank in (1, 0):
        folder = embedding.embed(AUGMENTED, replace(together, rank=rank, hosts=2), CPU)
    names = {path.name for path in folder.glob("train-*")}
    assert names == {f"train-{rank:03}-{i:05}.safetensors" for rank in (0, 1) for i in range(3)}
    found = features.read(folder)
    for name, split in alone.splits.items():
        assert torch.equal(found.splits[name].vectors, split.vectors)
        assert torch.equal(found.splits[name].labels, split.labels)


def test_a_channel_that_is_divided_among_the_hosts_is_refused(job: Job) -> None:
    with pytest.raises(InputError, match="the channel `train` is divided among the hosts"):
        run(replace(CONFIG, mode="embed"), replace(job, hosts=2, divided=frozenset({"train"})))


def test_worker_processes_decode_the_same(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader that feeds a GPU, here with the CPU behind it."""
    alone = features.read(embedding.embed(AUGMENTED, job, CPU))
    monkeypatch.setattr(embedding, "on_cores", extraction.on_gpu)
    other = replace(job, checkpoints=job.checkpoints / "other")
    loaded = features.read(embedding.embed(replace(AUGMENTED, workers=1), other, CPU))
    assert torch.allclose(loaded.splits["train"].vectors, alone.splits["train"].vectors, rtol=2**-9, atol=2**-12)
    assert torch.equal(loaded.splits["train"].labels, alone.splits["train"].labels)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_photograph_is_named(job: Job, tmp_path: Path, workers: int) -> None:
    copy = Path(shutil.copytree(job.channels["train"], tmp_path / "train"))
    (copy / "blue" / "3.jpg").write_bytes(b"no photograph")
    damaged = replace(job, channels={**job.channels, "train": copy})
    with pytest.raises(InputError, match=r"the photograph train/blue/3.jpg cannot be used: the bytes are no image"):
        embedding.embed(replace(CONFIG, workers=workers), damaged, CPU)


def test_a_stopped_pass_goes_on_where_it_was(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "SHARD", 20)
    monkeypatch.setitem(embedding._PIXELS, "cpu", 4 * 32 * 32)
    seen: list[int] = []
    decode = data.Views.__getitem__

    def counted(self: data.Views, i: int) -> tuple[torch.Tensor, int]:
        seen.append(i)
        if len(seen) == 26:
            job.stop.set()
        return decode(self, i)

    monkeypatch.setattr(data.Views, "__getitem__", counted)
    slow = replace(CONFIG, workers=1)  # what is on its way when the job is stopped depends on the number of threads
    with pytest.raises(InputError, match=r"the job was stopped when \d+ of 54 photographs were embedded"):
        embedding.embed(slow, job, CPU)
    first = len(seen)
    assert 26 <= first < 54
    again = replace(job, stop=threading.Event())
    folder = embedding.embed(slow, again, CPU)
    # The first shard is whole, of the second what was computed is kept; at most what was on its way is done again.
    assert 54 <= len(seen) < 54 + 20
    assert not list(folder.glob("*.partial"))
    count = len(seen)
    whole = features.read(embedding.embed(CONFIG, again, CPU))
    assert len(seen) == count, "nothing is left to do"
    fresh = embedding.embed(CONFIG, replace(again, checkpoints=job.checkpoints / "fresh"), CPU)
    assert torch.equal(features.read(fresh).splits["train"].vectors, whole.splits["train"].vectors)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "resnet34"}, "model is resnet18 in the channel `features` and resnet34 in the job"),
        ({"image_size": 64}, "image-size is 32 in the channel `features` and 64 in the job"),
        ({"augment": False}, "augment is true in the channel `features` and false in the job"),
        ({"views": 0}, "views is 2 in the channel `features` and 4 in the job"),
        ({"seed": 6}, "seed is 5 in the channel `features` and 6 in the job"),
        ({"weights": "pretrained"}, "the weights is random in the channel `features` and pretrained in the job"),
        ({"data_fingerprint": "0" * 64}, "data-fingerprint is "),
        ({"freeze_backbone": "false"}, "freeze-backbone=false trains the backbone"),
        ({"freeze_backbone": "until-epoch-2"}, "freeze-backbone=until-epoch-2 trains the backbone"),
        ({"cutmix_alpha": 1.0}, "cutmix-alpha cuts photographs"),
    ],
)
def test_features_that_do_not_fit_are_refused(job: Job, shared: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(replace(AUGMENTED, **change), on_features(job, shared))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features for the tests that only read them."""
    root = tmp_path_factory.mktemp("features")
    channels = {name: photographs / name for name in ("train", "valid")}
    return embedding.embed(AUGMENTED, Job("job", channels, root, root, root, root, root, threading.Event()), CPU)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    save_file(load_file(path), path, {"key": "another"})


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("train-000-00000.safetensors", cut, "train-000-00000.safetensors is damaged"),
        ("train-000-00000.safetensors", flip, "train-000-00000.safetensors is damaged"),
        ("valid-000-00000.safetensors", foreign, "belongs to other features"),
        ("valid-000-00000.safetensors", Path.unlink, "valid-000-00000.safetensors is missing"),
        ("backbone.safetensors", flip, "backbone.safetensors is damaged"),
        ("features.json", cut, "features.json is damaged"),
        ("features.json", Path.unlink, "holds no features: features.json is missing"),
    ],
)
def test_a_damaged_folder_is_refused(
    shared: Path, tmp_path: Path, name: str, damage: Callable[[Path], object], words: str
) -> None:
    copy = Path(shutil.copytree(shared, tmp_path / "copy"))
    damage(copy / name)
    with pytest.raises(InputError, match=words):
        features.read(copy)


def test_a_damaged_shard_in_the_checkpoints_is_computed_again(job: Job, embedded: Path) -> None:
    before = features.read(embedded).splits["train"].vectors
    cut(embedded / "train-000-00000.safetensors")
    assert torch.equal(features.read(embedding.embed(AUGMENTED, job, CPU)).splits["train"].vectors, before)


def test_another_data_set_is_refused(job: Job) -> None:
    with pytest.raises(InputError, match=r"the data set has the fingerprint .*, and data-fingerprint=123"):
        embedding.embed(replace(CONFIG, data_fingerprint="123"), job, CPU)


def test_a_head_on_features_loads_neither_torchvision_nor_a_decoder() -> None:
    """A job a trial: what it imports is what it costs."""
    code = (
        "import sys; import train; from classifier import fitting, log, material, precision; "
        "assert not {'torchvision', 'PIL', 'smdebug', 'optuna'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "container_src")
