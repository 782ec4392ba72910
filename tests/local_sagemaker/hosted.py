"""What tests of endpoints share: models and configurations made of a few lines of code, endpoints, requests."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from .conftest import ROLE, Local, unique, wait_for

# Answers its version, its directory and its process; `crash` ends it.
VERSION = """
class Version(Handler):
    def do_POST(self):
        if self.body() == b"crash":
            os._exit(7)
        self.answer(200, f"{os.environ['VERSION']} {os.getcwd()} {os.getpid()}".encode())
serve(Version)
"""


def packed(code: str, path: Path) -> Path:
    """A model archive whose container runs `code`."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("serve.py")
        member.size = len(code.encode())
        tar.addfile(member, io.BytesIO(code.encode()))
    return path


def model(local: Local, code: str = VERSION, version: str = "v1", **more: Any) -> str:
    """The name of a new model."""
    name = unique("model")
    data = packed(code, local.state.parent / f"{name}.tar.gz")
    container = {"Image": "process", "ModelDataUrl": data.as_uri(), "Environment": {"VERSION": version}, **more}
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def variant(model_name: str, **more: Any) -> dict[str, Any]:
    described = {"VariantName": "A", "ModelName": model_name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    return {key: value for key, value in {**described, **more}.items() if value is not None}


def config(local: Local, *variants: dict[str, Any], **more: Any) -> str:
    """The name of a new endpoint configuration."""
    name = unique("config")
    local.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **more)
    return name


def endpoint(local: Local, config_name: str, **more: Any) -> str:
    """The name of a new endpoint in service."""
    name = unique("endpoint")
    local.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config_name, **more)
    described = settled(local, name)
    assert described["EndpointStatus"] == "InService", described
    return name


def settled(local: Local, name: str) -> dict[str, Any]:
    """The description of an endpoint that is not being changed."""
    described: dict[str, Any] = wait_for(
        lambda: local.sagemaker.describe_endpoint(EndpointName=name),
        lambda endpoint: endpoint["EndpointStatus"] in ("InService", "Failed", "UpdateRollbackFailed"),
    )
    return described


def ask(local: Local, name: str, body: bytes = b"x", **more: Any) -> str:
    """What the endpoint answers."""
    runtime = local.client("sagemaker-runtime")
    return str(runtime.invoke_endpoint(EndpointName=name, Body=body, **more)["Body"].read().decode())


def remove(local: Local, name: str) -> None:
    local.sagemaker.delete_endpoint(EndpointName=name)
    wait_for(lambda: local.sagemaker.list_endpoints(NameContains=name)["Endpoints"], lambda found: not found)


def log_of(local: Local, name: str) -> list[str]:
    """Every line that the containers of an endpoint, and the server about them, have printed."""
    logs, group = local.client("logs"), f"/aws/sagemaker/Endpoints/{name}"
    return [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]


def deployment_of(container: dict[str, Any], shadow: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What `endpoint_configs.deployment` makes of one container, and of another one as its shadow."""
    one = {
        "VariantName": "A",
        "Containers": [container],
        "DesiredWeight": 1.0,
        "DesiredCount": 1,
        "ResolutionTime": 0,
        **more,
    }
    shadows = [{**one, "VariantName": "S", "Containers": [shadow]}] if shadow else []
    return {"EndpointConfigName": "c", "Variants": [one], "ShadowVariants": shadows}
