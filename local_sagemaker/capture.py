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
class _Captured:
    """A request that waits to be written; making its line takes longer than a request should wait."""

    config: Record
    directory: str  # DESTINATION/ENDPOINT/VARIANT
    region: str
    at: datetime
    event_id: str
    given: Mapping[str, Any]
    sent: Payload
    came: Payload

    @property
    def size(self) -> int:
        return len(self.sent.body) + len(self.came.body)


class Capture:
    """Takes what is to be captured, at once, and writes it from a thread of its own."""

    def __init__(self) -> None:
        self._lines: queue.Queue[_Captured | None] = queue.Queue()
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
        directory = storage.join(config["DestinationS3Uri"], route.endpoint, route.variant)
        at = datetime.now(timezone.utc)
        one = _Captured(config, directory, route.region, at, event_id, given, sent, came)
        with self._lock:
            if self._waiting + one.size > PENDING_BYTES:
                log.warning("data capture of endpoint %s: too much is waiting, a request is left out", route.endpoint)
                return
            self._waiting += one.size
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="data-capture", daemon=True)
                self._thread.start()
        self._lines.put(one)

    def close(self) -> None:
        """Writes what waits."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join()

    def _write(self) -> None:
        ended = threading.Event()
        while not ended.is_set():
            gathered = self._gather(ended)
            files: dict[tuple[str, str], list[_Captured]] = defaultdict(list)
            for one in gathered:
                files[f"{one.directory}/{one.at:%Y/%m/%d/%H}", one.region].append(one)
            for (directory, region), ours in files.items():
                self._save(directory, region, ours)
            with self._lock:
                self._waiting -= sum(one.size for one in gathered)

    def _gather(self, ended: threading.Event) -> list[_Captured]:
        """The first one there is, and those that come within a moment after it."""
        one, gathered = self._lines.get(), []
        while one is not None:
            gathered.append(one)
            age_s = (datetime.now(timezone.utc) - gathered[0].at).total_seconds()
            try:
                one = self._lines.get(timeout=max(0.0, GATHER_S - age_s))
            except queue.Empty:
                return gathered
        ended.set()
        return gathered

    @staticmethod
    def _save(directory: str, region: str, ours: list[_Captured]) -> None:
        at = ours[0].at
        name = f"{at:%M-%S}-{at.microsecond // 1000:03d}-{uuid4()}.jsonl"
        try:
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
                for one in ours:
                    file.write(json.dumps(_line(one), separators=(",", ":")) + "\n")
                file.flush()
                storage.upload_file(Path(file.name), f"{directory}/{name}", region)
        except (JobError, OSError) as error:
            log.warning("%d captured requests are lost: %s", len(ours), error)


def _line(one: _Captured) -> dict[str, Any]:
    modes = {option["CaptureMode"] for option in one.config["CaptureOptions"]}
    captured = {}
    if modes & {"Input", "InputAndOutput"}:
        captured["endpointInput"] = _side(one.config, "INPUT", one.sent)
    if modes & {"Output", "InputAndOutput"}:
        captured["endpointOutput"] = _side(one.config, "OUTPUT", one.came)
    event: dict[str, Any] = {"eventId": one.event_id}
    if "CustomAttributes" in one.given:
        event["customAttributes"] = [one.given["CustomAttributes"]]
    if "InferenceId" in one.given:
        event["inferenceId"] = one.given["InferenceId"]
    event["inferenceTime"] = f"{one.at:%Y-%m-%dT%H:%M:%SZ}"
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
