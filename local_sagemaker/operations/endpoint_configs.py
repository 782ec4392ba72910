"""Endpoint configurations."""

from __future__ import annotations

import time
from typing import Any

from local_sagemaker import arns, errors
from local_sagemaker.operations import models
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.support import Support

INSTANCES = 8  # of one configuration: all of them are processes or containers of one machine

RESOURCE = Resource(
    "endpoint-configs", "EndpointConfigName", "EndpointConfigs",
    lambda name, region: errors.validation(
        f'Could not find endpoint configuration "{arns.build("endpoint-config", name, region)}".'
    ),
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    for variant in _variants(request):
        models.RESOURCE.find(platform, variant["ModelName"], call.region)
    arn = arns.build("endpoint-config", request["EndpointConfigName"], call.region)
    record = {"Tags": [], **request, "EndpointConfigArn": arn}
    if not platform.records.create(RESOURCE.kind, request["EndpointConfigName"], record):
        raise errors.validation(f'Cannot create already existing endpoint configuration "{arn}".')
    return {"EndpointConfigArn": arn}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    RESOURCE.find(platform, call.parameters["EndpointConfigName"], call.region)
    platform.records.delete(RESOURCE.kind, call.parameters["EndpointConfigName"])
    return {}


def deployment(platform: Platform, config: Record, region: str) -> Record:
    """What an endpoint keeps of a configuration and its models, which may be deleted while they are served.

    `Variants` and `ShadowVariants`, each as in the configuration and with its model's `Containers`,
    `EnableNetworkIsolation`, `InferenceExecutionMode`, `DesiredWeight` and `DesiredCount`; DataCaptureConfig and
    AsyncInferenceConfig. Raises ApiError.
    """
    return {
        "EndpointConfigName": config["EndpointConfigName"],
        "Variants": [_served(platform, variant, region) for variant in config["ProductionVariants"]],
        "ShadowVariants": [
            _served(platform, variant, region) for variant in config.get("ShadowProductionVariants", [])
        ],
        **{key: config[key] for key in ("DataCaptureConfig", "AsyncInferenceConfig") if key in config},
    }


def check_count(instance_type: str, count: int) -> None:
    """Raises ApiError for more instances than one machine takes."""
    if count > INSTANCES:
        raise errors.too_many_instances(instance_type, "endpoint", INSTANCES, count)


def _served(platform: Platform, variant: Record, region: str) -> Record:
    model = models.RESOURCE.find(platform, variant["ModelName"], region)
    return {
        **variant,
        "Containers": models.containers(platform, model, region),
        "EnableNetworkIsolation": model["EnableNetworkIsolation"],
        "InferenceExecutionMode": model.get("InferenceExecutionConfig", {}).get("Mode", "Serial"),
        "DesiredWeight": variant.get("InitialVariantWeight", 1.0),
        "DesiredCount": variant.get("InitialInstanceCount", 1),
        "ResolutionTime": time.time(),
    }


def _variants(request: Record) -> list[Record]:
    return [*request["ProductionVariants"], *request.get("ShadowProductionVariants", [])]


def _check(request: Record) -> None:
    names = [variant["VariantName"] for variant in _variants(request)]
    for variant in _variants(request):
        if names.count(variant["VariantName"]) > 1:
            raise errors.validation(f"The variant name '{variant['VariantName']}' is used more than once.")
        _check_variant(variant)
    total = sum(variant.get("InitialInstanceCount", 1) for variant in _variants(request))
    check_count(_variants(request)[0].get("InstanceType", "serverless"), total)
    if request.get("ShadowProductionVariants") and len(names) != 2:
        raise errors.validation("With ShadowProductionVariants, give one production variant and one shadow variant.")
    if "AsyncInferenceConfig" in request:
        for member in ("DataCaptureConfig", "ShadowProductionVariants"):
            if member in request:
                raise errors.not_done_here(f"{member} of an asynchronous endpoint")
    if any("ServerlessConfig" in variant for variant in _variants(request)):
        for member in ("DataCaptureConfig", "AsyncInferenceConfig", "VpcConfig", "ShadowProductionVariants"):
            if member in request:
                raise errors.validation(f"{member} is not supported with a serverless variant: leave one of them out.")
        if len(names) > 1:
            raise errors.validation("An endpoint with a serverless variant has no other variant.")


def _check_variant(variant: Record) -> None:
    name = variant["VariantName"]
    if "ModelName" not in variant:
        raise errors.validation(f"Variant '{name}' must give ModelName: inference components are not done here.")
    if ("ServerlessConfig" in variant) == ("InstanceType" in variant):
        raise errors.validation(f"Variant '{name}' must give either InstanceType or ServerlessConfig.")
    if "ServerlessConfig" not in variant:
        return
    if "InitialInstanceCount" in variant:
        raise errors.validation(f"Variant '{name}' is serverless: it has no InitialInstanceCount.")
    check_serverless(variant["ServerlessConfig"])


def check_serverless(config: Record) -> None:
    """Raises ApiError for a ServerlessConfig that AWS refuses beyond botocore's model."""
    if config["MemorySizeInMB"] % 1024:
        raise errors.validation(
            f"MemorySizeInMB of {config['MemorySizeInMB']} is not a valid value: it must be a multiple of 1024."
        )
    if config.get("ProvisionedConcurrency", 0) > config["MaxConcurrency"]:
        raise errors.validation("ProvisionedConcurrency must be less than or equal to MaxConcurrency.")


HANDLERS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": RESOURCE.describe,
    "ListEndpointConfigs": RESOURCE.list_,
    "DeleteEndpointConfig": delete,
}
_VARIANT_WITHOUT_EFFECT = (
    "AcceleratorType",
    "CapacityReservationConfig",
    "CoreDumpConfig",
    "EnableSSMAccess",
    "InferenceAmiVersion",
    "InstanceType",
    "ServerlessConfig.ProvisionedConcurrency",
    "VariantInstanceProvisionTimeoutInSeconds",
    "VolumeSizeInGB",
)
_VARIANT_REFUSED = (
    "AcceleratorPartitionLayouts",
    "InstancePools",
    "ManagedInstanceScaling",
    "RoutingConfig.PrefixAwareRoutingConfig",
    "RoutingConfig.RoutingStrategy=KV_AWARE",
    "RoutingConfig.RoutingStrategy=PREFIX_AWARE",
)
_GROUPS = ("ProductionVariants", "ShadowProductionVariants")
SUPPORT = {
    "CreateEndpointConfig": Support(
        without_effect=(
            "KmsKeyId",
            "ExecutionRoleArn",
            "VpcConfig",
            "MetricsConfig",
            "CrossRegionTrafficConfig",
            "DataCaptureConfig.KmsKeyId",
            "AsyncInferenceConfig.OutputConfig.KmsKeyId",
            "AsyncInferenceConfig.OutputConfig.NotificationConfig",
            *(f"{group}.{path}" for group in _GROUPS for path in _VARIANT_WITHOUT_EFFECT),
        ),
        refused=(
            "EnableNetworkIsolation",
            "ExplainerConfig",
            *(f"{group}.{path}" for group in _GROUPS for path in _VARIANT_REFUSED),
        ),
    )
}
