"""The server is killed at random moments of a run with jobs in flight, and started again each time.

What was answered is there, what was seen finished is unchanged, every record is whole, everything ends, no process is
left. The moments are drawn with a seed; what is asserted holds for every one of them, on however slow a machine.

    python -m pytest tests/local_sagemaker/test_faults.py                # 8 times
    KILLS=50 python -m pytest tests/local_sagemaker/test_faults.py      # 50 times
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from .conftest import ROOT, Local, end_left_over, left_over, training_request, wait_for
from .test_tuning import request as tuning_request

KILLS = int(os.environ.get("KILLS", "8"))
TUNING = "HyperParameterTuningJobName"
ENDED = ("Completed", "Failed", "Stopped")
SLOW_S = 180  # a limit for what takes a second
TRAIN = """
import time
print("loss=0.5", flush=True)
open("model/weights", "w").write("w" * 100_000)
time.sleep({seconds})
print("the last line", flush=True)
"""
TRIAL = 'h = json.load(open("input/config/hyperparameters.json")); print("accuracy=" + h["epochs"])'
SERVE = """
class H(Handler):
    def do_POST(self):
        self.answer(200, self.body()[::-1])
serve(H)
"""


@dataclass
class Run:
    """What a client knows of a server that is killed again and again."""

    local: Local
    draw: random.Random
    process: subprocess.Popen[bytes] | None = None
    answered: dict[str, list[str]] = field(default_factory=lambda: {"training": [], "tuning": []})
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    finished: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts a server and does not wait."""
        state, path = str(self.local.state), str(self.local.process_path)
        self.local.state.mkdir(parents=True, exist_ok=True)
        with (self.local.state / "server.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "local_sagemaker", "up", "--port=0", "--state", state, "--process-path", path],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def up(self) -> None:
        """Starts a server and returns when it answers."""
        process = self.process = self.launch()
        place = self.local.state / "server.json"

        def look() -> dict[str, Any]:
            assert process.poll() is None, (self.local.state / "server.log").read_text()[-2000:]
            found: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
            return found

        self.local.url = wait_for(look, lambda found: found.get("pid") == process.pid, SLOW_S)["url"]
        self.local._clients.clear()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def create(self, kind: str) -> str:
        """Creates a job; its name is noted as answered only when the server has answered."""
        seconds = self.draw.choice((0, 0.1, 0.5))
        if kind == "training":
            request = training_request(TRAIN.format(seconds=seconds), self.local.state.parent / "out")
            name, call = request["TrainingJobName"], self.local.sagemaker.create_training_job
        else:
            request = tuning_request(TRIAL, jobs=3)
            output = {"S3OutputPath": (self.local.state.parent / "out").as_uri()}
            request["TrainingJobDefinition"]["OutputDataConfig"] = output
            name, call = request[TUNING], self.local.sagemaker.create_hyper_parameter_tuning_job
        self.unanswered.append((kind, name))
        call(**request)
        self.unanswered.remove((kind, name))
        self.answered[kind].append(name)
        return str(name)

    def describe(self, kind: str, name: str) -> tuple[str, dict[str, Any]]:
        """The status of a job and its whole description."""
        if kind == "training":
            described = self.local.sagemaker.describe_training_job(TrainingJobName=name)
            status = described["TrainingJobStatus"]
        else:
            described = self.local.sagemaker.describe_hyper_parameter_tuning_job(**{TUNING: name})
            status = described["HyperParameterTuningJobStatus"]
        return status, {key: value for key, value in described.items() if key != "ResponseMetadata"}

    def look(self) -> None:
        """Every job that was answered is there; what was seen finished is as it was seen."""
        for kind, names in self.answered.items():
            for name in names:
                status, described = self.describe(kind, name)
                if (kind, name) in self.finished:
                    assert described == self.finished[kind, name]
                elif status in ENDED:
                    self.finished[kind, name] = described

    # The moments at which it is killed.

    def at_once(self) -> None:
        self.create("training")

    def while_it_creates(self) -> None:
        def create(kind: str) -> None:
            with contextlib.suppress(BotoCoreError, ClientError):
                self.create(kind)

        threads = [threading.Thread(target=create, args=[kind]) for kind in ("training", "tuning", "training")]
        for thread in threads:
            thread.start()
        time.sleep(self.draw.random() / 10)
        self.kill()
        for thread in threads:
            thread.join()

    def while_it_trains(self) -> None:
        self._reached(self.create("training"), "Training")

    def while_it_uploads(self) -> None:
        self._reached(self.create("training"), "Uploading")

    def when_one_has_ended(self) -> None:
        name = self.create("training")
        wait_for(lambda: self.describe("training", name)[0], lambda status: status in ENDED, SLOW_S)

    def while_it_tunes(self) -> None:
        name = self.create("tuning")
        wait_for(
            lambda: self.describe("tuning", name)[1]["TrainingJobStatusCounters"],
            lambda counters: counters["InProgress"] + counters["Completed"] >= self.draw.randint(1, 3),
            SLOW_S,
        )

    def while_it_stops(self) -> None:
        for kind in ("training", "tuning"):
            name = self.create(kind)
            with contextlib.suppress(ClientError):  # it has ended by itself
                if kind == "training":
                    self.local.sagemaker.stop_training_job(TrainingJobName=name)
                else:
                    self.local.sagemaker.stop_hyper_parameter_tuning_job(**{TUNING: name})

    def while_it_starts(self) -> None:
        """Killed once more, before it is ready."""
        self.create("tuning")
        self.kill()
        self.process = self.launch()
        time.sleep(self.draw.random())

    def sometime(self) -> None:
        for kind in self.draw.choices(("training", "tuning"), k=2):
            self.create(kind)
        time.sleep(self.draw.random())

    def _reached(self, name: str, secondary: str) -> None:
        wait_for(
            lambda: [step["Status"] for step in self.describe("training", name)[1]["SecondaryStatusTransitions"]],
            lambda seen: secondary in seen or seen[-1] in ENDED,
            SLOW_S,
        )


MOMENTS: tuple[Callable[[Run], None], ...] = (
    Run.while_it_trains,
    Run.while_it_creates,
    Run.while_it_tunes,
    Run.while_it_starts,
    Run.while_it_uploads,
    Run.sometime,
    Run.while_it_stops,
    Run.when_one_has_ended,
    Run.at_once,
)


def moments(draw: random.Random) -> list[Callable[[Run], None]]:
    """Each in turn and in a random order, as often as it is killed."""
    chosen: list[Callable[[Run], None]] = []
    while len(chosen) < KILLS:
        chosen += draw.sample(MOMENTS, len(MOMENTS))
    return chosen[:KILLS]


@pytest.mark.slow
def test_killed_at_random_moments(process_path: Any, tmp_path: Any) -> None:
    run = Run(Local(tmp_path / "state", process_path), random.Random(7))
    try:
        run.up()
        endpoint = run.local.deploy(SERVE)
        for moment in moments(run.draw):
            moment(run)
            run.kill()
            run.up()
            run.look()
        settle(run)
        answers(run.local, endpoint)
        check(run)
        run.local.sagemaker.delete_endpoint(EndpointName=endpoint)
        wait_for(lambda: run.local.sagemaker.list_endpoints()["Endpoints"], lambda found: not found, SLOW_S)
        assert left_over(run.local.state) == []
    finally:
        if run.process:
            run.process.terminate()
            run.process.wait(SLOW_S)
        left = end_left_over(run.local.state)
    assert left == []


def settle(run: Run) -> None:
    """Everything ends, also what was never answered and yet was begun."""
    for kind, name in run.unanswered:
        with contextlib.suppress(ClientError):
            run.describe(kind, name)
            run.answered[kind].append(name)
    for kind, names in run.answered.items():
        for name in names:
            wait_for(lambda: run.describe(kind, name)[0], lambda status: status in ENDED, SLOW_S)  # noqa: B023
    run.look()
    page = run.local.sagemaker.get_paginator("list_training_jobs").paginate()
    statuses = {
        job["TrainingJobName"]: job["TrainingJobStatus"] for part in page for job in part["TrainingJobSummaries"]
    }
    assert set(run.answered["training"]) <= set(statuses)
    assert set(statuses.values()) <= set(ENDED)


def answers(local: Local, endpoint: str) -> None:
    wait_for(
        lambda: local.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"],
        lambda status: status == "InService",
        SLOW_S,
    )
    answer = local.client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=b"abc")
    assert answer["Body"].read() == b"cba"


def check(run: Run) -> None:
    """What is on disk: whole records, whole artifacts, whole logs."""
    for path in run.local.state.glob("*/*/record.json"):
        json.loads(path.read_text())
    ends = dict.fromkeys(ENDED, 0)
    for name in run.answered["training"]:
        job = run.finished["training", name]
        ends[job["TrainingJobStatus"]] += 1
        assert [step["Status"] for step in job["SecondaryStatusTransitions"] if "EndTime" not in step] == []
        if job["TrainingJobStatus"] == "Failed":
            assert "server ended while this job ran" in job["FailureReason"]
        if job["TrainingJobStatus"] == "Completed":
            assert job["FinalMetricDataList"][0]["Value"] == 0.5
            assert run.local.lines(name) == ["loss=0.5", "the last line"]
            with tarfile.open(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://")) as tar:
                assert tar.getmember("weights").size == 100_000
    print(f"{KILLS} kills; training jobs {ends}; {len(run.answered['tuning'])} tuning jobs")
