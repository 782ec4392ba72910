"""Endpoints."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, listing
from local_sagemaker.hosting import KIND
from local_sagemaker.operations import endpoint_configs, models
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model, project


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    if "DeploymentConfig" in request:
        raise errors.not_done_here("DeploymentConfig")
    config = endpoint_configs.find(platform, request["EndpointConfigName"], call.region)
    variants = [
        {**variant, "Container": models.container(models.find(platform, variant["ModelName"], call.region))}
        for variant in config["ProductionVariants"]
    ]
    arn = platform.hosting.submit(request, variants, call.region)
    if arn is None:
        existing = arns.build("endpoint", request["EndpointName"], call.region)
        raise errors.validation(f'Cannot create already existing endpoint "{existing}".')
    return {"EndpointArn": arn}


def find(platform: Platform, name: str, region: str) -> Record:
    record = platform.records.find(KIND, name)
    if record is None:
        raise errors.validation(f'Could not find endpoint "{arns.build("endpoint", name, region)}".')
    return record


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    shape = operation_model("sagemaker", call.operation).output_shape
    return project(find(platform, call.parameters["EndpointName"], call.region), shape)


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    chosen, token = listing.select(
        platform.records.all(KIND), call.parameters, "EndpointName", "EndpointStatus", ("CreationTime", "Descending")
    )
    shape = operation_model("sagemaker", call.operation).output_shape.members["Endpoints"].member
    return {"Endpoints": [project(record, shape) for record in chosen], **({"NextToken": token} if token else {})}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    name = call.parameters["EndpointName"]
    if find(platform, name, call.region)["EndpointStatus"] == "Deleting":
        raise errors.validation(f'Cannot update in-progress endpoint "{arns.build("endpoint", name, call.region)}".')
    platform.hosting.delete(name)
    return {}


HANDLERS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": list_,
    "DeleteEndpoint": delete,
}
