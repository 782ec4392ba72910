"""Batch transform jobs: submitted, stopped, taken up again after a restart."""

from __future__ import annotations

import shutil
from typing import Any

from local_sagemaker import arns
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Record, Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runs import KILLED, UNFINISHED, Runs
from local_sagemaker.settings import Settings
from local_sagemaker.transform_run import KIND, TransformRun, base, finish


class TransformJobs:
    """Every transform job of this server."""

    def __init__(self, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._runs = Runs[TransformRun]()

    def submit(self, request: dict[str, Any], model: Record, containers: list[Record], region: str) -> str | None:
        """Starts a job with the containers of a model; gives its ARN, or None when the name is taken."""
        name = request["TransformJobName"]
        record: Record = {
            "Tags": [],
            **request,
            "TransformJobArn": arns.build("transform-job", name, region),
            "TransformJobStatus": "InProgress",
            "_Containers": containers,
            "_EnableNetworkIsolation": model["EnableNetworkIsolation"],
            "_Region": region,
        }
        if not self._records.create(KIND, name, record):
            return None
        run = TransformRun(name, self._records, self._logs, self._runners, self._settings, self._runs.forget)
        self._runs.add(name, run)
        run.start()
        return str(record["TransformJobArn"])

    def stop(self, name: str) -> None:
        """Asks a job to end; it goes on to Stopped by itself."""
        run = self._runs.find(name)
        if run:
            run.stop(self._settings.endpoint_stop_s)

    def recover(self) -> None:
        """After a server that was killed: ends what its jobs left running and says so in their records."""
        for record in self._records.all(KIND):
            if record["TransformJobStatus"] not in UNFINISHED:
                continue
            name, (container,) = record["TransformJobName"], record["_Containers"]
            for number in range(record["TransformResources"]["InstanceCount"]):
                self._runners.sweep(container["Image"], base(self._records, name) / f"ml-{number}")
            shutil.rmtree(base(self._records, name), ignore_errors=True)
            with self._records.edit(KIND, name) as edited:
                finish(edited, "Failed", KILLED)

    def shutdown(self) -> None:
        """Stops every job and waits for the last one."""
        self._runs.shutdown(self._settings.shutdown_stop_s)
