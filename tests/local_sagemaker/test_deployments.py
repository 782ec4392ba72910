"""UpdateEndpoint: blue/green, canary, linear and rolling, what fails and is rolled back, a server killed in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import deployment
from local_sagemaker.deployment import Step

from .conftest import Local, left_over, wait_for
from .hosted import VERSION, ask, config, endpoint, log_of, model, remove, settled, variant


def blue_green(kind: str, wait_s: int = 0, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait_s, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def instances(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


class Client:
    """Asks an endpoint without a pause, in a thread; `versions` and `errors` are what it saw."""

    def __init__(self, local: Local, name: str) -> None:
        self.versions: list[str] = []
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[local, name])

    def __enter__(self) -> Client:
        self._thread.start()
        wait_for(lambda: self.versions or self.errors, bool)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, local: Local, name: str) -> None:
        while not self._stop.wait(0.01):
            try:
                self.versions.append(ask(local, name).split()[0])
            except ClientError as error:
                self.errors.append(str(error))

    def waits_for(self, version: str) -> None:
        start = len(self.versions)
        wait_for(lambda: self.versions[start:], lambda seen: version in seen)


def update(local: Local, name: str, config_name: str, **more: Any) -> None:
    local.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config_name, **more)
    status = local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
    assert status in ("Updating", "InService")


@pytest.mark.parametrize(
    ("count", "given"),
    [
        (1, None),
        (1, blue_green("CANARY", CanarySize=percent(50))),
        (1, blue_green("LINEAR", LinearStepSize=percent(34))),
        (2, {"RollingUpdatePolicy": {"MaximumBatchSize": instances(1), "WaitIntervalInSeconds": 0}}),
    ],
)
def test_no_request_fails_while_an_endpoint_is_updated(local: Local, count: int, given: dict[str, Any] | None) -> None:
    name = endpoint(local, config(local, variant(model(local, version="v1"), InitialInstanceCount=count)))
    new = config(local, variant(model(local, version="v2"), InitialInstanceCount=count))
    with Client(local, name) as client:
        update(local, name, new, **({"DeploymentConfig": given} if given else {}))
        described = settled(local, name)
        client.waits_for("v2")
    assert client.errors == []
    assert (client.versions[0], client.versions[-1]) == ("v1", "v2")
    assert {ask(local, name).split()[0] for _ in range(4)} == {"v2"}
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", new)
    assert described.get("LastDeploymentConfig") == given
    assert "PendingDeploymentSummary" not in described
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == count
    assert len(left_over(local.state / "endpoints" / name)) == count
    remove(local, name)


SLOW = """
class Slow(Handler):
    def do_POST(self):
        gate = self.body().decode()
        while gate and not os.path.exists(gate):
            time.sleep(0.02)
        self.answer(200, os.environ["VERSION"].encode())
serve(Slow)
"""


def test_the_old_fleet_ends_when_its_requests_are_answered(local: Local, tmp_path: Path) -> None:
    name = endpoint(local, config(local, variant(model(local, SLOW))))
    answers: list[str] = []
    gate = str(tmp_path / "gate").encode()
    waiting = threading.Thread(target=lambda: answers.append(ask(local, name, gate)))
    waiting.start()
    (before,) = left_over(local.state / "endpoints" / name)
    wait_for(before.net_connections, lambda found: any(item.status == "ESTABLISHED" for item in found))
    update(local, name, config(local, variant(model(local, version="v2"))))
    wait_for(lambda: ask(local, name, b""), lambda answer: answer.startswith("v2"))
    assert local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating"
    (tmp_path / "gate").touch()
    waiting.join()
    assert answers == ["v1"]
    assert settled(local, name)["EndpointStatus"] == "InService"
    remove(local, name)


def test_a_fleet_that_is_not_healthy_is_rolled_back(local: Local) -> None:
    old = config(local, variant(model(local)))
    name = endpoint(local, old)
    with Client(local, name) as client:
        update(local, name, config(local, variant(model(local, 'print("no weights"); sys.exit(5)'))))
        described = settled(local, name)
        client.waits_for("v1")
    assert client.errors == []
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", old)
    assert "It ended with exit code 5. Its last log lines: no weights" in described["FailureReason"]
    assert len(left_over(local.state / "endpoints" / name)) == 1
    update(local, name, config(local, variant(model(local, version="v2"))))
    assert "FailureReason" not in settled(local, name)
    remove(local, name)


ROLLING = {"RollingUpdatePolicy": {"MaximumBatchSize": instances(1), "WaitIntervalInSeconds": 0}}


@pytest.mark.parametrize("old_is_broken_too", [False, True])
def test_a_rolling_update_that_fails_half_way(local: Local, tmp_path: Path, old_is_broken_too: bool) -> None:
    first, broken = str(tmp_path / "first"), str(tmp_path / "broken")
    old = f"os.path.exists({broken!r}) and sys.exit(4)\n{VERSION}"
    new = f"""
if os.path.exists({first!r}):
    {old_is_broken_too} and open({broken!r}, "w").close()
    sys.exit(3)
open({first!r}, "w").close()
{VERSION}"""
    old_config = config(local, variant(model(local, old), InitialInstanceCount=2))
    name = endpoint(local, old_config)
    with Client(local, name) as client:
        new_config = config(local, variant(model(local, new, version="v2"), InitialInstanceCount=2))
        update(local, name, new_config, DeploymentConfig=ROLLING)
        described = settled(local, name)
        client.waits_for("v1")
    assert client.errors == []
    assert "It ended with exit code 3" in described["FailureReason"]
    assert described["EndpointConfigName"] == old_config
    (shown,) = described["ProductionVariants"]
    if not old_is_broken_too:
        assert (described["EndpointStatus"], shown["CurrentInstanceCount"]) == ("InService", 2)
        remove(local, name)
        return
    assert (described["EndpointStatus"], shown["CurrentInstanceCount"]) == ("UpdateRollbackFailed", 1)
    assert "It ended with exit code 4" in described["FailureReason"]
    with Client(local, name) as client:
        client.waits_for("v1")
        client.waits_for("v2")
    with pytest.raises(ClientError, match='with status "UpdateRollbackFailed": update it'):
        local.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredWeight": 2}]
        )
    update(local, name, config(local, variant(model(local, version="v3"))))
    assert settled(local, name)["EndpointStatus"] == "InService"
    assert ask(local, name).startswith("v3")
    assert len(left_over(local.state / "endpoints" / name)) == 1
    remove(local, name)


def test_what_an_update_keeps_of_its_variants(local: Local) -> None:
    one, given = model(local), blue_green("ALL_AT_ONCE")
    captured = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": (local.state.parent / "captured").as_uri(),
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    name = endpoint(local, config(local, variant(one), DataCaptureConfig=captured), DeploymentConfig=given)
    local.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredInstanceCount": 2, "DesiredWeight": 3}],
    )
    settled(local, name)
    new = config(local, variant(one))
    update(local, name, new, RetainAllVariantProperties=True, RetainDeploymentConfig=True)
    described = settled(local, name)
    (shown,) = described["ProductionVariants"]
    assert (shown["DesiredInstanceCount"], shown["DesiredWeight"]) == (2, 3)
    assert described["LastDeploymentConfig"] == given
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Started"
    excluded = [{"VariantPropertyType": kind} for kind in ("DesiredInstanceCount", "DataCaptureConfig")]
    update(local, name, new, RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=excluded)
    described = settled(local, name)
    (shown,) = described["ProductionVariants"]
    assert (shown["DesiredInstanceCount"], shown["DesiredWeight"]) == (1, 3)
    assert not {"LastDeploymentConfig", "DataCaptureConfig"} & set(described)
    remove(local, name)


def test_a_server_that_is_killed_takes_an_update_up_again(start: Callable[..., Local]) -> None:
    local = start("--endpoint-stop-s", "1")
    name = endpoint(local, config(local, variant(model(local, version="v1"))))
    new = config(local, variant(model(local, version="v2")))
    with pytest.raises(ClientError, match="the variants of the old one"):
        other = config(local, variant(model(local), VariantName="B"))
        update(local, name, other, DeploymentConfig=blue_green("CANARY", CanarySize=percent(50)))
    update(local, name, new, DeploymentConfig=blue_green("CANARY", 3600, CanarySize=percent(50)))

    def is_baking() -> bool:
        pending = local.sagemaker.describe_endpoint(EndpointName=name).get("PendingDeploymentSummary", {})
        statuses = [
            status["Status"] for item in pending.get("ProductionVariants", []) for status in item["VariantStatus"]
        ]
        return pending.get("EndpointConfigName") == new and statuses == ["Baking"]

    for attempt in range(2):
        wait_for(is_baking, bool)
        with Client(local, name) as client:
            client.waits_for("v1")
            client.waits_for("v2")
        assert client.errors == []
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            local.sagemaker.delete_endpoint(EndpointName=name)
        if not attempt:
            local.kill()
            local.up()
    assert len(left_over(local.state)) == 2
    assert sum("started again" in line for line in log_of(local, name)) == 0


def test_the_steps_of_a_deployment() -> None:
    assert deployment.traffic_steps({}, 3) == [Step(1.0, 0)]
    assert deployment.traffic_steps(blue_green("ALL_AT_ONCE", 5), 3) == [Step(1.0, 5)]
    assert deployment.traffic_steps(blue_green("CANARY", 5, CanarySize=instances(1)), 4) == [
        Step(0.25, 5),
        Step(1.0, 0),
    ]
    steps = deployment.traffic_steps(blue_green("LINEAR", 5, LinearStepSize=percent(30)), 1)
    assert [(round(step.share, 2), step.wait_s) for step in steps] == [(0.3, 5), (0.6, 5), (0.9, 5), (1.0, 0)]
    steps = deployment.traffic_steps(blue_green("LINEAR", 5, LinearStepSize=percent(10)), 1)
    assert len(steps) == 10
    assert deployment.batches(percent(50), 5) == [2, 4, 5]
    assert deployment.batches(percent(5), 3) == [1, 2, 3]
    assert deployment.batches(None, 3) == [3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**blue_green("ALL_AT_ONCE"), **ROLLING}, "either BlueGreenUpdatePolicy or RollingUpdatePolicy"),
        (blue_green("CANARY"), "must give CanarySize"),
        (blue_green("CANARY", CanarySize=percent(51)), "CanarySize of 51 .* 1% to 50%"),
        (blue_green("LINEAR", LinearStepSize=percent(5)), "LinearStepSize of 5 .* 10% to 50%"),
        (blue_green("LINEAR", CanarySize=percent(5)), "CanarySize is for"),
        ({"RollingUpdatePolicy": {"MaximumBatchSize": instances(1), "WaitIntervalInSeconds": 0}}, "5% to 50%"),
    ],
)
def test_a_deployment_that_aws_refuses(local: Local, given: dict[str, Any], message: str) -> None:
    name = config(local, variant(model(local)))
    with pytest.raises(ClientError, match=message):
        local.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, DeploymentConfig=given)


def test_a_rolling_update_brings_the_shadow_too(local: Local) -> None:
    shadow = variant(model(local), VariantName="S")
    old = config(local, variant(model(local), InitialInstanceCount=2), ShadowProductionVariants=[shadow])
    name = endpoint(local, old)
    new_variant = variant(model(local, version="v2"), InitialInstanceCount=2)
    update(local, name, config(local, new_variant, ShadowProductionVariants=[shadow]), DeploymentConfig=ROLLING)
    described = settled(local, name)
    assert described["EndpointStatus"] == "InService", described
    assert [item["CurrentInstanceCount"] for item in described["ShadowProductionVariants"]] == [1]
    assert {ask(local, name).split()[0] for _ in range(4)} == {"v2"}
    remove(local, name)
