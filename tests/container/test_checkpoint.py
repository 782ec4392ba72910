"""A training that was interrupted goes on as if nothing had happened; and what may be wrong with what it left."""

from __future__ import annotations

import dataclasses
import functools
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import data, precision, training
from classifier.checkpoint import Checkpoints
from classifier.config import Config
from classifier.errors import InputError
from classifier.images import Preprocessing, normalize
from classifier.steps import Step
from photographs import data_set

CPU = precision.Precision(torch.device("cpu"), None)
SMALL = Preprocessing.for_size(32)
# Five batches of an epoch.
CONFIG = Config(
    weights="none",
    freeze_backbone="false",
    image_size=32,
    batch_size=8,
    epochs=4,
    learning_rate=0.01,
    augment=True,
    workers=0,
)


class Network(torch.nn.Sequential):
    """A backbone with batch normalization, and a head by the name that a frozen backbone's has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.bn = torch.nn.BatchNorm2d(6)
        self.fc = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(self.conv(x)).relu().mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Until(training.Observer):
    """Stops a training after that many of its steps; remembers what it was told."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.seen: list[int] = []
        self.resumed: list[int] = []
        self.epochs: list[int] = []

    def on_resume(self, history: Sequence[training.Epoch]) -> None:
        self.resumed = [epoch.number for epoch in history]

    def on_step(self, step: Step) -> None:
        self.seen.append(step.number)

    def on_epoch(self, epoch: training.Epoch) -> None:
        self.epochs.append(epoch.number)

    def __call__(self) -> bool:
        return len(self.seen) >= self._left


class Runs:
    """Trainings on the same photographs, whose checkpoints lie in `root`. `told`: what was said of them."""

    def __init__(self, photographs: Path, root: Path) -> None:
        self.train = data.find_split("train", photographs / "train")
        self.valid = data.find_split("valid", photographs / "valid", self.train.classes)
        self.root = root
        self.told: list[str] = []

    def source(self, config: Config) -> data.Batches:
        every = data.Photographs(self.train, SMALL, config.augment, config.seed)
        return data.Batches(every, config.batch_size, config.workers, shuffle=True, seed=config.seed)

    def checkpoints(self, config: Config = CONFIG) -> Checkpoints:
        return Checkpoints(
            self.root, config.to_hyperparameters(), config.checkpoint_steps, config.checkpoint_minutes, self.told.append
        )

    def run(
        self, config: Config = CONFIG, kept: bool = True, until: Until | None = None, net: torch.nn.Module | None = None
    ) -> tuple[dict[str, torch.Tensor], training.Outcome]:
        torch.manual_seed(3)
        net = net or Network()
        held_out = data.Batches(data.Photographs(self.valid, SMALL), 8, 0)
        outcome = training.train(
            net, config, self.source(config), held_out, functools.partial(normalize, preprocessing=SMALL),
            torch.nn.CrossEntropyLoss(), CPU, [until] if until else [], until or (lambda: False),
            self.checkpoints(config) if kept else None,
        )  # fmt: skip
        return net.state_dict(), outcome


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("photographs"), {"train": 12, "valid": 5})


@pytest.fixture
def runs(photographs: Path, tmp_path: Path) -> Runs:
    return Runs(photographs, tmp_path / "training")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def numbers(outcome: training.Outcome) -> list[tuple[float, ...]]:
    """All but times."""
    return [(e.number, e.train_loss, e.valid.loss, e.valid.accuracy) for e in outcome.history]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "views": 2, "workers": 1},
        {"freeze_backbone": "true", "augment": False},
        {"epochs": 20, "early_stopping_patience": 2, "learning_rate": 0.2},
        {
            "ema_decay": 0.9,
            "mixup_alpha": 0.4,
            "cutmix_alpha": 1.0,
            "warmup_epochs": 1.5,
            "freeze_backbone": "until-epoch-2",
            "backbone_learning_rate_factor": 0.3,
        },
    ],
    ids=["adamw", "sgd, workers", "frozen", "early stopping", "averaged, mixed, warmed up, unfrozen on the way"],
)
def test_stopped_anywhere_it_ends_with_the_same_weights(runs: Runs, changes: dict[str, Any]) -> None:
    """At the first step, in the middle of an epoch, at the end of one, after the best one."""
    config = dataclasses.replace(CONFIG, **changes)
    expected, outcome = runs.run(config, kept=False)
    last = 5 * len(outcome.history)
    if config.early_stopping_patience:
        assert outcome.kept.number + 2 == len(outcome.history) < config.epochs
    for step in (1, 5, 8, last - 3, last):
        until = Until(step)
        try:
            runs.run(config, until=until)
        except InputError as error:
            assert step <= 5
            assert f"with its checkpoints, it goes on after step {step}" in str(error)
        rest = Until(1000)
        resumed, again = runs.run(config, until=rest)
        assert same(resumed, expected)
        assert numbers(again) == numbers(outcome)
        assert again.kept.valid.confusion.equal(outcome.kept.valid.confusion)
        assert (again.kept.number, again.kept.valid.mistakes) == (outcome.kept.number, outcome.kept.valid.mistakes)
        assert until.seen + rest.seen == list(range(1, last + 1))
        assert [*rest.resumed, *rest.epochs] == [e.number for e in outcome.history]
        shutil.rmtree(runs.root)


def test_periodic_checkpoints_go_on_from_the_last_one(runs: Runs) -> None:
    """As after SIGKILL: what was done since is done again, and nothing that was done before is even decoded."""
    expected, _ = runs.run(kept=False)
    config = dataclasses.replace(CONFIG, checkpoint_steps=3)

    class Dies(Until):
        def on_step(self, step: Step) -> None:
            super().on_step(step)
            if step.number == 11:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(config, until=Dies(1000))
    rest = Until(1000)
    resumed, _ = runs.run(config, until=rest)
    assert rest.seen == list(range(10, 21))
    assert same(resumed, expected)
    assert runs.told == ["checkpoint: going on after step 9"]

    decoded: list[int] = []
    source = runs.source(CONFIG)
    source._loader._item = lambda i: (decoded.append(i), (torch.zeros(1), 0))[1]  # type: ignore[func-returns-value]
    source.set_epoch(2, 3)
    assert len(source) == 5 and len(list(source)) == 2
    source.set_epoch(2)
    everything = source.examples(3) + source.examples(4)
    assert [runs.train.photograph(i).where for i in decoded] == everything


def test_a_run_stopped_while_it_evaluates_has_saved_before(runs: Runs) -> None:
    """An evaluation may take longer than the platform waits: then the process is killed in it."""
    expected, _ = runs.run(kept=False)

    class InTheSecondEvaluation(Until):
        def on_phase(self, phase: str) -> None:
            if phase == "eval" and len(self.seen) == 10:
                self._left = 0

    class Killed(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training and until():
                raise KeyboardInterrupt
            return super().forward(x)

    torch.manual_seed(3)
    until, net = InTheSecondEvaluation(1000), Killed()
    with pytest.raises(KeyboardInterrupt):
        runs.run(until=until, net=net)
    rest = Until(1000)
    resumed, _ = runs.run(until=rest)
    assert rest.seen == list(range(11, 21))
    assert same(resumed, expected)


def damaged(root: Path, which: int, damage: Callable[[bytes], bytes]) -> None:
    """Changes the newest checkpoint (0), or the one before (1)."""
    path = sorted(root.glob("*/?.pt"), key=lambda p: -int(p.read_bytes().split(b" ", 2)[1]))[which]
    path.write_bytes(damage(path.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-100], lambda c: c[:5000] + bytes([c[5000] ^ 1]) + c[5001:], lambda c: b""],
    ids=["cut off", "a bit", "empty"],
)
def test_a_damaged_newest_checkpoint(runs: Runs, damage: Callable[[bytes], bytes]) -> None:
    expected, _ = runs.run(kept=False)
    config = dataclasses.replace(CONFIG, checkpoint_steps=3)
    runs.run(config, until=Until(10))
    damaged(runs.root, 0, damage)
    rest = Until(1000)
    resumed, _ = runs.run(config, until=rest)
    assert rest.seen[0] == 10
    assert same(resumed, expected)
    (line,) = runs.told
    assert line.startswith("checkpoint: ") and line.endswith(" is damaged and not used; going on after step 9")


def test_two_damaged_checkpoints(runs: Runs) -> None:
    expected, _ = runs.run(kept=False)
    config = dataclasses.replace(CONFIG, checkpoint_steps=3)
    runs.run(config, until=Until(10))
    for which in (0, 1):
        damaged(runs.root, which, lambda content: content[:-1])
    resumed, _ = runs.run(config)
    assert same(resumed, expected)
    assert runs.told == [
        "checkpoint: the one of step 10 and the one of step 9 are damaged and not used; there is no other, and "
        "training begins anew"
    ]


def test_another_runs_checkpoint_is_not_taken_up(runs: Runs) -> None:
    other = dataclasses.replace(CONFIG, epochs=5, learning_rate=0.02)
    runs.run(other, until=Until(7))
    expected, _ = runs.run(kept=False)
    rest = Until(1000)
    fresh, _ = runs.run(until=rest)
    assert rest.seen[0] == 1
    assert same(fresh, expected)
    assert runs.told == [
        "checkpoint: those of another run are not taken up (epochs: 5 there, 4 here; "
        "learning-rate: 0.02 there, 0.01 here)"
    ]
    # Nor where somebody put its file among ours.
    mine, theirs = runs.checkpoints(), runs.checkpoints(other)
    mine.folder.mkdir(exist_ok=True)
    for file in theirs.folder.glob("*.pt"):
        shutil.copy(file, mine.folder / file.name)
    assert runs.checkpoints().load() is None
    assert runs.checkpoints(other).load() is not None


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files may not grow beyond 2 kB: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_no_training_and_spoils_no_checkpoint(runs: Runs, small_files: None) -> None:
    expected, _ = runs.run(kept=False)
    trained, _ = runs.run(dataclasses.replace(CONFIG, checkpoint_steps=2))
    assert same(trained, expected)
    (line,) = runs.told
    assert line.startswith("checkpoint: step 2 could not be saved (File too large); training goes on")
    assert [path.name for path in runs.root.rglob("*") if path.is_file()] == ["run.json"]


def test_removed_when_it_is_over_and_strays_too(runs: Runs) -> None:
    runs.run(until=Until(7))
    kept = runs.checkpoints()
    (kept.folder / "1.pt.writing").write_bytes(b"of a process that was killed")
    assert kept.load()
    assert sorted(path.name for path in kept.folder.iterdir()) == ["0.pt", "run.json"]
    kept.remove()
    assert runs.checkpoints().load() is None


class Counting(Network):
    """Does something else in the forward pass of a step."""

    def __init__(self, at: int, act: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._at, self._act, self._calls = at, act, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._calls += self.training
        logits = super().forward(x)
        return self._act(logits) if self.training and self._calls >= self._at else logits


@pytest.mark.parametrize("step", [3, 7, 60])
def test_a_loss_that_is_no_number_names_the_step_and_the_photographs(runs: Runs, step: int) -> None:
    config = dataclasses.replace(CONFIG, epochs=20, checkpoint_steps=4)
    net = Counting(step, lambda logits: logits * float("nan"))
    with pytest.raises(InputError) as failed:
        runs.run(config, net=net)
    source = runs.source(config)
    source.set_epoch((step - 1) // 5 + 1)
    names = source.examples((step - 1) % 5)
    assert str(failed.value) == (
        f"the training loss became nan in epoch {(step - 1) // 5 + 1} (step {step}) with learning-rate=0.01: lower "
        f"learning-rate; the batch was {', '.join(names)}"
    )
    # None was saved of what came after it.
    saved = runs.checkpoints(config).load()
    assert (saved["progress"]["step"] if saved else 0) == (step - 1) // 4 * 4


@pytest.mark.parametrize(("most", "fits"), [(7, 4), (3, 2), (0, None)])
def test_a_batch_that_does_not_fit_into_the_gpu(runs: Runs, most: int, fits: int | None) -> None:
    def full(logits: torch.Tensor) -> torch.Tensor:
        if len(logits) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. ...")
        return logits

    with pytest.raises(InputError) as failed:
        runs.run(net=Counting(2, full))
    said = str(failed.value)
    assert "batch-size=8 with model=resnet18 and image-size=32 does not fit into the GPU's memory" in said
    assert f"batch-size={fits} does" in said if fits else "no smaller batch does" in said
