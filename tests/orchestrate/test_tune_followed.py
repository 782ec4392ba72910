"""Searches followed at a terminal: progress, Ctrl-C in each of their jobs, following one that runs already."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from orchestrate import follow, jobs, one_job, ranges, tune
from orchestrate.console import Console
from orchestrate.search import Search
from orchestrate.session import Session
from photographs import data_set
from terminal import Terminal, terminal

from .conftest import ROOT, environment

PLAIN = ("--cache-features", "off")
ONE_JOB = ("--in-one-job",)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Data of the test's own: no features of it are there, and its jobs wait for a file `enough` in it."""
    return data_set(tmp_path / "photographs", {"train": 2, "valid": 1})


@pytest.fixture
def tune_here(server: Path, container: Path, tmp_path: Path, local: Session) -> Any:
    """tune.py at a terminal; its jobs go to the server that the tests share."""

    def call(*arguments: object) -> AbstractContextManager[Terminal]:
        here = environment(LOCAL_SAGEMAKER_STATE=str(server), LOCAL_SAGEMAKER_PROCESS_PATH=str(container))
        return terminal([sys.executable, ROOT / "orchestrate" / "tune.py", "--local", *arguments], tmp_path, here)

    return call


def ended(session: Session, name: str) -> str:
    """The status of a training job when it has ended."""
    while True:
        status: str = session.client("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
        if status in follow.ENDED:
            return status
        time.sleep(0.05)


@pytest.mark.parametrize(("way", "answer"), [(PLAIN, "y\n"), (ONE_JOB, "y\n"), (PLAIN, "Ctrl-C")])
def test_ctrl_c_asks_whether_the_search_is_to_stop(
    local: Session, photographs: Path, tune_here: Any, way: tuple[str, ...], answer: str
) -> None:
    """Yes stops it, a second Ctrl-C leaves it running."""
    name = jobs.unique_name("tune")
    with tune_here("--data", photographs, "--workers", 64, "--trials", 1, "--name", name, *way) as seen:
        seen.until("[Training]" if way == ONE_JOB else "0 of 1 trials ended, 1 running")
        seen.interrupt()
        seen.until(f"Stop {name}? (No: it goes on without you.) [y/N]")
        if answer == "Ctrl-C":
            told = seen.interrupt_until("error: interrupted")
        else:
            seen.type(answer)
            told = seen.until("error: interrupted")
        assert seen.end() == 130
    again = f"python orchestrate/tune.py --local --attach {name}"
    trial = name if way == ONE_JOB else follow.trials(local, name)[0].name
    if answer == "y\n":
        assert f"{name} is being stopped; what has ended of it stays: {again}" in told
    else:
        assert f"{name} goes on. Follow it again: {again}" in told
        (photographs / "enough").touch()
    assert ended(local, trial) == ("Stopped" if answer == "y\n" else "Completed")


def test_ctrl_c_while_features_are_computed(local: Session, photographs: Path, tune_here: Any) -> None:
    command = ("--data", photographs, "--workers", 64, "--trials", 1)

    def interrupted(answer: str) -> tuple[str, str]:
        """(the name of the embed job, what was told after the answer)"""
        with tune_here(*command) as seen:
            name = seen.until("[Training]").partition("embed job ")[2].split()[0].rstrip(":")
            seen.interrupt()
            seen.until(f"Stop {name}?")
            seen.type(answer)
            told = seen.until("error: interrupted")
            assert seen.end() == 130
        return name, told

    stopped, told = interrupted("y\n")
    assert f"{stopped} is being stopped" in told
    assert ended(local, stopped) == "Stopped"
    left, told = interrupted("n\n")
    assert left != stopped, "one that was stopped is not waited for"
    assert f"{left} goes on. Follow it again: give the same command again" in told
    with tune_here(*command) as seen:
        seen.until(f"embed job {left} has been started for these features before")
        seen.until("[Training]")
        (photographs / "enough").touch()
        told = seen.until("next: python orchestrate/train.py")
        assert seen.end() == 0
    assert f"/{left}/output/model" in told and "best: valid:accuracy=" in told


def start(session: Session, photographs: Path, is_one_job: bool) -> str:
    """Starts a search of two trials, of which nothing ends before there is a file `enough`; its name."""
    name = jobs.unique_name("tune")
    inputs = {split: (photographs / split).as_uri() for split in ("train", "valid")}
    space = Search((ranges.parse("learning-rate=0.001:0.1:log"),), trials=2)
    fixed, machine = {"workers": "64"}, jobs.Machine("ml.m5.xlarge", 600)
    if is_one_job:
        request = one_job.request(session, name, inputs, fixed, machine, space)
        jobs.create(session, "CreateTrainingJob", request)
    else:
        request = jobs.tuning(session, name, "process", inputs, fixed, machine, space)
        jobs.create(session, "CreateHyperParameterTuningJob", request)
    return name


def test_attach_follows_a_search_that_runs(local: Session, photographs: Path, tune_here: Any) -> None:
    name = start(local, photographs, is_one_job=False)
    with tune_here("--attach", name) as seen:
        seen.until(f"{name}: 0 of 2 trials ended, 1 running")
        (photographs / "enough").touch()
        told = seen.until("next: python orchestrate/train.py --local --from-tuning " + name)
        assert seen.end() == 0
    assert "(best valid:accuracy=" in told and "best: valid:accuracy=" in told
    assert (Path("runs") / name / "tuning.html").is_file()


def test_attach_follows_a_search_in_one_job_that_runs(local: Session, photographs: Path) -> None:
    class Watched(Console):
        def say(self, text: str = "", style: str | None = None) -> None:
            super().say(text, style)
            if text == "[Training]":
                (photographs / "enough").touch()

    name = start(local, photographs, is_one_job=True)
    found = tune.attach(local, Watched(), name)
    assert [trial.status for trial in found.trials] == ["Completed", "Completed"]
    assert local.storage.size(found.best_json)
