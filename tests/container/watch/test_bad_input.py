"""What a watched training meets that is not as it should be: it trains on, or says in one sentence what to mend."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

import train
from classifier import artifact, rule_settings
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job
from classifier.watch import report
from classifier.watch.collected import Collected, EpochMetrics, Gpu, Sample, StepTime
from classifier.watch.rules import epoch_rules, machine_rules, step_rules
from photographs import data_set

from .provoked import Nvml, NVMLError

Run = Callable[..., dict[str, Any]]
Row = TypeVar("Row", StepTime, Sample, EpochMetrics, Gpu)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 8, "valid": 4})


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Job:
    for name in ("model", "output", "checkpoints"):
        (tmp_path / name).mkdir()
    return Job(
        name="bad-input", channels={name: data / name for name in ("train", "valid")}, model_dir=tmp_path / "model",
        output_dir=tmp_path / "output", checkpoints=tmp_path / "checkpoints", hook_file=tmp_path / "hook.json",
        weights=tmp_path, stop=threading.Event(),
    )  # fmt: skip


@pytest.fixture
def run(job: Job) -> Run:
    """Trains for two epochs of three steps, and gives its report."""

    def trained(**hyperparameters: str) -> dict[str, Any]:
        given = {
            "weights": "none", "freeze-backbone": "true", "image-size": "32", "epochs": "2", "batch-size": "8",
            "workers": "0", "debug": "true", "save-interval": "1",
        }  # fmt: skip
        train.run(Config.parse(given | {k.replace("_", "-"): v for k, v in hyperparameters.items()}), job)
        report: dict[str, Any] = strictly((job.output_dir / "report.json").read_text())
        assert report["status"] == "completed"
        assert artifact.read(job.model_dir).metrics["valid:loss"] > 0
        return report

    return trained


def strictly(text: str) -> Any:
    """JSON as its standard has it, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"rules": "Overfitt:off"}, "there is no rule 'Overfitt'; did you mean Overfit?"),
        ({"stop_on": "NoSuchThing"}, "there is no rule 'NoSuchThing'; known are: LossNotDecreasing, "),
        ({"rules": "StepOutlier:stddev=0"}, "StepOutlier:stddev=0 is not valid: it must be a number between 1 and 100"),
        ({"rules": "StepOutlier:stddev=nan"}, "StepOutlier:stddev=nan is not valid"),
        ({"rules": "StepOutlier:stdev=3"}, "StepOutlier knows no 'stdev=3'; it takes stddev=NUMBER"),
        ({"rules": "Dataloader:off", "stop_on": "Dataloader"}, "Dataloader is turned off by the hyperparameter rules"),
        ({"collections": "losses,gradient"}, "there is no collection 'gradient'; did you mean gradients?"),
        ({"save_interval": "-1"}, "save-interval='-1' is not valid"),
    ],
)
def test_settings_that_cannot_be(run: Run, job: Job, hyperparameters: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError) as refused:
        run(**hyperparameters)
    assert reason in str(refused.value)
    assert not any(job.output_dir.iterdir())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "is no JSON object"),
        ('{"CollectionConfigurations": [{"CollectionName": "losess"}]}', "'losess', which is unknown"),
    ],
)
def test_a_hook_file_that_cannot_be_used(run: Run, job: Job, content: str, reason: str) -> None:
    job.hook_file.write_text(content)
    with pytest.raises(InputError) as refused:
        run()
    assert reason in str(refused.value)
    assert str(job.hook_file) in str(refused.value)


def test_a_hook_file_that_names_the_directory_of_another_run(run: Run, job: Job, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    hook = {"LocalPath": str(place), "CollectionConfigurations": [{"CollectionName": "losses"}]}
    job.hook_file.write_text(json.dumps(hook))
    run()
    before = sorted(place.rglob("*"))
    assert before
    with pytest.raises(InputError, match="holds the tensors of another run"):
        run()
    assert sorted(place.rglob("*")) == before


def test_what_another_run_left_is_none_of_this_one(run: Run, job: Job) -> None:
    first = run(epochs="3")
    (job.output_dir / "watch").mkdir(exist_ok=True)
    (job.output_dir / "watch" / "rank-7.json").write_text("{")
    second = run()
    assert len(first["losses"]["train"]) == 9
    assert len(second["losses"]["train"]) == 6
    assert [rank["rank"] for rank in second["ranks"]] == [0]


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Path, int], None]]:
    """Makes of a directory a file system of so many KiB."""
    mounted: list[Path] = []

    def mount(place: Path, size: int) -> None:
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"only root mounts a small disk: {done.stderr.strip()}")
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_tensors_fill(
    run: Run, job: Job, small_disk: Callable[[Path, int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    small_disk(job.output_dir / "tensors", 256)
    report = run(epochs="3", freeze_backbone="false")
    (sentence,) = [missing for missing in report["missing"] if "tensors" in missing]
    assert "No space left on device" in sentence
    assert f"watch: {sentence}" in capfd.readouterr().out
    assert len(report["epochs"]) == 3
    assert 1 <= len(report["losses"]["train"]) < 9


def test_a_disk_that_has_no_place_for_a_report(
    run: Run, job: Job, small_disk: Callable[[Path, int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    small_disk(job.output_dir, 32)
    with pytest.raises(FileNotFoundError, match=r"report\.json"):
        run()  # it looks for the report where there is no room for one
    log = capfd.readouterr().out
    assert "No space left on device" in log
    assert "report: report.html (" in log
    report = strictly((job.model_dir / "report.json").read_text())
    assert report["status"] == "completed"
    assert [missing for missing in report["missing"] if missing.startswith("the report lies beside the model alone")]
    assert (job.model_dir / "report.html").is_file()
    assert artifact.read(job.model_dir).metrics["valid:loss"] > 0


class Failing(Nvml):
    """Starts, and then answers nothing."""

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> NoReturn:
        raise NVMLError("GPU is lost")

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> NoReturn:
        raise NVMLError("GPU is lost")


class Absent(Nvml):
    def nvmlInit(self) -> None:
        raise NVMLError("NVML Shared Library Not Found")


def test_nvml_that_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Failing((50, 50)))
    report = run(rules="LowGPUUtilization:patience=1;BatchSize:patience=1;CPUBottleneck:patience=1")
    assert [missing for missing in report["missing"] if "GPU is lost" in missing]
    assert {f["rule"]: f["fired"] for f in report["findings"]}["LowGPUUtilization"] == 0


def test_no_nvml(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a machine without a GPU does not lack."""
    monkeypatch.setitem(sys.modules, "pynvml", Absent())
    monkeypatch.setattr("classifier.driver.device_files", list)
    report = run()
    assert not [missing for missing in report["missing"] if "GPU" in missing]
    assert "no GPU" in {f["rule"]: f["unseen"] for f in report["findings"]}["LowGPUUtilization"]


GPU = Gpu(0, 50.0, 1 << 30, 1 << 34, 60.0, 200.0)
BAD = (math.nan, math.inf, -math.inf)
STEP = StepTime(1, 1, 8, 1.79e9, 0.01, 0.01, 0.01, 0.01, 0.01)
SAMPLE = Sample(1.79e9, (50.0, 60.0), 1.0, 1 << 30, 1.0, 1.0, 1.0, 1.0, (GPU, GPU._replace(number=1)))
EPOCH = EpochMetrics(1, 1.79e9, 10.0, 100.0, 1.0, 1.0, 0.5, 0.6, [[5, 5], [5, 5]], [10, 10])


def spoiled(row: Row) -> Iterator[Row]:
    """`row` as it is, and with each of its floats as what is no number."""
    yield row
    for field, value in row._asdict().items():
        if isinstance(value, float) and field not in ("at", "began"):  # a clock gives numbers
            for bad in BAD:
                yield type(row)(**{**row._asdict(), field: bad})


@pytest.mark.parametrize("only_bad", [False, True])
def test_values_that_are_no_numbers_in_every_series(only_bad: bool, tmp_path: Path) -> None:
    """Rules see them, the report is made of them, and it is JSON."""
    settings = rule_settings.parse("", "").rules
    classes = (*epoch_rules.RULES, *step_rules.RULES, *machine_rules.RULES)
    rules = [rule(settings[rule.__name__]) for rule in classes]
    steps, samples, epochs = list[StepTime](), list[Sample](), list[EpochMetrics]()
    for number in range(1, 4):
        for step in itertools.islice(spoiled(STEP._replace(epoch=number)), only_bad, None):
            steps.append(step._replace(number=len(steps) + 1))
        for sample in itertools.islice(spoiled(SAMPLE), only_bad, None):
            for cpu, gpus in [
                (s, g)
                for s in ((50.0, 60.0), (math.nan, math.inf))
                for g in [()] + [(gpu, GPU._replace(number=1)) for gpu in spoiled(GPU)]
            ]:
                samples.append(sample._replace(at=sample.at + len(samples), cpu=cpu, gpus=gpus))
        for epoch in itertools.islice(spoiled(EPOCH), only_bad, None):
            epochs.append(epoch._replace(number=len(epochs) + 1))
    for rule in rules:
        for kind, rows in (("on_step", steps), ("on_sample", samples), ("on_epoch", epochs)):
            for row in rows:
                getattr(rule, kind)(row)
        rule.on_end()
    ranks = [Collected(rank, "host", 1.79e9, 2, 1 << 34, steps=steps, samples=samples) for rank in (0, 1)]
    next(rule for rule in rules if isinstance(rule, machine_rules.LoadBalancing)).on_ranks(ranks)
    bad = [(1, math.nan), (2, math.inf), (3, 1.0)]
    tensors = {"w": {"collection": "weights", "steps": [1, 2, 3], **{k: [*BAD] for k in ("min", "max", "mean", "std")}}}
    document = report.document(
        job="no numbers", status="completed", began=1.79e9, ended=1.79e9 + 100, classes=["a", "b"], hyperparameters={},
        epochs=epochs, findings=[rule.finding() for rule in rules], ranks=ranks, losses={"train": bad, "eval": bad},
        tensors=tensors, metrics={"valid:loss": math.nan, "test:loss": -math.inf},
    )  # fmt: skip
    page = report.write(tmp_path, document)
    told = strictly((tmp_path / "report.json").read_text())
    assert len(told["findings"]) == len(rules)
    assert told["losses"]["train"] == [[1, None], [2, None], [3, 1.0]]
    assert page.stat().st_size > 10_000


def test_averaged_mixed_and_unfrozen_on_the_way(run: Run) -> None:
    """Where the network that is judged has other weights, labels are shares, and a layer begins to learn later."""
    report = run(freeze_backbone="until-epoch-1", ema_decay="0.5", mixup_alpha="0.4", cutmix_alpha="1")
    assert [len(report["losses"][phase]) for phase in ("train", "eval")] == [6, 2]
    steps = {name: tensor["steps"] for name, tensor in report["tensors"].items() if name.startswith("gradient/")}
    assert steps["gradient/ResNet_fc.weight"] == [1, 2, 3, 4, 5, 6]
    assert steps["gradient/ResNet_layer4.1.conv2.weight"] == [4, 5, 6], "from the second epoch on"
    judged = {finding["rule"]: finding["fired"] for finding in report["findings"]}
    assert not judged["WeightUpdateRatio"], "a layer that is frozen is not one that does not learn"
