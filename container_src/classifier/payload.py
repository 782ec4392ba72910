"""Requests of the endpoint: headers and a body -> pixels and what is wanted; one error type with an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
from sagemaker_inference.content_types import JSON, NPY, OCTET_STREAM
from sagemaker_inference.errors import BaseInferenceToolkitError

from classifier import bodies, decoding, images, negotiation, options, variables
from classifier.options import Options

# An image's declared subtype is a hint: what its bytes are decides.
ACCEPTED = ("image/*", "application/x-image", OCTET_STREAM, JSON, NPY)
# The shorter side of a photograph that an explanation is drawn upon.
SHOWN = 448


class RequestError(BaseInferenceToolkitError):  # type: ignore[misc]
    """A request that is not answered with a prediction; `message` is one sentence for the caller."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(int(status), message, status.phrase)


@dataclass(frozen=True)
class Request:
    """Photographs, decoded (`pixels`: uint8 [n, crop, crop, 3]), and what is wanted about them.

    `several`: they came as a list, so the answer is one; `answer_type`: the answer's media type; `photograph`: the only
    one as people see it, uint8 [h, w, 3], where an explanation is drawn upon it.
    """

    pixels: images.Pixels
    options: Options
    several: bool
    answer_type: str
    photograph: images.Pixels | None = None


@dataclass(frozen=True)
class Rules:
    """What this server accepts: the artifact's preprocessing and classes, bytes in a body; the usual answer's type."""

    preprocessing: images.Preprocessing
    classes: tuple[str, ...]
    max_bytes: int = variables.MAX_BYTES
    default_accept: str = JSON


def parse(body: bytes | bytearray | None, headers: Mapping[str, object], rules: Rules) -> Request:
    """Checks and decodes one request.

    Headers' names are compared without regard to case: multi-model-server hands them over as the client wrote them.

    Raises:
        RequestError: 406 for an Accept that leaves out every type of answer, 415 for another content type or a format
            that is not decoded, 413 for too large a body, 400 for an empty one, for one that is no readable image and
            for a bad option.
    """
    named = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    content_type = negotiation.media_type(named.get("content-type", ""))
    if content_type not in ACCEPTED and not content_type.startswith("image/"):
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"content type {content_type[:50] or '(none)'!r} is not supported; send one of {', '.join(ACCEPTED)}",
        )
    if not body:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body is empty; send the bytes of one photograph")
    if len(body) > rules.max_bytes:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has {len(body):,} bytes, at most {rules.max_bytes:,} are accepted; send a smaller photograph",
        )
    try:
        attributes = options.from_attributes(named.get("x-amzn-sagemaker-custom-attributes", ""))
        found = bodies.read(bytes(body), content_type)
        chosen = options.read({**attributes, **found.options}, rules.classes)
        answer_type = _answer_type(named.get("accept"), rules.default_accept, chosen)
        return _decode(found, chosen, answer_type, rules.preprocessing)
    except decoding.UnsupportedFormat as error:
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
    except (images.BadImage, bodies.BadBody, options.BadOption) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None


def refusal(message: str) -> str:
    """JSON of an answer that is no prediction."""
    return json.dumps({"error": message}, ensure_ascii=False)


def _answer_type(accept: str | None, default: str, chosen: Options) -> str:
    offered = (negotiation.PNG,) if chosen.explain else negotiation.ANSWERS
    if not accept or negotiation.media_type(accept) == "*/*":
        # The default is the operator's, who may have chosen one that a picture is not.
        accept = f"{default}, */*;q=0.1" if chosen.explain or accept else default
    answer_type = negotiation.choose(accept, offered)
    if answer_type is None:
        instead = "" if chosen.explain else f", or {negotiation.PNG} with the option explain={options.TOP}"
        raise RequestError(
            HTTPStatus.NOT_ACCEPTABLE, f"cannot answer as {accept[:100]}; accept {', '.join(offered)}{instead}"
        )
    return answer_type


def _decode(found: bodies.Body, chosen: Options, answer_type: str, preprocessing: images.Preprocessing) -> Request:
    if found.name is None:
        (photograph,) = found.photographs
        pixels = _pixels(photograph, preprocessing)[np.newaxis]
    else:
        pixels = np.stack(_several(found, preprocessing))
    shown = None
    if chosen.explain:
        if len(found.photographs) > 1:
            raise bodies.BadBody(f"explain answers for one photograph, the request has {len(found.photographs)}")
        (photograph,) = found.photographs
        shown = decoding.decode(photograph, SHOWN) if isinstance(photograph, bytes) else photograph
    return Request(pixels, chosen, found.name is not None, answer_type, shown)


def _several(found: bodies.Body, preprocessing: images.Preprocessing) -> list[images.Pixels]:
    """One that cannot be used is named by its place in the list."""
    left = decoding.MAX_PIXELS
    made = []
    for at, photograph in enumerate(found.photographs):
        try:
            left -= decoding.pixels(photograph) if isinstance(photograph, bytes) else photograph[..., 0].size
            if left < 0:
                raise images.BadImage(f"a request may have {decoding.MAX_PIXELS:,} pixels in all; send fewer at a time")
            made.append(_pixels(photograph, preprocessing))
        except images.BadImage as error:
            raise type(error)(f"{found.name}[{at}]: {error}") from None
    return made


def _pixels(photograph: bytes | images.Pixels, preprocessing: images.Preprocessing) -> images.Pixels:
    if isinstance(photograph, bytes):
        return images.load(photograph, preprocessing)
    return images.central(photograph, preprocessing)
