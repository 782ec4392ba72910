"""InvokeEndpoint: REST-JSON in, HTTP to the container's /invocations, and its answer back."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

import urllib3

from local_sagemaker import arns, validation
from local_sagemaker.errors import ApiError
from local_sagemaker.hosting import Hosting, log_group
from local_sagemaker.protocol import Reply
from local_sagemaker.routing import Route

BODY_LIMIT = 6_291_456  # bytes, of botocore's model of InvokeEndpoint
TIMEOUT_S = 60.0  # how long SageMaker waits for the container
CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"
_PASSED_ON = ("Content-Type", "Accept", CUSTOM, "X-Amzn-SageMaker-Target-Model", "X-Amzn-SageMaker-Inference-Id")


class Invocations:
    """Passes requests on to the containers of the endpoints. Its one method may be called from many threads."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._http = urllib3.PoolManager(maxsize=64, retries=False)

    def invoke(self, name: str, headers: Mapping[str, str], body: bytes, region: str) -> Reply:
        """The container's answer.

        Raises ApiError: ValidationError, or ModelError when the container refuses or fails.
        """
        _check(name, headers)
        with self._hosting.route(name, headers.get("x-amzn-sagemaker-target-variant")) as route:
            return self._pass_on(route, headers, body, region)

    def _pass_on(self, route: Route, headers: Mapping[str, str], body: bytes, region: str) -> Reply:
        variant, url = route.variant, route.url
        passed = {key: headers[key.lower()] for key in _PASSED_ON if key.lower() in headers}
        stream = f"arn:aws:logs:{region}:{arns.ACCOUNT}:log-group:{log_group(route.endpoint)}"
        try:
            answer = self._http.request("POST", f"{url}/invocations", body=body, headers=passed, timeout=TIMEOUT_S)
        except urllib3.exceptions.TimeoutError:
            raise _model_error(0, f"Your invocation timed out after {TIMEOUT_S:.0f} s.", stream) from None
        except urllib3.exceptions.HTTPError as error:
            raise _model_error(0, f"The container did not answer: {error}.", stream) from None
        if answer.status >= 400:
            raise _model_error(answer.status, answer.data.decode("utf-8", "replace"), stream)
        back = {"x-amzn-RequestId": str(uuid4()), "x-Amzn-Invoked-Production-Variant": variant}
        if CUSTOM in answer.headers:
            back[CUSTOM] = answer.headers[CUSTOM]
        return Reply(200, answer.headers.get("Content-Type", "application/octet-stream"), answer.data, back)


def too_large(size: int) -> ApiError:
    """AWS's refusal of a body over the limit; it names the member, not the bytes."""
    return ApiError(
        "ValidationError",
        "1 validation error detected: Value at 'body' failed to satisfy constraint: "
        f"Member must have length less than or equal to {BODY_LIMIT} (it has {size}).",
    )


def _check(name: str, headers: Mapping[str, str]) -> None:
    members = validation.operation_model("sagemaker-runtime", "InvokeEndpoint").input_shape.members
    parameters = {"EndpointName": name, "Body": ""}
    for member, shape in members.items():
        header = shape.serialization.get("name", "").lower()
        if shape.serialization.get("location") == "header" and header in headers:
            parameters[member] = headers[header]
    try:
        validation.check("sagemaker-runtime", "InvokeEndpoint", parameters)
    except ApiError as error:
        raise ApiError("ValidationError", error.message) from None


def _model_error(status: int, message: str, stream: str) -> ApiError:
    blame = "client" if 400 <= status < 500 else "server"
    return ApiError(
        "ModelError",
        f'Received {blame} error ({status}) from primary with message "{message}".',
        424,
        OriginalStatusCode=status,
        OriginalMessage=message,
        LogStreamArn=stream,
    )
