"""However a watched training ends, there is a report that says how."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier import artifact, log
from classifier.errors import InputError
from classifier.job import Job
from contract_training import Job as Process
from photographs import data_set

from . import watched


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 8, "valid": 4})


@pytest.fixture
def job(tmp_path: Path, data: Path) -> Job:
    return watched.job(tmp_path, data)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines of the log; `act` is called with each."""

    def listen(act: Callable[[str], object] = lambda line: None) -> list[str]:
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            act(line)

        monkeypatch.setattr(log, "say", say)
        return lines

    return listen


def test_completed(job: Job, said: Callable[..., list[str]]) -> None:
    lines = said()
    report = watched.run(job)
    assert (report["status"], report["reason"], report["missing"]) == ("completed", None, [])
    assert report["classes"] == ["amber", "blue", "green"] and report["dataset"]["train"] == 24
    assert report["kept_epoch"] in (1, 2) and sum(map(sum, report["confusion"])) == 12
    assert json.loads((job.model_dir / "report.json").read_text()) == report
    assert (job.model_dir / "report.html").read_bytes() == (job.output_dir / "report.html").read_bytes()
    fired = [f["rule"] for f in report["findings"] if f["fired"]]
    assert lines[-1].startswith("report: report.html (") and all(rule in lines[-1] for rule in fired)
    assert list((job.output_dir / "tensorboard").iterdir())


def test_stopped(job: Job, said: Callable[..., list[str]]) -> None:
    """By what SIGTERM sets, once there is an epoch to keep."""

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            job.stop.set()

    said(stop)
    report = watched.run(job, epochs="1000")
    assert (report["status"], report["reason"]) == ("stopped", None)
    assert len(report["epochs"]) == 1
    assert artifact.read(job.model_dir).provenance["stopped_early"] is True


def test_stopped_before_there_was_anything_to_keep(job: Job) -> None:
    job.stop.set()
    with pytest.raises(InputError, match="stopped before its first epoch"):
        watched.run(job)
    report = watched.report(job)
    assert report["status"] == "stopped" and report["reason"].startswith("the job was stopped before its first epoch")


def test_failed_of_a_loss_that_is_no_number(job: Job, said: Callable[..., list[str]]) -> None:
    """Nothing was recorded since it became one; the rule has it all the same."""
    lines = said()
    with pytest.raises(InputError, match="lower learning-rate") as failed:
        watched.run(job, learning_rate="10", optimizer="sgd", weight_decay="1", epochs="100", save_interval="100000")
    report = watched.report(job)
    assert (report["status"], report["reason"]) == ("failed", str(failed.value))
    (finding,) = [f for f in report["findings"] if f["rule"] == "ExplodingTensor"]
    assert (finding["severity"], finding["fired"]) == ("error", 1)
    assert any(line.startswith("finding: ExplodingTensor (error) step ") for line in lines)
    assert "ExplodingTensor" in lines[-1]


def test_failed_of_what_nobody_foresaw(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(artifact, "write", write)
    with pytest.raises(ZeroDivisionError):
        watched.run(job)
    report = watched.report(job)
    assert (report["status"], report["reason"]) == ("failed", "ZeroDivisionError: of all things")
    assert len(report["epochs"]) == 2


def test_failed_before_there_was_anything_to_train_on(job: Job) -> None:
    with pytest.raises(InputError) as failed:
        watched.run(job, weights="pretrained")
    report = watched.report(job)
    assert (report["status"], report["reason"], report["epochs"]) == ("failed", str(failed.value), [])


def test_ended_by_a_rule_with_an_epoch_to_keep(job: Job) -> None:
    rules = "Overtraining:patience_train=1:patience_validation=1:delta=1"
    with pytest.raises(InputError, match=r"^stopped by the rule Overtraining: no better validation loss") as ended:
        watched.run(job, epochs="1000", rules=rules, stop_on="Overtraining")
    report = watched.report(job)
    assert (report["status"], report["reason"]) == ("failed", str(ended.value))
    assert report["findings"][2]["rule"] == "Overtraining" and report["findings"][2]["fired"] == 1
    assert artifact.read(job.model_dir).provenance["kept_epoch"] == len(report["epochs"]) == 1


def test_ended_by_a_rule_with_none(job: Job) -> None:
    with pytest.raises(InputError, match=r"^stopped by the rule VanishingGradient: gradient/ResNet_") as ended:
        watched.run(job, rules="VanishingGradient:threshold=1", stop_on="VanishingGradient")
    report = watched.report(job)
    assert (report["status"], report["reason"], report["epochs"]) == ("failed", str(ended.value), [])
    assert not (job.model_dir / artifact.WEIGHTS).exists()


def test_a_rule_cannot_end_what_nobody_watches(job: Job) -> None:
    with pytest.raises(InputError, match="set debug=true, or leave stop-on out"):
        watched.run(job, debug="false", stop_on="Overfit")


def test_killed(tmp_path: Path, data: Path) -> None:
    """A real process, in its second epoch or later: what it saw until then is there."""
    process = Process(tmp_path / "ml", {name: data / name for name in ("train", "valid")})
    process.write(watched.QUICK | {"epochs": "1000"})
    running = process.start()
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("epoch 3/"):
            break
    running.send_signal(signal.SIGKILL)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL, rest
    output = tmp_path / "ml" / "output" / "data"
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    assert (report["status"], report["reason"], report["ended"]) == ("running", None, None)
    assert len(report["epochs"]) >= 1 and report["losses"]["train"] and report["tensors"]
    assert "<svg" in (output / "report.html").read_text()


def test_two_ranks_leave_one_report(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second first, as each waits for nobody."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        if rank == "1":
            with pytest.raises(FileNotFoundError):
                watched.run(job, rules="StepOutlier:n_outliers=0")
        else:
            report = watched.run(job)
    assert [(rank["rank"], len(rank["steps"]["number"])) for rank in report["ranks"]] == [(0, 6), (1, 6)]
    points = {f["rule"]: f["points"] for f in report["findings"]}
    assert points["Overfit"] == 4 and points["MaxInitializationTime"] == 2
    assert points["ExplodingTensor"] == 4  # of the first rank alone: three steps and the last
