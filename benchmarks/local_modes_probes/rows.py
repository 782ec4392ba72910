"""The rows of the table: each is one thing that SageMaker does, tried in one mode and checked.

A row gets a Mode of `sdk2`, `sdk3` or `here`. It returns what is worth saying, or raises: what the mode's own code
raised, or Missing where it went through and left out what was asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

WORK = Path(os.environ.get("WORK", "."))  # a directory for this row alone
ROLE = "arn:aws:iam::000000000000:role/anyone"
REGEX = "loss=([0-9.]+)"
NAME = f"row-{uuid4().hex[:8]}"  # of whatever this row makes


class Missing(Exception):
    """It went through, but what was asked for did not happen."""


def need(holds: object, otherwise: str) -> None:
    if not holds:
        raise Missing(otherwise)


def members(uri: str) -> list[str]:
    """The files in an archive of this machine."""
    with tarfile.open(uri.removeprefix("file://")) as tar:
        return [Path(name).name for name in tar.getnames()]


def model_archive() -> str:
    path = WORK / "model.tar.gz"
    (WORK / "weights").write_text("w")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(WORK / "weights", "weights")
    return path.as_uri()


def trains(mode: Any) -> str:
    job = mode.train("cat /opt/ml/input/data/training/photograph; echo w > /opt/ml/model/weights")
    need("weights" in members(mode.artifact(job)), "no artifact")
    return "model.tar.gz"


def keeps_metrics(mode: Any) -> str:
    job = mode.train("echo loss=0.5")
    described = mode.describe(job)
    need("FinalMetricDataList" in described, "its description has no metrics")
    need(described["FinalMetricDataList"][0]["Value"] == 0.5, "another value")
    return "FinalMetricDataList"


def says_why_it_failed(mode: Any) -> str:
    try:
        job = mode.train("echo no photographs > /opt/ml/output/failure; exit 3")
    except Exception as error:
        need("no photographs" in str(error), f"without the reason: {error}")
        return "raised"
    reason = mode.describe(job).get("FailureReason", "")
    need("no photographs" in reason, f"without the reason: {reason}")
    return "FailureReason"


def tunes(mode: Any) -> str:
    best = mode.tune("echo loss=0.$epochs", jobs=3)
    need(best, "no best training job")
    return f"best of 3: {best}"


def keeps_checkpoints(mode: Any) -> str:
    place = WORK / "checkpoints"
    place.mkdir()
    (place / "step").write_text("7\n")
    job = mode.train("grep 7 /opt/ml/checkpoints/step && echo 8 > /opt/ml/checkpoints/step", checkpoints=place.as_uri())
    mode.succeeded(job)
    need((place / "step").read_text() == "8\n", "the checkpoint did not come back")
    return "restored and kept"


def is_interrupted(mode: Any) -> str:
    place = WORK / "checkpoints"
    place.mkdir()
    begin = "trap 'exit 143' TERM; echo 1 > /opt/ml/checkpoints/step; sleep 90 & wait"
    code = f"if [ -f /opt/ml/checkpoints/step ]; then echo resumed; else {begin}; fi"
    job = mode.spot(code, place)
    described = mode.describe(job)
    need(described.get("BillableTimeInSeconds") is not None, "an ordinary job: no interruption, no billable time")
    statuses = [step["Status"] for step in described["SecondaryStatusTransitions"]]
    need("Interrupted" in statuses, f"statuses {statuses}")
    return f"resumed; {described['BillableTimeInSeconds']} s billable"


def several_hosts(mode: Any) -> str:
    # SDK 2.x names them algo-1-abcde; what counts is that the names in the file resolve.
    names = "$(grep -o 'algo-[-a-z0-9]*' /opt/ml/input/config/resourceconfig.json | sort -u)"
    find = "until getent hosts $host || [ $((n=n+1)) -gt 100 ]; do sleep 0.1; done; getent hosts $host || exit 4"
    code = f"set -- {names}; [ $# -eq 2 ] || exit 3; for host in $*; do {find}; done; sleep 2"
    mode.succeeded(mode.train(code, hosts=2))
    return "2 containers, names resolve"


def asks_for_a_gpu(mode: Any) -> str:
    mode.succeeded(mode.train("echo no GPU here", instance=mode.GPU))
    return "trains without one"


def stops_a_job(mode: Any) -> str:
    job = mode.train("trap 'echo stopping; exit 0' TERM; sleep 20 & wait", wait=False)
    mode.stop(job)
    described = mode.describe(job)
    need(described["TrainingJobStatus"] == "Stopped", f"status {described['TrainingJobStatus']}")
    return "Stopped"


def without_docker(mode: Any) -> str:
    mode.succeeded(mode.train("", image="process"))
    return "as a process"


def configures_debugger(mode: Any) -> str:
    tensors = "/opt/ml/output/tensors"
    code = f"cat /opt/ml/input/config/debughookconfig.json && mkdir -p {tensors} && echo t > {tensors}/t"
    place = WORK / "debugger"
    mode.succeeded(mode.train(code, debugger=place.as_uri()))
    need(list(place.rglob("t")), "no tensors in their place")
    return "hook configured, tensors kept"


def reads_the_log(mode: Any) -> str:
    job = mode.train("echo a line of the log")
    need("a line of the log" in mode.log(job), "no log afterwards")
    return "CloudWatch Logs API"


def lists_jobs(mode: Any) -> str:
    job = mode.train("echo")
    found = mode.sagemaker.list_training_jobs(NameContains=job)["TrainingJobSummaries"]
    need(len(found) == 1, f"{len(found)} jobs")
    return "ListTrainingJobs"


def waits_as_boto3_does(mode: Any) -> str:
    job = mode.train("sleep 1", wait=False)
    mode.sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=job, WaiterConfig={"Delay": 1})
    return "waiter"


def outlives_its_process(mode: Any) -> str:
    job = mode.train("echo loss=0.5")
    done = subprocess.run(
        [sys.executable, "-m", __package__, sys.argv[1], "--describe", job], capture_output=True, text=True, timeout=120
    )
    lines = (done.stdout + done.stderr).split("\n")
    need(
        not done.returncode, next((line for line in reversed(lines) if "Error" in line or "Missing" in line), "silence")
    )
    need("Completed" in done.stdout, done.stdout)
    return "described by another process"


def leaves_nothing(mode: Any) -> str:
    mode.train("echo")
    images = ["docker", "ps", "--all", "--format", "{{.Image}}"]
    found = subprocess.run(images, capture_output=True, text=True, check=True).stdout.split()
    left = [image for image in found if image.startswith("local-modes:")]
    need(not left, f"{len(left)} container left")
    return "no container left"


def serves(mode: Any) -> str:
    name = deploy(mode)
    need(ask(mode, name) == "hello you", "another answer")
    mode.sagemaker.delete_endpoint(EndpointName=name)
    return "in service"


def says_why_it_does_not_serve(mode: Any) -> str:
    begin = time.monotonic()
    try:
        deploy(mode, {"MODE": "exits"})
    except Exception as error:
        took = time.monotonic() - begin
        need("weights are missing" in str(error), f"after {took:.0f} s, without what the container said: {error}")
        return "with the container's last words"
    raise Missing("it says InService")


def starts_a_dead_container_again(mode: Any) -> str:
    name = deploy(mode)
    try:
        ask(mode, name, "die")
    except Exception as error:  # what each mode says of a container that hangs up is not this row's matter
        print(error)
    deadline = time.monotonic() + 30
    said: object = "nothing"
    while time.monotonic() < deadline:
        try:
            need(ask(mode, name) == "hello you", "another answer")
            break
        except Missing:
            raise
        except Exception as error:
            said = error
            time.sleep(1)
    else:
        raise Missing(f"after 30 s: {said}")
    mode.sagemaker.delete_endpoint(EndpointName=name)
    return "answers again"


def two_variants(mode: Any) -> str:
    for variant in ("A", "B"):
        create_model(mode, f"{NAME}-{variant}", {"GREETING": variant})
    variants = [production_variant(mode, f"{NAME}-{name}", name) for name in ("A", "B")]
    name = start(mode, NAME, variants)
    for variant in ("A", "B"):
        answer = ask(mode, name, TargetVariant=variant)
        need(answer == f"{variant} you", f"variant {variant} is asked and {answer.split()[0]} answers")
    mode.sagemaker.delete_endpoint(EndpointName=name)
    return "each answers"


def updates_an_endpoint(mode: Any) -> str:
    name = deploy(mode, {"GREETING": "old"})
    create_model(mode, f"{NAME}-new", {"GREETING": "new"})
    mode.sagemaker.create_endpoint_config(
        EndpointConfigName=f"{NAME}-new", ProductionVariants=[production_variant(mode, f"{NAME}-new", "A")]
    )
    mode.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{NAME}-new")
    mode.in_service(name)
    answer = ask(mode, name)
    need(answer == "new you", f"it answers {answer!r}")
    mode.sagemaker.delete_endpoint(EndpointName=name)
    return "blue/green"


def answers_later(mode: Any) -> str:
    create_model(mode, NAME, {})
    output = {"OutputConfig": {"S3OutputPath": (WORK / "answers").as_uri()}}
    mode.sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[production_variant(mode, NAME, "A")],
        AsyncInferenceConfig=output,
    )
    mode.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    mode.in_service(NAME)
    (WORK / "asked").write_text("you")
    answer = mode.runtime.invoke_endpoint_async(EndpointName=NAME, InputLocation=(WORK / "asked").as_uri())
    path = Path(answer["OutputLocation"].removeprefix("file://"))
    deadline = time.monotonic() + 60
    while not path.exists():
        need(time.monotonic() < deadline, "no answer within 60 s")
        time.sleep(0.1)
    need(path.read_text() == "hello you", "another answer")
    mode.sagemaker.delete_endpoint(EndpointName=NAME)
    return "an answer as a file"


def transforms(mode: Any) -> str:
    (WORK / "in").mkdir()
    (WORK / "in" / "batch.txt").write_text("you")
    create_model(mode, NAME, {})
    mode.sagemaker.create_transform_job(
        TransformJobName=NAME,
        ModelName=NAME,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (WORK / "in").as_uri()}},
            "ContentType": "text/plain",
        },
        TransformOutput={"S3OutputPath": (WORK / "out").as_uri()},
        TransformResources={"InstanceType": mode.INSTANCE, "InstanceCount": 1},
    )
    described = mode.settled(lambda: mode.sagemaker.describe_transform_job(TransformJobName=NAME), "TransformJobStatus")
    need(described["TransformJobStatus"] == "Completed", described.get("FailureReason", "failed"))
    need((WORK / "out" / "batch.txt.out").read_text() == "hello you", "another answer")
    return "batch.txt.out"


def registers_a_model(mode: Any) -> str:
    group = NAME
    mode.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    container = {"Image": mode.image, "ModelDataUrl": model_archive()}
    created = mode.sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/plain"],
            "SupportedResponseMIMETypes": ["text/plain"],
        },
        ModelApprovalStatus="PendingManualApproval",
    )
    arn = created["ModelPackageArn"]
    mode.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    return "version 1, approved"


def create_model(mode: Any, name: str, environment: dict[str, str]) -> None:
    container = {"Image": mode.image, "ModelDataUrl": model_archive(), "Environment": environment}
    mode.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)


def production_variant(mode: Any, model: str, name: str) -> dict[str, Any]:
    return {"VariantName": name, "ModelName": model, "InstanceType": mode.INSTANCE, "InitialInstanceCount": 1}


def start(mode: Any, name: str, variants: list[dict[str, Any]]) -> str:
    mode.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    mode.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    mode.in_service(name)
    return name


def deploy(mode: Any, environment: dict[str, str] | None = None) -> str:
    create_model(mode, NAME, environment or {})
    return start(mode, NAME, [production_variant(mode, NAME, "A")])


def ask(mode: Any, name: str, body: str = "you", **more: str) -> str:
    answer = mode.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/plain", **more)
    return str(answer["Body"].read().decode())


ROWS = {
    "trains an image, keeps its artifact": trains,
    "keeps metric values": keeps_metrics,
    "tells the reason in the failure file": says_why_it_failed,
    "hyperparameter tuning": tunes,
    "checkpoints, restored and kept": keeps_checkpoints,
    "spot: an interruption, then resumed": is_interrupted,
    "two instances in one job": several_hosts,
    "a GPU is asked for, there is none": asks_for_a_gpu,
    "stops a job": stops_a_job,
    "trains without Docker": without_docker,
    "Debugger's hook configuration": configures_debugger,
    "the log through an API": reads_the_log,
    "lists jobs": lists_jobs,
    "boto3's waiter": waits_as_boto3_does,
    "a job is still known to the next process": outlives_its_process,
    "nothing left on the engine": leaves_nothing,
    "serves, waits for /ping": serves,
    "tells why a container does not serve": says_why_it_does_not_serve,
    "a container that dies is started again": starts_a_dead_container_again,
    "two variants of an endpoint": two_variants,
    "UpdateEndpoint": updates_an_endpoint,
    "asynchronous endpoint": answers_later,
    "batch transform": transforms,
    "model registry": registers_a_model,
}
