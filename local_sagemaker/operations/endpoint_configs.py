"""Endpoint configurations."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, listing
from local_sagemaker.operations import models
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model, project

KIND = "endpoint-configs"
_REFUSED = ("DataCaptureConfig", "AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants")
_REFUSED_VARIANT = ("ServerlessConfig", "ManagedInstanceScaling", "InstancePools")


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    for variant in request["ProductionVariants"]:
        models.find(platform, variant["ModelName"], call.region)
    arn = arns.build("endpoint-config", request["EndpointConfigName"], call.region)
    record = {"Tags": [], **request, "EndpointConfigArn": arn}
    if not platform.records.create(KIND, request["EndpointConfigName"], record):
        raise errors.validation(f'Cannot create already existing endpoint configuration "{arn}".')
    return {"EndpointConfigArn": arn}


def _check(request: dict[str, Any]) -> None:
    for member in _REFUSED:
        if member in request:
            raise errors.not_done_here(member)
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    for variant in request["ProductionVariants"]:
        name = variant["VariantName"]
        if names.count(name) > 1:
            raise errors.validation(f"The variant name '{name}' is used more than once.")
        for member in _REFUSED_VARIANT:
            if member in variant:
                raise errors.not_done_here(f"{member} (variant '{name}')")
        if "ModelName" not in variant or "InstanceType" not in variant:
            raise errors.validation(f"Variant '{name}' must give ModelName and InstanceType.")
        count = variant.get("InitialInstanceCount", 1)
        if count != 1:
            raise errors.limit_exceeded(
                f"The account-level service limit '{variant['InstanceType']} for endpoint usage' is 1 Instances, "
                f"with current utilization of 0 Instances and a request delta of {count} Instances. "
                "Local SageMaker is one machine."
            )


def find(platform: Platform, name: str, region: str) -> Record:
    record = platform.records.find(KIND, name)
    if record is None:
        raise errors.validation(
            f'Could not find endpoint configuration "{arns.build("endpoint-config", name, region)}".'
        )
    return record


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    shape = operation_model("sagemaker", call.operation).output_shape
    return project(find(platform, call.parameters["EndpointConfigName"], call.region), shape)


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    chosen, token = listing.select(
        platform.records.all(KIND), call.parameters, "EndpointConfigName", order=("CreationTime", "Descending")
    )
    shape = operation_model("sagemaker", call.operation).output_shape.members["EndpointConfigs"].member
    return {"EndpointConfigs": [project(record, shape) for record in chosen], **({"NextToken": token} if token else {})}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    find(platform, call.parameters["EndpointConfigName"], call.region)
    platform.records.delete(KIND, call.parameters["EndpointConfigName"])
    return {}


HANDLERS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": describe,
    "ListEndpointConfigs": list_,
    "DeleteEndpointConfig": delete,
}
