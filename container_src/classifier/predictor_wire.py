"""What goes between a worker and the predictor's process: a line of JSON and an array, each a message of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
EMPTY: Array = np.empty(0, np.uint8)


def send(connection: Connection, head: Mapping[str, object], array: Array) -> None:
    """Both ends are processes of this server, on a socket that only its user can open."""
    whole = np.ascontiguousarray(array)
    connection.send_bytes(json.dumps({**head, "shape": whole.shape, "dtype": whole.dtype.str}).encode())
    connection.send_bytes(whole.reshape(-1).view(np.uint8).data)


def receive(connection: Connection) -> tuple[dict[str, Any], Array]:
    """The other side of `send`. Raises EOFError when the other process has ended."""
    head = json.loads(connection.recv_bytes())
    array = np.empty(math.prod(head["shape"]), head["dtype"])
    received = connection.recv_bytes_into(array.view(np.uint8).data)
    assert received == array.nbytes
    return head, array.reshape(head["shape"])
