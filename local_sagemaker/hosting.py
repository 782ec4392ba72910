"""Endpoints: one thread brings an endpoint into service and then watches over its containers."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import urllib3

from local_sagemaker import archive, arns, storage
from local_sagemaker.errors import ApiError, JobError
from local_sagemaker.logs import LogStore, LogWriter
from local_sagemaker.records import Record, Records
from local_sagemaker.routing import Route
from local_sagemaker.runners import RunnerError, Runners, Running, Work
from local_sagemaker.settings import Settings

KIND = "endpoints"
PING_INTERVAL_S = 1.0
PING_TIMEOUT_S = 2.0
STARTUP_S = 480  # ContainerStartupHealthCheckTimeoutInSeconds when it is not given
REASON_LIMIT = 1024
log = logging.getLogger(__name__)


def log_group(name: str) -> str:
    return f"/aws/sagemaker/Endpoints/{name}"


class Hosting:
    """Every endpoint of this server."""

    def __init__(self, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._runs: dict[str, EndpointRun] = {}
        self._lock = threading.Lock()

    def submit(self, request: dict[str, Any], variants: list[Record], region: str) -> str | None:
        """Starts an endpoint; gives its ARN, or None when the name is taken.

        `variants` are production variants, each with its model's `Container`: a model may be deleted while it
        is served.
        """
        name = request["EndpointName"]
        arn = arns.build("endpoint", name, region)
        record: Record = {
            "Tags": [],
            **request,
            "EndpointArn": arn,
            "EndpointStatus": "Creating",
            "_Variants": variants,
            "_Region": region,
        }
        if not self._records.create(KIND, name, record):
            return None
        self._start(name)
        return arn

    def delete(self, name: str) -> None:
        """Ends an endpoint and forgets it; returns at once."""
        with self._records.edit(KIND, name) as record:
            record["EndpointStatus"] = "Deleting"
        with self._lock:
            run = self._runs.get(name)

        def end() -> None:
            if run:
                run.stop(self._settings.endpoint_stop_s)
                run.join()
            with self._lock:
                self._runs.pop(name, None)
            self._records.delete(KIND, name)

        threading.Thread(target=end, name=f"delete-{name}", daemon=True).start()

    def route(self, name: str, variant: str | None) -> Route:
        """Where a request goes; to be used in a `with` statement. Raises ApiError."""
        record = self._records.find(KIND, name)
        if record is None:
            raise ApiError("ValidationError", f"Endpoint {name} of account {arns.ACCOUNT} not found.")
        if record["EndpointStatus"] != "InService":
            raise ApiError(
                "ValidationError", f"Endpoint {name} is not InService, its status is {record['EndpointStatus']}."
            )
        with self._lock:
            urls = self._runs[name].urls
        weights = {item["VariantName"]: item.get("InitialVariantWeight", 1.0) for item in record["_Variants"]}
        if variant is None:
            variant = random.choices(list(weights), list(weights.values()))[0]
        if variant not in urls:
            raise ApiError(
                "ValidationError", f"Variant {variant} of endpoint {name} not found; it has {', '.join(urls)}."
            )
        (chosen,) = (item for item in record["_Variants"] if item["VariantName"] == variant)
        containers = (chosen["Container"],)
        base, stream = _base(self._records, name, variant), f"{variant}/i-local"
        return Route(
            name, variant, (urls[variant],), stream, record["_Region"], chosen, containers, base, lambda: None
        )

    def recover(self) -> None:
        """Starts again what was in service or on its way there, and ends what the earlier server left running."""
        for record in self._records.all(KIND):
            name, status = record["EndpointName"], record["EndpointStatus"]
            for variant in record["_Variants"]:
                self._runners.sweep(variant["Container"]["Image"], _base(self._records, name, variant["VariantName"]))
            if status == "Deleting":
                self._records.delete(KIND, name)
            elif status != "Failed":
                with self._records.edit(KIND, name) as edited:
                    edited["EndpointStatus"] = "Creating" if status == "Creating" else "SystemUpdating"
                self._start(name)

    def shutdown(self) -> None:
        """Ends every container; the records keep their status, so that the next server starts them again."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop(self._settings.shutdown_stop_s)
        for run in runs:
            run.join()

    def _start(self, name: str) -> None:
        run = EndpointRun(name, self._records, self._logs, self._runners, self._settings)
        with self._lock:
            self._runs[name] = run
        run.start()


class EndpointRun:
    """The life of one endpoint's containers."""

    def __init__(self, name: str, records: Records, logs: LogStore, runners: Runners, settings: Settings) -> None:
        self.urls: dict[str, str] = {}
        self._name = name
        self._records = records
        self._logs = logs
        self._runners = runners
        self._settings = settings
        self._endpoint = records.get(KIND, name)
        self._http = urllib3.PoolManager(retries=False)
        self._running: dict[str, Running] = {}
        self._writers: dict[str, LogWriter] = {}
        self._stop = threading.Event()
        self._stop_grace_s = settings.endpoint_stop_s
        self._thread = threading.Thread(target=self._live, name=f"endpoint-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def stop(self, grace_s: float) -> None:
        self._stop_grace_s = grace_s
        self._stop.set()

    def _live(self) -> None:
        reason: str | None = None
        try:
            for variant in self._endpoint["_Variants"]:
                self._bring_up(variant)
            if not self._stop.is_set():
                self._in_service()
                self._watch()
        except (JobError, RunnerError) as error:
            reason = str(error)
        except Exception as error:
            log.exception("endpoint %s", self._name)
            reason = f"{type(error).__name__}: {error}"
        finally:
            self._end()
        if reason is not None and not self._stop.is_set():
            with self._records.edit(KIND, self._name) as record:
                record["EndpointStatus"] = "Failed"
                record["FailureReason"] = reason[:REASON_LIMIT]

    def _bring_up(self, variant: Record) -> None:
        name, container = variant["VariantName"], variant["Container"]
        base = _base(self._records, self._name, name)
        shutil.rmtree(base, ignore_errors=True)
        (base / "model").mkdir(parents=True)
        if "ModelDataUrl" in container:
            self._unpack(container["ModelDataUrl"], base / "model")
        if self._stop.is_set():
            return
        writer = self._logs.writer(log_group(self._name), f"{name}/i-local")
        self._writers[name] = writer
        environment = {"AWS_REGION": self._endpoint["_Region"], **container.get("Environment", {})}
        work = Work(self._name, container["Image"], "serve", base, environment)
        self._running[name] = running = self._runners.of(container["Image"]).start(work, writer.write)
        self._await_health(variant, running)
        self.urls[name] = running.url

    def _unpack(self, uri: str, directory: Path) -> None:
        local = storage.local_path(uri)
        if local is not None:
            archive.unpack(local, directory)
            return
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            packed = Path(scratch) / "model.tar.gz"
            storage.download_file(uri, packed, self._endpoint["_Region"])
            archive.unpack(packed, directory)

    def _await_health(self, variant: Record, running: Running) -> None:
        """Polls /ping until it is 200. Raises JobError when that takes too long or the container ends."""
        limit_s = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_S)
        deadline = time.monotonic() + limit_s
        said = "nothing"
        while time.monotonic() < deadline and not self._stop.is_set():
            try:
                answer = self._http.request("GET", f"{running.url}/ping", timeout=PING_TIMEOUT_S)
                if answer.status == 200:
                    return
                said = f"{answer.status} {answer.data[:200].decode('utf-8', 'replace')}".strip()
            except urllib3.exceptions.HTTPError as error:
                said = f"nothing ({type(error).__name__})"
            code = running.wait(PING_INTERVAL_S)
            if code is not None:
                raise JobError(self._unhealthy(variant, f"it ended with exit code {code}"))
        if not self._stop.is_set():
            raise JobError(self._unhealthy(variant, f"after {limit_s} s GET /ping answered {said}"))

    def _unhealthy(self, variant: Record, what: str) -> str:
        name = variant["VariantName"]
        head = f"The primary container for production variant {name} did not pass the ping health check: {what}."
        return f"{head} {self._last_lines(name)}"

    def _last_lines(self, variant: str) -> str:
        return f"Its last log lines: {' | '.join(self._writers[variant].last) or 'none'}"

    def _in_service(self) -> None:
        with self._records.edit(KIND, self._name) as record:
            if record["EndpointStatus"] == "Deleting":
                return
            record["EndpointStatus"] = "InService"
            record["ProductionVariants"] = [_summary(variant) for variant in self._endpoint["_Variants"]]

    def _watch(self) -> None:
        """Returns when the endpoint is to end; raises JobError when one of its containers ends by itself."""
        while not self._stop.wait(PING_INTERVAL_S / 4):
            for name, running in self._running.items():
                code = running.wait(0)
                if code is not None:
                    raise JobError(
                        f"The primary container for production variant {name} ended with exit code {code} "
                        f"while in service. {self._last_lines(name)}"
                    )

    def _end(self) -> None:
        for running in self._running.values():
            running.stop(self._stop_grace_s)
        for running in self._running.values():
            running.wait()
        for writer in self._writers.values():
            writer.close()
        for variant in self._endpoint["_Variants"]:
            shutil.rmtree(_base(self._records, self._name, variant["VariantName"]), ignore_errors=True)


def _summary(variant: Record) -> Record:
    """ProductionVariantSummary of DescribeEndpoint."""
    image, weight = variant["Container"]["Image"], variant.get("InitialVariantWeight", 1.0)
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": time.time()}],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 1,
    }


def _base(records: Records, name: str, variant: str) -> Path:
    return records.directory(KIND, name) / variant / "ml"
