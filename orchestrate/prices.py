"""Where prices come from: AWS's price list where it may be asked, asked once a week; else the table prices.json.

They are for an estimate before the start; the bill is AWS's. The price list:
https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).with_name("prices.json")
_WEEK_S = 7 * 24 * 3600
# Only these regions answer for the price list, each for all regions.
_ASKED_IN = "us-east-1"
# `EUW1-Train:ml.m5.xlarge`: of a region, but for the first ones; a use; an instance type.
_USAGE = re.compile(r"(?:[A-Z0-9]+-)?(\w+):(ml\.[\w.-]+)")


@dataclass(frozen=True)
class Price:
    """`usd`: of an hour of one instance, on demand; `basis`: whose price that is, and of when."""

    usd: float
    basis: str


FREE = Price(0, "this machine")


def of(region: str, boto: Callable[[], Any] | None) -> Callable[[str, str], Price | None]:
    """(instance type, use) -> its price in that region; None where nothing tells it.

    `boto`: makes the boto3.Session that may ask the price list; None where nobody is to be asked.
    """
    may_ask = boto is not None

    def price(instance_type: str, use: str) -> Price | None:
        nonlocal may_ask
        file = cache_file()
        known = _read(file)
        there = known.get(region, {}).get(instance_type)
        if may_ask and boto and (there is None or time.time() - there["asked"] > _WEEK_S):
            answer = _ask(boto(), region, instance_type)
            # Who may not ask, or has no way to, is not made to wait again.
            may_ask = answer is not None
            if answer is not None:
                there = {"asked": time.time(), "usd": answer}
                known.setdefault(region, {})[instance_type] = there
                _write(file, known)
        if there and use in there["usd"]:
            date = time.strftime("%Y-%m-%d", time.gmtime(there["asked"]))
            return Price(there["usd"][use], f"AWS's price list of {date}, {region}")
        return _of_table(region, instance_type)

    return price


def storage(what: str) -> float:
    """USD for a GB and month. `what`: S3, ECR or CloudWatch Logs."""
    return float(_table()["a GB and month"][what])


def serverless() -> float:
    """USD for a second in which a serverless endpoint answers, for each GB of its memory."""
    return float(_table()["a second of a serverless endpoint, for each GB of its memory"])


def basis(region: str | None = None) -> str:
    """`us-east-1 prices of 2025`, and that other regions differ where `region` is one."""
    table = _table()
    other = f"; those of {region} differ somewhat" if region not in (None, table["region"]) else ""
    return f"{table['region']} prices of {table['date']}{other}"


def cache_file() -> Path:
    """Where answers of the price list are kept: region -> instance type -> when it was asked, use -> USD."""
    import platformdirs

    return platformdirs.user_cache_path("kennel") / "prices.json"


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text("utf-8"))
    return table


def _of_table(region: str, instance_type: str) -> Price | None:
    usd = _table()["an hour of an instance, in training, hosting and batch transform alike"].get(instance_type)
    return None if usd is None else Price(usd, basis(region))


def _ask(boto: Any, region: str, instance_type: str) -> dict[str, float] | None:
    """Use -> USD an hour; empty for what is not sold there, None where nobody answers."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    quick = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1})
    wanted = {"regionCode": region, "instanceName": instance_type}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    try:
        client = boto.client("pricing", region_name=_ASKED_IN, config=quick)
        pages = list(client.get_paginator("get_products").paginate(ServiceCode="AmazonSageMaker", Filters=filters))
    except (BotoCoreError, ClientError, ResponseParserError):
        return None
    products = (json.loads(text) for page in pages for text in page["PriceList"])
    return dict(_by_use(products, instance_type))


def _by_use(products: Iterator[dict[str, Any]], instance_type: str) -> Iterator[tuple[str, float]]:
    for product in products:
        found = _USAGE.fullmatch(product["product"]["attributes"].get("usagetype", ""))
        if found and found[2] == instance_type:
            for term in product["terms"].get("OnDemand", {}).values():
                for dimension in term["priceDimensions"].values():
                    yield found[1], float(dimension["pricePerUnit"]["USD"])


def _read(file: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _write(file: Path, known: dict[str, Any]) -> None:
    """Nothing where the cache is not ours to write: the next command asks again."""
    fresh = file.with_suffix(f".{time.time_ns()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known), "utf-8")
        fresh.replace(file)
    except OSError:
        return
