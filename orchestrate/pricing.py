"""What an hour of an instance costs, for the types that the documentation names.

On-demand prices in USD of training and real-time hosting (the same for these types) in us-east-1, as AWS published them
in 2025. They are for an estimate before the start; the bill is AWS's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrate.hosting import Hosting

USD_PER_HOUR = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.736,
    "ml.g5.xlarge": 1.408,
}
# Of a serverless endpoint, for each second in which a request is answered, and for each GB of its memory.
SERVERLESS_USD_PER_GB_S = 0.00002
BASIS = "us-east-1 prices of 2025"


def usd_per_hour(instance_type: str) -> float | None:
    """None for a type that the table lacks."""
    return USD_PER_HOUR.get(instance_type)


def at_most(price: float | None, jobs: int, hours_each: float, instance_type: str) -> str:
    """One line: what `jobs` jobs may cost when each runs until its time limit."""
    if price is None:
        return f"cost: unknown, {instance_type} is not in the price table ({BASIS}); see https://aws.amazon.com/sagemaker/pricing/"
    if price == 0:
        return "cost: none, it runs on this machine"
    total = price * jobs * hours_each
    return f"cost: at most {total:.2f} USD = {jobs} x {hours_each:g} h x {price:g} USD/h of {instance_type} ({BASIS})"


def by_the_hour(price: float | None, instance_type: str, count: int = 1, until: str = "until it is deleted") -> str:
    """One line: what `count` instances cost for as long as they are there. `price`: of one."""
    if price is None:
        return f"cost: unknown, {instance_type} is not in the price table ({BASIS}); see https://aws.amazon.com/sagemaker/pricing/"
    if price == 0:
        return "cost: none, it runs on this machine"
    several = f"{count} x {instance_type}" if count > 1 else instance_type
    return f"cost: {price * count:g} USD an hour of {several} {until} ({BASIS})"


def of_hosting(price: float | None, asked: Hosting) -> str:
    """One line: what an endpoint costs at most. `price`: of an hour of its instance type, 0 for this machine."""
    if asked.serverless and price != 0:
        a_second = asked.serverless.memory_mb / 1024 * SERVERLESS_USD_PER_GB_S
        warm = f", and more for {asked.serverless.provisioned} kept warm" if asked.serverless.provisioned else ""
        return f"cost: about {a_second:g} USD for each second of answering, nothing in between ({BASIS}){warm}"
    return by_the_hour(price, asked.instance_type, max(asked.instances, asked.scaling.high if asked.scaling else 1))
