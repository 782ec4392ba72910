"""The life of one endpoint: created, updated, scaled, ended; and where its requests go meanwhile."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from local_sagemaker import deployment
from local_sagemaker.errors import ApiError, JobError
from local_sagemaker.fleet import Fleet, variants_of
from local_sagemaker.instance import REASON_LIMIT, Instance, Means
from local_sagemaker.records import Record, Records
from local_sagemaker.routing import Route

KIND = "endpoints"
log = logging.getLogger(__name__)


class Endpoint:
    """Its fleets and one thread at a time that changes them.

    The record says what is meant to be: `_Deployment`, and `_Pending` while an update is under way.
    """

    def __init__(self, name: str, records: Records, means: Means) -> None:
        self._name = name
        self._records = records
        self._means = means
        self._region: str = records.get(KIND, name)["_Region"]
        self._fleets: list[Fleet] = []
        self._traffic: list[tuple[Fleet, float]] = []
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
        with self._lock:
            self._traffic = []
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
        return bool(self._traffic)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many instances are in service, by the ids of the deployments and the names of their variants."""
        with self._lock:
            fleets = list(self._fleets)
        return {fleet.deployment["Id"]: fleet.counts() for fleet in fleets}

    def route(self, variant: str | None) -> Route:
        """Where a request goes. Raises ApiError."""
        with self._lock:  # so that nobody is sent to a fleet that has just lost its traffic
            if not self._traffic:
                raise ApiError("ValidationError", f"Endpoint {self._name} is not in service.")
            fleets = [(fleet, share) for fleet, share in self._traffic if _has(fleet, variant)]
            if not fleets:
                names = ", ".join(item["VariantName"] for item in self._traffic[0][0].deployment["Variants"])
                raise ApiError(
                    "ValidationError", f"Variant {variant} of endpoint {self._name} not found; it has {names}."
                )
            fleet = random.choices([fleet for fleet, _ in fleets], [share for _, share in fleets])[0]
            chosen = variant or self._draw(fleet)
            instance = fleet.choose(chosen)
            if instance is None:
                raise ApiError(
                    "ServiceUnavailable",
                    f"No instance of variant {chosen} of endpoint {self._name} is healthy at the moment: its "
                    "containers are being started again; the endpoint's log says why.",
                    503,
                )
            return self._route(fleet, instance, self._shadows(fleet))

    def _draw(self, fleet: Fleet) -> str:
        weights: dict[str, float] = {
            item["VariantName"]: item["DesiredWeight"] for item in fleet.deployment["Variants"]
        }
        if not any(weights.values()):
            raise ApiError(
                "ValidationError",
                f"Every variant of endpoint {self._name} has the weight 0: name one as TargetVariant, or give weights.",
            )
        return random.choices(list(weights), list(weights.values()))[0]

    def _shadows(self, fleet: Fleet) -> tuple[Route, ...]:
        """A shadow's share of the requests is its weight beside that of the production variants."""
        whole = sum(item["DesiredWeight"] for item in fleet.deployment["Variants"])
        shares = {item["VariantName"]: item["DesiredWeight"] for item in fleet.deployment["ShadowVariants"]}
        drawn = [fleet.choose(name) for name, weight in shares.items() if random.random() * whole < weight]
        return tuple(self._route(fleet, instance, ()) for instance in drawn if instance)

    def _route(self, fleet: Fleet, instance: Instance, shadows: tuple[Route, ...]) -> Route:
        name = instance.variant["VariantName"]
        (variant,) = (item for item in variants_of(fleet.deployment) if item["VariantName"] == name)
        return Route(
            endpoint=self._name,
            variant=name,
            urls=instance.urls,
            log_stream=instance.log_stream,
            region=self._region,
            base=instance.base,
            record=variant,
            containers=tuple(variant["Containers"]),
            release=instance.release,
            instances=variant["DesiredCount"],
            data_capture=fleet.deployment.get("DataCaptureConfig"),
            asynchronous=fleet.deployment.get("AsyncInferenceConfig"),
            shadows=shadows,
        )

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
        fleet = self._fleet(self._records.get(KIND, self._name)["_Deployment"])
        try:
            fleet.scale(_wanted(fleet))
        except JobError as error:
            self._discard(fleet)
            self._settle("Failed", str(error))
            return
        self._shift([(fleet, 1.0)])
        if "_Pending" in self._records.get(KIND, self._name):  # an update that an earlier server did not finish
            self._update()
        else:
            self._settle("InService")

    def _update(self) -> None:
        pending = self._records.get(KIND, self._name)["_Pending"]
        config = pending.get("DeploymentConfig", {})
        old, green = list(self._traffic), self._fleet(pending)
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

    def _turn(self, old: list[tuple[Fleet, float]], green: Fleet, config: Record) -> None:
        """Blue/green: the whole new fleet first, then the traffic."""
        policy = config.get("BlueGreenUpdatePolicy", {})
        deadline = _deadline(policy)
        wanted = _wanted(green)
        green.scale(wanted, deadline)
        for step in deployment.traffic_steps(config, max(wanted.values())):
            self._say("ActivatingTraffic")
            self._shift(_mixed(old, green, step.share))
            self._bake(step.wait_s, deadline)
        self._bake(policy.get("TerminationWaitInSeconds", 0), deadline)

    def _roll(self, blue: Fleet, green: Fleet, policy: Record) -> None:
        """Batch by batch: instances of the new fleet, their share of the traffic, fewer of the old fleet."""
        deadline = _deadline(policy)
        (variant,), before = green.deployment["Variants"], _wanted(blue)
        name, count = variant["VariantName"], variant["DesiredCount"]
        for number in deployment.batches(policy["MaximumBatchSize"], count):
            green.scale({name: number}, deadline)
            self._say("ActivatingTraffic")
            self._shift(_mixed([(blue, 1.0)], green, number / count))
            self._bake(policy["WaitIntervalInSeconds"], deadline)
            if number < count:  # the last ones end with the fleet, when the update has succeeded
                blue.scale({name: max(1, before[name] - number)})

    def _roll_back(self, old: list[tuple[Fleet, float]], green: Fleet, config: Record, reason: str) -> None:
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
        fleet = self._traffic[0][0]
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

    def _shift(self, traffic: list[tuple[Fleet, float]]) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._traffic = traffic

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
            record.pop("_Pending", None)
            record.pop("FailureReason", None)
            if reason is not None:
                record["FailureReason"] = reason[:REASON_LIMIT]
            if deployed is not None:
                record["_Deployment"] = {key: value for key, value in deployed.items() if key != "VariantStatus"}
                record["EndpointConfigName"] = deployed["EndpointConfigName"]


def _has(fleet: Fleet, variant: str | None) -> bool:
    return variant is None or any(item["VariantName"] == variant for item in fleet.deployment["Variants"])


def _wanted(fleet: Fleet) -> dict[str, int]:
    return {variant["VariantName"]: variant["DesiredCount"] for variant in variants_of(fleet.deployment)}


def _mixed(old: list[tuple[Fleet, float]], green: Fleet, share: float) -> list[tuple[Fleet, float]]:
    rest = [(fleet, part * (1 - share)) for fleet, part in old] if share < 1 else []
    return [*rest, (green, share)]


def _deadline(policy: dict[str, Any]) -> float | None:
    limit_s = policy.get("MaximumExecutionTimeoutInSeconds")
    return None if limit_s is None else time.monotonic() + limit_s
