"""What something costs, in one line each, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrate import prices
from orchestrate.prices import FREE, Price

if TYPE_CHECKING:
    from orchestrate.hosting import Hosting
    from orchestrate.jobs import Machine

# What an instance is used for, as AWS's usage types name it.
TRAINING, HOSTING, TRANSFORM = "Train", "Host", "Tsform"
HOURS_A_MONTH = 730
_PAGE = "https://aws.amazon.com/sagemaker/pricing/"


_NOTHING = "cost: none, it runs on this machine"


def of_jobs(price: Price | None, machine: Machine, count: int = 1) -> str:
    """What `count` jobs cost at most: each runs until its time limit, and its instance then waits."""
    if price is None:
        return _unknown(machine.instance_type)
    if price == FREE:
        return _NOTHING
    hours = (machine.max_runtime_s + machine.keep_alive_s) / 3600
    total = price.usd * count * hours * machine.instances
    each = f"{machine.instances} instances x " if machine.instances > 1 else ""
    spot = "; a spot instance costs up to 90 % less" if machine.spot else ""
    return (f"cost: at most {total:.2f} USD = {count} x {hours:g} h x {each}{price.usd:g} USD/h of "
            f"{machine.instance_type} ({price.basis}){spot}")  # fmt: skip


def by_the_hour(price: Price | None, instance_type: str, count: int = 1, until: str = "until it is deleted") -> str:
    """What `count` instances cost for as long as they are there."""
    if price is None:
        return _unknown(instance_type)
    if price == FREE:
        return _NOTHING
    several = f"{count} x {instance_type}" if count > 1 else instance_type
    month = f", {price.usd * count * HOURS_A_MONTH:.0f} USD a month" if until == "until it is deleted" else ""
    return f"cost: {price.usd * count:g} USD an hour of {several}{month} {until} ({price.basis})"


def of_hosting(price: Price | None, asked: Hosting) -> str:
    """What an endpoint costs at most. `price`: of its instance type."""
    if asked.serverless and price != FREE:
        a_second = asked.serverless.memory_mb / 1024 * prices.serverless()
        warm = f", and more for {asked.serverless.provisioned} kept warm" if asked.serverless.provisioned else ""
        return (
            f"cost: about {a_second:.5f} USD for each second of answering, nothing in between ({prices.basis()}){warm}"
        )
    until = "until it is deleted"
    if asked.scaling and asked.scaling.high > asked.instances:
        return by_the_hour(price, asked.instance_type, asked.scaling.high, f"when all of them are needed, {until}")
    return by_the_hour(price, asked.instance_type, asked.instances, until)


def of_storage(where: str, size: int) -> str:
    """What `size` bytes cost for as long as they stay. `where`: S3, ECR or CloudWatch Logs."""
    usd = prices.storage(where)
    return f"cost: {size / 1e9 * usd:.2f} USD a month for {size / 1e9:.2f} GB more in {where} ({prices.basis()})"


def _unknown(instance_type: str) -> str:
    return f"cost: unknown, AWS's price list could not be asked and prices.json has no {instance_type}; see {_PAGE}"
