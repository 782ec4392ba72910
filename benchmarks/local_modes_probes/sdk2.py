"""The local mode of SDK 2.x: its Estimator, its tuner, and the client of its LocalSession."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from sagemaker.debugger import DebuggerHookConfig
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.tuner import HyperparameterTuner, IntegerParameter

from benchmarks.local_modes_probes.rows import REGEX, ROLE, WORK


class Mode:
    INSTANCE = "local"
    GPU = "local_gpu"

    def __init__(self) -> None:
        self.image = os.environ["IMAGE"]
        self.session = LocalSession(boto_session=boto3.Session())
        (WORK / "root").mkdir(exist_ok=True)
        self.session.config = {"local": {"local_code": True, "container_root": str(WORK / "root")}}
        self.sagemaker = self.session.sagemaker_client
        self.runtime = self.session.sagemaker_runtime_client
        self.estimators: dict[str, Estimator] = {}

    def estimator(
        self,
        code: str,
        hosts: int = 1,
        instance: str = INSTANCE,
        image: str | None = None,
        checkpoints: str | None = None,
        debugger: str | None = None,
        **more: Any,
    ) -> Estimator:
        return Estimator(
            image or self.image,
            ROLE,
            hosts,
            instance,
            sagemaker_session=self.session,
            hyperparameters={"code": code},
            output_path=(WORK / "out").as_uri(),
            metric_definitions=[{"Name": "loss", "Regex": REGEX}],
            checkpoint_s3_uri=checkpoints,
            debugger_hook_config=DebuggerHookConfig(s3_output_path=debugger) if debugger else False,
            **more,
        )

    def train(self, code: str, wait: bool = True, **options: Any) -> str:
        estimator = self.estimator(code, **options)
        estimator.fit({"training": (WORK / "data").as_uri()}, wait=wait)
        name = str(estimator.latest_training_job.name)
        self.estimators[name] = estimator
        return name

    def artifact(self, job: str) -> str:
        return str(self.estimators[job].model_data)

    def describe(self, job: str) -> dict[str, Any]:
        described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=job)
        return described

    def succeeded(self, job: str) -> None:
        """`fit` raises where a job fails."""

    def stop(self, job: str) -> None:
        self.estimators[job].latest_training_job.stop()

    def log(self, job: str) -> list[str]:
        return list(self.session.logs_for_job(job) or [])

    def tune(self, code: str, jobs: int) -> str:
        tuner = HyperparameterTuner(
            self.estimator(code),
            "loss",
            {"epochs": IntegerParameter(1, 9)},
            [{"Name": "loss", "Regex": REGEX}],
            max_jobs=jobs,
        )
        tuner.fit({"training": (WORK / "data").as_uri()})
        return str(tuner.best_training_job())

    def spot(self, code: str, place: Path) -> str:
        code = code.replace("sleep 90", "sleep 3")  # nobody will interrupt it
        return self.train(code, checkpoints=place.as_uri(), use_spot_instances=True, max_run=60, max_wait=120)

    def in_service(self, name: str) -> None:
        """`create_endpoint` returns when it is, and raises when it will not be."""

    def settled(self, look: Callable[[], dict[str, Any]], status: str) -> dict[str, Any]:
        """`create_transform_job` returns at the end."""
        return look()
