"""The network in integers: made after training, kept when it is as good, refused when it is damaged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classifier import artifact, calibration, images, network
from classifier.calibration import Judgement
from classifier.config import Config
from classifier.engines import choosing
from classifier.errors import InputError
from classifier.job import Job
from classifier.predictor import Predictor
from classifier.preprocessing import Preprocessing
from conftest import ROOT
from contract_training import lay_out
from photographs import data_set

CLASSES = ("blue", "red")
ALWAYS = Config(quantize="always")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that has written its artifact: a network that is sure of its answers, as a trained one is."""
    root = tmp_path_factory.mktemp("job")
    data = data_set(root / "data", {"train": 6, "valid": 4}, CLASSES)
    torch.manual_seed(0)
    net = network.build("resnet18", len(CLASSES))
    state = net.state_dict()
    state["fc.bias"][:] = state["fc.bias"].new_tensor([3.0, -3.0])
    artifact.write(root / "model", model="resnet18", classes=CLASSES, preprocessing=Preprocessing.for_size(32),
                   metrics={}, provenance={}, state=state)  # fmt: skip
    channels = {split: data / split for split in ("train", "valid")}
    return Job("job", channels, root / "model", root, root, root / "no-hook", root, threading.Event())


@pytest.fixture(scope="module")
def calibrated(job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str, str]:
    """The same with its network in integers, what was said of it, and what was printed."""
    model_dir = tmp_path_factory.mktemp("calibrated") / "model"
    shutil.copytree(job.model_dir, model_dir)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        said = calibration.add((again := replace(job, model_dir=model_dir)), ALWAYS)
    return again, said, out.getvalue()


def test_what_is_as_good_is_kept_and_answers(calibrated: tuple[Job, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    job, said, printed = calibrated
    assert said.startswith("int8: kept, 50.00% of 8 photographs of valid right (fp32 50.00%), 100.00% of the labels")
    assert printed == ""
    found = artifact.read(job.model_dir)
    measured = found.engines["int8"]
    assert measured["valid"]["photographs"] == 8 and measured["kept"] and measured["versions"].keys() >= {"openvino"}
    paths = sorted(job.channels["valid"].rglob("*.jpg"))
    pixels = np.stack([images.load(path.read_bytes(), found.preprocessing) for path in paths])
    answers = {}
    for name in ("fp32", "int8"):
        monkeypatch.setenv(choosing.VARIABLE, name)
        predictor = Predictor(found)
        assert name in predictor.processor
        answers[name] = predictor.predict(pixels), predictor.features(pixels), predictor.activation_map(pixels, 0)
    for exact, other in zip(answers["fp32"], answers["int8"], strict=True):
        assert exact.shape == other.shape
    for exact, other in zip(answers["fp32"][:2], answers["int8"][:2], strict=True):
        assert np.abs(other - exact).mean() < 0.1 * np.abs(exact).mean()
    # It is the integers that answered.
    assert np.abs(answers["fp32"][1] - answers["int8"][1]).max() > 1e-4
    monkeypatch.delenv(choosing.VARIABLE)
    assert "int8" in Predictor(found).choice


def test_what_is_measured_again_is_written_down_once(job: Job, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(job.model_dir, model_dir)
    for distance in (0.1, 0.2):
        artifact.add_engine(model_dir, "int8", {"distance": distance}, (b"<xml/>", b"0"))
    assert artifact.read(model_dir).engines["int8"]["distance"] == 0.2
    description = json.loads((model_dir / artifact.DESCRIPTION).read_text())
    assert len(description["engines"]) == 1
    assert artifact.read(model_dir).read_engine("int8") == (b"<xml/>", b"0")


@pytest.mark.parametrize(("suffix", "words"), [(".bin", "is damaged: its SHA-256"), (".xml", "is missing, which")])
def test_a_damaged_form_is_refused(calibrated: tuple[Job, str, str], tmp_path: Path, suffix: str, words: str) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(calibrated[0].model_dir, model_dir)
    file = model_dir / "openvino" / f"int8{suffix}"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    if suffix == ".bin":
        file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        artifact.read(model_dir)


def test_forms_of_other_versions_are_left_alone(job: Job, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(job.model_dir, model_dir)
    path = model_dir / artifact.DESCRIPTION
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"engines": [{"name": "int4", "sha256": ["0" * 64]}]}))
    assert not artifact.read(model_dir).engines
    del description["engines"]  # as earlier images wrote it
    path.write_text(json.dumps(description))
    assert not artifact.read(model_dir).engines


@pytest.mark.parametrize(
    ("changes", "quantize", "reason"),
    [
        ({}, "never", "quantize=never"),
        ({"is_trial": True}, "auto", "this is a trial of a tuning job"),
        ({"channels": {"features": Path("/nowhere")}}, "always", "its photographs are not there (channel `train`)"),
        ({}, "auto", "8 photographs in valid cannot show a drop of 0.5%"),
    ],
)
def test_why_it_is_not_made(job: Job, changes: dict[str, object], quantize: str, reason: str) -> None:
    said = calibration.add(replace(job, **changes), Config(quantize=quantize))  # type: ignore[arg-type]
    assert said.startswith(f"int8: not made, {reason}")
    assert not artifact.read(job.model_dir).engines


@pytest.mark.parametrize("is_trial", [True, False])
def test_a_trial_is_told_by_what_the_tuner_adds(tmp_path: Path, is_trial: bool) -> None:
    lay_out(tmp_path, (), {"_tuning_objective_metric": "valid:accuracy"} if is_trial else {}, "lo")
    code = "import threading, train; print(train.asked(threading.Event())[1].is_trial)"
    path = f"{ROOT / 'container_src'}"
    env = os.environ | {"SAGEMAKER_BASE_DIR": str(tmp_path), "SM_STUDIO_LOCAL_MODE": "true", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == [str(is_trial)], done.stderr


def test_a_job_that_is_stopped_has_no_time_for_it(job: Job) -> None:
    stop = threading.Event()
    stop.set()
    assert calibration.add(replace(job, stop=stop), ALWAYS) == "int8: not made, the job is being stopped"


def test_what_the_libraries_cannot_do_costs_the_job_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such\noperation")

    monkeypatch.setattr(calibration, "_calibrated", fail)
    assert calibration.add(job, ALWAYS) == "int8: not made: no such operation"
    assert not artifact.read(job.model_dir).engines


@pytest.mark.parametrize(
    ("accuracy", "same", "good"),
    [(0.9, 1.0, True), (0.8951, 0.99, True), (0.894, 1.0, False), (0.9, 0.985, False), (0.95, 0.99, True)],
)
def test_as_good_is_half_a_point_and_the_same_labels(accuracy: float, same: float, good: bool) -> None:
    assert Judgement(1000, accuracy, 0.9, same, 2.0, 1.0, 2).is_good == good
