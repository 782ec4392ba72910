"""Endpoints by the API: wait for one, change it over to another model, take it away with all that is its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from orchestrate import console, follow, hosting, jobs
from orchestrate.errors import InputError, JobFailed
from orchestrate.session import Session

LOGS = "/aws/sagemaker/Endpoints"
_TAIL = 20
# How SageMaker's operations name the kinds.
_SNAKE = {"Model": "model", "EndpointConfig": "endpoint_config", "Endpoint": "endpoint"}


def create(
    session: Session, out: console.Console, name: str, requests: list[tuple[str, dict[str, Any]]]
) -> None:  # fmt: skip
    """Sends what makes an endpoint, in that order, and waits until it is in service.

    Raises:
        JobFailed: it is not; what was created is deleted again, also on Ctrl-C.
    """
    with ExitStack() as half_made:
        for operation, request in requests:
            kind = operation.removeprefix("Create")
            jobs.create(session, operation, request)
            if kind in _SNAKE:
                half_made.callback(delete, session, kind, name)
            if kind == "Endpoint":
                # Application Auto Scaling, which comes next, takes only what is in service.
                try:
                    wait(session, out, name)
                except KeyboardInterrupt:
                    out.say(f"SageMaker deletes no endpoint that is being created: {name} goes once that is over; "
                            f"leaving now would leave it there")  # fmt: skip
                    raise
        half_made.pop_all()


def describe(session: Session, name: str) -> dict[str, Any]:
    """DescribeEndpoint. Raises InputError: there is no such endpoint."""
    found: dict[str, Any] = {}
    client = session.client("sagemaker")
    if not _found(lambda: found.update(client.describe_endpoint(EndpointName=name))):
        raise InputError(f"there is no endpoint {name}: see python orchestrate/clean.py {session.flags}")
    return found


def config_of(session: Session, name: str) -> dict[str, Any]:
    """DescribeEndpointConfig of what the endpoint has now.

    Raises:
        InputError: there is no such endpoint, or somebody deleted its configuration.
    """
    client = session.client("sagemaker")
    config = describe(session, name)["EndpointConfigName"]
    found: dict[str, Any] = {}
    if not _found(lambda: found.update(client.describe_endpoint_config(EndpointConfigName=config))):
        raise InputError(f"the endpoint {name} has lost its configuration {config}, and cannot be changed without it: "
                         f"delete it, python orchestrate/clean.py {session.flags} {name}")  # fmt: skip
    return found


def wait(session: Session, out: console.Console, name: str) -> None:
    """Returns when the endpoint is in service.

    Raises:
        JobFailed: it failed; the end of its log is told.
    """
    status = _settled(session, out, name)
    if status["EndpointStatus"] == "Failed":
        tell_log(session, out, name)
        raise JobFailed(f"endpoint {name} ended Failed: {status.get('FailureReason')}; it was deleted again")


def change(
    session: Session, out: console.Console, name: str, requests: list[tuple[str, dict[str, Any]]]
) -> list[tuple[str, str]]:  # fmt: skip
    """Sends what gives an endpoint another configuration, and waits until it has it.

    Returns (kind, name) of what it has no more use for, deleted.

    Raises:
        JobFailed: the endpoint went back to what it had; what was created is deleted again.
    """
    before = parts(session, name)
    config = str(requests[-1][1]["EndpointConfigName"])
    with ExitStack() as half_made:
        for operation, request in requests:
            jobs.create(session, operation, request)
            kind = operation.removeprefix("Create")
            if kind in _SNAKE:
                half_made.callback(delete, session, kind, request[f"{kind}Name"])
        # From here on Ctrl-C leaves the change to go on.
        half_made.pop_all()
    status = _settled(session, out, name)
    now = parts(session, name)
    if status["EndpointConfigName"] != config or status["EndpointStatus"] == "Failed":
        tell_log(session, out, name)
        made = [(op.removeprefix("Create"), str(r[f"{op.removeprefix('Create')}Name"]))
                for op, r in requests if op.startswith("Create")]  # fmt: skip
        for kind, part in reversed(made):
            if (kind, part) not in now:
                delete(session, kind, part)
        why = status.get("FailureReason") or "its new model did not come into service, or an alarm went off"
        raise JobFailed(f"endpoint {name} was not changed: {why}; it answers with the model that it had")
    unused = [part for part in before if part not in now]
    for kind, part in unused:
        delete(session, kind, part)
    return unused


def parts(session: Session, name: str) -> list[tuple[str, str]]:
    """(kind, name) of the endpoint, its configuration and its models, in the order in which they have to go.

    What is not there any more is left out, the endpoint itself too.
    """
    client = session.client("sagemaker")
    found: list[tuple[str, str]] = []
    endpoint: dict[str, Any] = {}
    config: dict[str, Any] = {}
    if _found(lambda: endpoint.update(client.describe_endpoint(EndpointName=name))):
        found.append(("Endpoint", name))
    # One that failed to be created may have left the others.
    config_name = endpoint.get("EndpointConfigName", name)
    if _found(lambda: config.update(client.describe_endpoint_config(EndpointConfigName=config_name))):
        found.append(("EndpointConfig", config_name))
    variants = config.get("ProductionVariants", []) + config.get("ShadowProductionVariants", [])
    models = list(dict.fromkeys(v["ModelName"] for v in variants)) or [name]
    return found + [("Model", m) for m in models if _found(lambda m=m: client.describe_model(ModelName=m))]  # type: ignore[misc]


def remove(session: Session, name: str) -> list[tuple[str, str]]:
    """Deletes the endpoint, its configuration and its models; returns (kind, name) of what was there."""
    found = parts(session, name)
    for kind, part in found:
        delete(session, kind, part)
    return found


def delete(session: Session, kind: str, name: str) -> None:
    """Deletes a `Model`, `EndpointConfig` or `Endpoint` and returns when it is gone; one that is not there is fine.

    SageMaker refuses to delete an endpoint that it creates or changes: this waits until that is over.
    """
    client = session.client("sagemaker")
    parameter = {f"{kind}Name": name}
    if kind == "Endpoint":
        unscale(session, name)
        status: dict[str, Any] = {}
        while _found(lambda: status.update(client.describe_endpoint(**parameter))) and _is_changing(status):
            time.sleep(session.poll_s)
    if not _found(lambda: getattr(client, f"delete_{_SNAKE[kind]}")(**parameter)):
        return
    while _found(lambda: getattr(client, f"describe_{_SNAKE[kind]}")(**parameter)):
        time.sleep(session.poll_s)


def unscale(session: Session, name: str) -> None:
    """Application Auto Scaling forgets the endpoint; one that it does not know is fine."""
    client = session.client("application-autoscaling")
    target = {"ServiceNamespace": hosting.NAMESPACE, "ResourceId": hosting.resource(name),
              "ScalableDimension": hosting.DIMENSION}  # fmt: skip
    with suppress(client.exceptions.ObjectNotFoundException):
        client.deregister_scalable_target(**target)


def tell_log(session: Session, out: console.Console, name: str) -> None:
    """The end of an endpoint's log."""
    for variant in (hosting.VARIANT, hosting.SHADOW):
        for line in follow.LogReader(session, f"{LOGS}/{name}", f"{variant}/").read()[-_TAIL:]:
            out.say(f"  {line}")


def _settled(session: Session, out: console.Console, name: str) -> dict[str, Any]:
    """DescribeEndpoint once it is in service or failed."""
    begin = time.monotonic()
    status = describe(session, name)
    out.say(f"endpoint {name}: {status['EndpointStatus']}")
    with out.progress(f"{name}: {status['EndpointStatus']}") as show:
        while status["EndpointStatus"] not in ("InService", "Failed"):
            time.sleep(session.poll_s)
            status = describe(session, name)
            show(f"{name}: {status['EndpointStatus']}, {time.monotonic() - begin:.0f} s")
    return status


def _is_changing(status: dict[str, Any]) -> bool:
    return status["EndpointStatus"] in ("Creating", "Updating", "SystemUpdating", "RollingBack")


def _found(call: Callable[[], object]) -> bool:
    """False when SageMaker says that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if "could not find" in str(error).lower():
            return False
        raise
    return True
