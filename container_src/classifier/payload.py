"""Requests and answers of the endpoint: content types in and out, options, one error type with an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
import numpy.typing as npt
from sagemaker_inference.content_types import JSON
from sagemaker_inference.errors import BaseInferenceToolkitError

from classifier import images

ACCEPTED = ("image/jpeg", "image/png", "application/x-image")
# The limit of InvokeEndpoint's body in botocore's model of the API, unless SAGEMAKER_MAX_PAYLOAD_IN_MB says otherwise.
MAX_BYTES = 6 * 1024 * 1024
TOP_K = 5


class RequestError(BaseInferenceToolkitError):  # type: ignore[misc]
    """A request that is not answered with a prediction; `message` is one sentence for the caller."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(int(status), message, status.phrase)


@dataclass(frozen=True)
class Request:
    """One photograph, decoded (`pixels`: uint8 [crop, crop, 3]), and how many labels are wanted."""

    pixels: images.Pixels
    top_k: int


@dataclass(frozen=True)
class Rules:
    """What this server accepts: the artifact's preprocessing, bytes in a body, and the answer's type by default."""

    preprocessing: images.Preprocessing
    max_bytes: int = MAX_BYTES
    default_accept: str = JSON


def parse(body: bytes | bytearray | None, headers: Mapping[str, object], rules: Rules) -> Request:
    """Checks and decodes one request. What the body is decides its bytes; the content type only opens the door.

    Headers' names are compared without regard to case: multi-model-server hands them over as the client wrote them.

    Raises:
        RequestError: 406 for an Accept that leaves out JSON, 415 for another content type, 413 for too large a body,
            400 for an empty one, for one that is no readable image and for a bad option.
    """
    named = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    _check_accept(named.get("accept"), rules.default_accept)
    content_type = _media_type(named.get("content-type", ""))
    if content_type not in ACCEPTED:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"content type {content_type or '(none)'!r} is not supported; send one of {', '.join(ACCEPTED)}",
        )
    top_k = _top_k(named.get("x-amzn-sagemaker-custom-attributes", ""))
    if not body:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body is empty; send the bytes of one photograph")
    if len(body) > rules.max_bytes:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has {len(body):,} bytes, at most {rules.max_bytes:,} are accepted; send a smaller photograph",
        )
    try:
        return Request(images.load(bytes(body), rules.preprocessing), top_k)
    except images.BadImage as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None


def answer(probabilities: npt.NDArray[np.float32], classes: Sequence[str], top_k: int) -> str:
    """JSON of the `top_k` most probable labels (all, if there are fewer), best first; `probabilities` is [classes]."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    predictions = [{"label": classes[i], "probability": round(float(probabilities[i]), 6)} for i in best]
    return json.dumps({"predictions": predictions}, ensure_ascii=False)


def refusal(message: str) -> str:
    """JSON of an answer that is no prediction."""
    return json.dumps({"error": message}, ensure_ascii=False)


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _check_accept(accept: str | None, default: str) -> None:
    wanted = [_media_type(part) for part in (accept or default).split(",")]
    if wanted == ["*/*"]:
        wanted = [_media_type(default)]
    if not {JSON, "application/*", "*/*"}.intersection(wanted):
        raise RequestError(HTTPStatus.NOT_ACCEPTABLE, f"cannot answer as {', '.join(wanted)}; accept {JSON}")


def _top_k(attributes: str) -> int:
    """`top_k=3` among attributes separated by commas or semicolons; others are not ours to judge (trace ids, say)."""
    value = str(TOP_K)
    for part in attributes.replace(";", ",").split(","):
        name, _, text = part.partition("=")
        if name.strip().lower() == "top_k":
            value = text.strip()
    if not (value.isascii() and value.isdigit() and int(value[:9]) > 0):
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"custom attribute top_k={value[:50]!r} is not valid: it must be a whole number from 1",
        )
    return int(value[:9])
