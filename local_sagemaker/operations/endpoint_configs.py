"""Endpoint configurations."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors
from local_sagemaker.operations import models
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

RESOURCE = Resource(
    "endpoint-configs", "EndpointConfigName", "EndpointConfigs",
    lambda name, region: errors.validation(
        f'Could not find endpoint configuration "{arns.build("endpoint-config", name, region)}".'
    ),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    for variant in request["ProductionVariants"]:
        models.RESOURCE.find(platform, variant["ModelName"], call.region)
    arn = arns.build("endpoint-config", request["EndpointConfigName"], call.region)
    record = {"Tags": [], **request, "EndpointConfigArn": arn}
    if not platform.records.create(RESOURCE.kind, request["EndpointConfigName"], record):
        raise errors.validation(f'Cannot create already existing endpoint configuration "{arn}".')
    return {"EndpointConfigArn": arn}


def _check(request: dict[str, Any]) -> None:
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    for variant in request["ProductionVariants"]:
        name = variant["VariantName"]
        if names.count(name) > 1:
            raise errors.validation(f"The variant name '{name}' is used more than once.")
        if "ModelName" not in variant or "InstanceType" not in variant:
            raise errors.validation(f"Variant '{name}' must give ModelName and InstanceType.")
        count = variant.get("InitialInstanceCount", 1)
        if count != 1:
            raise errors.limit_exceeded(
                f"The account-level service limit '{variant['InstanceType']} for endpoint usage' is 1 Instances, "
                f"with current utilization of 0 Instances and a request delta of {count} Instances. "
                "Local SageMaker is one machine."
            )


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    RESOURCE.find(platform, call.parameters["EndpointConfigName"], call.region)
    platform.records.delete(RESOURCE.kind, call.parameters["EndpointConfigName"])
    return {}


HANDLERS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": RESOURCE.describe,
    "ListEndpointConfigs": RESOURCE.list_,
    "DeleteEndpointConfig": delete,
}
SUPPORT = {
    "CreateEndpointConfig": Support(
        without_effect=("KmsKeyId", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation"),
        refused=(
            "DataCaptureConfig",
            "AsyncInferenceConfig",
            "ExplainerConfig",
            "ShadowProductionVariants",
            "ProductionVariants.ServerlessConfig",
            "ProductionVariants.ManagedInstanceScaling",
            "ProductionVariants.InstancePools",
        ),
    )
}
