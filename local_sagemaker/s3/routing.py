"""Which operation of S3 a request is, its parameters, and an answer's headers and body: all by botocore's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree.ElementTree import Element

from local_sagemaker import xml_shapes
from local_sagemaker.errors import ApiError
from local_sagemaker.validation import operation_model, service_model

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# The roots of answers that are not named like the shape.
_ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "ListParts": "ListPartsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "GetObjectTagging": "Tagging",
    "GetBucketAcl": "AccessControlPolicy",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
}
STREAMING = ("PutObject", "UploadPart")  # their bodies are files, not documents


@dataclass(frozen=True)
class _Route:
    """What a request must have to be this operation."""

    operation: str
    method: str
    level: str
    flags: frozenset[tuple[str, str]]
    query: frozenset[str]
    headers: frozenset[str]

    @property
    def weight(self) -> int:
        return len(self.flags) + len(self.query) + len(self.headers)


@cache
def _routes() -> tuple[_Route, ...]:
    """Every operation of the model, those that ask for most first."""
    found = []
    for name in service_model("s3").operation_names:
        model = operation_model("s3", name)
        path, _, query = model.http["requestUri"].partition("?")
        level = {"/": "service", "/{Bucket}": "bucket", "/{Bucket}/{Key+}": "key"}.get(path)
        if level is None:
            continue
        shape = model.input_shape
        required = [shape.members[member] for member in shape.required_members] if shape else []
        named = {"querystring": set[str](), "header": set[str]()}
        for member in required:
            location = member.serialization.get("location")
            if location in named:
                named[location].add(member.serialization["name"])
        found.append(
            _Route(
                name,
                model.http["method"],
                level,
                frozenset(parse_qsl(query, keep_blank_values=True)),
                frozenset(named["querystring"]),
                frozenset(named["header"]),
            )
        )
    return tuple(sorted(found, key=lambda route: -route.weight))


def split(raw_path: str) -> tuple[str, str]:
    """`/BUCKET/KEY` as it came over the wire -> bucket and key, either of them maybe empty."""
    bucket, _, key = raw_path.removeprefix("/").partition("/")
    return unquote(bucket), unquote(key, errors="surrogateescape")


def operation(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The name of the operation. Raises ApiError MethodNotAllowed."""
    level = "key" if key else "bucket" if bucket else "service"
    for route in _routes():
        if (route.method, route.level) != (method, level):
            continue
        has_flags = all(query.get(name) == value for name, value in route.flags)
        if has_flags and route.query <= query.keys() and all(name.lower() in headers for name in route.headers):
            return route.operation
    raise ApiError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)


def parameters(
    name: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """The parameters of a request, without a streamed body. Raises ApiError."""
    shape = operation_model("s3", name).input_shape
    found: dict[str, Any] = {}
    for member, inner in shape.members.items() if shape else ():
        location, wire = inner.serialization.get("location"), inner.serialization.get("name", member)
        if location == "uri":
            found[member] = {"Bucket": bucket, "Key": key}[member]
        elif location == "querystring" and wire in query:
            found[member] = _scalar(inner, query[wire], wire)
        elif location == "header" and wire.lower() in headers:
            found[member] = _scalar(inner, headers[wire.lower()], wire)
        elif location == "headers":
            prefix = wire.lower()
            found[member] = {h[len(prefix) :]: v for h, v in headers.items() if h.lower().startswith(prefix)}
        elif member == shape.serialization.get("payload") and name not in STREAMING and body:
            found[member] = xml_shapes.parse(inner, body)
    for member in shape.required_members if shape else ():
        if member not in found:
            raise ApiError("MalformedXML", f"The request has no {member}.")
    return found


def _scalar(shape: Any, value: str, name: str) -> Any:
    try:
        if shape.type_name == "list":  # comma-separated, as in x-amz-object-attributes
            items = [item.strip() for item in value.split(",")]
            return [_enumerated(shape.member, item, name) for item in items]
        if shape.type_name == "timestamp":
            return parsedate_to_datetime(value).timestamp()
        return _enumerated(shape, xml_shapes.scalar(value, shape.type_name), name)
    except ValueError:
        raise ApiError(
            "InvalidArgument", f"Provided value not valid: {name}.", ArgumentName=name, ArgumentValue=value
        ) from None


def _enumerated(shape: Any, value: Any, name: str) -> Any:
    if getattr(shape, "enum", None) and value not in shape.enum:
        raise ValueError(name)
    return value


def answer(name: str, result: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """The headers and the document of an answer; a streamed `Body` is not in it."""
    shape = operation_model("s3", name).output_shape
    headers: dict[str, str] = {}
    if shape is None:
        return headers, b""
    for member, inner in shape.members.items():
        location = inner.serialization.get("location")
        value = result.get(member)
        if value is None:
            continue
        if location == "header":
            headers[inner.serialization["name"]] = _header(inner, value)
        elif location == "headers":
            headers |= {inner.serialization["name"] + key: item for key, item in value.items()}
    if name == "GetBucketLocation":  # the one answer whose root is the value
        root = Element("LocationConstraint", {"xmlns": NAMESPACE})
        root.text = result.get("LocationConstraint")
        return headers, xml_shapes.document(root)
    payload = shape.serialization.get("payload")
    inner = shape.members[payload] if payload else shape
    if payload and (inner.type_name != "structure" or payload not in result):
        return headers, b""
    if not payload and all(member.serialization.get("location") for member in shape.members.values()):
        return headers, b""
    tag = inner.serialization.get("name", payload) if payload else _ROOTS.get(name, shape.name)
    root = Element(tag, {"xmlns": NAMESPACE})
    xml_shapes.fill(root, inner, result[payload] if payload else result)
    return headers, xml_shapes.document(root)


def _header(shape: Any, value: Any) -> str:
    if shape.type_name == "timestamp":
        return formatdate(value, usegmt=True)
    return xml_shapes.text(value, shape.type_name)


def refusal(error: ApiError, resource: str, request_id: str) -> bytes:
    """S3's document of an error."""
    root = Element("Error")
    members = {"Code": error.code, "Message": error.message, **error.members, "Resource": resource}
    for tag, value in {**members, "RequestId": request_id}.items():
        inner = Element(tag)
        inner.text = "".join(c if c.isprintable() else "?" for c in str(value))
        root.append(inner)
    return xml_shapes.document(root)
