"""smdebug's event files, written at once and in the calling thread.

smdebug's own writer hands every tensor to a thread. When the disk is full that thread dies, and the training then waits
for it for ever; and building each of the some hundred messages of a step with protobuf's Python takes 0.3 ms.

The format is TensorFlow's, https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details, of `Event`
messages (smdebug/core/tfevent/proto/{event,summary,tensor}.proto), beside an index in JSON.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.atomic import replacing
from classifier.watch.smdebug_client import (
    CHECKSUM_MAGIC_BYTES,
    MODE_PLUGIN_NAME,
    MODE_STEP_PLUGIN_NAME,
    IndexFileLocationUtils,
    TensorFileLocation,
    masked_crc32c,
)

# What smdebug writes instead of the checksum of a record.
_NO_CHECKSUM = struct.pack("<I", masked_crc32c(CHECKSUM_MAGIC_BYTES))
_TYPES = {
    np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.int32): 3, np.dtype(np.uint8): 4,
    np.dtype(np.int16): 5, np.dtype(np.int8): 6, np.dtype(np.int64): 9, np.dtype(bool): 10, np.dtype(np.float16): 19,
}  # fmt: skip
Seen = Callable[[str, NDArray[Any]], None]


class EventFile:
    """Stands for smdebug's FileWriter: one step's tensors. `seen` is told each of them."""

    def __init__(self, directory: str, step: int, worker: str, seen: Seen) -> None:
        location = TensorFileLocation(step_num=step, worker_name=worker)
        self._path = Path(location.get_file_location(trial_dir=directory))
        self._index_path = Path(IndexFileLocationUtils.get_index_key_for_step(directory, step, worker))
        self._name, self._step, self._seen = location.get_file_location(), step, seen
        self._records: list[bytes] = []
        self._length = 0
        self._meta: dict[str, Any] = {}
        self._tensors: list[dict[str, Any]] = []
        self._shapes: list[dict[str, Any]] = []

    def write_tensor(
        self, tdata: Any, tname: str, write_index: bool = True, mode: Any = None, mode_step: int = 0,
        timestamp: float | None = None,
    ) -> None:  # fmt: skip
        """Called by smdebug's hook."""
        array = np.asarray(tdata)
        event = _event(array, tname, self._step, mode, mode_step, timestamp or time.time())
        size = struct.pack("<Q", len(event))
        record = b"".join((size, struct.pack("<I", masked_crc32c(size)), event, _NO_CHECKSUM))
        self._meta = {"mode": mode.name, "mode_step": mode_step, "event_file_name": self._name}
        self._tensors.append({"tensorname": tname, "start_idx": self._length, "length": len(record)})
        self._records.append(record)
        self._length += len(record)
        self._seen(tname, array)

    def write_shape(
        self, name: str, shape: tuple[int, ...], mode: Any, mode_step: int, original_name: str | None = None
    ) -> None:
        """Called by smdebug's hook."""
        self._meta = self._meta or {"mode": mode.name, "mode_step": mode_step, "event_file_name": self._name}
        self._shapes.append({"tensorname": name, "originalname": original_name or name, "shape": list(shape)})

    def flush(self) -> None:
        """Called by smdebug's hook, and then `close`, which writes."""

    def close(self) -> None:
        """Raises OSError, and then leaves nothing of the step: an index without its file would be waited for."""
        if not self._meta:
            return
        for path in (self._path, self._index_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as file, file.open("wb") as stream:
            stream.writelines(self._records)
        index = {"meta": self._meta, "tensor_payload": self._tensors, "shape_payload": self._shapes}
        with replacing(self._index_path) as file:
            file.write_text(json.dumps(index), encoding="utf-8")


def _event(array: NDArray[Any], name: str, step: int, mode: Any, mode_step: int, at: float) -> bytes:
    """Event(wall_time=at, step=step, summary=Summary(value=[Value(tag=name, tensor, metadata)]))."""
    tag = name.encode()
    plugins = b"".join(
        _field(1, _field(1, plugin.encode()) + _field(2, str(content).encode()))
        for plugin, content in ((MODE_STEP_PLUGIN_NAME, mode_step), (MODE_PLUGIN_NAME, mode.value))
    )
    shape = b"".join(_field(2, b"\x08" + _varint(size) + _field(2, tag + b"_%d" % size)) for size in array.shape)
    if array.dtype not in _TYPES:
        array = array.astype(np.float32)
    tensor = b"\x08" + _varint(_TYPES[array.dtype]) + _field(2, shape) + _field(4, array.tobytes())
    value = _field(1, tag) + _field(8, tensor) + _field(9, plugins)
    return b"\x09" + struct.pack("<d", at) + b"\x10" + _varint(step) + _field(5, _field(1, value))


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format that is preceded by its length."""
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)
