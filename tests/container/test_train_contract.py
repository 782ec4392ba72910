"""`train` by the container contract: as a process always, as a container where an engine answers."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from classifier import artifact, metrics
from classifier.rule_settings import RULES
from contract_training import Job
from photographs import CLASSES, data_set

QUICK = {"weights": "none", "freeze-backbone": "false", "image-size": "32", "epochs": "2", "batch-size": "8"}
HANDLES_TERM = 1 << (signal.SIGTERM - 1)  # in the mask SigCgt of /proc/PID/status
Factory = Callable[..., Job]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), {"train": 12, "valid": 4, "test": 4})


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.engine)])
def job(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Iterator[Factory]:
    image = request.getfixturevalue("image") if request.param == "docker" else None

    def make(**channels: Path) -> Job:
        return Job(tmp_path / "ml", channels or {n: data / n for n in ("train", "valid", "test")}, image)

    yield make


def test_a_job_leaves_artifact_report_and_metrics(job: Factory) -> None:
    this = job()
    code, log = this.run(QUICK | {"debug": "true", "save-interval": "2", "_tuning_objective_metric": "valid:accuracy"})
    assert code == 0, log
    assert len(re.findall(r"^epoch \d/2: train:loss=\S+ valid:loss=\S+ valid:accuracy=\S+", log, re.M)) == 2
    for definition in metrics.definitions():
        assert re.search(definition["Regex"], log), f"{definition['Name']} is not in the log"

    model = artifact.read(this.root / "model")
    assert (model.model, model.classes, model.preprocessing.crop) == ("resnet18", CLASSES, 32)
    assert model.provenance["dataset"]["train"] == 36
    assert len(model.provenance["dataset"]["fingerprint"]) == 64
    assert model.provenance["versions"]["torch"].startswith("2.")
    assert {p.name for p in (this.root / "model").iterdir()} == {
        "model.json", "model.safetensors", "report.html", "report.json"
    }  # fmt: skip

    report = json.loads((this.root / "output" / "data" / "report.json").read_text())
    assert (report["status"], report["reason"], report["missing"]) == ("completed", None, [])
    assert [e["number"] for e in report["epochs"]] == [1, 2]
    assert [step for step, _ in report["losses"]["train"]] == [1, 3, 5, 7, 9] and report["losses"]["eval"]
    spans = report["ranks"][0]["spans"]["name"]
    assert spans[0] == "initialization" and spans[1:3] == ["evaluation"] * 2 and spans[-1] == "checkpoint"
    assert [f["rule"] for f in report["findings"]] == list(RULES)
    # The tuner takes the last value in the log: it must be that of the weights in the artifact.
    last = re.findall(r"valid:accuracy=(\S+)", log)[-1]
    assert float(last) == pytest.approx(model.metrics["valid:accuracy"], rel=1e-4)
    assert re.search(r"^report: report.html \((no findings|\d+ findings?: .*)\)$", log, re.M), log
    assert "<svg" in (this.root / "output" / "data" / "report.html").read_text()


def test_the_same_seed_gives_the_same_weights(job: Factory, tmp_path: Path) -> None:
    digests = []
    for _ in range(2):
        this = job()
        code, log = this.run(QUICK | {"augment": "true", "epochs": "1", "seed": "7"})
        assert code == 0, log
        digests.append(json.loads((this.root / "model" / "model.json").read_text())["weights_sha256"])
        shutil.rmtree(tmp_path / "ml")
    assert digests[0] == digests[1]


def test_a_search_in_one_job(job: Factory) -> None:
    """Its JSON is one of the strings in hyperparameters.json, as a platform that knows nothing of it carries it."""
    this = job()
    ranges = [{"name": "batch-size", "kind": "Categorical", "values": ["8", "16"]}]
    search = json.dumps({"strategy": "grid", "trials": 2, "objective": "valid:loss", "ranges": ranges})
    code, log = this.run(QUICK | {"mode": "search", "search": search, "freeze-backbone": "true"})
    assert code == 0, log
    found = json.loads((this.root / "output" / "data" / "trials.json").read_text())
    assert [trial["status"] for trial in found["trials"]] == ["Completed", "Completed"]
    assert found["direction"] == "Minimize"
    model = artifact.read(this.root / "model")
    assert model.metrics["valid:loss"] == pytest.approx(min(trial["objective"] for trial in found["trials"]))


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"learning-rat": "0.1"}, "unknown hyperparameter 'learning-rat': did you mean 'learning-rate'?"),
        ({"epochs": "0"}, "epochs='0' is not valid: it must be a whole number between 1 and 1000"),
        ({"weights": "pretrained", "model": "resnet101"}, "no pretrained weights for resnet101"),
    ],
)
def test_bad_hyperparameters_fail_with_one_sentence(job: Factory, hyperparameters: dict[str, str], reason: str) -> None:
    this = job()
    code, log = this.run(QUICK | hyperparameters)
    assert code == 1
    assert reason in this.failure()
    assert reason in log
    assert "Traceback" not in log
    assert not any((this.root / "model").iterdir())


def test_a_missing_channel(job: Factory, data: Path) -> None:
    this = job(train=data / "train")
    code, log = this.run(QUICK)
    assert code == 1
    assert this.failure() == "the channel `valid` is missing (given: train): add it to the job's input data"
    assert "Traceback" not in log


def test_a_damaged_photograph_is_named(job: Factory, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    victim = copy / "train" / "blue" / "3.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    this = job(train=copy / "train", valid=copy / "valid")
    # With workers the error crosses from a thread, which must not turn it into a traceback.
    code, log = this.run(QUICK | {"workers": "1"})
    assert code == 1
    assert "the photograph train/blue/3.jpg cannot be used: the image is damaged" in this.failure()
    assert "Traceback" not in log


def test_a_diverged_loss_fails_with_what_to_change(job: Factory) -> None:
    this = job()
    code, _ = this.run(QUICK | {"learning-rate": "10", "optimizer": "sgd", "weight-decay": "1", "epochs": "30"})
    assert code == 1
    assert "lower learning-rate" in this.failure()


def test_sigterm_keeps_the_best_epoch(job: Factory) -> None:
    this = job()
    this.write(QUICK | {"epochs": "1000"})
    process = this.start()
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("epoch 2/"):
            break
    this.terminate(process)
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == 0, seen + rest
    model = artifact.read(this.root / "model")
    assert model.provenance["stopped_early"] is True


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process handles is read from Linux's /proc")
def test_sigterm_in_the_first_second_is_not_lost(job: Factory, request: pytest.FixtureRequest) -> None:
    """Sent while libraries are imported, as soon as it is handled: there is no epoch to keep, and that is said."""
    if "docker" in request.node.name:
        pytest.skip("the processes of a container are another user's to look at")
    this = job()
    this.write(QUICK | {"epochs": "1000"})
    process = this.start()
    while not int(re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{process.pid}/status").read_text())[0], 16) & HANDLES_TERM:
        assert process.poll() is None
    this.terminate(process)
    log, _ = process.communicate(timeout=300)
    assert process.returncode == 1, log
    assert this.failure() == "the job was stopped before its first epoch was complete; there is no model to keep"
