"""Asynchronous endpoints: a request is a file until it has been answered, so that no end of a server loses one.

`STATE/endpoints/NAME/_requests/ID.json`, and `ID.body` for a payload that came with the request. The file goes when the
answer is written, so a request that was being answered when the server was killed is sent to the container again.
Source: https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_sagemaker import asynchronous_request, runtime_protocol, storage
from local_sagemaker.containers import OCTETS, Containers, NoAnswer, Overdue
from local_sagemaker.errors import ApiError, JobError
from local_sagemaker.hosting import KIND, Hosting
from local_sagemaker.records import Records, write_json
from local_sagemaker.routing import Route

PARALLEL = 4  # requests inside an instance where the configuration does not say; AWS chooses a number too
TTL_S, TIMEOUT_S = 21_600, 900  # RequestTTLSeconds and InvocationTimeoutSeconds where the request does not say
PAYLOAD_LIMIT = 1024**3  # bytes
ATTEMPTS = 3  # a connection that breaks is mostly an instance that ends; a request that breaks every one has failed
LOOK_S = 0.2  # how often a request looks for an instance while there is none for it
log = logging.getLogger(__name__)


class _Failure(Exception):
    """The request has failed for good; what is written to its failure location."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.content = content


class Asynchronous:
    """The queues of all asynchronous endpoints. For many threads."""

    def __init__(self, hosting: Hosting, records: Records, containers: Containers) -> None:
        self._hosting = hosting
        self._records = records
        self._containers = containers
        self._waiting: defaultdict[str, deque[Path]] = defaultdict(deque)
        self._workers: Counter[str] = Counter()
        self._inside: Counter[tuple[str, ...]] = Counter()  # requests by instance
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def accept(self, route: Route, given: Mapping[str, Any], body: bytes) -> dict[str, str]:
        """Keeps a request; gives the members of the answer. Raises ApiError."""
        asynchronous_request.check(given, body)
        identity = str(uuid4())
        request = {
            **given,
            "InferenceId": given.get("InferenceId", identity),
            "_Accepted": time.time(),
            **asynchronous_request.locations(route, given, identity),
        }
        directory = self._directory(route.endpoint)
        directory.mkdir(exist_ok=True)
        if body:
            directory.joinpath(f"{identity}.body").write_bytes(body)
        path = directory / f"{identity}.json"
        write_json(path, request)
        self._enqueue(route.endpoint, [path], _limit(route) * route.instances)
        return {name: request[name] for name in ("InferenceId", "OutputLocation", "FailureLocation") if name in request}

    def recover(self) -> None:
        """Queues what an earlier server had accepted, in its order."""
        for record in self._records.all(KIND):
            name = record["EndpointName"]
            accepted = {path: asynchronous_request.accepted(path) for path in self._directory(name).glob("[!.]*.json")}
            readable = {path: at for path, at in accepted.items() if at is not None}
            self._enqueue(name, sorted(readable, key=lambda path: readable[path]), PARALLEL)

    def shutdown(self) -> None:
        """No request is begun any more, and none that breaks off has failed."""
        self._stop.set()

    def _directory(self, endpoint: str) -> Path:
        return self._records.directory(KIND, endpoint) / "_requests"

    def _enqueue(self, endpoint: str, paths: list[Path], workers: int) -> None:
        with self._lock:
            self._waiting[endpoint].extend(paths)
            new = min(workers - self._workers[endpoint], len(self._waiting[endpoint]))
            for _ in range(new):
                self._workers[endpoint] += 1
                threading.Thread(target=self._work, args=(endpoint,), name=f"async-{endpoint}", daemon=True).start()

    def _work(self, endpoint: str) -> None:
        while True:
            with self._lock:
                if self._stop.is_set() or not self._waiting[endpoint]:
                    self._workers[endpoint] -= 1
                    return
                path = self._waiting[endpoint].popleft()
            try:
                self._process(endpoint, path)
            except Exception:
                log.exception("asynchronous request %s", path)

    def _process(self, endpoint: str, path: Path) -> None:
        """Answers one request; returns without an answer when its endpoint is gone or the server ends."""
        request = asynchronous_request.read(path)
        body = path.with_suffix(".body")
        try:
            with tempfile.TemporaryDirectory() as scratch:
                answer = self._answer(endpoint, path, request, Path(scratch))
                if answer is None:
                    return
                try:
                    storage.upload_file(answer, request["OutputLocation"], request["_Region"])
                except (JobError, OSError) as error:
                    raise _Failure(f"The answer cannot be written: {error}".encode()) from None
        except _Failure as failure:
            if self._stop.is_set() or not path.exists():
                return
            self._write_failure(endpoint, request, failure.content)
        path.unlink(missing_ok=True)
        body.unlink(missing_ok=True)

    def _answer(self, endpoint: str, path: Path, request: Mapping[str, Any], scratch: Path) -> Path | None:
        """A file with the container's answer. Raises _Failure."""
        payload = path.with_suffix(".body")
        if "InputLocation" in request:
            payload = scratch / "input"
            try:
                storage.download_file(request["InputLocation"], payload, request["_Region"])
            except (JobError, OSError) as error:
                raise _Failure(str(error).encode()) from None
        if payload.stat().st_size > PAYLOAD_LIMIT:
            raise _Failure(f"The payload at {request['InputLocation']} is longer than {PAYLOAD_LIMIT} bytes.".encode())
        deadline = request["_Accepted"] + request.get("RequestTTLSeconds", TTL_S)
        left = ATTEMPTS
        while path.exists() and not self._stop.is_set():
            if time.time() > deadline:
                raise _Failure(b"The request expired: it waited longer than RequestTTLSeconds for an instance.")
            with self._instance(endpoint) as route:
                if route is not None:
                    left -= 1
                    try:
                        return self._send(route, request, payload, scratch)
                    except NoAnswer as failure:
                        if not left or isinstance(failure, Overdue):
                            raise _Failure(f"{failure}.".encode()) from None
            self._stop.wait(LOOK_S)
        return None

    @contextmanager
    def _instance(self, endpoint: str) -> Iterator[Route | None]:
        """An instance that has room for one more request; None where there is none at the moment."""
        try:
            route = self._hosting.route(endpoint, None)
        except ApiError:
            yield None
            return
        with route:
            for shadow in route.shadows:
                shadow.release()
            with self._lock:
                has_room = self._inside[route.urls] < _limit(route)
                self._inside[route.urls] += has_room
            try:
                yield route if has_room else None
            finally:
                with self._lock:
                    self._inside[route.urls] -= has_room
                    if not self._inside[route.urls]:
                        del self._inside[route.urls]

    def _send(self, route: Route, request: Mapping[str, Any], payload: Path, scratch: Path) -> Path:
        """A file with the answer of the last container in a row. Raises _Failure, NoAnswer."""
        headers = runtime_protocol.passed_on(request)
        timeout_s = float(request.get("InvocationTimeoutSeconds", TIMEOUT_S))
        for number, url in enumerate(route.urls):
            output = scratch / f"output-{number}"
            with payload.open("rb") as body:
                length = {"Content-Length": str(payload.stat().st_size)}
                answering = self._containers.open(
                    "POST", f"{url}/invocations", body, {**headers, **length}, timeout_s, limit=PAYLOAD_LIMIT
                )
                with output.open("wb") as file:
                    file.writelines(answering.chunks())
            if answering.status >= 400:
                raise _Failure(output.read_bytes())
            payload, headers = output, {**headers, "Content-Type": answering.headers.get("Content-Type", OCTETS)}
        return payload

    def _write_failure(self, endpoint: str, request: Mapping[str, Any], content: bytes) -> None:
        text = content[:500].decode("utf-8", "replace")
        log.warning("asynchronous request %s of endpoint %s failed: %s", request["InferenceId"], endpoint, text)
        if "FailureLocation" in request:
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                try:
                    storage.upload_file(Path(file.name), request["FailureLocation"], request["_Region"])
                except (JobError, OSError) as error:
                    log.warning("and its failure cannot be written: %s", error)


def _limit(route: Route) -> int:
    assert route.asynchronous is not None
    client = route.asynchronous.get("ClientConfig", {})
    return int(client.get("MaxConcurrentInvocationsPerInstance", PARALLEL))
