"""The image under test, and the runs of it that its tests share."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image import serving, subject, training
from image.containers import docker, inspected
from photographs import data_set, jpeg


@pytest.fixture(scope="session")
def inspection(image: str) -> dict[str, Any]:
    """`docker image inspect`."""
    try:
        return inspected("image", image)
    except AssertionError:
        subject.refuse(f"--image {image} is not on this machine: `docker pull` it or build it")


@pytest.fixture(scope="session")
def config(inspection: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = inspection["Config"]
    return values


@pytest.fixture(scope="session")
def kennel(config: dict[str, Any]) -> None:
    """Skips for images that are not ours."""
    title = (config["Labels"] or {}).get("org.opencontainers.image.title")
    if title != "kennel":
        pytest.skip(f"the image is not Kennel's: its label org.opencontainers.image.title is {title!r}")


@pytest.fixture(scope="session")
def tested(
    image: str, inspection: dict[str, Any], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> subject.Subject:
    """The image and the options for it."""
    option = request.config.getoption
    given, longer = option("--hyperparameters"), option("--long-hyperparameters")
    channels = subject.directories(option("--channel"))
    if not channels:
        generated = data_set(tmp_path_factory.mktemp("channels"), {"train": 4, "valid": 2})
        channels = {name: generated / name for name in ("train", "valid")}
    body, bad_body = option("--body"), option("--bad-body")
    return subject.Subject(
        image=image,
        hyperparameters=subject.json_strings(given, "--hyperparameters") if given else subject.HYPERPARAMETERS,
        long_hyperparameters=(
            subject.json_strings(longer, "--long-hyperparameters") if longer else subject.LONG_HYPERPARAMETERS
        ),
        under_way=option("--under-way"),
        channels=channels,
        body=subject.file(body, "--body") if body else jpeg(0.5, np.random.default_rng(5)),
        content_type=option("--content-type"),
        bad_body=subject.file(bad_body, "--bad-body") if bad_body else b"This is a line of text and nothing else.\n",
        options=tuple(option("--docker-option")),
        start_within_s=option("--start-within"),
        stop_within_s=option("--stop-within"),
    )


@pytest.fixture(scope="session")
def good_job(tested: subject.Subject, tmp_path_factory: pytest.TempPathFactory) -> training.Outcome:
    """A job that should succeed, under all the platform's conditions; where they are too many for it, under none."""
    outcome = training.run(tested, tmp_path_factory.mktemp("job") / "ml", training.CONDITIONS)
    if outcome.exit_code:
        return training.run(tested, tmp_path_factory.mktemp("job") / "ml", ())
    return outcome


@pytest.fixture(scope="session")
def bad_job(tested: subject.Subject, tmp_path_factory: pytest.TempPathFactory) -> training.Outcome:
    """A job that cannot succeed, because no channel is there."""
    return training.run(tested, tmp_path_factory.mktemp("job") / "ml", (), channels={})


@pytest.fixture(scope="session")
def stopped_job(tested: subject.Subject, tmp_path_factory: pytest.TempPathFactory) -> training.Outcome:
    """A long job that gets SIGTERM while it trains."""
    return training.run_and_stop(tested, tmp_path_factory.mktemp("job") / "ml")


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Path:
    """The model directory to serve."""
    if given := request.config.getoption("--model"):
        if not Path(given).is_dir():
            subject.refuse(f"--model {given} is no directory; name the one that `train` left")
        return Path(given).resolve()
    job: training.Outcome = request.getfixturevalue("good_job")
    if job.exit_code:
        pytest.fail(
            "there is no model to serve, because training failed; mend that, or give --model DIR", pytrace=False
        )
    return job.model


@pytest.fixture(scope="session")
def isolated_network(engine: None) -> Iterator[str | None]:
    """A network that leads nowhere but to this machine; None where the engine runs in another one (macOS, Windows)."""
    if sys.platform != "linux":
        yield None
        return
    name = f"contract-{uuid.uuid4().hex[:8]}"
    made = docker("network", "create", "--internal", name)
    assert made.returncode == 0, made.stderr
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="session")
def servers(isolated_network: str | None) -> Iterator[list[serving.Server]]:
    """Servers put here are removed at the end."""
    started: list[serving.Server] = []
    yield started
    for server in started:
        server.container.remove()


@pytest.fixture(scope="session")
def server(
    tested: subject.Subject,
    model: Path,
    servers: list[serving.Server],
    isolated_network: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> serving.Server:
    """A server that should be healthy, under all the platform's conditions; where they are too many, under none.

    Right after its first good /ping it was sent one request.
    """
    for conditions in (serving.CONDITIONS, ()):
        scratch = tmp_path_factory.mktemp("server")
        started = serving.start(tested, model, conditions, scratch, isolated_network)
        servers.append(started)
        if started.wait_until_healthy(tested.start_within_s):
            started.first = started.invoke(tested.body, tested.content_type)
            break
    return started


@pytest.fixture(scope="session")
def other_server(
    tested: subject.Subject,
    config: dict[str, Any],
    model: Path,
    server: serving.Server,
    servers: list[serving.Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> serving.Server:
    """A second server, told to listen on port 8181 where the image claims that it can be told."""
    if not server.healthy:
        pytest.skip("the first server is never healthy: see test_ping_becomes_200")
    port = 8181 if (config["Labels"] or {}).get(serving.BIND_LABEL) == "true" else 8080
    variables = {"SAGEMAKER_BIND_TO_PORT": str(port)} if port != 8080 else {}
    started = serving.start(tested, model, (), tmp_path_factory.mktemp("server"), variables=variables, port=port)
    servers.append(started)
    # Three times what the first server took, because others may keep the machine busy now.
    started.wait_until_healthy(min(tested.start_within_s, 30 + 3 * server.startup_s))
    return started
