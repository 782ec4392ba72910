"""The traffic of an endpoint: its shares among fleets, variants and instances."""

from __future__ import annotations

import random
import threading

from local_sagemaker.errors import ApiError
from local_sagemaker.fleet import Fleet, variants_of
from local_sagemaker.instance import Instance
from local_sagemaker.routing import Route

Shares = list[tuple[Fleet, float]]


class Traffic:
    """Who gets which share of the requests; there is more than one fleet during an update only."""

    def __init__(self, endpoint: str, region: str) -> None:
        self._name = endpoint
        self._region = region
        self._shares: Shares = []
        self._lock = threading.Lock()

    @property
    def shares(self) -> Shares:
        return list(self._shares)

    def shift(self, shares: Shares) -> None:
        """From now on; nobody is sent to a fleet that is not among them any more."""
        with self._lock:
            self._shares = shares

    def route(self, variant: str | None) -> Route:
        """Where a request goes. Raises ApiError."""
        with self._lock:
            if not self._shares:
                raise ApiError("ValidationError", f"Endpoint {self._name} is not in service.")
            fleets = [(fleet, share) for fleet, share in self._shares if _has(fleet, variant)]
            if not fleets:
                names = ", ".join(item["VariantName"] for item in self._shares[0][0].deployment["Variants"])
                raise ApiError(
                    "ValidationError", f"Variant {variant} of endpoint {self._name} not found; it has {names}."
                )
            fleet = random.choices([fleet for fleet, _ in fleets], [share for _, share in fleets])[0]
            chosen = variant or self._draw(fleet)
            instance = fleet.choose(chosen)
            if instance is None:
                raise ApiError(
                    "ServiceUnavailable",
                    f"No instance of variant {chosen} of endpoint {self._name} can answer at the moment: either it has "
                    "none, or its containers are being started again; the endpoint's log says why.",
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


def mixed(old: Shares, green: Fleet, share: float) -> Shares:
    """A share for the new fleet, the rest as it was."""
    rest = [(fleet, part * (1 - share)) for fleet, part in old] if share < 1 else []
    return [*rest, (green, share)]


def _has(fleet: Fleet, variant: str | None) -> bool:
    return variant is None or any(item["VariantName"] == variant for item in fleet.deployment["Variants"])
