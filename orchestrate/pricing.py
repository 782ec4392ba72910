"""What an hour of an instance costs, for the types that the documentation names.

On-demand prices in USD of training and real-time hosting (the same for these types) in us-east-1, as AWS published them
in 2025. They are for an estimate before the start; the bill is AWS's.
"""

from __future__ import annotations

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


def by_the_hour(price: float | None, instance_type: str) -> str:
    """One line: what an endpoint costs for as long as it is there."""
    if price is None:
        return f"cost: unknown, {instance_type} is not in the price table ({BASIS}); see https://aws.amazon.com/sagemaker/pricing/"
    if price == 0:
        return "cost: none, it runs on this machine"
    return f"cost: {price:g} USD an hour of {instance_type} until it is deleted ({BASIS})"
