"""Endpoints of several instances and variants: who answers, what happens when a container ends, scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.errors import ApiError
from local_sagemaker.hosting import Hosting
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.settings import Settings

from .conftest import Local, left_over, wait_for
from .hosted import VERSION, ask, config, deployment_of, endpoint, log_of, model, packed, remove, settled, variant


def scale(local: Local, name: str, **wanted: Any) -> dict[str, Any]:
    local.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "A", **wanted}]
    )
    return settled(local, name)


def breakable(local: Local, tmp_path: Path) -> tuple[str, Path]:
    """An endpoint, and the file that ends its containers with exit code 3 where there is one when they start."""
    broken = tmp_path / "broken"
    code = f"os.path.exists({str(broken)!r}) and sys.exit(3)\n{VERSION}"
    return endpoint(local, config(local, variant(model(local, code)))), broken


def test_instances_answer_in_turn_and_come_and_go(local: Local) -> None:
    name = endpoint(local, config(local, variant(model(local), InitialInstanceCount=3)))
    answers = [ask(local, name) for _ in range(6)]
    assert len(set(answers)) == 3
    assert answers[:3] == answers[3:]
    streams = local.client("logs").describe_log_streams(logGroupName=f"/aws/sagemaker/Endpoints/{name}")["logStreams"]
    assert len([stream for stream in streams if stream["logStreamName"].startswith("A/i-")]) == 3

    (shown,) = scale(local, name, DesiredInstanceCount=1)["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 1)
    assert len({ask(local, name) for _ in range(4)}) == 1
    wait_for(lambda: left_over(local.state / "endpoints" / name), lambda left: len(left) == 1)
    (shown,) = scale(local, name, DesiredInstanceCount=2)["ProductionVariants"]
    assert shown["CurrentInstanceCount"] == 2
    assert len({ask(local, name) for _ in range(4)}) == 2

    for wanted, message in (
        ({"DesiredInstanceCount": 0}, "only asynchronous endpoints scale to 0"),
        ({"DesiredInstanceCount": 99}, "ResourceLimitExceeded"),
        ({"ServerlessUpdateConfig": {"MaxConcurrency": 2}}, "is not serverless"),
        ({"VariantName": "B"}, r"The variant name\(s\) \"B\""),
    ):
        with pytest.raises(ClientError, match=message):
            scale(local, name, **wanted)
    remove(local, name)


def test_a_container_that_ends_is_started_again_while_others_answer(local: Local) -> None:
    name = endpoint(local, config(local, variant(model(local), InitialInstanceCount=2)))
    first = {ask(local, name) for _ in range(2)}
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ModelError):
        ask(local, name, b"crash")
    wait_for(
        lambda: log_of(local, name), lambda lines: any("it is started again (restart 1)" in line for line in lines)
    )
    assert all(ask(local, name) for _ in range(4))
    after = wait_for(lambda: {ask(local, name) for _ in range(2)}, lambda answers: len(answers) == 2)
    assert len(after & first) == 1
    assert {answer.rsplit(" ", 1)[0] for answer in after} == {answer.rsplit(" ", 1)[0] for answer in first}
    assert local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    remove(local, name)


def test_a_container_that_keeps_ending_is_started_again_later_and_later(local: Local, tmp_path: Path) -> None:
    name, broken = breakable(local, tmp_path)
    broken.touch()
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ModelError):
        ask(local, name, b"crash")
    lines = wait_for(lambda: log_of(local, name), lambda lines: any("(restart 3)" in line for line in lines))
    assert "local SageMaker: the container ended with exit code 3; it is started again in 2 s (restart 3)." in lines
    with pytest.raises(
        local.client("sagemaker-runtime").exceptions.ServiceUnavailable, match="No instance of variant A"
    ):
        ask(local, name)
    assert local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    broken.unlink()

    def look() -> str:
        try:
            return ask(local, name)
        except local.client("sagemaker-runtime").exceptions.ServiceUnavailable:
            return ""

    assert wait_for(look, bool).startswith("v1 ")
    remove(local, name)


def test_a_scaling_that_fails_is_rolled_back(local: Local, tmp_path: Path) -> None:
    name, broken = breakable(local, tmp_path)
    broken.touch()
    described = scale(local, name, DesiredInstanceCount=2)
    assert described["EndpointStatus"] == "InService"
    assert "It ended with exit code 3" in described["FailureReason"]
    (shown,) = described["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 1)
    assert ask(local, name)
    remove(local, name)


def test_weights_change_at_once_and_shadows_are_started(local: Local) -> None:
    one = model(local)
    variants = [variant(one, VariantName=name, InitialVariantWeight=weight) for name, weight in (("A", 1), ("B", 0))]
    name = endpoint(local, config(local, *variants))
    local.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "A", "DesiredWeight": 0},
            {"VariantName": "B", "DesiredWeight": 2.5},
        ],
    )
    shown = settled(local, name)["ProductionVariants"]
    assert [(item["CurrentWeight"], item["DesiredWeight"]) for item in shown] == [(0, 0), (2.5, 2.5)]
    assert all("/B/i-" in ask(local, name) for _ in range(10))
    remove(local, name)

    shadow = variant(one, VariantName="S", InitialVariantWeight=1)
    name = endpoint(local, config(local, variant(one), ShadowProductionVariants=[shadow]))
    (shown,) = settled(local, name)["ShadowProductionVariants"]
    assert (shown["VariantName"], shown["CurrentInstanceCount"]) == ("S", 1)
    assert all("/A/i-" in ask(local, name) for _ in range(5))
    remove(local, name)


def test_a_serverless_variant(local: Local) -> None:
    limits = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    serverless = variant(model(local), InstanceType=None, InitialInstanceCount=None, ServerlessConfig=limits)
    name = endpoint(local, config(local, serverless))
    assert settled(local, name)["ProductionVariants"][0]["CurrentServerlessConfig"] == limits
    assert ask(local, name)
    described = scale(local, name, ServerlessUpdateConfig={"MaxConcurrency": 7})
    assert described["ProductionVariants"][0]["CurrentServerlessConfig"] == {**limits, "MaxConcurrency": 7}
    with pytest.raises(ClientError, match="it has no DesiredInstanceCount"):
        scale(local, name, DesiredInstanceCount=2)
    remove(local, name)


FLAG = """
class Flagged(Handler):
    def do_GET(self):
        self.answer(503 if os.path.exists(flag) else 200, b"gone mad")
flag = os.environ["FLAG"]
if os.path.exists(flag):
    os.remove(flag)
serve(Flagged)
"""


def test_a_container_whose_ping_fails_in_service_is_replaced(process_path: Path, tmp_path: Path) -> None:
    """Without the wire, because pings in service are seconds apart."""
    data, flag = packed(FLAG, tmp_path / "model.tar.gz"), tmp_path / "flag"
    container = {"Image": "process", "ModelDataUrl": data.as_uri(), "Environment": {"FLAG": str(flag)}}
    shadow = {**container, "Environment": {"FLAG": str(tmp_path / "never")}}
    records, logs = Records(tmp_path / "state"), LogStore(tmp_path / "logs")
    settings = Settings(tmp_path / "state", endpoint_stop_s=1, shutdown_stop_s=1, ping_interval_s=0.1)
    hosting = Hosting(records, logs, Runners(process_path), settings)
    hosting.submit({"EndpointName": "e", "EndpointConfigName": "c"}, deployment_of(container, shadow), "us-east-1")
    wait_for(lambda: records.get("endpoints", "e"), lambda record: record["EndpointStatus"] == "InService")
    with hosting.route("e", None) as route:
        assert (route.variant, route.instances, route.region) == ("A", 1, "us-east-1")
        assert (route.base / "model" / "serve.py").is_file()
        before = route.urls
        (copy,) = route.shadows
        copy.release()
    assert copy.variant == "S"
    flag.touch()

    def lines() -> list[str]:
        group = "/aws/sagemaker/Endpoints/e"
        return [event.message for event in logs.forward(group, route.log_stream)]

    wait_for(lines, lambda lines: any("answered 503 gone mad to GET /ping, the 5th failure" in line for line in lines))

    def is_back() -> bool:
        try:
            with hosting.route("e", None) as now:
                return now.urls != before
        except ApiError:
            return False

    wait_for(is_back, bool)
    hosting.shutdown()
    assert left_over(tmp_path) == []
