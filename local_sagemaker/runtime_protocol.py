"""REST-JSON as SageMaker Runtime speaks it: members travel as headers, the body is the model's own.

Which header carries which member is read from botocore's model of the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.protocol import JSON_TYPE, Reply
from local_sagemaker.support import Support

SERVICE = "sagemaker-runtime"
BODY_LIMITS = {
    "InvokeEndpoint": 6_291_456,
    "InvokeEndpointWithResponseStream": 6_291_456,
    "InvokeEndpointAsync": 128_000,
}
SERVERLESS_BODY_LIMIT = 4 * 1024 * 1024
_NOT_HOSTED = ("InferenceComponentName", "EnableExplanations")
SUPPORT = {
    "InvokeEndpoint": Support(without_effect=("PrefixAwareId",), refused=_NOT_HOSTED),
    "InvokeEndpointWithResponseStream": Support(without_effect=("PrefixAwareId",), refused=_NOT_HOSTED[:1]),
    "InvokeEndpointAsync": Support(),
}
# What the container gets of a request; SageMaker strips every other header.
_PASSED_ON = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "TargetModel": "X-Amzn-SageMaker-Target-Model",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
    "SessionId": "X-Amzn-SageMaker-Session-Id",
}


def parameters(operation: str, name: str, headers: Mapping[str, str], body_size: int) -> dict[str, Any]:
    """The members of a request but its body, checked. `headers`: with lower-case names. Raises ApiError."""
    if body_size > BODY_LIMITS[operation]:
        raise too_large(body_size, BODY_LIMITS[operation])
    members = validation.operation_model(SERVICE, operation).input_shape.members
    given: dict[str, Any] = {"EndpointName": name}
    for member, shape in members.items():
        header = shape.serialization.get("name", "").lower()
        if shape.serialization.get("location") == "header" and header in headers:
            given[member] = _value(shape, headers[header])
    # The model's check of a body is one of its length, which is done; no body is an empty one.
    more = {} if operation == "InvokeEndpointAsync" else {"Body": ""}
    validation.check(SERVICE, operation, given | more)
    try:
        SUPPORT[operation].check(given)
    except ApiError as error:
        raise refused(error.message) from None
    return given


def passed_on(given: Mapping[str, Any]) -> dict[str, str]:
    """The headers that the container gets."""
    return {header: given[member] for member, header in _PASSED_ON.items() if member in given}


def answered(headers: Mapping[str, str]) -> dict[str, str]:
    """The members of an answer that the container's headers set: custom attributes and sessions."""
    names = {
        "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
        "NewSessionId": "X-Amzn-SageMaker-New-Session-Id",
        "ClosedSessionId": "X-Amzn-SageMaker-Closed-Session-Id",
    }
    return {member: headers[name] for member, name in names.items() if name in headers}


def header_names(operation: str, members: Mapping[str, str]) -> dict[str, str]:
    """An answer's members as its headers, and the request's id."""
    shapes = validation.operation_model(SERVICE, operation).output_shape.members
    named = {
        shapes[member].serialization["name"]: value
        for member, value in members.items()
        if member in shapes and shapes[member].serialization.get("location") == "header"
    }
    return {"x-amzn-RequestId": str(uuid4()), **named}


def reply(members: Mapping[str, str], content_type: str, body: bytes) -> Reply:
    """The answer of InvokeEndpoint."""
    return Reply(200, content_type, body, header_names("InvokeEndpoint", members))


def accepted(members: Mapping[str, str]) -> Reply:
    """The answer of InvokeEndpointAsync: InferenceId is in the body, where things will be in the headers."""
    body = json.dumps({"InferenceId": members["InferenceId"]}).encode()
    return Reply(202, JSON_TYPE, body, header_names("InvokeEndpointAsync", members))


def refused(message: str) -> ApiError:
    """SageMaker Runtime's own code for a request that cannot be."""
    return ApiError("ValidationError", message)


def too_large(size: int, limit: int) -> ApiError:
    """AWS's refusal of a body over the limit; it names the member, not the bytes."""
    return refused(
        "1 validation error detected: Value at 'body' failed to satisfy constraint: "
        f"Member must have length less than or equal to {limit} (it has {size})."
    )


def _value(shape: Any, text: str) -> Any:
    try:
        return int(text) if shape.type_name == "integer" else text
    except ValueError:
        return text  # which the check refuses
