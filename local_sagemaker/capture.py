"""Data capture: what went into an endpoint and what came out, as JSON lines, written behind the requests' back.

Format and path: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html.
"""

from __future__ import annotations

import base64
import json
import logging
import queue
import random
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_sagemaker import storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.routing import Route

GATHER_S = 1.0  # how long a file waits for more lines
PENDING_BYTES = 64 * 1024 * 1024  # what may wait to be written; more than that is dropped, never waited for
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Payload:
    """One direction of an invocation."""

    content_type: str | None
    body: bytes


@dataclass(frozen=True)
class _Line:
    directory: str  # DESTINATION/ENDPOINT/VARIANT
    region: str
    at: datetime
    text: str


class Capture:
    """Takes what is to be captured, at once, and writes it from a thread of its own."""

    def __init__(self) -> None:
        self._lines: queue.Queue[_Line | None] = queue.Queue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def draw(self, config: Record | None) -> bool:
        """Whether this request is one of those to capture."""
        if config is None or not config.get("EnableCapture", True):
            return False
        return random.random() * 100 < float(config["InitialSamplingPercentage"])

    def take(
        self, config: Record, route: Route, event_id: str, given: Mapping[str, Any], sent: Payload, came: Payload
    ) -> None:
        """Keeps a line for the variant of the route; `given`: the request's members, `event_id`: the request's id."""
        at = datetime.now(timezone.utc)
        text = json.dumps(_line(config, event_id, given, sent, came, at), separators=(",", ":"))
        with self._lock:
            if self._waiting + len(text) > PENDING_BYTES:
                log.warning("data capture of endpoint %s: too much is waiting, a request is left out", route.endpoint)
                return
            self._waiting += len(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="data-capture", daemon=True)
                self._thread.start()
        directory = storage.join(config["DestinationS3Uri"], route.endpoint, route.variant)
        self._lines.put(_Line(directory, route.region, at, text))

    def close(self) -> None:
        """Writes what waits."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join()

    def _write(self) -> None:
        ended = threading.Event()
        while not ended.is_set():
            lines = self._gather(ended)
            files: dict[tuple[str, str], list[_Line]] = defaultdict(list)
            for line in lines:
                files[f"{line.directory}/{line.at:%Y/%m/%d/%H}", line.region].append(line)
            for (directory, region), ours in files.items():
                self._save(directory, region, ours)
            with self._lock:
                self._waiting -= sum(len(line.text) for line in lines)

    def _gather(self, ended: threading.Event) -> list[_Line]:
        """The first line there is, and those that come within a moment after it."""
        line, lines = self._lines.get(), []
        while line is not None:
            lines.append(line)
            try:
                line = self._lines.get(
                    timeout=max(0.0, GATHER_S - (datetime.now(timezone.utc) - lines[0].at).total_seconds())
                )
            except queue.Empty:
                return lines
        ended.set()
        return lines

    @staticmethod
    def _save(directory: str, region: str, lines: list[_Line]) -> None:
        at = lines[0].at
        name = f"{at:%M-%S}-{at.microsecond // 1000:03d}-{uuid4()}.jsonl"
        try:
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
                file.writelines(f"{line.text}\n" for line in lines)
                file.flush()
                storage.upload_file(Path(file.name), f"{directory}/{name}", region)
        except (JobError, OSError) as error:
            log.warning("%d captured requests are lost: %s", len(lines), error)


def _line(
    config: Record, event_id: str, given: Mapping[str, Any], sent: Payload, came: Payload, at: datetime
) -> dict[str, Any]:
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    captured = {}
    if modes & {"Input", "InputAndOutput"}:
        captured["endpointInput"] = _side(config, "INPUT", sent)
    if modes & {"Output", "InputAndOutput"}:
        captured["endpointOutput"] = _side(config, "OUTPUT", came)
    event: dict[str, Any] = {"eventId": event_id}
    if "CustomAttributes" in given:
        event["customAttributes"] = [given["CustomAttributes"]]
    if "InferenceId" in given:
        event["inferenceId"] = given["InferenceId"]
    event["inferenceTime"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": captured, "eventMetadata": event, "eventVersion": "0"}


def _side(config: Record, mode: str, payload: Payload) -> dict[str, str]:
    encoding, data = _encoded(config.get("CaptureContentTypeHeader", {}), payload)
    observed = {} if payload.content_type is None else {"observedContentType": payload.content_type}
    return {**observed, "mode": mode, "data": data, "encoding": encoding}


def _encoded(headers: Record, payload: Payload) -> tuple[str, str]:
    """Text of the types that the configuration names as such; the rest, and text that is none, as base64."""
    media_type = (payload.content_type or "").partition(";")[0].strip().lower()
    for encoding, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media_type in [name.lower() for name in headers.get(member, [])]:
            try:
                return encoding, payload.body.decode()
            except UnicodeDecodeError:
                break
    return "BASE64", base64.b64encode(payload.body).decode()
