"""What things cost: AWS's price list, what is kept of it, the table where nobody answers, and the sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from json_aws import JsonAws, serving
from orchestrate import prices, pricing
from orchestrate.hosting import Hosting, Scaling, Serverless
from orchestrate.jobs import Machine
from orchestrate.prices import FREE, Price
from orchestrate.pricing import HOSTING, TRAINING, TRANSFORM

TARGET = "AWSPriceListService.GetProducts"
REGION = "eu-west-1"


def product(usage: str, usd: str) -> str:
    """As GetProducts answers; only what is read of it."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
    return json.dumps({
        "product": {"productFamily": "ML Instance", "attributes": {"usagetype": usage, "regionCode": REGION}},
        "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
    })  # fmt: skip


M5 = [product("EUW1-Train:ml.m5.xlarge", "0.257"), product("EUW1-Host:ml.m5.xlarge", "0.258"),
      product("EUW1-Tsform:ml.m5.xlarge", "0.259"), product("EUW1-TrainWarmPool:ml.m5.xlarge", "9"),
      product("EUW1-Train:ml.m5.24xlarge", "99")]  # fmt: skip


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's file, of the test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in prices.cache_file().parents
    return prices.cache_file()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonAws]:
    with serving({TARGET: {"FormatVersion": "aws_v1", "PriceList": M5}}) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", made.url)
        yield made


def boto() -> Any:
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


def test_the_price_list_is_asked_once_a_week(aws: JsonAws, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    price = prices.of(REGION, boto)
    found = [price("ml.m5.xlarge", use) for use in (TRAINING, HOSTING, TRANSFORM)]
    assert [p and p.usd for p in found] == [0.257, 0.258, 0.259]
    assert found[0] and "AWS's price list of 20" in found[0].basis and REGION in found[0].basis
    ((_, asked),) = aws.asked
    assert {f["Field"]: f["Value"] for f in asked["Filters"]} == {"regionCode": REGION, "instanceName": "ml.m5.xlarge"}

    assert prices.of(REGION, None)("ml.m5.xlarge", TRAINING) == found[0], "a dry run asks nobody and knows it"
    assert prices.of(REGION, boto)("ml.m5.xlarge", TRAINING) == found[0]
    assert len(aws.asked) == 1
    week_old = json.loads(kept.read_text())
    week_old[REGION]["ml.m5.xlarge"]["asked"] -= 8 * 86400
    kept.write_text(json.dumps(week_old))
    prices.of(REGION, boto)("ml.m5.xlarge", TRAINING)
    assert len(aws.asked) == 2


def test_who_may_not_ask_gets_the_table_and_is_not_made_to_wait_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({}) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", aws.url)
        price = prices.of(REGION, boto)
        found = price("ml.m5.xlarge", TRAINING)
        assert found == Price(0.23, "us-east-1 prices of 2025; those of eu-west-1 differ somewhat")
        assert price("ml.p4d.24xlarge", TRAINING) is None
        assert len(aws.asked) == 1
    assert not kept.exists()
    assert prices.of("us-east-1", None)("ml.m5.xlarge", HOSTING) == Price(0.23, "us-east-1 prices of 2025")


def test_a_cache_that_is_broken_or_not_ours(aws: JsonAws, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    found = prices.of(REGION, boto)("ml.m5.xlarge", TRAINING)
    assert found and found.usd == 0.257
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    found = prices.of(REGION, boto)("ml.m5.xlarge", TRAINING)
    assert found and found.usd == 0.257


def test_the_sentences() -> None:
    price = Price(0.5, "of today")
    machine = Machine("ml.x", 3600, keep_alive_s=1800)
    assert pricing.of_jobs(price, machine, 3) == "cost: at most 2.25 USD = 3 x 1.5 h x 0.5 USD/h of ml.x (of today)"
    together = pricing.of_jobs(price, Machine("ml.x", 3600, instances=2))
    assert together == "cost: at most 1.00 USD = 1 x 1 h x 2 instances x 0.5 USD/h of ml.x (of today)"
    assert pricing.of_jobs(price, Machine("ml.x", 3600, spot=True)).endswith("; a spot instance costs up to 90 % less")
    assert pricing.by_the_hour(price, "ml.x", 2) == (
        "cost: 1 USD an hour of 2 x ml.x, 730 USD a month until it is deleted (of today)"
    )
    assert pricing.of_hosting(price, Hosting("ml.x", scaling=Scaling(1, 4, 10))).startswith(
        "cost: 2 USD an hour of 4 x"
    )
    assert "0.00008 USD for each second" in pricing.of_hosting(price, Hosting(serverless=Serverless(4096, 5)))
    stored = pricing.of_storage("ECR", 3_750_000_000)
    assert stored == "cost: 0.38 USD a month for 3.75 GB more in ECR (us-east-1 prices of 2025)"
    for told in (pricing.of_jobs(FREE, machine), pricing.by_the_hour(FREE, "ml.x")):
        assert told == "cost: none, it runs on this machine"
    assert pricing.of_jobs(None, machine).startswith("cost: unknown, ")
