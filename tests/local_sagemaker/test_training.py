"""Training jobs through boto3: the container contract, every way to end, and what is left behind."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_sagemaker.metrics import MetricWatcher, read
from local_sagemaker.process import HANDED_ON, ProcessRunner
from local_sagemaker.runners import Work

from .conftest import Local, channel, left_over, wait_for


def test_a_job_goes_through_all_its_statuses(local: Local) -> None:
    name = local.train('open("model/weights", "w").write("w"); open("output/data/plot", "w").write("p"); print("done")')
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed"
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert all(step["EndTime"] >= step["StartTime"] for step in job["SecondaryStatusTransitions"])
    assert job["TrainingJobArn"] == f"arn:aws:sagemaker:eu-west-1:000000000000:training-job/{name}"
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    assert job["TrainingEndTime"] >= job["TrainingStartTime"] >= job["CreationTime"]
    model = Path(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://"))
    assert model == local.state.parent / "out" / name / "output" / "model.tar.gz"
    with tarfile.open(model) as tar:
        assert tar.getnames() == ["weights"]
    with tarfile.open(model.with_name("output.tar.gz")) as tar:
        assert tar.getnames() == ["plot"]
    assert local.lines(name) == ["done"]
    assert not (local.state / "training-jobs" / name / "ml").exists()


def test_the_container_contract(local: Local, tmp_path: Path) -> None:
    (tmp_path / "a photograph.txt").write_text("woof")
    code = """
import os, pathlib
config = pathlib.Path("input/config")
print(json.dumps({
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    **{name: json.loads((config / f"{name}.json").read_text())
       for name in ("hyperparameters", "resourceconfig", "inputdataconfig", "debughookconfig")},
    "input": (pathlib.Path("input/data/train") / "a photograph.txt").read_text(),
    "one": pathlib.Path("input/data/one/a photograph.txt").read_text(),
}))
"""
    file = channel("one", (tmp_path / "a photograph.txt").as_uri())
    name = local.train(
        code,
        InputDataConfig=[
            {**channel("train", tmp_path.as_uri()), "ContentType": "image/jpeg", "InputMode": "FastFile"},
            file,
        ],
        Environment={"MY_SETTING": "1"},
        DebugHookConfig={"S3OutputPath": (tmp_path / "debug").as_uri(), "HookParameters": {"save_interval": "10"}},
    )
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job
    seen = json.loads(local.lines(name)[0])
    environment = seen["environment"]
    assert environment["TRAINING_JOB_NAME"] == name
    assert environment["TRAINING_JOB_ARN"] == job["TrainingJobArn"]
    assert environment["AWS_REGION"] == "eu-west-1"
    assert environment["MY_SETTING"] == "1"
    assert environment["SAGEMAKER_BASE_DIR"] == seen["cwd"]
    allowed = {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE", "MY_SETTING", *HANDED_ON}
    assert {key for key in environment if not key.startswith(("TRAINING_JOB_", "AWS_REGION", "SAGEMAKER_"))} <= allowed
    assert not Path(environment["TMPDIR"]).exists()
    assert list(seen["hyperparameters"]) == ["code"]
    assert seen["resourceconfig"]["current_host"] == "algo-1"
    assert seen["resourceconfig"]["hosts"] == ["algo-1"]
    assert seen["inputdataconfig"]["train"] == {
        "TrainingInputMode": "FastFile",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
        "ContentType": "image/jpeg",
    }
    assert seen["debughookconfig"]["HookParameters"] == {"save_interval": "10"}
    assert seen["input"] == seen["one"] == "woof"
    assert (tmp_path / "a photograph.txt").read_text() == "woof"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            'open("output/failure", "w").write("no photographs"); raise SystemExit(1)',
            "AlgorithmError: no photographs, exit code: 1",
        ),
        ('print("one"); print("two"); raise SystemExit(3)', "AlgorithmError: one | two, exit code: 3"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "AlgorithmError: it printed nothing and left no /opt/ml/output/failure, exit code: 137",
        ),
        ('import os; os.symlink("/etc/hosts", "model/hosts")', "hosts is a symbolic link"),
        ('import os; os.mkfifo("model/pipe")', "pipe is neither a file nor a directory"),
    ],
    ids=["failure file", "exit code", "signal", "symbolic link", "special file"],
)
def test_a_failed_job_says_why(local: Local, code: str, reason: str) -> None:
    job = local.finished(local.train(code))
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert reason in job["FailureReason"]


def test_a_long_failure_file_is_cut_and_keeps_the_exit_code(local: Local) -> None:
    job = local.finished(local.train('open("output/failure", "w").write("x" * 5000); raise SystemExit(1)'))
    assert len(job["FailureReason"]) == 1024
    assert job["FailureReason"].endswith("xxx, exit code: 1")


def test_a_missing_input_fails_before_training(local: Local, tmp_path: Path) -> None:
    job = local.finished(local.train("pass", InputDataConfig=[channel("train", (tmp_path / "nowhere").as_uri())]))
    assert "nowhere of channel 'train' does not exist" in job["FailureReason"]
    assert "Training" not in [step["Status"] for step in job["SecondaryStatusTransitions"]]


def test_metrics_are_read_from_the_log(local: Local) -> None:
    name = local.train('print("loss=0.5"); print("epoch 2 loss=-1e-4 x"); print("loss=."); print("loss=3", end="")')
    job = local.finished(name)
    (metric,) = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 3)
    series = (local.state / "training-jobs" / name / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["Value"] for line in series] == [0.5, -1e-4, 3]


def test_each_value_is_told_as_it_is_printed(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    watcher = MetricWatcher([{"Name": "loss", "Regex": "loss=([0-9.]+)"}], tmp_path / "v", lambda *at: told.append(at))
    watcher.feed(1.0, "loss=0.5")
    watcher.feed(2.0, "loss=0.25")
    assert told == [("loss", 0.5, 1.0), ("loss", 0.25, 2.0)]
    with (tmp_path / "v").open("a") as stream:
        stream.write('{"MetricName": "lo')  # being written at this moment
    assert [value["Value"] for value in read(tmp_path / "v")] == [0.5, 0.25]


def test_stop_sends_sigterm_and_keeps_the_model(local: Local) -> None:
    name = local.train(
        'import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); open("model/w", "w").write("w")\n'
        'print("ready"); time.sleep(600)'
    )
    local.printed(name, "ready")
    local.sagemaker.stop_training_job(TrainingJobName=name)
    job = local.finished(name)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert "Stopping" in [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert Path(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://")).is_file()
    with pytest.raises(ClientError, match="is in status Stopped"):
        local.sagemaker.stop_training_job(TrainingJobName=name)


DEAF = 'import signal, time; signal.signal(15, signal.SIG_IGN); print("ready"); time.sleep(600)'


def test_a_job_that_ignores_sigterm_is_killed(local: Local) -> None:
    name = local.train(DEAF)
    local.printed(name, "ready")
    local.sagemaker.stop_training_job(TrainingJobName=name)
    assert local.finished(name)["TrainingJobStatus"] == "Stopped"
    assert left_over(local.state / "training-jobs" / name) == []


def test_a_job_ends_at_its_maximum_run_time(local: Local) -> None:
    job = local.finished(local.train(DEAF, StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_what_a_job_left_running_ends_with_it(local: Local) -> None:
    name = local.train(
        """
import subprocess
for new_session in (False, True):  # in the job's process group, and outside of it
    print(subprocess.Popen(["sleep", "600"], start_new_session=new_session).pid)
"""
    )
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    assert [pid for pid in local.lines(name) if _runs(int(pid))] == []


def _runs(pid: int) -> bool:
    try:
        return (
            psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        )  # where nobody collects orphans, they stay as zombies
    except psutil.NoSuchProcess:
        return False


def test_checkpoints_of_one_job_reach_the_next(local: Local, tmp_path: Path) -> None:
    config = {"S3Uri": (tmp_path / "checkpoints").as_uri()}
    first = local.train('open("checkpoints/step", "w").write("7")', CheckpointConfig=config)
    assert local.finished(first)["TrainingJobStatus"] == "Completed"
    second = local.train('print(open("checkpoints/step").read())', CheckpointConfig=config)
    assert local.finished(second)["TrainingJobStatus"] == "Completed"
    assert local.lines(second) == ["7"]


def test_tensors_of_the_debugger_are_kept(local: Local, tmp_path: Path) -> None:
    code = 'import os; os.makedirs("output/tensors"); open("output/tensors/loss", "w").write("1")'
    name = local.train(code, DebugHookConfig={"S3OutputPath": tmp_path.as_uri()})
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    assert (tmp_path / name / "debug-output" / "loss").read_text() == "1"


def test_what_has_ended_is_not_updated(local: Local) -> None:
    name = local.train("pass")
    local.finished(name)
    with pytest.raises(ClientError, match="is in status Completed"):
        local.sagemaker.update_training_job(TrainingJobName=name, RemoteDebugConfig={"EnableRemoteDebug": True})
    with pytest.raises(ClientError, match="created without a warm pool"):
        local.sagemaker.update_training_job(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 60})
    with pytest.raises(local.sagemaker.exceptions.ResourceNotFound):
        local.sagemaker.update_training_job(TrainingJobName="nobody")


def test_a_running_job_is_updated(local: Local) -> None:
    code = """
import pathlib, time
print("ready")
path = pathlib.Path("input/config/profilerconfig.json")
while not path.exists() or json.loads(path.read_text()).get("ProfilingIntervalInMilliseconds") != 500:
    time.sleep(0.02)
"""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    name = local.train(code, ResourceConfig={**resources, "KeepAlivePeriodInSeconds": 60})
    local.printed(name, "ready")
    assert local.sagemaker.describe_training_job(TrainingJobName=name)["WarmPoolStatus"] == {"Status": "InUse"}
    plan = "arn:aws:sagemaker:eu-west-1:000000000000:training-plan/mine"
    assert local.sagemaker.list_training_jobs(TrainingPlanArnEquals=plan)["TrainingJobSummaries"] == []
    in_use = local.sagemaker.list_training_jobs(WarmPoolStatusEquals="InUse", NameContains=name)
    assert [job["TrainingJobName"] for job in in_use["TrainingJobSummaries"]] == [name]
    local.sagemaker.update_training_job(
        TrainingJobName=name,
        ProfilerConfig={"ProfilingIntervalInMilliseconds": 500},
        ResourceConfig={"KeepAlivePeriodInSeconds": 0},
    )
    job = local.finished(name)
    assert job["ProfilerConfig"] == {"ProfilingIntervalInMilliseconds": 500}
    assert job["ProfilingStatus"] == "Enabled"
    assert job["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 0
    assert job["WarmPoolStatus"]["Status"] == "Terminated"  # this machine keeps nothing for the next job


def test_a_job_is_deleted_when_it_has_ended(local: Local) -> None:
    name = local.train('import time; print("ready"); time.sleep(600)')
    local.printed(name, "ready")
    with pytest.raises(local.sagemaker.exceptions.ResourceInUse, match="is in status InProgress"):
        local.sagemaker.delete_training_job(TrainingJobName=name)
    local.sagemaker.stop_training_job(TrainingJobName=name)
    local.finished(name)
    local.sagemaker.delete_training_job(TrainingJobName=name)
    with pytest.raises(local.sagemaker.exceptions.ResourceNotFound):
        local.sagemaker.delete_training_job(TrainingJobName=name)
    assert not (local.state / "training-jobs" / name).exists()
    assert local.finished(local.train("pass", TrainingJobName=name))["TrainingJobStatus"] == "Completed"


def test_an_uncompressed_model(local: Local) -> None:
    output = {"S3OutputPath": (local.state.parent / "out").as_uri(), "CompressionType": "NONE"}
    name = local.train('import os; os.mkdir("model/a"); open("model/a/w", "w").write("w")', OutputDataConfig=output)
    model = Path(local.finished(name)["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://"))
    assert model == local.state.parent / "out" / name / "output" / "model"
    assert (model / "a" / "w").read_text() == "w"


def test_a_job_on_this_machine_gets_the_servers_gpus(
    process_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "input" / "config").mkdir(parents=True)
    code = 'import os; print(os.environ["CUDA_VISIBLE_DEVICES"], "NVIDIA_VISIBLE_DEVICES" in os.environ)'
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text(json.dumps({"code": code}))
    printed: list[bytes] = []
    running = ProcessRunner(process_path).start(Work("job", "process", "train", tmp_path), printed.append)
    assert running.wait(60) == 0
    assert b"".join(printed) == b"1 False\n"


def test_a_name_is_used_once(local: Local) -> None:
    name = local.train("pass")
    with pytest.raises(local.sagemaker.exceptions.ResourceInUse, match=name):
        local.train("pass", TrainingJobName=name)


def test_an_unknown_job_is_refused_as_aws_does(local: Local) -> None:
    for call in (local.sagemaker.describe_training_job, local.sagemaker.stop_training_job):
        with pytest.raises(ClientError, match=r"\(ValidationException\).*Requested resource not found"):
            call(TrainingJobName="nobody")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"InputDataConfig": [channel("..", "file:///tmp")]}, "channel name '..' cannot be used"),
        ({"InputDataConfig": [channel("a", "file:///tmp"), channel("a", "file:///tmp")]}, "'a' cannot be used"),
        (
            {"InputDataConfig": [{**channel("a", "file:///tmp"), "InputMode": "Pipe"}]},
            "does not do InputDataConfig.InputMode Pipe",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "file:///tmp", "LocalPath": "/home/x"}},
            "only places of its own below /opt/ml",
        ),
        ({"CheckpointConfig": {"S3Uri": "file:///tmp", "LocalPath": "/opt/ml/input/data"}}, "places of its own"),
        ({"CheckpointConfig": {"S3Uri": "file:///tmp", "LocalPath": "/opt/ml/model/kept"}}, "places of its own"),
        ({"DebugHookConfig": {"S3OutputPath": "file:///tmp", "LocalPath": "/etc"}}, "DebugHookConfig.LocalPath /etc"),
        (
            {"TensorBoardOutputConfig": {"S3OutputPath": "file:///tmp", "LocalPath": "/opt/ml/../x"}},
            "places of its own",
        ),
        ({"EnableNetworkIsolation": True}, "EnableNetworkIsolation with the image 'process'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_server_does_not_do_is_refused(local: Local, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        local.train("pass", **changes)


@pytest.mark.parametrize(("regex", "message"), [("loss=(", "invalid"), ("loss=.*", "no capture group")])
def test_a_metric_regex_that_cannot_work_is_refused(local: Local, regex: str, message: str) -> None:
    algorithm = {
        "TrainingImage": "process",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": regex}],
    }
    with pytest.raises(ClientError, match=message):
        local.train("pass", AlgorithmSpecification=algorithm)


def test_a_job_shows_while_it_runs(local: Local) -> None:
    name = local.train('import time; print("loss=1"); time.sleep(600)')
    local.printed(name, "loss=1")
    job = wait_for(
        lambda: local.sagemaker.describe_training_job(TrainingJobName=name),
        lambda job: job["SecondaryStatus"] == "Training",
    )
    assert job["TrainingJobStatus"] == "InProgress"
    assert len(left_over(local.state / "training-jobs" / name)) == 1
    local.sagemaker.stop_training_job(TrainingJobName=name)
    local.finished(name)
