"""A fleet: the instances of every variant of one deployment of an endpoint."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from local_sagemaker.errors import JobError
from local_sagemaker.instance import Instance, Means
from local_sagemaker.records import Record

DRAIN_S = 70.0  # how long an instance that is to end waits for its requests; an invocation takes 60 s at most
_SETTLED_S = 0.5


class Fleet:
    """Instances that come and go; `deployment` is what the endpoint's record says of them."""

    def __init__(self, endpoint: str, region: str, deployment: Record, directory: Path, means: Means) -> None:
        self.deployment = deployment
        self.endpoint = endpoint
        self.region = region
        self._directory = directory / deployment["Id"]
        self._means = means
        self._variants = {variant["VariantName"]: variant for variant in variants_of(deployment)}
        self._instances: dict[str, list[Instance]] = {name: [] for name in self._variants}
        self._turn: dict[str, Iterator[int]] = defaultdict(itertools.count)
        self._retiring: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._grace_s: float = means.settings.endpoint_stop_s

    def counts(self) -> dict[str, int]:
        """How many instances each variant has in service, also while one of them is being started again."""
        with self._lock:
            return {
                name: sum(instance.settled.is_set() and instance.failure is None for instance in instances)
                for name, instances in self._instances.items()
            }

    def scale(self, wanted: dict[str, int], deadline: float | None = None) -> None:
        """Starts and ends instances until there are so many; returns when all that were started are healthy.

        Raises JobError when one is not, or when it is later than `deadline` (of time.monotonic); then the fleet has
        as many as before. Instances that end do so in the background, when their requests are answered.
        """
        started = []
        with self._lock:
            if self._stopping.is_set():
                return
            for name, count in wanted.items():
                for _ in range(count - len(self._instances[name])):
                    started.append(self._new(name))
                self._retire(name, len(self._instances[name]) - count)
        for instance in started:
            instance.start()
        try:
            for instance in started:
                self._await(instance, deadline)
        except JobError:
            with self._lock:
                for instance in started:
                    self._instances[instance.variant["VariantName"]].remove(instance)
                    self._end(instance)
            raise

    def choose(self, variant: str) -> Instance | None:
        """A healthy instance, which the caller must release; None where there is none."""
        with self._lock:
            healthy = [instance for instance in self._instances.get(variant, ()) if instance.is_healthy]
            if not healthy:
                return None
            strategy = self._variants[variant].get("RoutingConfig", {}).get("RoutingStrategy")
            if strategy == "LEAST_OUTSTANDING_REQUESTS":
                chosen = min(healthy, key=lambda instance: instance.users)
            elif strategy == "RANDOM":
                chosen = random.choice(healthy)
            else:
                chosen = healthy[next(self._turn[variant]) % len(healthy)]
            chosen.acquire()
            return chosen

    def retire(self) -> None:
        """Ends every instance when its requests are answered; returns then."""
        with self._lock:
            for name, instances in self._instances.items():
                self._retire(name, len(instances))
        self._join_retiring()
        shutil.rmtree(self._directory, ignore_errors=True)

    def stop(self, grace_s: float) -> None:
        """Begins the end of every instance, requests or not; returns at once."""
        with self._lock:
            self._grace_s = grace_s
            self._stopping.set()
            for instances in self._instances.values():
                for instance in instances:
                    instance.stop(grace_s)

    def join(self) -> None:
        """Returns when nothing of it is left; to be called after `stop`."""
        with self._lock:
            instances = [instance for instances in self._instances.values() for instance in instances]
        for instance in instances:
            instance.join()
        self._join_retiring()

    def _new(self, variant: str) -> Instance:
        directory = self._directory / variant / f"i-{uuid4().hex[:17]}"
        instance = Instance(self.endpoint, self.region, self._variants[variant], directory, self._means)
        self._instances[variant].append(instance)
        return instance

    def _await(self, instance: Instance, deadline: float | None) -> None:
        while not instance.settled.wait(_SETTLED_S):
            if deadline is not None and time.monotonic() > deadline:
                raise JobError("The deployment took longer than its MaximumExecutionTimeoutInSeconds.")
        if instance.failure is not None:
            raise JobError(instance.failure)

    def _retire(self, variant: str, count: int) -> None:
        for _ in range(count):
            self._end(self._instances[variant].pop())

    def _end(self, instance: Instance) -> None:
        thread = threading.Thread(target=self._drain_and_stop, args=[instance], daemon=True)
        self._retiring = [*(other for other in self._retiring if other.is_alive()), thread]
        thread.start()

    def _drain_and_stop(self, instance: Instance) -> None:
        deadline = time.monotonic() + DRAIN_S
        while instance.users and time.monotonic() < deadline and not self._stopping.is_set():
            instance.drain(_SETTLED_S)
        instance.stop(self._grace_s)
        instance.join()

    def _join_retiring(self) -> None:
        with self._lock:
            retiring = list(self._retiring)
        for thread in retiring:
            thread.join()


def variants_of(deployment: Record) -> list[Record]:
    """Production and shadow variants."""
    return [*deployment["Variants"], *deployment["ShadowVariants"]]
