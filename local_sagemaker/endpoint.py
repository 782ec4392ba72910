"""The life of one endpoint: created, updated, scaled, ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from local_sagemaker import deployment
from local_sagemaker.errors import REASON_LIMIT, JobError
from local_sagemaker.fleet import Fleet, variants_of
from local_sagemaker.instance import Means
from local_sagemaker.records import Record, Records
from local_sagemaker.routing import Route
from local_sagemaker.traffic import Shares, Traffic, mixed

KIND = "endpoints"
log = logging.getLogger(__name__)


class Endpoint:
    """Its fleets and one thread at a time that changes them.

    The record says what is meant to be: `_Deployment`, and `_Pending` while an update is under way; `_Left` is what an
    update has left that could not be rolled back.
    """

    def __init__(self, name: str, records: Records, means: Means) -> None:
        self._name = name
        self._records = records
        self._means = means
        self._region: str = records.get(KIND, name)["_Region"]
        self._fleets: list[Fleet] = []
        self._traffic = Traffic(name, self._region)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def create(self) -> None:
        self._work(self._create)

    def update(self) -> None:
        """Deploys the record's `_Pending`."""
        self._work(self._update)

    def rescale(self, before: dict[str, tuple[float, int]]) -> None:
        """Brings the fleet to the record's weights and counts; `before`: what they were, if that fails."""
        self._work(lambda: self._rescale(before))

    def stop(self, grace_s: float) -> None:
        """Begins its end; returns at once."""
        self._stop.set()
        self._traffic.shift([])
        with self._lock:
            fleets = list(self._fleets)
        for fleet in fleets:
            fleet.stop(grace_s)

    def join(self) -> None:
        """Returns when nothing of it is left; to be called after `stop`."""
        if self._thread:
            self._thread.join()
        with self._lock:
            fleets = list(self._fleets)
        for fleet in fleets:
            fleet.join()

    @property
    def is_serving(self) -> bool:
        return bool(self._traffic.shares)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many instances are in service, by the ids of the deployments and the names of their variants."""
        with self._lock:
            fleets = list(self._fleets)
        return {fleet.deployment["Id"]: fleet.counts() for fleet in fleets}

    def route(self, variant: str | None) -> Route:
        """Where a request goes. Raises ApiError."""
        return self._traffic.route(variant)

    def _work(self, work: Callable[[], None]) -> None:
        before = self._thread

        def run() -> None:
            if before:
                before.join()
            try:
                work()
            except Exception as error:
                log.exception("endpoint %s", self._name)
                self._settle("InService" if self.is_serving else "Failed", f"{type(error).__name__}: {error}")

        self._thread = threading.Thread(target=run, name=f"endpoint-{self._name}", daemon=True)
        self._thread.start()

    def _create(self) -> None:
        record = self._records.get(KIND, self._name)
        fleet = self._fleet(record["_Deployment"])
        try:
            fleet.scale(_wanted(fleet))
        except JobError as error:
            self._discard(fleet)
            self._settle("Failed", str(error))
            return
        self._shift([(fleet, 1.0)])
        if "_Pending" in record:  # an update that an earlier server did not finish
            self._update()
        else:
            self._settle("InService", record.get("FailureReason"))

    def _update(self) -> None:
        pending = self._records.get(KIND, self._name)["_Pending"]
        config = pending.get("DeploymentConfig", {})
        old, green = self._traffic.shares, self._fleet(pending)
        try:
            if "RollingUpdatePolicy" in config and len(old) == 1:
                self._roll(old[0][0], green, config["RollingUpdatePolicy"])
            else:
                self._turn(old, green, config)
        except JobError as error:
            self._roll_back(old, green, config, str(error))
            return
        for fleet, _ in old:
            self._discard(fleet)
        self._settle("InService", deployed=pending)

    def _turn(self, old: Shares, green: Fleet, config: Record) -> None:
        """Blue/green: the whole new fleet first, then the traffic."""
        policy = config.get("BlueGreenUpdatePolicy", {})
        deadline = _deadline(policy)
        wanted = _wanted(green)
        green.scale(wanted, deadline)
        for step in deployment.traffic_steps(config, max(wanted.values())):
            self._say("ActivatingTraffic")
            self._shift(mixed(old, green, step.share))
            self._bake(step.wait_s, deadline)
        self._bake(policy.get("TerminationWaitInSeconds", 0), deadline)

    def _roll(self, blue: Fleet, green: Fleet, policy: Record) -> None:
        """Batch by batch: instances of the new fleet, their share of the traffic, fewer of the old fleet."""
        deadline = _deadline(policy)
        (variant,), before = green.deployment["Variants"], _wanted(blue)
        name, count = variant["VariantName"], variant["DesiredCount"]
        for number in deployment.batches(policy["MaximumBatchSize"], count):
            green.scale({**_wanted(green), name: number}, deadline)
            self._say("ActivatingTraffic")
            self._shift(mixed([(blue, 1.0)], green, number / count))
            self._bake(policy["WaitIntervalInSeconds"], deadline)
            if number < count:  # the last ones end with the fleet, when the update has succeeded
                blue.scale({name: max(1, before[name] - number)})

    def _roll_back(self, old: Shares, green: Fleet, config: Record, reason: str) -> None:
        if self._stop.is_set():
            return
        with self._records.edit(KIND, self._name) as record:
            record["EndpointStatus"] = "RollingBack"
            record["FailureReason"] = reason[:REASON_LIMIT]
        try:
            for fleet, _ in old:
                self._refill(fleet, config.get("RollingUpdatePolicy", {}).get("RollbackMaximumBatchSize"))
        except JobError as error:
            self._settle("UpdateRollbackFailed", f"{error} The rollback of an update that failed: {reason}")
            return
        self._shift(old)
        self._discard(green)
        self._settle("InService", reason)

    def _refill(self, fleet: Fleet, size: Record | None) -> None:
        """Brings back what a rolling update has already ended."""
        for variant in variants_of(fleet.deployment):
            name, count = variant["VariantName"], variant["DesiredCount"]
            for number in deployment.batches(size, count):
                if number > fleet.counts()[name]:
                    fleet.scale({name: number})

    def _rescale(self, before: dict[str, tuple[float, int]]) -> None:
        fleet = self._traffic.shares[0][0]
        changed = self._records.get(KIND, self._name)["_Deployment"]
        self._adopt(fleet, changed)
        try:
            fleet.scale(_wanted(fleet))
        except JobError as error:
            with self._records.edit(KIND, self._name) as record:
                record["EndpointStatus"] = "RollingBack"
                for variant in record["_Deployment"]["Variants"]:
                    variant["DesiredWeight"], variant["DesiredCount"] = before[variant["VariantName"]]
                changed = record["_Deployment"]
            self._adopt(fleet, changed)
            fleet.scale(_wanted(fleet))
            self._settle("InService", str(error))
            return
        self._settle("InService")

    def _adopt(self, fleet: Fleet, changed: Record) -> None:
        with self._lock:
            fleet.deployment = changed

    def _fleet(self, record: Record) -> Fleet:
        fleet = Fleet(self._name, self._region, record, self._records.directory(KIND, self._name), self._means)
        with self._lock:
            self._fleets.append(fleet)
        if self._stop.is_set():
            fleet.stop(0)
        return fleet

    def _discard(self, fleet: Fleet) -> None:
        fleet.retire()
        with self._lock:
            self._fleets.remove(fleet)

    def _shift(self, shares: Shares) -> None:
        if not self._stop.is_set():
            self._traffic.shift(shares)

    def _bake(self, seconds: float, deadline: float | None) -> None:
        """Waits; raises JobError when the deployment is over its time, or the server's end makes it stop."""
        if seconds:
            self._say("Baking")
        if self._stop.wait(seconds):
            raise JobError("The server ends.")
        if deadline is not None and time.monotonic() > deadline:
            raise JobError("The deployment took longer than its MaximumExecutionTimeoutInSeconds.")

    def _say(self, status: str) -> None:
        """The VariantStatus of the pending deployment."""
        if self._stop.is_set():
            return
        with self._records.edit(KIND, self._name) as record:
            record["_Pending"]["VariantStatus"] = {"Status": status, "StartTime": time.time()}

    def _settle(self, status: str, reason: str | None = None, deployed: Record | None = None) -> None:
        """The last word of a change. A server that ends changes nothing: the next one takes the endpoint up."""
        if self._stop.is_set():
            return
        with self._records.edit(KIND, self._name) as record:
            record["EndpointStatus"] = status
            pending = record.pop("_Pending", None)
            for member in ("FailureReason", "_Left"):
                record.pop(member, None)
            if status == "UpdateRollbackFailed":
                record["_Left"] = pending  # it has instances still, which a server that comes after a crash must end
            if reason is not None:
                record["FailureReason"] = reason[:REASON_LIMIT]
            if deployed is not None:
                record["_Deployment"] = {key: value for key, value in deployed.items() if key != "VariantStatus"}
                record["EndpointConfigName"] = deployed["EndpointConfigName"]


def _wanted(fleet: Fleet) -> dict[str, int]:
    return {variant["VariantName"]: variant["DesiredCount"] for variant in variants_of(fleet.deployment)}


def _deadline(policy: dict[str, Any]) -> float | None:
    limit_s = policy.get("MaximumExecutionTimeoutInSeconds")
    return None if limit_s is None else time.monotonic() + limit_s
