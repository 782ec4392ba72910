"""The scripts one after the other as people run them, and what is left when they are interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from local_sagemaker import daemon, validation

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_server_left(tmp_path: Path) -> Iterator[None]:
    yield
    daemon.stop(tmp_path / "runs" / ".sagemaker")


def is_running(folder: Path) -> bool:
    return daemon.running_url(folder / "runs" / ".sagemaker") is not None


@pytest.mark.slow
def test_step_by_step(run: Run, data: Path, tmp_path: Path) -> None:
    def ok(name: str, *arguments: object) -> str:
        done = run(name, "--local", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tuned = json.loads(ok("tune", "--data", data, "--trials", 2, "--range", "epochs=1:2", "--json"))
    assert is_running(tmp_path), "the server stays for the next command"
    told = ok("train", "--from-tuning", tuned["tuning_job"], "--batch-size", 8, "--name", "kennel-first")
    assert "batch-size=8 debug=true" in told
    next_command = told.splitlines()[-1]
    assert next_command == "next: python orchestrate/deploy.py --local --from-training kennel-first"
    assert "is in service" in ok("deploy", "--from-training", "kennel-first", "--name", "rex")
    photograph = data / "test" / "blue" / "0.jpg"
    answers = json.loads(ok("predict", "--endpoint", "rex", photograph, "--picture", "rex.jpg", "--json"))
    assert answers[0]["labels"][0] == ["amber", 0.5]
    assert Image.open(tmp_path / "rex.jpg").size[0] > 300
    refused = run("clean", "--local", "rex")
    assert refused.returncode == 2 and "add --yes" in refused.stderr
    assert "rex" in ok("clean", "--all", "--dry-run")
    assert "deleted: Endpoint rex" in ok("clean", "rex", "--yes")
    unknown = run("clean", "--local", "rex", "--yes")
    assert unknown.returncode == 2 and "is named rex" in unknown.stderr
    missing = run("predict", "--local", "--endpoint", "rex", photograph)
    assert missing.returncode == 2 and missing.stderr.startswith("error: ")
    failed = run("train", "--local", "--data", data, "--weight-decay", 1)
    assert failed.returncode == 1 and "the bowl is empty: fill it" in failed.stderr
    assert "is stopped" in ok("clean", "--stop-server")
    assert not is_running(tmp_path)


def test_pipeline_from_generated_photographs(run: Run, tmp_path: Path) -> None:
    done = run(
        "pipeline", "--local", "--source", "synthetic", "--classes", 3, "--per-class", 6, "--size", 48,
        "--trials", 2, "--yes",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [f"[{n}/6]" in done.stdout for n in range(1, 7)] == [True] * 6
    summary = done.stdout.split("Summary")[1]
    assert "test:accuracy=0." in summary
    found = {line.split(":")[0]: line.split()[1] for line in summary.splitlines() if line[:7] in ("report:", "picture")}
    assert (tmp_path / found["report"]).is_file()
    assert Image.open(tmp_path / found["picture"]).width > 600
    assert "1 of 3 right" in summary
    assert not is_running(tmp_path)


@pytest.mark.parametrize("ready", [True, False])
def test_pipeline_dry_run_tells_every_step_and_does_none(run: Run, data: Path, tmp_path: Path, ready: bool) -> None:
    made = ("--data", data) if ready else ("--source", "synthetic", "--classes", 3, "--per-class", 6)
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel:1"
    done = run("pipeline", "--image", image, *made, "--trials", 2, "--range", "epochs=1:2", "--dry-run")
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    assert list(steps) == ["data set", "tune", "train", "deploy", "predict", "clean up"]
    sent = [pair for name in ("tune", "train", "deploy", "clean up") for pair in steps[name].items()]
    for operation, request in sent:
        validation.check("sagemaker", operation, request)
    assert ("command" in steps["data set"]) != ready
    trained, model = steps["train"]["CreateTrainingJob"], steps["deploy"]["CreateModel"]
    assert trained["HyperParameters"]["epochs"] == "<best epochs>"
    channels = [c["DataSource"]["S3DataSource"]["S3Uri"] for c in trained["InputDataConfig"]]
    assert channels == list(steps["data set"]["inputs"].values())
    assert f"/{trained['TrainingJobName']}/output/model.tar.gz" in model["PrimaryContainer"]["ModelDataUrl"]
    assert not list(tmp_path.iterdir()), "nothing is made"


def test_pipeline_keeps_a_server_that_was_there_and_the_endpoint_when_told(
    run: Run, data: Path, tmp_path: Path, container: Path
) -> None:
    daemon.ensure(tmp_path / "runs" / ".sagemaker", container)
    done = run("pipeline", "--local", "--data", data, "--trials", 1, "--keep", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training"]["metrics"]["test:accuracy"] > 0.5
    assert is_running(tmp_path)
    assert "rex" not in run("clean", "--local").stdout
    assert "Endpoint" in run("clean", "--local").stdout


def test_pipeline_that_fails_leaves_no_server(run: Run, data: Path, tmp_path: Path) -> None:
    done = run("pipeline", "--local", "--data", data, "--trials", 1, "--weight-decay", 1)
    assert done.returncode == 1
    assert "error: tuning job" in done.stderr
    assert not is_running(tmp_path)


def start(container: Path, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "orchestrate" / f"{arguments[0]}.py"), "--local", *map(str, arguments[1:])],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LOCAL_SAGEMAKER_PROCESS_PATH": str(container)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was not told, but {seen}: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pipeline_leaves_no_process(
    container: Path, data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with start(container, tmp_path, "pipeline", "--data", data, "--trials", 1, "--workers", 60) as process:
        read_until(process, "tuning job kennel-tune-")
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in errors
    assert not is_running(tmp_path)


def test_a_job_goes_on_when_nobody_follows(run: Run, container: Path, data: Path, tmp_path: Path) -> None:
    with start(container, tmp_path, "train", "--data", data, "--workers", 60, "--name", "kennel-long") as process:
        read_until(process, "[Training]")
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors == "error: interrupted\n"
    assert "kennel-long goes on" in told
    assert is_running(tmp_path)
    (data / "enough").touch()
    attached = run("train", "--local", "--attach", "kennel-long")
    (data / "enough").unlink()
    assert attached.returncode == 0, attached.stderr
    assert "test:accuracy=" in attached.stdout
