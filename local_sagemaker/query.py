"""The query protocol of STS and IAM: a form in, XML out, both by botocore's shapes.

Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.etree.ElementTree import Element, SubElement

from local_sagemaker import xml_shapes
from local_sagemaker.errors import ApiError
from local_sagemaker.protocol import Call, Reply, region_of
from local_sagemaker.validation import operation_model, service_model

_SERVICES = ("sts", "iam")


def parse(headers: Mapping[str, str], body: bytes) -> Call:
    """Reads a form; the version of the API says whose it is. Raises ApiError."""
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if "Action" not in form:
        raise ApiError("MissingAction", "The request has neither an X-Amz-Target header nor an Action parameter.")
    operation, version = form.pop("Action"), form.pop("Version", None)
    service = next((name for name in _SERVICES if service_model(name).metadata["apiVersion"] == version), "sts")
    shape = operation_model(service, operation).input_shape
    try:
        parameters = xml_shapes.structure_of_form(shape, form)
    except ValueError as error:
        raise ApiError("MalformedQueryString", f"A parameter of {operation} cannot be read: {error}.") from None
    return Call(service, operation, parameters, region_of(headers))


def answer(call: Call, result: Mapping[str, Any]) -> Reply:
    """A success."""
    request_id = str(uuid4())
    shape = operation_model(call.service, call.operation).output_shape
    root = Element(f"{call.operation}Response", {"xmlns": service_model(call.service).metadata["xmlNamespace"]})
    if shape is not None:
        xml_shapes.fill(SubElement(root, f"{call.operation}Result"), shape, result)
    SubElement(SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    return Reply(200, "text/xml", xml_shapes.document(root), {"x-amzn-RequestId": request_id})
