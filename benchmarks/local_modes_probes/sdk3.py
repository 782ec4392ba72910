"""The local mode of SDK 3.x: its ModelTrainer for training, the client of its LocalSession for the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core.local import LocalSession
from sagemaker.core.parameter import IntegerParameter
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import CheckpointConfig, Compute, InputData, OutputDataConfig, StoppingCondition
from sagemaker.train.model_trainer import Mode as TrainingMode
from sagemaker.train.tuner import HyperparameterTuner

from benchmarks.local_modes_probes.rows import REGEX, ROLE, WORK, Missing


class Mode:
    INSTANCE = "local"
    GPU = "local_gpu"

    def __init__(self) -> None:
        self.image = os.environ["IMAGE"]
        # ModelTrainer's local containers get no argument; a CMD of the image mends that.
        self.trained = os.environ["IMAGE_WITH_CMD"]
        self.session = LocalSession(boto_session=boto3.Session())
        (WORK / "root").mkdir(exist_ok=True)
        self.session.config = {"local": {"local_code": True, "container_root": str(WORK / "root")}}
        self.sagemaker = self.session.sagemaker_client
        self.runtime = self.session.sagemaker_runtime_client
        self.trainers: dict[str, ModelTrainer] = {}

    def trainer(
        self,
        code: str,
        hosts: int = 1,
        instance: str = "local_cpu",
        image: str | None = None,
        checkpoints: str | None = None,
        debugger: str | None = None,
        spot: bool = False,
    ) -> ModelTrainer:
        more: dict[str, Any] = {}
        if checkpoints:
            more["checkpoint_config"] = CheckpointConfig(s3_uri=checkpoints)
        if debugger:
            more["debug_hook_config"] = {"s3_output_path": debugger}
        if spot:
            more["stopping_condition"] = StoppingCondition(max_runtime_in_seconds=60, max_wait_time_in_seconds=120)
        return ModelTrainer(
            training_mode=TrainingMode.LOCAL_CONTAINER,
            training_image=image or self.trained,
            compute=Compute(instance_type=instance, instance_count=hosts, enable_managed_spot_training=spot or None),
            hyperparameters={"code": code},
            base_job_name="row",
            output_data_config=OutputDataConfig(s3_output_path=(WORK / "out").as_uri()),
            role=ROLE,
            local_container_root=str(WORK / "root"),
            sagemaker_session=self.session,
            **more,
        )

    def train(self, code: str, wait: bool = True, **options: Any) -> str:
        trainer = self.trainer(code, **options)
        trainer.train(input_data_config=[InputData(channel_name="training", data_source=str(WORK / "data"))], wait=wait)
        name = f"row-{len(self.trainers)}"  # a local job of ModelTrainer has no name that one could ask for
        self.trainers[name] = trainer
        return name

    def artifact(self, job: str) -> str:
        return (WORK / "root" / "compressed_artifacts" / "model.tar.gz").as_uri()

    def describe(self, job: str) -> dict[str, Any]:
        trainer = self.trainers.get(job)
        latest = trainer._latest_training_job if trainer else None
        if latest is None:
            raise Missing("a local job has no description")
        described: dict[str, Any] = latest.refresh().model_dump()
        return described

    def succeeded(self, job: str) -> None:
        """`train` raises where a job fails."""

    def stop(self, job: str) -> None:
        latest = self.trainers[job]._latest_training_job
        if latest is None:
            raise Missing("`train(wait=False)` has waited, and there is no job to stop")
        latest.stop()

    def log(self, job: str) -> list[str]:
        return list(self.session.logs_for_job(job) or [])

    def tune(self, code: str, jobs: int) -> str:
        tuner = HyperparameterTuner(
            self.trainer(code),
            "loss",
            {"epochs": IntegerParameter(1, 9)},
            [{"Name": "loss", "Regex": REGEX}],
            max_jobs=jobs,
        )
        tuner.tune(inputs=[InputData(channel_name="training", data_source=(WORK / "data").as_uri())])
        return str(tuner.best_training_job())

    def spot(self, code: str, place: Path) -> str:
        code = code.replace("sleep 90", "sleep 3")  # nobody will interrupt it
        return self.train(code, checkpoints=place.as_uri(), spot=True)

    def in_service(self, name: str) -> None:
        """`create_endpoint` returns when it is, and raises when it will not be."""

    def settled(self, look: Callable[[], dict[str, Any]], status: str) -> dict[str, Any]:
        """`create_transform_job` returns at the end."""
        return look()
