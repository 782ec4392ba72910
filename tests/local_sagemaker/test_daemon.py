"""The life of a server: starting, sharing, being killed, starting again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local_sagemaker import daemon

from .conftest import ROOT, Local, end_left_over, left_over, training_request, wait_for
from .test_endpoints import ECHO, invoke
from .test_tuning import create, request, trials

SLEEP = 'import time; print("ready", flush=True); time.sleep(600)'


def test_a_server_that_was_killed_loses_nothing(start: Callable[..., Local]) -> None:
    server = start("--max-parallel-jobs", "2")
    done = server.train('print("kept"); print("loss=1")')
    server.finished(done)
    endpoint = server.deploy(ECHO)
    assert server.settled(endpoint)["EndpointStatus"] == "InService"
    lost = server.train(SLEEP)
    server.printed(lost, "ready")
    tuning = create(server, request(SLEEP, jobs=2))
    wait_for(lambda: trials(server, tuning), lambda found: len(found) == 2)
    before = server.finished(done)
    server.kill()
    assert left_over(server.state / "training-jobs" / lost)  # a kill of the server alone leaves them running
    server.up()
    assert left_over(server.state / "training-jobs") == []
    after = server.finished(done)
    assert {**before, "ResponseMetadata": {}} == {**after, "ResponseMetadata": {}}
    assert server.lines(done) == ["kept", "loss=1"]
    job = server.finished(lost)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert "the local SageMaker server ended while this job ran" in job["FailureReason"]
    search = server.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    assert search["HyperParameterTuningJobStatus"] == "Failed"
    assert search["TrainingJobStatusCounters"]["RetryableError"] == 2
    assert server.settled(endpoint)["EndpointStatus"] == "InService"
    assert invoke(server, endpoint, b"x")["Body"].read().startswith(b"hello")


def test_down_ends_jobs_and_endpoints_and_up_brings_the_endpoints_back(start: Callable[..., Local]) -> None:
    server = start()
    endpoint = server.deploy(ECHO)
    server.settled(endpoint)
    job = server.train(SLEEP)
    server.printed(job, "ready")
    tuning = create(server, request(SLEEP, jobs=3, parallel=1))
    wait_for(lambda: trials(server, tuning), lambda found: len(found) == 1)
    pid = json.loads((server.state / "server.json").read_text())["pid"]
    server.down()
    assert left_over(server.state) == []
    wait_for(
        lambda: psutil.pid_exists(pid) and psutil.Process(pid).status(), lambda s: s in (False, psutil.STATUS_ZOMBIE)
    )
    assert daemon.running_url(server.state) is None
    server.up()
    assert server.finished(job)["TrainingJobStatus"] == "Stopped"
    search = server.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    assert search["HyperParameterTuningJobStatus"] == "Stopped"
    assert server.settled(endpoint)["EndpointStatus"] == "InService"


def test_a_second_server_on_the_same_state_is_refused(local: Local) -> None:
    for background in ([], ["--background"]):
        done = local.command("up", "--port", "0", "--state", str(local.state), *background)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "is held by another server, process " in line
        assert local.url in line
    assert local.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_a_port_in_use_is_refused(local: Local, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for background in ([], ["--background"]):
            done = local.command("up", "--port", port, "--state", str(tmp_path), *background)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"Port {port} cannot be used")


def test_ensure_starts_one_server_and_finds_it_again(process_path: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from local_sagemaker import daemon
print(daemon.ensure(Path({str(tmp_path)!r}), Path({str(process_path)!r})))
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        urls = {process.communicate(timeout=60)[0].strip() for process in both}
        assert urls == {daemon.running_url(tmp_path)}
        assert daemon.ensure(tmp_path) in urls
        with pytest.raises(daemon.DaemonError, match=r"runs with --process-path .*, not .*: end it with"):
            daemon.ensure(tmp_path, tmp_path)
        server = Local(tmp_path, process_path, url=urls.pop())
        assert server.finished(server.train("pass"))["TrainingJobStatus"] == "Completed"
    finally:
        assert daemon.stop(tmp_path)
    assert not daemon.stop(tmp_path)
    assert daemon.running_url(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_server_in_the_foreground(tmp_path: Path, process_path: Path, number: int) -> None:
    places = ["--port", "0", "--state", str(tmp_path), "--process-path", str(process_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "local_sagemaker", "up", *places],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        first, second = process.stdout.readline(), process.stdout.readline()
        url = first.split()[-1]
        assert second == f"export AWS_ENDPOINT_URL={url}\n"
        server = Local(tmp_path, process_path, url=url)
        server.printed(server.train(SLEEP), "ready")
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=30)
    finally:
        left = end_left_over(tmp_path)
    assert (process.returncode, error) == (0, "")
    assert left == []


def test_status_and_logs_are_read_with_and_without_a_server(start: Callable[..., Local]) -> None:
    server = start()
    name = server.train('print("woof")')
    server.finished(name)
    shown = server.command("status", "--state", str(server.state))
    assert shown.returncode == 0
    assert f"export AWS_ENDPOINT_URL={server.url}" in shown.stdout
    assert f"training job  Completed    {name}" in shown.stdout
    server.down()
    shown = server.command("status", "--state", str(server.state))
    assert (shown.returncode, "No server runs on" in shown.stdout) == (1, True)
    assert server.command("logs", name, "--state", str(server.state)).stdout == "woof\n"
    missing = server.command("logs", "nobody", "--state", str(server.state))
    assert (missing.returncode, len(missing.stderr.splitlines())) == (2, 1)
    assert server.command("down", "--state", str(server.state)).returncode == 0


def test_a_missing_executable_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    server = Local(tmp_path / "state", tmp_path / "bin")
    # With an empty PATH, because a machine may have a `train` of its own.
    done = subprocess.run(
        [sys.executable, "-m", "local_sagemaker", "up", "--background", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PATH": "", "LOCAL_SAGEMAKER_STATE": str(server.state)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    try:
        server.url = daemon.running_url(server.state) or ""
        request_ = training_request("pass", tmp_path)
        server.sagemaker.create_training_job(**request_)
        job = server.finished(request_["TrainingJobName"])
        assert job["FailureReason"].startswith("ClientError: the image 'process' needs an executable named 'train'")
    finally:
        server.down()


def test_a_process_path_that_is_no_directory(local: Local, tmp_path: Path) -> None:
    done = local.command("up", "--state", str(tmp_path), "--process-path", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere is not a directory" in done.stderr
