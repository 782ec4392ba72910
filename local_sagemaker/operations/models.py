"""Models."""

from __future__ import annotations

from typing import Any

from local_sagemaker import arns, errors, listing, storage
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.records import Record
from local_sagemaker.validation import operation_model, project

KIND = "models"
_REFUSED = ("ModelDataSource", "AdditionalModelDataSources", "ModelPackageName", "InferenceSpecificationName")


def create(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    _check(request)
    arn = arns.build("model", request["ModelName"], call.region)
    record = {"EnableNetworkIsolation": False, "Tags": [], **request, "ModelArn": arn}
    if not platform.records.create(KIND, request["ModelName"], record):
        raise errors.validation(f'Cannot create already existing model "{arn}".')
    return {"ModelArn": arn}


def _check(request: dict[str, Any]) -> None:
    if request.get("EnableNetworkIsolation"):
        raise errors.not_done_here("EnableNetworkIsolation of a model")
    containers = [
        *request.get("Containers", []),
        *([request["PrimaryContainer"]] if "PrimaryContainer" in request else []),
    ]
    if len(containers) != 1:
        raise errors.not_done_here(f"{len(containers)} containers in a model: give one, as PrimaryContainer")
    for member in _REFUSED:
        if member in containers[0]:
            raise errors.not_done_here(f"{member} of a container")
    if containers[0].get("Mode", "SingleModel") != "SingleModel":
        raise errors.not_done_here("the mode MultiModel")
    if "Image" not in containers[0]:
        raise errors.validation("The container of the model must name an Image.")
    data = containers[0].get("ModelDataUrl")
    path = storage.local_path(data) if data else None
    if path and not path.is_file():
        raise errors.validation(f"Could not find model data at {data}.")


def container(record: Record) -> Record:
    """The one container of a model."""
    one: Record = record["PrimaryContainer"] if "PrimaryContainer" in record else record["Containers"][0]
    return one


def find(platform: Platform, name: str, region: str) -> Record:
    record = platform.records.find(KIND, name)
    if record is None:
        raise errors.validation(f'Could not find model "{arns.build("model", name, region)}".')
    return record


def describe(platform: Platform, call: Call) -> dict[str, Any]:
    shape = operation_model("sagemaker", call.operation).output_shape
    return project(find(platform, call.parameters["ModelName"], call.region), shape)


def list_(platform: Platform, call: Call) -> dict[str, Any]:
    chosen, token = listing.select(
        platform.records.all(KIND), call.parameters, "ModelName", order=("CreationTime", "Descending")
    )
    shape = operation_model("sagemaker", call.operation).output_shape.members["Models"].member
    return {"Models": [project(record, shape) for record in chosen], **({"NextToken": token} if token else {})}


def delete(platform: Platform, call: Call) -> dict[str, Any]:
    find(platform, call.parameters["ModelName"], call.region)
    platform.records.delete(KIND, call.parameters["ModelName"])
    return {}


HANDLERS = {"CreateModel": create, "DescribeModel": describe, "ListModels": list_, "DeleteModel": delete}
