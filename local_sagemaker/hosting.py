"""Endpoints: every one of this server, and their records."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_sagemaker import arns, deployment
from local_sagemaker.endpoint import KIND, Endpoint
from local_sagemaker.errors import ApiError
from local_sagemaker.fleet import variants_of
from local_sagemaker.instance import Means
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Record, Records
from local_sagemaker.routing import Route
from local_sagemaker.runner_choice import Runners
from local_sagemaker.runs import Runs
from local_sagemaker.settings import Settings

__all__ = ["KIND", "Hosting"]


class Hosting:
    """Every endpoint of this server. A deployment is a record: what `endpoint_configs.deployment` makes."""

    def __init__(self, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self._records = records
        self._runners = runners
        self._settings = settings
        self._means = Means(logs, runners, settings)
        self._endpoints = Runs[Endpoint]()

    def submit(self, request: dict[str, Any], deployed: Record, region: str) -> str | None:
        """Starts an endpoint; gives its ARN, or None when the name is taken."""
        name = request["EndpointName"]
        arn = arns.build("endpoint", name, region)
        record: Record = {
            "Tags": request.get("Tags", []),
            "EndpointName": name,
            "EndpointConfigName": request["EndpointConfigName"],
            "EndpointArn": arn,
            "EndpointStatus": "Creating",
            "_Deployment": {"Id": _new_id(), **deployed},
            "_Region": region,
        }
        if "DeploymentConfig" in request:
            record["LastDeploymentConfig"] = request["DeploymentConfig"]
        if not self._records.create(KIND, name, record):
            return None
        self._new(name).create()
        return arn

    def update(self, name: str, deployed: Record, config: Record | None) -> None:
        """Deploys another configuration. Raises ApiError when the endpoint cannot be changed now."""
        with self._records.edit(KIND, name) as record:
            check_changeable(record)
            record["EndpointStatus"] = "Updating"
            record["_Pending"] = {"Id": _new_id(), **deployed, "StartTime": time.time()}
            record.pop("LastDeploymentConfig", None)
            if config:
                record["_Pending"]["DeploymentConfig"] = record["LastDeploymentConfig"] = config
        self._of(name).update()

    def rescale(self, name: str, wanted: dict[str, Record]) -> None:
        """Gives variants other weights and counts: members of a variant's record, by the variants' names.

        Raises ApiError when the endpoint cannot be changed now.
        """
        with self._records.edit(KIND, name) as record:
            check_changeable(record, ("InService",))
            record["EndpointStatus"] = "Updating"
            variants = record["_Deployment"]["Variants"]
            before = {item["VariantName"]: (item["DesiredWeight"], item["DesiredCount"]) for item in variants}
            for variant in variants:
                variant.update(wanted.get(variant["VariantName"], {}))
        self._of(name).rescale(before)

    def delete(self, name: str) -> None:
        """Ends an endpoint and forgets it; returns at once. Raises ApiError while it is being changed, as AWS does."""
        with self._records.edit(KIND, name) as record:
            check_changeable(record, ("InService", "UpdateRollbackFailed", "Failed"))
            record["EndpointStatus"] = "Deleting"

        def end() -> None:
            endpoint = self._endpoints.find(name)
            if endpoint:
                endpoint.stop(self._settings.endpoint_stop_s)
                endpoint.join()
            self._endpoints.forget(name)
            self._records.delete(KIND, name)

        threading.Thread(target=end, name=f"delete-{name}", daemon=True).start()

    def route(self, name: str, variant: str | None) -> Route:
        """Where a request goes; to be used in a `with` statement. Raises ApiError."""
        endpoint = self._endpoints.find(name)
        if endpoint is None or not endpoint.is_serving:
            record = self._records.find(KIND, name)
            if record is None:
                raise ApiError("ValidationError", f"Endpoint {name} of account {arns.ACCOUNT} not found.")
            raise ApiError(
                "ValidationError", f"Endpoint {name} is not InService, its status is {record['EndpointStatus']}."
            )
        return endpoint.route(variant)

    def shown(self, record: Record) -> Record:
        """The record with the members of DescribeEndpoint that its deployments and its instances give."""
        endpoint = self._endpoints.find(record["EndpointName"])
        counts = endpoint.counts() if endpoint else {}
        current = record["_Deployment"]
        shown = {**record, **_shown(current, counts, deployment.summary)}
        if "DataCaptureConfig" in current:
            shown["DataCaptureConfig"] = _capture(current["DataCaptureConfig"])
        if "AsyncInferenceConfig" in current:
            shown["AsyncInferenceConfig"] = current["AsyncInferenceConfig"]
        if "_Pending" in record:
            pending = record["_Pending"]
            status = pending.get("VariantStatus", {"Status": "Creating", "StartTime": pending["StartTime"]})
            shown["PendingDeploymentSummary"] = {
                "EndpointConfigName": pending["EndpointConfigName"],
                "StartTime": pending["StartTime"],
                **_shown(pending, counts, partial(deployment.pending_summary, status=status)),
            }
        return shown

    def recover(self) -> None:
        """Starts again what was in service or on its way there, and ends what the earlier server left running."""
        for record in self._records.all(KIND):
            name, status = record["EndpointName"], record["EndpointStatus"]
            self._sweep(record)
            if status == "Deleting":
                self._records.delete(KIND, name)
            elif status != "Failed":
                with self._records.edit(KIND, name) as edited:
                    if status in ("RollingBack", "UpdateRollbackFailed"):
                        edited.pop("_Pending", None)  # the whole old fleet comes back, so the rollback succeeds
                    if "_Pending" in edited:
                        edited["_Pending"].pop("VariantStatus", None)  # its fleet is made anew
                    elif status != "Creating":
                        edited["EndpointStatus"] = "SystemUpdating"
                self._new(name).create()

    def shutdown(self) -> None:
        """Ends every container; the records keep their status, so that the next server starts them again."""
        self._endpoints.shutdown(self._settings.shutdown_stop_s)

    def _sweep(self, record: Record) -> None:
        for deployed in [record[member] for member in ("_Deployment", "_Pending", "_Left") if member in record]:
            directory: Path = self._records.directory(KIND, record["EndpointName"]) / deployed["Id"]
            for variant in variants_of(deployed):
                for number, container in enumerate(variant["Containers"]):
                    for base in (directory / variant["VariantName"]).glob(f"i-*/ml-{number}"):
                        self._runners.sweep(container["Image"], base)
            shutil.rmtree(directory, ignore_errors=True)

    def _of(self, name: str) -> Endpoint:
        endpoint = self._endpoints.find(name)
        assert endpoint
        return endpoint

    def _new(self, name: str) -> Endpoint:
        endpoint = Endpoint(name, self._records, self._means)
        self._endpoints.add(name, endpoint)
        return endpoint


def check_changeable(record: Record, statuses: tuple[str, ...] = ("InService", "UpdateRollbackFailed")) -> None:
    """Raises ApiError for an endpoint that cannot be changed in its present status."""
    status = record["EndpointStatus"]
    if status in statuses:
        return
    if status in ("Failed", "UpdateRollbackFailed"):
        instead = "delete it and create it again" if status == "Failed" else "update it to a configuration that works"
        raise ApiError(
            "ValidationException",
            f'Cannot change endpoint "{record["EndpointArn"]}" with status "{status}": {instead}.',
        )
    raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')


def _new_id() -> str:
    return f"d-{uuid4().hex[:12]}"


def _shown(deployed: Record, counts: dict[str, dict[str, int]], summary: Callable[[Record, int], Record]) -> Record:
    running = counts.get(deployed["Id"], {})
    groups = {"ProductionVariants": deployed["Variants"], "ShadowProductionVariants": deployed["ShadowVariants"]}
    return {
        member: [summary(variant, running.get(variant["VariantName"], 0)) for variant in variants]
        for member, variants in groups.items()
        if variants
    }


def _capture(config: Record) -> Record:
    """DataCaptureConfigSummary."""
    is_on = config.get("EnableCapture", False)
    return {
        "EnableCapture": is_on,
        "CaptureStatus": "Started" if is_on else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }
