"""How an endpoint goes from one configuration to the next: AWS's deployment guardrails.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html. What AWS does with parts of the new
fleet that are turned on is done here with shares of the traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from local_sagemaker import errors
from local_sagemaker.records import Record

_SIZES = {"CANARY": ("CanarySize", 1, 50), "LINEAR": ("LinearStepSize", 10, 50)}  # the member, % at least, % at most


@dataclass(frozen=True)
class Step:
    """A share of the traffic (0 to 1) that the new fleet gets, and the seconds until the next step."""

    share: float
    wait_s: float


def check(config: Record, variants: list[Record], current: list[Record]) -> None:
    """Raises ApiError for a DeploymentConfig that AWS refuses for these new and current production variants."""
    if "BlueGreenUpdatePolicy" in config and "RollingUpdatePolicy" in config:
        raise errors.validation("Give either BlueGreenUpdatePolicy or RollingUpdatePolicy in DeploymentConfig.")
    if "RollingUpdatePolicy" in config:
        _check_rolling(config["RollingUpdatePolicy"], variants)
        gradual = True
    else:
        routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
        gradual = routing.get("Type") in _SIZES
        _check_routing(routing, variants)
    if gradual and current and {_name(item) for item in variants} != {_name(item) for item in current}:
        raise errors.validation(
            "The new endpoint configuration must have the variants of the old one for a deployment in steps: "
            f"{', '.join(map(_name, current))}."
        )


def traffic_steps(config: Record, count: int) -> list[Step]:
    """The steps of a blue/green deployment onto `count` instances."""
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    wait_s = routing.get("WaitIntervalInSeconds", 0)
    if routing.get("Type") not in _SIZES:
        return [Step(1.0, wait_s)]
    share = _share(routing[_SIZES[routing["Type"]][0]], count)
    if routing["Type"] == "CANARY":
        return [Step(share, wait_s), Step(1.0, 0)]
    steps = math.ceil(1 / share - 1e-9)
    return [*(Step(share * number, wait_s) for number in range(1, steps)), Step(1.0, 0)]


def batches(size: Record | None, count: int) -> list[int]:
    """How many instances of `count` are new after each step of a rolling deployment; all at once without a size."""
    if size is None:
        return [count]
    batch = max(1, math.floor(_share(size, count) * count))
    return [*range(batch, count, batch), count]


def summary(variant: Record, current: int) -> Record:
    """ProductionVariantSummary of DescribeEndpoint."""
    shown = {
        "VariantName": _name(variant),
        "DeployedImages": [
            {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": variant["ResolutionTime"]}
            for image in (container["Image"] for container in variant["Containers"])
        ],
        "CurrentWeight": variant["DesiredWeight"],
        "DesiredWeight": variant["DesiredWeight"],
        "CurrentInstanceCount": current,
        "DesiredInstanceCount": variant["DesiredCount"],
    }
    if "ServerlessConfig" in variant:
        shown |= {"CurrentInstanceCount": 0, "DesiredInstanceCount": 0}
        shown |= {f"{when}ServerlessConfig": variant["ServerlessConfig"] for when in ("Current", "Desired")}
    return shown | {key: variant[key] for key in ("RoutingConfig",) if key in variant}


def pending_summary(variant: Record, current: int, status: Record) -> Record:
    """PendingProductionVariantSummary."""
    more: Record = {key: variant[key] for key in ("InstanceType", "AcceleratorType") if key in variant}
    return {**summary(variant, current), **more, "VariantStatus": [status]}


def _check_rolling(policy: Record, variants: list[Record]) -> None:
    if len(variants) > 1 or "ServerlessConfig" in variants[0]:
        raise errors.validation("RollingUpdatePolicy is for endpoints with one variant that is not serverless.")
    for member in ("MaximumBatchSize", "RollbackMaximumBatchSize"):
        if member in policy:
            most = 100 if member.startswith("Rollback") else 50
            _check_size(member, policy[member], variants[0]["DesiredCount"], 5, most)


def _check_routing(routing: Record, variants: list[Record]) -> None:
    for kind, (member, least, most) in _SIZES.items():
        if routing.get("Type") != kind:
            if member in routing:
                raise errors.validation(f"{member} is for traffic routing of the type {kind}: leave it out.")
        elif member not in routing:
            raise errors.validation(f"Traffic routing of the type {kind} must give {member}.")
        else:
            for variant in variants:
                _check_size(member, routing[member], variant["DesiredCount"], least, most)


def _check_size(member: str, size: Record, count: int, least: int, most: int) -> None:
    if not least <= 100 * _share(size, count) <= most:
        raise errors.validation(
            f"{member} of {size['Value']} ({size['Type']}) is out of range: it must be {least}% to {most}% "
            f"of the variant's {count} instances."
        )


def _share(size: Record, count: int) -> float:
    return float(size["Value"]) / (100 if size["Type"] == "CAPACITY_PERCENT" else max(1, count))


def _name(variant: Record) -> str:
    return str(variant["VariantName"])
