"""Batch transform jobs."""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors
from local_sagemaker.operations import models
from local_sagemaker.operations.resource import Resource
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.runs import UNFINISHED
from local_sagemaker.support import Support
from local_sagemaker.transform_run import KIND

INSTANCES = 8  # containers of one job on this machine
PAYLOADS_MB = 100  # MaxConcurrentTransforms times MaxPayloadInMB, as on AWS
RESOURCE = Resource(
    KIND, "TransformJobName", "TransformJobSummaries",
    lambda name, region: errors.not_found(f"Could not find requested job with name: {name}"),
    status="TransformJobStatus",
)  # fmt: skip


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    model = models.RESOURCE.find(platform, request["ModelName"], call.region)
    _check(request)
    containers = models.containers(platform, model, call.region)
    if len(containers) != 1 or containers[0].get("Mode") == "MultiModel":
        raise errors.not_done_here("batch transform with several containers or with Mode MultiModel")
    arn = platform.transform.submit(request, model, containers, call.region)
    if arn is None:
        raise errors.in_use(
            "Job name must be unique within an AWS account and region, and a job with the name "
            f"{request['TransformJobName']} already exists."
        )
    return {"TransformJobArn": arn}


def _check(request: dict[str, Any]) -> None:
    if "S3DataSource" not in request["TransformInput"]["DataSource"]:
        raise errors.validation("TransformInput.DataSource must give an S3DataSource.")
    count, instance = request["TransformResources"]["InstanceCount"], request["TransformResources"]["InstanceType"]
    if count > INSTANCES:
        raise errors.too_many_instances(instance, "transform job", INSTANCES, count)
    concurrent, payload = request.get("MaxConcurrentTransforms", 1), request.get("MaxPayloadInMB", 0)
    if concurrent * payload > PAYLOADS_MB:
        raise errors.validation(
            f"MaxConcurrentTransforms * MaxPayloadInMB must be at most {PAYLOADS_MB}, and is {concurrent * payload}."
        )
    if request.get("BatchStrategy") and request["TransformInput"].get("SplitType", "None") == "None":
        if request["BatchStrategy"] == "MultiRecord":
            return
        raise errors.validation("BatchStrategy SingleRecord needs a SplitType other than None: set it to Line.")


def stop(platform: Platform, call: Call) -> dict[str, Any]:
    record = RESOURCE.find(platform, call.parameters["TransformJobName"], call.region)
    if record["TransformJobStatus"] not in UNFINISHED:
        raise errors.rejected("transform job", record["TransformJobStatus"])
    platform.transform.stop(record["TransformJobName"])
    return {}


HANDLERS = {
    "CreateTransformJob": create,
    "DescribeTransformJob": RESOURCE.describe,
    "ListTransformJobs": RESOURCE.list_,
    "StopTransformJob": stop,
}
_SOURCE = "TransformInput.DataSource.S3DataSource"
SUPPORT = {
    "CreateTransformJob": Support(
        without_effect=(
            "TransformOutput.KmsKeyId",
            "TransformResources.InstanceType",
            "TransformResources.VolumeKmsKeyId",
            "TransformResources.TransformAmiVersion",
            "ExperimentConfig",
        ),
        refused=(
            "DataCaptureConfig",
            "DataProcessing.InputFilter",
            "DataProcessing.OutputFilter",
            "DataProcessing.JoinSource=Input",
            "TransformInput.SplitType=RecordIO",
            "TransformInput.SplitType=TFRecord",
            f"{_SOURCE}.S3DataType=AugmentedManifestFile",
            f"{_SOURCE}.S3DataType=Converse",
        ),
        kept=("DataProcessing",),
    )
}
