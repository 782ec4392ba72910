"""One request to an endpoint and its answer, whichever way the endpoint takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from orchestrate.errors import InputError, JobFailed
from orchestrate.session import Session
from orchestrate.storage import join

# botocore's model of InvokeEndpoint; SageMaker refuses larger bodies, and
# https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html for serverless endpoints.
MOST_BYTES, MOST_BYTES_SERVERLESS = 6_291_456, 4 * 1024 * 1024
JSON, PNG = "application/json", "image/png"
_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}
_ANY_TYPE = "application/x-image"
# An asynchronous endpoint answers within an hour, or not at all.
_PATIENCE_S = 3600


@dataclass(frozen=True)
class Endpoint:
    """`send(body, type, accept, attributes)` gives the answer's bytes, or raises Refused."""

    name: str
    send: Callable[[bytes, str, str, str], bytes]
    most_bytes: int = MOST_BYTES

    def ask(self, name: str, body: bytes, attributes: str, accept: str = JSON) -> bytes:
        """The answer on a photograph. `name`: of the photograph, for messages.

        Raises:
            InputError: it cannot be sent, or the container says that it is no photograph.
            JobFailed: the container failed.
        """
        if not 0 < len(body) <= self.most_bytes:
            raise InputError(
                f"{name} has {len(body):,} bytes: this endpoint takes 1 to {self.most_bytes:,}; give a smaller one"
            )
        kind = next((kind for magic, kind in _TYPES.items() if body.startswith(magic)), _ANY_TYPE)
        try:
            return self.send(body, kind, accept, attributes)
        except Refused as error:
            if 400 <= error.status < 500:
                raise InputError(f"{name}: {error.why}") from None
            raise JobFailed(f"{name}: the container answered {error.status}: {error.why}") from None


class Refused(Exception):
    """What the container answered instead."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status, self.why = status, why


def connect(session: Session, endpoint: str, model: str | None = None) -> Endpoint:
    """The endpoint in service, asked as it wants to be. `model`: of a multi-model endpoint, its file's name.

    Raises:
        InputError: there is none, or it is not in service.
    """
    from orchestrate import endpoints

    found = endpoints.describe(session, endpoint)
    if found["EndpointStatus"] not in ("InService", "Updating", "RollingBack", "SystemUpdating"):
        raise InputError(f"the endpoint {endpoint} is {found['EndpointStatus']}: it answers once it is InService")
    # Through boto3: the SDK's Endpoint.invoke sends the same request after an import of three seconds.
    runtime = session.client("sagemaker-runtime")
    options = {"TargetModel": model} if model else {}
    if "AsyncInferenceConfig" in found:
        return Endpoint(endpoint, lambda *request: _in_line(session, runtime, endpoint, *request))
    is_serverless = any("CurrentServerlessConfig" in variant for variant in found.get("ProductionVariants", []))
    most = MOST_BYTES_SERVERLESS if is_serverless else MOST_BYTES
    return Endpoint(endpoint, lambda *request: _at_once(runtime, endpoint, options, *request), most)


def _at_once(
    runtime: Any, endpoint: str, options: dict[str, str], body: bytes, kind: str, accept: str, attributes: str
) -> bytes:
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=kind, Accept=accept, CustomAttributes=attributes, **options
        )
    except runtime.exceptions.ModelError as error:
        status, message = error.response.get("OriginalStatusCode", 0), error.response.get("OriginalMessage", "")
        raise Refused(status, _sentence(message) or str(error)) from None
    data: bytes = answer["Body"].read()
    return data


def _in_line(
    session: Session, runtime: Any, endpoint: str, body: bytes, kind: str, accept: str, attributes: str
) -> bytes:  # fmt: skip
    """An asynchronous endpoint reads the request from a file, and writes the answer, or why there is none, to one."""
    request = join(session.root, "endpoints", endpoint, "requests", uuid4().hex)
    session.storage.write(body, request)
    answer = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=request, ContentType=kind, Accept=accept, CustomAttributes=attributes
    )
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if session.storage.size(answer["OutputLocation"]) is not None:
            return session.storage.read(answer["OutputLocation"])
        failure = answer.get("FailureLocation")
        if failure and session.storage.size(failure) is not None:
            raise Refused(400, _sentence(session.storage.read(failure).decode(errors="replace")))
        time.sleep(session.poll_s)
    raise Refused(504, "no answer came within an hour")


def _sentence(message: str) -> str:
    """Of the container's `{"error": "..."}`; the message itself when another container answered."""
    try:
        return str(json.loads(message)["error"])
    except (ValueError, KeyError, TypeError):
        return message
