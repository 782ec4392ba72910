"""The wire: bytes of a request -> a Call, and an answer -> bytes.

Three of AWS's protocols, as described at https://smithy.io/2.0/aws/protocols/: AWS JSON 1.1 (`sagemaker`, `logs`,
`application-autoscaling`), the query protocol (`sts`, `iam`: in `query.py`) and REST-JSON (`sagemaker-runtime`: in
`runtime_protocol.py`). S3's REST-XML is in `s3/`. Signatures are not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from local_sagemaker.errors import ApiError

JSON_TYPE = "application/x-amz-json-1.1"
SERVICES = {"SageMaker": "sagemaker", "Logs_20140328": "logs", "AnyScaleFrontendService": "application-autoscaling"}
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/([a-z0-9-]+)/")


@dataclass(frozen=True)
class Call:
    """One request for one operation."""

    service: str
    operation: str
    parameters: dict[str, Any]
    region: str


@dataclass(frozen=True)
class Reply:
    """What goes back over HTTP."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]


def region_of(headers: Mapping[str, str]) -> str:
    """The region that the client signed for; `us-east-1` where the request is not signed."""
    found = _SCOPE.search(headers.get("authorization", ""))
    return found.group(1) if found else "us-east-1"


def parse(headers: Mapping[str, str], body: bytes) -> Call:
    """Reads a POST to `/` that has an X-Amz-Target: JSON 1.1. Raises ApiError."""
    prefix, _, operation = headers["x-amz-target"].partition(".")
    if prefix not in SERVICES:
        raise unknown_operation(headers["x-amz-target"])
    try:
        parameters = json.loads(body or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ApiError("SerializationException", "The body of the request is not JSON.") from None
    if not isinstance(parameters, dict):
        raise ApiError("SerializationException", "The body of the request is not a JSON object.")
    return Call(SERVICES[prefix], operation, parameters, region_of(headers))


def _no_number(text: str) -> None:
    """NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(text)


def unknown_operation(what: str) -> ApiError:
    return ApiError(
        "UnknownOperationException", f"local SageMaker does not do {what}; its documentation lists what it does."
    )


def answer(result: Mapping[str, Any]) -> Reply:
    """A success, in JSON 1.1."""
    request_id = str(uuid4())
    return Reply(200, JSON_TYPE, json.dumps(result).encode(), {"x-amzn-RequestId": request_id})


def refusal(error: ApiError, query: bool = False) -> Reply:
    """An error; `query` says that the client spoke the query protocol and reads XML."""
    request_id = str(uuid4())
    if query:
        text = (
            f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error><Type>Sender</Type><Code>{escape(error.code)}</Code>'
            f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return Reply(error.status, "text/xml", text.encode(), {"x-amzn-RequestId": request_id})
    # REST-JSON clients read `Message`, JSON 1.1 clients either spelling.
    body = {"__type": error.code, "message": error.message, "Message": error.message, **error.members}
    headers = {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": error.code}
    return Reply(error.status, JSON_TYPE, json.dumps(body).encode(), headers)
