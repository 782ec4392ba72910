"""Endpoints."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors
from local_sagemaker.hosting import KIND
from local_sagemaker.operations import endpoint_configs, models
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

RESOURCE = Resource(
    KIND, "EndpointName", "Endpoints",
    lambda name, region: errors.validation(f'Could not find endpoint "{arns.build("endpoint", name, region)}".'),
    status="EndpointStatus",
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    config = endpoint_configs.RESOURCE.find(platform, request["EndpointConfigName"], call.region)
    variants = [
        {**variant, "Container": models.container(models.RESOURCE.find(platform, variant["ModelName"], call.region))}
        for variant in config["ProductionVariants"]
    ]
    arn = platform.hosting.submit(request, variants, call.region)
    if arn is None:
        existing = arns.build("endpoint", request["EndpointName"], call.region)
        raise errors.validation(f'Cannot create already existing endpoint "{existing}".')
    return {"EndpointArn": arn}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    name = call.parameters["EndpointName"]
    if RESOURCE.find(platform, name, call.region)["EndpointStatus"] == "Deleting":
        raise errors.validation(f'Cannot update in-progress endpoint "{arns.build("endpoint", name, call.region)}".')
    platform.hosting.delete(name)
    return {}


HANDLERS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": RESOURCE.describe,
    "ListEndpoints": RESOURCE.list_,
    "DeleteEndpoint": delete,
}
SUPPORT = {"CreateEndpoint": Support(refused=("DeploymentConfig",))}
