"""Models, configurations, endpoints and invocations through boto3."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import health
from local_sagemaker.hosting import Hosting
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.settings import Settings

from .conftest import ROLE, Local, left_over, unique, wait_for
from .hosted import deployment_of, packed, remove

ECHO = """
class Echo(Handler):
    def do_POST(self):
        body = self.body()
        if body == b"bad":
            self.answer(400, b'{"error": "not a photograph"}')
        elif body == b"crash":
            os._exit(7)
        else:
            seen = f"{os.environ['GREETING']} {self.headers['Content-Type']} {self.headers['Accept']} {len(body)}"
            back = self.headers["X-Amzn-SageMaker-Custom-Attributes"]
            self.answer(200, seen.encode(), Content_Type="text/plain", X_Amzn_SageMaker_Custom_Attributes=f"{back},b=2")
serve(Echo)
"""
LIMIT = 6_291_456


@pytest.fixture(scope="module")
def echo(local: Local) -> str:
    name = local.deploy(ECHO)
    assert local.settled(name)["EndpointStatus"] == "InService"
    return name


def invoke(local: Local, name: str, body: bytes, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = local.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **more)
    return answer


def test_an_invocation_goes_both_ways(local: Local, echo: str) -> None:
    answer = invoke(local, echo, b"woof", ContentType="image/jpeg", Accept="application/json", CustomAttributes="a=1")
    assert answer["Body"].read() == b"hello image/jpeg application/json 4"
    assert answer["ContentType"] == "text/plain"
    assert answer["CustomAttributes"] == "a=1,b=2"
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_a_refusal_of_the_container_arrives_as_model_error(local: Local, echo: str) -> None:
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ModelError) as refused:
        invoke(local, echo, b"bad")
    answer = refused.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert answer["OriginalStatusCode"] == 400
    assert answer["OriginalMessage"] == '{"error": "not a photograph"}'
    assert answer["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{echo}")


def test_the_largest_body_passes_and_one_more_byte_does_not(local: Local, echo: str) -> None:
    assert invoke(local, echo, bytes(LIMIT))["Body"].read().endswith(f" {LIMIT}".encode())
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ValidationError, match=f"equal to {LIMIT}"):
        invoke(local, echo, bytes(LIMIT + 1))


def test_an_endpoint_is_described_and_listed(local: Local, echo: str) -> None:
    endpoint = local.settled(echo)
    assert endpoint["EndpointArn"].endswith(f":endpoint/{echo}")
    (variant,) = endpoint["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"], variant["CurrentWeight"]) == ("AllTraffic", 1, 1.0)
    (listed,) = local.sagemaker.list_endpoints(StatusEquals="InService", NameContains=echo)["Endpoints"]
    assert listed["EndpointName"] == echo
    config = local.sagemaker.describe_endpoint_config(EndpointConfigName=echo)
    assert config["ProductionVariants"][0]["ModelName"] == echo
    assert local.sagemaker.describe_model(ModelName=echo)["PrimaryContainer"]["Image"] == "process"


def test_an_endpoint_waits_for_its_ping(local: Local, tmp_path: Path) -> None:
    code = f"""
class Late(Handler):
    def do_GET(self):
        self.answer(200 if os.path.exists({str(tmp_path / "go")!r}) else 503)
        print("pinged")
serve(Late)
"""
    name = local.deploy(code)
    logs = local.client("logs")
    wait_for(
        lambda: (
            logs.filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{name}")["events"]
            if _has_log(local, name)
            else []
        ),
        lambda events: len(events) >= 2,
    )
    assert local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Creating"
    with pytest.raises(ClientError, match=r"\(ValidationError\).*its status is Creating"):
        invoke(local, name, b"x")
    (tmp_path / "go").touch()
    assert local.settled(name)["EndpointStatus"] == "InService"
    remove(local, name)


def _has_log(local: Local, name: str) -> bool:
    groups = local.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/sagemaker/Endpoints/{name}")
    return bool(groups["logGroups"])


def test_a_container_that_ends_at_once_fails_the_endpoint(local: Local) -> None:
    endpoint = local.settled(name := local.deploy('print("no weights"); sys.exit(5)'))
    assert endpoint["EndpointStatus"] == "Failed"
    assert endpoint["FailureReason"].startswith(
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint. It ended with exit code 5."
    )
    assert "no weights" in endpoint["FailureReason"]
    with pytest.raises(ClientError, match='with status "Failed": delete it'):
        local.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
    remove(local, name)


def test_a_container_that_floods_its_log_answers(local: Local) -> None:
    code = """
import threading
def flood():
    for _ in range(300):
        sys.stdout.write("woof " * 20_000 + "\\n" * 1_000)
class Loud(Handler):
    def do_POST(self):
        self.body()
        self.answer(200, b"still here")
threading.Thread(target=flood, daemon=True).start()
serve(Loud)
"""
    name = local.deploy(code)
    assert local.settled(name)["EndpointStatus"] == "InService"
    assert invoke(local, name, b"x")["Body"].read() == b"still here"
    remove(local, name)


def test_a_ping_that_never_comes_fails_the_endpoint(process_path: Path, tmp_path: Path) -> None:
    """Without the wire, because AWS's shortest limit is a minute."""
    code = """
class Sick(Handler):
    def do_GET(self):
        self.answer(503, b"Unhealthy")
print("I am sick")
serve(Sick)
"""
    container = {"Image": "process", "ModelDataUrl": packed(code, tmp_path / "model.tar.gz").as_uri()}
    deployed = deployment_of(container, ContainerStartupHealthCheckTimeoutInSeconds=6)
    records, settings = Records(tmp_path / "state"), Settings(tmp_path / "state", endpoint_stop_s=1)
    hosting = Hosting(records, LogStore(tmp_path / "logs"), Runners(process_path), settings)
    hosting.submit({"EndpointName": "sick", "EndpointConfigName": "sick"}, deployed, "us-east-1")
    endpoint = wait_for(
        lambda: records.get("endpoints", "sick"), lambda endpoint: endpoint["EndpointStatus"] == "Failed"
    )
    assert (
        "It answered 503 Unhealthy to GET /ping after 6 s. Its last log lines: I am sick" in endpoint["FailureReason"]
    )
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "said"), [(b"", "answered nothing within 2 s"), (b"woof\n", "answered no HTTP (ProtocolError)")]
)
def test_a_ping_that_is_no_answer(answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as clients:

        def serve() -> None:
            client = clients.enter_context(server.accept()[0])
            client.recv(1024)
            client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert health.ping(f"http://127.0.0.1:{server.getsockname()[1]}") == said
        thread.join()


def test_a_container_that_nobody_can_connect_to() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        assert health.ping(url) == "refused the connection"
        full.listen(0)
        with contextlib.ExitStack() as clients:  # the kernel accepts no more than its queue holds
            for _ in range(3):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            assert health.ping(url) == "did not accept a connection within 250 ms"


def test_delete_ends_the_processes_and_forgets_the_endpoint(local: Local) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()"
    name = local.deploy(code)
    local.settled(name)
    assert left_over(local.state / "endpoints" / name)
    local.sagemaker.delete_endpoint(EndpointName=name)
    assert local.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Deleting"
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        local.sagemaker.delete_endpoint(EndpointName=name)
    wait_for(lambda: local.sagemaker.list_endpoints(NameContains=name)["Endpoints"], lambda found: not found)
    assert left_over(local.state / "endpoints" / name) == []
    with pytest.raises(ClientError, match="Could not find endpoint"):
        local.sagemaker.describe_endpoint(EndpointName=name)
    local.sagemaker.delete_endpoint_config(EndpointConfigName=name)
    local.sagemaker.delete_model(ModelName=name)
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        local.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    with pytest.raises(ClientError, match="Could not find model"):
        local.sagemaker.describe_model(ModelName=name)


def test_an_endpoint_that_is_being_created_can_be_neither_deleted_nor_changed(local: Local, tmp_path: Path) -> None:
    code = f"""
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.05)
serve()
"""
    name = local.deploy(code)
    weights = [{"VariantName": "AllTraffic", "DesiredWeight": 2}]
    for operation, more in (
        ("delete_endpoint", {}),
        ("update_endpoint", {"EndpointConfigName": name}),
        ("update_endpoint_weights_and_capacities", {"DesiredWeightsAndCapacities": weights}),
    ):
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            getattr(local.sagemaker, operation)(EndpointName=name, **more)
    (tmp_path / "go").touch()
    assert local.settled(name)["EndpointStatus"] == "InService"
    remove(local, name)
    assert left_over(local.state / "endpoints" / name) == []


def test_two_variants_share_the_requests(local: Local) -> None:
    name = local.deploy(ECHO)
    local.settled(name)
    variants = [
        {"VariantName": variant, "ModelName": name, "InstanceType": "ml.m5.large", "InitialVariantWeight": weight}
        for variant, weight in (("A", 0.0), ("B", 1.0))
    ]
    pair = unique("pair")
    local.sagemaker.create_endpoint_config(EndpointConfigName=pair, ProductionVariants=variants)
    local.sagemaker.create_endpoint(EndpointName=pair, EndpointConfigName=pair)
    assert local.settled(pair)["EndpointStatus"] == "InService"
    assert {invoke(local, pair, b"x")["InvokedProductionVariant"] for _ in range(20)} == {"B"}
    assert invoke(local, pair, b"x", TargetVariant="A")["InvokedProductionVariant"] == "A"
    with pytest.raises(ClientError, match="Variant C of endpoint"):
        invoke(local, pair, b"x", TargetVariant="C")
    for endpoint in (name, pair):
        remove(local, endpoint)


def test_an_unknown_endpoint(local: Local) -> None:
    with pytest.raises(
        local.client("sagemaker-runtime").exceptions.ValidationError, match="Endpoint nobody of account"
    ):
        invoke(local, "nobody", b"x")
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ValidationError, match="'endpointName'"):
        invoke(local, "a_b", b"x")


def test_an_archive_that_is_none(local: Local, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(os.urandom(100))
    name = unique("broken")
    container = {"Image": "process", "ModelDataUrl": (tmp_path / "model.tar.gz").as_uri()}
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large"}
    local.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    local.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert "model.tar.gz cannot be unpacked" in local.settled(name)["FailureReason"]
    remove(local, name)


MODEL = {"Image": "process"}
VARIANT = {"VariantName": "A", "ModelName": "x", "InstanceType": "ml.m5.large"}
SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("create_model", {"ModelName": "a"}, "Give either PrimaryContainer or Containers"),
        ("create_model", {"ModelName": "a", "PrimaryContainer": {}}, "must name an Image"),
        (
            "create_model",
            {"ModelName": "a", "PrimaryContainer": {**MODEL, "Mode": "MultiModel"}},
            "must give ModelDataUrl",
        ),
        ("create_model", {"ModelName": "a", "PrimaryContainer": MODEL, "Containers": [MODEL]}, "one or the other"),
        (
            "create_model",
            {"ModelName": "a", "Containers": [{**MODEL, "ContainerHostname": "c"}] * 2},
            "must be its own",
        ),
        (
            "create_model",
            {"ModelName": "a", "PrimaryContainer": {**MODEL, "ModelDataUrl": "file:///nowhere/m.tar.gz"}},
            "Could not find model data at file:///nowhere",
        ),
        (
            "create_endpoint_config",
            {"EndpointConfigName": "a", "ProductionVariants": [VARIANT]},
            "Could not find model",
        ),
        (
            "create_endpoint_config",
            {"EndpointConfigName": "a", "ProductionVariants": [{**VARIANT, "InitialInstanceCount": 9}]},
            "ResourceLimitExceeded",
        ),
        (
            "create_endpoint_config",
            {"EndpointConfigName": "a", "ProductionVariants": [VARIANT, VARIANT]},
            "used more than once",
        ),
        (
            "create_endpoint_config",
            {"EndpointConfigName": "a", "ProductionVariants": [{**VARIANT, "ServerlessConfig": SERVERLESS}]},
            "either InstanceType or ServerlessConfig",
        ),
        (
            "create_endpoint_config",
            {
                "EndpointConfigName": "a",
                "ProductionVariants": [
                    {
                        "VariantName": "A",
                        "ModelName": "x",
                        "ServerlessConfig": {**SERVERLESS, "MemorySizeInMB": 1500},
                    }
                ],
            },
            "multiple of 1024",
        ),
        (
            "create_endpoint_config",
            {
                "EndpointConfigName": "a",
                "ProductionVariants": [VARIANT],
                "ShadowProductionVariants": [{**VARIANT, "VariantName": name} for name in "BC"],
            },
            "one production variant and one shadow variant",
        ),
        (
            "create_endpoint",
            {"EndpointName": "a", "EndpointConfigName": "nobody"},
            "Could not find endpoint configuration",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(local: Local, operation: str, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        getattr(local.sagemaker, operation)(**request_)


def test_names_are_used_once(local: Local, echo: str) -> None:
    with pytest.raises(ClientError, match="already existing model"):
        local.sagemaker.create_model(ModelName=echo, PrimaryContainer=MODEL, ExecutionRoleArn=ROLE)
    variant = {**VARIANT, "ModelName": echo}
    with pytest.raises(ClientError, match="already existing endpoint configuration"):
        local.sagemaker.create_endpoint_config(EndpointConfigName=echo, ProductionVariants=[variant])
    with pytest.raises(ClientError, match="already existing endpoint"):
        local.sagemaker.create_endpoint(EndpointName=echo, EndpointConfigName=echo)
