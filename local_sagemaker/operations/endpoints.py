"""Endpoints."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, deployment, errors, hosting
from local_sagemaker.hosting import KIND
from local_sagemaker.operations import endpoint_configs
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.support import Support
from local_sagemaker.validation import operation_model, project

RESOURCE = Resource(
    KIND, "EndpointName", "Endpoints",
    lambda name, region: errors.validation(f'Could not find endpoint "{arns.build("endpoint", name, region)}".'),
    status="EndpointStatus",
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    deployed = _deployment(platform, call)
    deployment.check(request.get("DeploymentConfig", {}), deployed["Variants"], [])
    arn = platform.hosting.submit(request, deployed, call.region)
    if arn is None:
        existing = arns.build("endpoint", request["EndpointName"], call.region)
        raise errors.validation(f'Cannot create already existing endpoint "{existing}".')
    return {"EndpointArn": arn}


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters["EndpointName"], call.region)
    return project(platform.hosting.shown(record), operation_model(call.service, call.operation).output_shape)


def update(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    record = RESOURCE.find(platform, request["EndpointName"], call.region)
    hosting.check_changeable(record)
    deployed = _deployment(platform, call)
    current = record["_Deployment"]
    if request.get("RetainAllVariantProperties"):
        excluded = [item["VariantPropertyType"] for item in request.get("ExcludeRetainedVariantProperties", [])]
        _retain(current, deployed, excluded)
    elif request.get("ExcludeRetainedVariantProperties"):
        raise errors.validation("ExcludeRetainedVariantProperties is for requests with RetainAllVariantProperties.")
    config = request.get("DeploymentConfig")
    if request.get("RetainDeploymentConfig"):
        if config:
            raise errors.validation("Give either DeploymentConfig or RetainDeploymentConfig.")
        config = record.get("LastDeploymentConfig")
    deployment.check(config or {}, deployed["Variants"], current["Variants"])
    platform.hosting.update(request["EndpointName"], deployed, config)
    return {"EndpointArn": record["EndpointArn"]}


def update_weights_and_capacities(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters["EndpointName"], call.region)
    hosting.check_changeable(record, ("InService",))
    wanted = {}
    variants = {variant["VariantName"]: variant for variant in record["_Deployment"]["Variants"]}
    for item in call.parameters["DesiredWeightsAndCapacities"]:
        if item["VariantName"] not in variants:
            raise errors.validation(
                f'The variant name(s) "{item["VariantName"]}" is/are not present within endpoint configuration '
                f'"{record["EndpointConfigName"]}".'
            )
        variant = variants[item["VariantName"]]
        wanted[item["VariantName"]] = _changes(record["_Deployment"], variant, item)
    counts = [{**variant, **wanted.get(name, {})}["DesiredCount"] for name, variant in variants.items()]
    counts += [variant["DesiredCount"] for variant in record["_Deployment"]["ShadowVariants"]]
    endpoint_configs.check_count(record["_Deployment"]["Variants"][0].get("InstanceType", "serverless"), sum(counts))
    platform.hosting.rescale(call.parameters["EndpointName"], wanted)
    return {"EndpointArn": record["EndpointArn"]}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    RESOURCE.find(platform, call.parameters["EndpointName"], call.region)
    platform.hosting.delete(call.parameters["EndpointName"])
    return {}


def _deployment(platform: Platform, call: Call) -> Record:
    config = endpoint_configs.RESOURCE.find(platform, call.parameters["EndpointConfigName"], call.region)
    return endpoint_configs.deployment(platform, config, call.region)


def _retain(current: Record, deployed: Record, excluded: list[str]) -> None:
    before = {variant["VariantName"]: variant for variant in current["Variants"]}
    for variant in deployed["Variants"]:
        old = before.get(variant["VariantName"])
        if old and "DesiredWeight" not in excluded:
            variant["DesiredWeight"] = old["DesiredWeight"]
        if old and "DesiredInstanceCount" not in excluded and "ServerlessConfig" not in {**variant, **old}:
            variant["DesiredCount"] = old["DesiredCount"]
    if "DataCaptureConfig" not in excluded:
        deployed.pop("DataCaptureConfig", None)
        if "DataCaptureConfig" in current:
            deployed["DataCaptureConfig"] = current["DataCaptureConfig"]


def _changes(deployed: Record, variant: Record, item: Record) -> Record:
    changes: Record = {}
    if "DesiredWeight" in item:
        changes["DesiredWeight"] = item["DesiredWeight"]
    if "DesiredInstanceCount" in item:
        if "ServerlessConfig" in variant:
            raise errors.validation(f"Variant {variant['VariantName']} is serverless: it has no DesiredInstanceCount.")
        if item["DesiredInstanceCount"] == 0 and "AsyncInferenceConfig" not in deployed:
            raise errors.validation("DesiredInstanceCount must be 1 or more: only asynchronous endpoints scale to 0.")
        changes["DesiredCount"] = item["DesiredInstanceCount"]
    if "ServerlessUpdateConfig" in item:
        if "ServerlessConfig" not in variant:
            raise errors.validation(f"Variant {variant['VariantName']} is not serverless: no ServerlessUpdateConfig.")
        changes["ServerlessConfig"] = {**variant["ServerlessConfig"], **item["ServerlessUpdateConfig"]}
        endpoint_configs.check_serverless(changes["ServerlessConfig"])
    return changes


HANDLERS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": RESOURCE.list_,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": update_weights_and_capacities,
    "DeleteEndpoint": delete,
}
_ALARMS = ("DeploymentConfig.AutoRollbackConfiguration",)
SUPPORT = {
    "CreateEndpoint": Support(without_effect=_ALARMS),
    "UpdateEndpoint": Support(without_effect=_ALARMS),
    "UpdateEndpointWeightsAndCapacities": Support(
        without_effect=("DesiredWeightsAndCapacities.ServerlessUpdateConfig.ProvisionedConcurrency",)
    ),
}
