"""What a batch transform says to its containers and asks of them.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html.
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from local_sagemaker import health
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.transform_input import MEGABYTE

SEE_LOGS = "See job logs for more information"  # AWS's whole reason; what follows it is ours
TIMEOUT_S, RETRIES = 600, 3  # ModelClientConfig when it is not given
PAYLOAD_MB = 6  # MaxPayloadInMB when neither the request nor the container says it
ANSWER_LIMIT = 100 * MEGABYTE  # bytes of one answer, as of one payload
QUOTED = 200  # bytes of a refusal that a reason quotes
_STRATEGIES = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}


class Stopped(Exception):
    """The job is to end."""


@dataclass(frozen=True)
class Limits:
    """How many payloads a container gets at once, how long they are, and whether each is one record."""

    concurrent: int
    payload_mb: int
    strategy: str

    def __str__(self) -> str:
        return (
            f"MaxConcurrentTransforms={self.concurrent}, MaxPayloadInMB={self.payload_mb}, "
            f"BatchStrategy={self.strategy}"
        )


def environment(job: Record) -> dict[str, str]:
    """Of the limits only what the request gives: else the container is asked for them."""
    strategy = next((wire for wire, name in _STRATEGIES.items() if name == job.get("BatchStrategy")), None)
    given = {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": job.get("MaxPayloadInMB"),
        "SAGEMAKER_BATCH_STRATEGY": strategy,
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": job.get("MaxConcurrentTransforms"),
    }
    return {"SAGEMAKER_BATCH": "true", **{key: str(value) for key, value in given.items() if value is not None}}


class TransformClient:
    """Speaks to the containers of one job. For many threads."""

    def __init__(self, job: Record, urls: list[str], stop: threading.Event) -> None:
        self._job = job
        self._urls = urls
        self._stop = stop
        self._http = urllib3.PoolManager(maxsize=100, retries=False)
        config = job.get("ModelClientConfig", {})
        self._timeout_s = config.get("InvocationsTimeoutInSeconds", TIMEOUT_S)
        self._attempts = 1 + config.get("InvocationsMaxRetries", RETRIES)

    def limits(self) -> Limits:
        """What the request says, else the container's /execution-parameters, else SageMaker's defaults.

        Raises JobError where the container answers what cannot be.
        """
        told: Any = {}
        with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
            answer = self._http.request("GET", f"{self._urls[0]}/execution-parameters", timeout=health.ANSWER_S)
            told = json.loads(answer.data) if answer.status == 200 else {}
        try:
            strategy = _STRATEGIES[told.get("BatchStrategy", "MULTI_RECORD")]
            merged = {
                "MaxConcurrentTransforms": 1,
                "MaxPayloadInMB": PAYLOAD_MB,
                **told,
                "BatchStrategy": strategy,
                **{name: self._job[name] for name in ("MaxPayloadInMB", "BatchStrategy") if name in self._job},
            }
            concurrent = self._job.get("MaxConcurrentTransforms") or int(merged["MaxConcurrentTransforms"])
            limits = Limits(concurrent, int(merged["MaxPayloadInMB"]), merged["BatchStrategy"])
            if not (1 <= limits.concurrent <= 100 and 0 <= limits.payload_mb <= 100):
                raise ValueError(limits)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise JobError(
                f"AlgorithmError: {SEE_LOGS}: the container's /execution-parameters answered {str(told)[:QUOTED]}, not "
                '{"MaxConcurrentTransforms": 1 to 100, "BatchStrategy": "MULTI_RECORD" or "SINGLE_RECORD", '
                '"MaxPayloadInMB": 0 to 100}.'
            ) from None
        return limits

    def ask(self, uri: str, payload: bytes | Path, number: int) -> bytes:
        """The answer of the container whose turn it is to one payload of an object.

        Raises JobError after the last attempt, Stopped when the job is to end.
        """
        url = self._urls[number % len(self._urls)]
        said, blame = "", "AlgorithmError"
        for _ in range(self._attempts):
            if self._stop.is_set():
                raise Stopped
            status, answer = self._send(url, payload)
            if 200 <= status < 300:
                return answer
            said = answer[:QUOTED].decode("utf-8", "replace").strip()
            if status:
                said = f"answered {status} {said}".strip()
            if 400 <= status < 500:
                blame = "ClientError"
                break
        if self._stop.is_set():
            raise Stopped
        raise JobError(f"{blame}: {SEE_LOGS}: the container {said} to a payload of {uri}.")

    def _send(self, url: str, payload: bytes | Path) -> tuple[int, bytes]:
        """Status and body of an answer; 0 and what happened instead when there is none."""
        headers = {"Content-Type": self._job["TransformInput"].get("ContentType", "application/octet-stream")}
        if "Accept" in self._job["TransformOutput"]:
            headers["Accept"] = self._job["TransformOutput"]["Accept"]
        with contextlib.ExitStack() as stack:
            body: Any = payload
            if isinstance(payload, Path):
                headers["Content-Length"] = str(payload.stat().st_size)
                body = stack.enter_context(payload.open("rb"))
            try:
                answer = self._http.request(
                    "POST",
                    f"{url}/invocations",
                    body=body,
                    headers=headers,
                    timeout=self._timeout_s,
                    preload_content=False,
                    redirect=False,
                )
                stack.callback(answer.close)
                read = answer.read(ANSWER_LIMIT + 1)
            except urllib3.exceptions.TimeoutError:
                return 0, f"did not answer within {self._timeout_s} s".encode()
            except urllib3.exceptions.HTTPError as error:
                return 0, f"did not answer ({type(error).__name__})".encode()
        if len(read) > ANSWER_LIMIT:
            return 0, f"answered more than {ANSWER_LIMIT} bytes".encode()
        return answer.status, read
