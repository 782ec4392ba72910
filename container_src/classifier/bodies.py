"""A request's body -> the photographs in it, undecoded, and the options beside them.

sagemaker-inference's decoders are of no use here: that of application/x-npy unpickles, which runs a stranger's code,
and none bounds what it allocates.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sagemaker_inference.content_types import JSON

from classifier import options
from classifier.errors import InputError
from classifier.images import Pixels

# Members of a JSON body that hold photographs; `instances` is TensorFlow Serving's.
MEMBERS = ("image", "images", "instances")
# Of one request. Their pixels together are limited as those of a single photograph.
MAX_PHOTOGRAPHS = 64
_NPY = b"\x93NUMPY"
# Characters in the description of a npy array; those that numpy writes for ours have 118.
_NPY_HEADER = 1000


class BadBody(InputError):
    """A body that holds no photographs in any way that is understood."""


@dataclass(frozen=True)
class Body:
    """`photographs`: encoded (bytes) or uint8 [h, w, 3]; `name`: of the list that they came as, if they did;
    `options`: as text, by their names."""

    photographs: tuple[bytes | Pixels, ...]
    name: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def read(data: bytes, content_type: str) -> Body:
    """Takes JSON apart where it is declared; else what the bytes are decides, an image or a npy array.

    Raises:
        BadBody: broken JSON, base64 or npy; members or shapes that mean nothing here; too many photographs.
        BadOption: a member of the JSON has a value that no option can have.
    """
    if content_type == JSON:
        return _json(data)
    return _arrays(data) if data.startswith(_NPY) else Body((data,))


def _json(data: bytes) -> Body:
    try:
        values = json.loads(data)
    except RecursionError:
        raise BadBody("the body is JSON with too many levels") from None
    except json.JSONDecodeError as error:
        raise BadBody(f"the body is no JSON: {' '.join(str(error).split())}") from None
    except ValueError:
        raise BadBody("the body is no JSON: it is not Unicode, or a number in it has thousands of digits") from None
    named = [name for name in MEMBERS if isinstance(values, dict) and name in values]
    if len(named) != 1:
        raise BadBody(
            'the JSON needs one of {"image": "<base64>"}, {"images": ["<base64>", ...]} and '
            '{"instances": [{"b64": "<base64>"}, ...]}'
        )
    name = named[0]
    given = values.pop(name)
    if unknown := [key for key in values if key not in options.NAMES]:
        allowed = ", ".join(options.NAMES)
        raise BadBody(f"the JSON's member {unknown[0][:50]!r} is not known; beside {name!r} it may have {allowed}")
    chosen = options.from_members(values)
    if name == "image":
        return Body((_decoded(given, name),), options=chosen)
    if not isinstance(given, list):
        raise BadBody(f"the JSON's {name!r} must be a list of 1 to {MAX_PHOTOGRAPHS} photographs")
    _check_number(len(given))
    return Body(tuple(_decoded(item, f"{name}[{at}]") for at, item in enumerate(given)), name, chosen)


def _check_number(photographs: int) -> None:
    if not 0 < photographs <= MAX_PHOTOGRAPHS:
        raise BadBody(f"the request has {photographs:,} photographs; send 1 to {MAX_PHOTOGRAPHS}")


def _decoded(item: object, where: str) -> bytes:
    """The bytes of a base64 text, of `{"b64": text}` or of a data URL."""
    text = item.get("b64") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise BadBody(f'{where} must be a photograph in base64, as text or as {{"b64": text}}')
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        # Lines are what `base64` and MIME write; anything else that is no base64 is a mistake.
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadBody(f"{where} is no base64; encode the photograph's bytes") from None
    if not data:
        raise BadBody(f"{where} is empty; send the bytes of a photograph")
    return data


def _arrays(data: bytes) -> Body:
    """The photographs of a npy file (NumPy enhancement proposal 1) as views of `data`: nothing is allocated."""
    stream = io.BytesIO(data)
    try:
        npy: Any = np.lib.format  # whose types do not know all arguments
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, by_columns, kind = readers[npy.read_magic(stream)](stream, max_header_size=_NPY_HEADER)
    except Exception:  # numpy evaluates the header as a Python literal and raises whatever comes of it
        raise BadBody("the npy array's header is damaged; write it with numpy.save") from None
    if kind != np.uint8 or len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
        raise BadBody(
            f"the npy array is {kind} {str(list(shape))[:50]}; send uint8 [height, width, 3] or [n, height, width, 3]"
        )
    values = np.frombuffer(data, np.uint8, offset=stream.tell())
    if values.size != math.prod(shape):
        raise BadBody(
            f"the npy array promises {math.prod(shape):,} values and has {values.size:,}; write it with numpy.save"
        )
    array = values.reshape(shape, order="F" if by_columns else "C")
    if len(shape) == 3:
        return Body((array,))
    _check_number(len(array))
    return Body(tuple(array), "array")
