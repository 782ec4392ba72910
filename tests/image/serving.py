"""Servers of the image under test, and requests to them."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from image.containers import Container
from image.demands import BATCH, HOSTING, NETWORK, PLATFORM_VARIABLES, SMALL_SHM, Condition, Demand
from image.subject import Subject

CONDITIONS = {
    "network": Condition(NETWORK),
    "shared-memory": SMALL_SHM,
    "read-only-model": Condition(
        Demand(
            '"SageMaker AI decompresses this tar file into /opt/ml/model directory before your container starts." '
            "What lies there need not be writable.",
            HOSTING,
            "write what is derived from the model (unpacked, compiled, cached) to /tmp, not beside it",
        )
    ),
    "variables": Condition(
        Demand(
            '"SAGEMAKER_BATCH is always set to true when the container runs in Batch Transform", and with it '
            "SAGEMAKER_MAX_PAYLOAD_IN_MB, SAGEMAKER_BATCH_STRATEGY and SAGEMAKER_MAX_CONCURRENT_TRANSFORMS.",
            BATCH,
            "bear these variables, and credentials that cannot be fetched",
        ),
        options=(
            *PLATFORM_VARIABLES,
            "--env=SAGEMAKER_BATCH=true",
            "--env=SAGEMAKER_MAX_PAYLOAD_IN_MB=6",
            "--env=SAGEMAKER_BATCH_STRATEGY=SINGLE_RECORD",
            "--env=SAGEMAKER_MAX_CONCURRENT_TRANSFORMS=2",
        ),
    ),
}
BIND_LABEL = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
PING_TIMEOUT_S = 2  # "The request timeout on /ping attempts is 2 seconds."
INVOCATION_TIMEOUT_S = 60


@dataclass(frozen=True)
class Answer:
    """`status` is None where there was no answer; `text` then says why."""

    status: int | None
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return f"{self.status or 'no answer'}, {self.text[:300]!r}"


@dataclass
class Server:
    """A container that serves, up to its first good /ping (`healthy`) or its end.

    `pings`: the statuses before; `first`: the invocation that followed the first 200 at once.
    """

    container: Container
    conditions: Collection[str]
    url: str
    healthy: bool = False
    startup_s: float = 0.0
    pings: list[int | None] = field(default_factory=list)
    first: Answer | None = None

    def ping(self) -> Answer:
        return request("GET", f"{self.url}/ping", timeout_s=PING_TIMEOUT_S)

    def invoke(self, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Answer:
        named = {"Content-Type": content_type, **(headers or {})}
        return request("POST", f"{self.url}/invocations", body, named, INVOCATION_TIMEOUT_S)

    def wait_until_healthy(self, within_s: float) -> bool:
        """Asks for /ping as the platform does, until it is 200, the container ends or the time is over."""
        started = time.monotonic()
        while not self.healthy and time.monotonic() < started + within_s:
            status = self.ping().status
            self.healthy = status == 200
            if not self.healthy:
                self.pings.append(status)
                if not self.container.running():
                    break
                time.sleep(0.1)
        self.startup_s = time.monotonic() - started
        return self.healthy

    def accept_ms(self) -> float:
        """How long the server takes to accept a connection."""
        address = urlsplit(self.url)
        started = time.monotonic()
        with socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=10):
            return (time.monotonic() - started) * 1000

    def seen(self) -> str:
        """What became of one that never was healthy, for a message."""
        said = ", ".join(sorted({str(status or "no answer") for status in self.pings}))
        state = "runs" if self.container.running() else f"ended with exit code {self.container.exit_code()}"
        return (
            f"/ping: {said or 'not asked'}; the container {state} after {self.startup_s:.0f} s; {self.container.tail()}"
        )


def request(
    method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = 10
) -> Answer:
    """One request on a connection of its own."""
    try:
        # Without TLS there is nothing to verify, and reading the certificates takes longer than a request.
        answer = httpx.request(
            method, url, content=body, headers=dict(headers or {}), timeout=timeout_s, verify=False, trust_env=False
        )
    except httpx.TransportError as error:
        return Answer(None, f"{type(error).__name__}: {error}")
    return Answer(answer.status_code, answer.text, answer.headers)


def start(
    tested: Subject,
    model: Path,
    conditions: Collection[str],
    scratch: Path,
    network: str | None = None,
    variables: Mapping[str, str] | None = None,
    port: int = 8080,
) -> Server:
    """`serve` under `conditions` (names in CONDITIONS); `network` is where the condition of that name puts it.

    Without the read-only model, a copy of `model` in `scratch` is mounted. `port` is where it is to listen.
    """
    options = [f"--env={name}={value}" for name, value in (variables or {}).items()]
    for name, condition in CONDITIONS.items():
        options += condition.options if name in conditions else condition.otherwise
    options.append(f"--network={network}" if network and "network" in conditions else f"-p=127.0.0.1::{port}")
    if "read-only-model" in conditions:
        options.append(f"-v={model}:/opt/ml/model:ro")
    else:
        options.append(f"-v={shutil.copytree(model, scratch / 'model')}:/opt/ml/model")
    container = tested.start("serve", *options, port=port)
    return Server(container, conditions, container.url())
