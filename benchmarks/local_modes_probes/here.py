"""Local SageMaker, through boto3 alone: AWS_ENDPOINT_URL is all that says that it is local."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from benchmarks.local_modes_probes.rows import REGEX, ROLE, WORK, Missing

ENDED = ("Completed", "Failed", "Stopped")


class Mode:
    INSTANCE = "ml.m5.large"
    GPU = "ml.g5.xlarge"

    def __init__(self) -> None:
        self.image = os.environ["IMAGE"]
        self.sagemaker = boto3.client("sagemaker")
        self.runtime = boto3.client("sagemaker-runtime")
        self.logs = boto3.client("logs")

    def definition(self, hosts: int = 1, instance: str = INSTANCE, image: str | None = None) -> dict[str, Any]:
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (WORK / "data").as_uri()}}
        return {
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": image or self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": REGEX}],
            },
            "InputDataConfig": [{"ChannelName": "training", "DataSource": source}],
            "OutputDataConfig": {"S3OutputPath": (WORK / "out").as_uri()},
            "ResourceConfig": {"InstanceType": instance, "InstanceCount": hosts, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }

    def train(
        self,
        code: str,
        wait: bool = True,
        checkpoints: str | None = None,
        debugger: str | None = None,
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> str:
        request = {**self.definition(**options), "HyperParameters": {"code": code}, **(more or {})}
        if checkpoints:
            request["CheckpointConfig"] = {"S3Uri": checkpoints}
        if debugger:
            request["DebugHookConfig"] = {"S3OutputPath": debugger}
        name = f"row-{uuid4().hex[:8]}"
        self.sagemaker.create_training_job(TrainingJobName=name, **request)
        if wait:
            self.settled(lambda: self.describe(name), "TrainingJobStatus")
        return name

    def artifact(self, job: str) -> str:
        self.succeeded(job)
        return str(self.describe(job)["ModelArtifacts"]["S3ModelArtifacts"])

    def describe(self, job: str) -> dict[str, Any]:
        described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=job)
        return described

    def succeeded(self, job: str) -> None:
        described = self.describe(job)
        if described["TrainingJobStatus"] != "Completed":
            raise Missing(described.get("FailureReason", described["TrainingJobStatus"]))

    def stop(self, job: str) -> None:
        self._reached(job, "Training")
        self.sagemaker.stop_training_job(TrainingJobName=job)
        self.settled(lambda: self.describe(job), "TrainingJobStatus")

    def log(self, job: str) -> list[str]:
        group = "/aws/sagemaker/TrainingJobs"
        found = self.logs.filter_log_events(logGroupName=group, logStreamNamePrefix=f"{job}/")
        return [event["message"] for event in found["events"]]

    def tune(self, code: str, jobs: int) -> str:
        name = f"row-{uuid4().hex[:8]}"
        # The image reads one hyperparameter; the tuned one stands beside it in the same file.
        tuned = "grep -E '^ *.epochs' /opt/ml/input/config/hyperparameters.json | tr -dc 0-9"
        code = code.replace("$epochs", f"$({tuned})")
        self.sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name,
            HyperParameterTuningJobConfig={
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "loss"},
                "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 1},
                "ParameterRanges": {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "9"}]},
            },
            TrainingJobDefinition={**self.definition(), "StaticHyperParameters": {"code": code}},
        )

        def look() -> dict[str, Any]:
            described: dict[str, Any] = self.sagemaker.describe_hyper_parameter_tuning_job(
                HyperParameterTuningJobName=name
            )
            return described

        described = self.settled(look, "HyperParameterTuningJobStatus")
        if "BestTrainingJob" not in described:
            raise Missing(described.get("FailureReason", "no best training job"))
        best = described["BestTrainingJob"]
        return f"{best['FinalHyperParameterTuningJobObjectiveMetric']['Value']:.1f}"

    def spot(self, code: str, place: Path) -> str:
        more = {
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 600},
        }
        job = self.train(code, wait=False, checkpoints=place.as_uri(), more=more)
        while not (place / "step").exists():
            time.sleep(0.1)
        state = ["--state", os.environ["STATE"]]
        subprocess.run([sys.executable, "-m", "local_sagemaker", "interrupt", job, *state], check=True)
        self.settled(lambda: self.describe(job), "TrainingJobStatus")
        self.succeeded(job)
        return job

    def in_service(self, name: str) -> None:
        look = lambda: self.sagemaker.describe_endpoint(EndpointName=name)  # noqa: E731
        described = self.settled(look, "EndpointStatus", ("InService", "Failed"))
        if described["EndpointStatus"] == "Failed":
            raise RuntimeError(described["FailureReason"])

    def settled(self, look: Callable[[], dict[str, Any]], status: str, ends: tuple[str, ...] = ENDED) -> dict[str, Any]:
        while (described := look())[status] not in ends:
            time.sleep(0.1)
        return described

    def _reached(self, job: str, secondary: str) -> None:
        while self.describe(job)["SecondaryStatus"] != secondary:
            time.sleep(0.1)
