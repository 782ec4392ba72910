"""How a model is to be hosted: what the options of deploy.py ask for, as data, and the requests that say it.

The requests are in AWS's own spelling, so that `--dry-run` prints exactly what would be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrate.jobs import TAGS
from orchestrate.session import Session

VARIANT, SHADOW = "AllTraffic", "Shadow"
# Of Application Auto Scaling, for a variant of an endpoint.
NAMESPACE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
POLICY = "kennel"
_BACKLOG = "ApproximateBacklogSizePerInstance"


@dataclass(frozen=True)
class Serverless:
    """No instance: `memory_mb` for as long as a request takes, for at most `concurrency` requests at a time.

    `provisioned` of those are kept warm, for money.
    """

    memory_mb: int
    concurrency: int
    provisioned: int = 0


@dataclass(frozen=True)
class Scaling:
    """`low` to `high` instances, so that each has about `target` requests a minute (waiting ones, if asynchronous)."""

    low: int
    high: int
    target: float


@dataclass(frozen=True)
class Hosting:
    """What answers, and what is kept of it.

    `asynchronous`: URI below which the answers are written; requests come from there too. `capture_percent`: of the
    requests and answers, kept below the URI `capture`.
    """

    instance_type: str = "ml.m5.large"
    instances: int = 1
    ami: str | None = None
    serverless: Serverless | None = None
    scaling: Scaling | None = None
    asynchronous: str | None = None
    capture: str | None = None
    capture_percent: int = 100


@dataclass(frozen=True)
class Rollout:
    """How an endpoint changes over to another model. `step_percent`: of its capacity, at first (`canary`) or each time
    (`linear`, `rolling`), then `wait_s` seconds in which an alarm takes everything back."""

    kind: str = "all-at-once"
    step_percent: int = 50
    wait_s: int = 300
    alarms: tuple[str, ...] = ()


def model(session: Session, name: str, image: str, artifact: str, several: bool = False) -> dict[str, Any]:
    """CreateModel. `artifact`: URI of a model.tar.gz, or with `several` of the folder of many."""
    container = {"Image": image, "ModelDataUrl": artifact}
    if several:
        container = {"Image": image, "Mode": "MultiModel", "ModelDataUrl": f"{artifact.rstrip('/')}/"}
    return {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": session.require_role(),
        "Tags": TAGS,
    }


def endpoint_config(name: str, hosting: Hosting) -> dict[str, Any]:
    """CreateEndpointConfig with the model of the same name."""
    request: dict[str, Any] = {"EndpointConfigName": name, "ProductionVariants": [variant(VARIANT, name, hosting)]}
    if hosting.asynchronous:
        folder = hosting.asynchronous
        output = {"S3OutputPath": f"{folder}/answers", "S3FailurePath": f"{folder}/failures"}
        request["AsyncInferenceConfig"] = {"OutputConfig": output}
    if hosting.capture:
        request["DataCaptureConfig"] = capture(hosting.capture, hosting.capture_percent)
    return {**request, "Tags": TAGS}


def variant(name: str, model: str, hosting: Hosting) -> dict[str, Any]:
    """One of the endpoint's ProductionVariants or ShadowProductionVariants."""
    if hosting.serverless:
        given = hosting.serverless
        size = {"MemorySizeInMB": given.memory_mb, "MaxConcurrency": given.concurrency}
        if given.provisioned:
            size["ProvisionedConcurrency"] = given.provisioned
        return {"VariantName": name, "ModelName": model, "ServerlessConfig": size}
    made: dict[str, Any] = {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": hosting.instances,
        "InitialVariantWeight": 1.0,
        "InstanceType": hosting.instance_type,
        "ContainerStartupHealthCheckTimeoutInSeconds": 600,
    }
    if hosting.ami:
        made["InferenceAmiVersion"] = hosting.ami
    return made


def capture(uri: str, percent: int) -> dict[str, Any]:
    """DataCaptureConfig: requests and answers, photographs as they came."""
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": uri,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def endpoint(name: str) -> dict[str, Any]:
    """CreateEndpoint with the configuration of the same name."""
    return {"EndpointName": name, "EndpointConfigName": name, "Tags": TAGS}


def update(name: str, config: str, rollout: Rollout) -> dict[str, Any]:
    """UpdateEndpoint to another configuration."""
    step = {"Type": "CAPACITY_PERCENT", "Value": rollout.step_percent}
    deployment: dict[str, Any]
    if rollout.kind == "rolling":
        deployment = {
            "RollingUpdatePolicy": {"MaximumBatchSize": step, "WaitIntervalInSeconds": rollout.wait_s},
        }
    else:
        routing: dict[str, Any] = {
            "Type": rollout.kind.replace("-", "_").upper(),
            "WaitIntervalInSeconds": rollout.wait_s,
        }
        if rollout.kind != "all-at-once":
            routing[f"{rollout.kind.capitalize()}{'Step' if rollout.kind == 'linear' else ''}Size"] = step
        deployment = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    if rollout.alarms:
        deployment["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in rollout.alarms]}
    return {"EndpointName": name, "EndpointConfigName": config, "DeploymentConfig": deployment}


def scaling(endpoint: str, hosting: Hosting) -> list[tuple[str, dict[str, Any]]]:
    """(operation, request) of Application Auto Scaling; none where nothing is to be scaled."""
    given = hosting.scaling
    if given is None:
        return []
    target = {
        "ServiceNamespace": NAMESPACE, "ResourceId": resource(endpoint), "ScalableDimension": DIMENSION,
    }  # fmt: skip
    metric: dict[str, Any]
    if hosting.asynchronous:
        dimensions = [{"Name": "EndpointName", "Value": endpoint}]
        custom = {
            "MetricName": _BACKLOG,
            "Namespace": "AWS/SageMaker",
            "Dimensions": dimensions,
            "Statistic": "Average",
        }
        metric = {"CustomizedMetricSpecification": custom}
    else:
        predefined = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        metric = {"PredefinedMetricSpecification": predefined}
    follow = {"TargetValue": given.target, "ScaleInCooldown": 300, "ScaleOutCooldown": 60, **metric}
    return [
        ("RegisterScalableTarget", {**target, "MinCapacity": given.low, "MaxCapacity": given.high}),
        (
            "PutScalingPolicy",
            {**target, "PolicyName": POLICY, "PolicyType": "TargetTrackingScaling",
             "TargetTrackingScalingPolicyConfiguration": follow},
        ),
    ]  # fmt: skip


def resource(endpoint: str) -> str:
    """What Application Auto Scaling calls the endpoint's variant."""
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def with_shadow(
    config: str, now: dict[str, Any], shadow: str, hosting: Hosting, percent: int
) -> dict[str, Any]:  # fmt: skip
    """CreateEndpointConfig: what the endpoint has (`now`, as DescribeEndpointConfig tells it), and beside it the model
    `shadow`, which gets a copy of `percent` of the requests and whose answers nobody sees."""
    weights = sum(v.get("InitialVariantWeight", 1.0) for v in now["ProductionVariants"])
    beside = {**variant(SHADOW, shadow, hosting), "InitialVariantWeight": weights * percent / 100}
    return {**again(config, now), "ShadowProductionVariants": [beside]}


def again(config: str, now: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpointConfig: what the endpoint has, without a shadow."""
    members: Sequence[str] = ("ProductionVariants", "AsyncInferenceConfig", "DataCaptureConfig")
    return {"EndpointConfigName": config, **{m: now[m] for m in members if m in now}, "Tags": TAGS}
