"""The life of a server: starting, sharing, being killed, starting again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

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


def test_a_trial_that_ended_before_the_kill_is_counted(start: Callable[..., Local]) -> None:
    """The window between the end of a trial and the moment when its tuning job has read it."""
    server = start()
    tuning = create(server, request(jobs=3))
    named = {"HyperParameterTuningJobName": tuning}
    before = wait_for(
        lambda: server.sagemaker.describe_hyper_parameter_tuning_job(**named),
        lambda job: job["HyperParameterTuningJobStatus"] == "Completed",
    )
    best = before["BestTrainingJob"]["TrainingJobName"]
    server.kill()
    for kind, name, status in (("training-jobs", best, None), ("tuning-jobs", tuning, "InProgress")):
        path = server.state / kind / name / "record.json"
        record = json.loads(path.read_text())
        if status:
            del record["BestTrainingJob"], record["HyperParameterTuningEndTime"]
            record["HyperParameterTuningJobStatus"] = status
        else:
            del record["FinalHyperParameterTuningJobObjectiveMetric"]
            record["ObjectiveStatus"] = "Pending"
        path.write_text(json.dumps(record))
    server.up()
    after = server.sagemaker.describe_hyper_parameter_tuning_job(**named)
    assert after["HyperParameterTuningJobStatus"] == "Failed"
    assert after["ObjectiveStatusCounters"] == before["ObjectiveStatusCounters"]
    assert after["BestTrainingJob"] == before["BestTrainingJob"]


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


@pytest.mark.parametrize("background", [[], ["--background"]])
def test_what_cannot_be_a_state_or_a_port_is_refused_in_a_sentence(
    local: Local, tmp_path: Path, background: list[str]
) -> None:
    (tmp_path / "file").touch()
    for state in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/state")):
        done = local.command("up", "--port", "0", "--state", str(state), *background)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, line.startswith(f"The state directory {state} cannot be written: ")) == (2, True)
    done = local.command("up", "--port", "99999", "--state", str(tmp_path), *background)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith("Port 99999 cannot be used: ")) == (2, True)


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
        urls = {process.communicate(timeout=300)[0].strip() for process in both}
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
        _, error = process.communicate(timeout=300)
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
    assert re.search(rf"training job +{name} +Completed ", shown.stdout)
    status = json.loads(server.command("status", "--json", "--state", str(server.state)).stdout)
    assert (status["url"], [row["name"] for row in status["training-jobs"]]) == (server.url, [name])
    server.down()
    shown = server.command("status", "--state", str(server.state))
    assert (shown.returncode, "No server runs on" in shown.stdout) == (1, True)
    assert server.command("logs", name, "--state", str(server.state)).stdout == "woof\n"
    missing = server.command("logs", "nobody", "--state", str(server.state))
    assert (missing.returncode, len(missing.stderr.splitlines())) == (2, 1)
    assert server.command("down", "--state", str(server.state)).returncode == 0


def test_logs_follow_a_job_to_its_end(local: Local, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code = f"""
import os, time
for number in range(10):
    print(number, flush=True)
while not os.path.exists({str(gate)!r}):
    time.sleep(0.02)
print("end", flush=True)
"""
    name = local.train(code)
    local.printed(name, "9")
    following = subprocess.Popen(
        [sys.executable, "-m", "local_sagemaker", "logs", name, "--follow", "--tail", "2", "--state", str(local.state)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout
    assert [following.stdout.readline(), following.stdout.readline()] == ["8\n", "9\n"]
    gate.touch()
    assert following.communicate(timeout=300)[0] == "end\n"
    assert following.returncode == 0
    assert local.command("logs", name, "--tail", "1", "--state", str(local.state)).stdout == "end\n"


def test_prune_removes_what_has_ended(start: Callable[..., Local]) -> None:
    server = start("--training-stop-s", "1")
    state = ("--state", str(server.state))
    ended, runs = server.train('print("x" * 100_000)'), server.train(SLEEP)
    server.finished(ended)
    server.printed(runs, "ready")
    tuning = create(server, request(jobs=2))
    wait_for(
        lambda: server.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning),
        lambda job: job["HyperParameterTuningJobStatus"] == "Completed",
    )
    jobs = server.state / "training-jobs"
    assert "nothing to remove" in server.command("prune", "--older-than", "1h", *state).stdout
    shown = server.command("prune", "--dry-run", *state).stdout
    assert "4 would be removed: " in shown
    unasked = server.command("prune", *state)
    assert (unasked.returncode, "say --yes" in unasked.stderr) == (2, True)
    assert len(list(jobs.iterdir())) == 4
    bad = server.command("prune", "--older-than", "7 days", *state)
    assert (bad.returncode, "as in 7d" in bad.stderr) == (2, True)
    pruned = server.command("prune", "--yes", *state).stdout
    freed = re.search(r"4 removed: (\d+\.\d) kB of disk", pruned)
    assert freed, pruned
    assert float(freed[1]) > 100
    assert [path.name for path in jobs.iterdir()] == [runs]
    with pytest.raises(ClientError, match="not found"):
        server.sagemaker.describe_training_job(TrainingJobName=ended)
    assert server.lines(runs) == ["ready"]
    assert server.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
    server.down()  # and without a server
    assert "1 removed: " in server.command("prune", "--yes", *state).stdout
    assert list(jobs.iterdir()) == []
    assert list((server.state / "logs").iterdir()) == []


def test_a_trial_stays_while_its_search_runs(start: Callable[..., Local], tmp_path: Path) -> None:
    server = start("--training-stop-s", "1")
    gate = tmp_path / "gate"
    code = f"""
import os, time
print("accuracy=0.5", flush=True)
try:
    os.mkdir({str(gate)!r})
except FileExistsError:
    time.sleep(600)
"""
    tuning = create(server, request(code, jobs=2, parallel=1))
    wait_for(
        lambda: sorted(trial["TrainingJobStatus"] for trial in trials(server, tuning)),
        lambda statuses: statuses == ["Completed", "InProgress"],
    )
    assert "nothing to remove" in server.command("prune", "--yes", "--state", str(server.state)).stdout
    assert len(trials(server, tuning)) == 2


def test_a_killed_server_with_the_same_process_id_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    """In a container the next server often has the number of the last one: its address must not be believed."""
    code = f"""
import json, os, sys
from pathlib import Path
from local_sagemaker import daemon
state = Path({str(tmp_path)!r})
(state / "server.lock").write_text(str(os.getpid()))
(state / "server.json").write_text(json.dumps({{"url": "http://127.0.0.1:1", "pid": os.getpid()}}))
daemon._hold(state)
print(daemon.running_url(state))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_prune_and_a_server_do_not_meet(tmp_path: Path) -> None:
    tmp_path.joinpath("server.lock").touch()
    with daemon.alone(tmp_path):
        server = Local(tmp_path, tmp_path)
        refused = server.command("up", "--port", "0", "--state", str(tmp_path))
        assert (refused.returncode, "is held by another" in refused.stderr) == (2, True)


def test_help_comes_at_once_without_the_libraries(local: Local) -> None:
    code = "import sys; from local_sagemaker.__main__ import _parser; _parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert not {"uvicorn", "starlette", "botocore", "optuna", "docker", "rich"} & set(loaded)
    assert "prune" in local.command("--help").stdout


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
