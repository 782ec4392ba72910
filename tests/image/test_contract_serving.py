"""The contract, part three: how `serve` answers and ends.

One server is shared, under all the platform's conditions at once. Where that is never healthy, another runs without any
condition, and then one with each at a time, to name those that the program bears not.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from image import serving
from image.containers import KILLED
from image.demands import BATCH, GUIDE, HOSTING, Demand
from image.serving import BIND_LABEL, CONDITIONS, Server
from image.subject import SERVE_STOP_S, Subject

pytestmark = pytest.mark.engine

LIMIT_BYTES = 6_291_456
HEALTHY = Demand(
    '"respond with an HTTP 200 status code" on GET /ping, port 8080; otherwise "the new instance launch fails" after '
    "8 minutes, or what ContainerStartupHealthCheckTimeoutInSeconds says.",
    HOSTING,
    "read the log; if this model is not one of the image's, give --model DIR; --start-within waits longer",
)
READY = Demand(
    'a 200 on /ping "indicates to SageMaker AI that the container is ready to accept inference requests at the '
    '/invocations endpoint."',
    HOSTING,
    "let /ping answer 503 until the model is loaded and has answered once (or give --body and --content-type of a "
    "request that it understands)",
)
NOT_READY = Demand(READY.sentence, HOSTING, "end with a code or answer 503 where there is no model that can answer")
PING = Demand('"The request timeout on /ping attempts is 2 seconds."', HOSTING, "answer /ping beside the model's work")
INVOCATIONS = Demand(
    '"the container must have a web server listening on port 8080 and must accept POST requests to the /invocations '
    'endpoint."',
    HOSTING,
    "answer POST /invocations, also when several come at once (or give --body and --content-type)",
)
HEADERS = Demand(
    '"SageMaker AI might add additional headers. Inference containers must be able to safely ignore these additional '
    'headers."',
    HOSTING,
    "ignore headers that you do not know",
)
BAD_BODY = Demand(
    "A request that cannot be answered is the caller's: InvokeEndpoint returns it as ModelError with the container's "
    "status.",
    "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html",
    "answer 4xx with a sentence, and go on (or give --bad-body if this one is good)",
)
LARGEST = Demand(
    f"InvokeEndpoint hands over bodies of up to {LIMIT_BYTES:,} bytes (BodyBlob in the API's model).",
    "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html",
    "raise the server's limit on bodies (nginx client_max_body_size, MMS max_request_size)",
)
TOO_LARGE = Demand(LARGEST.sentence, LARGEST.source, "refuse what is larger with 413 and go on")
PARAMETERS = Demand(
    '"The response for a GET execution-parameters request is a JSON object with keys for MaxConcurrentTransforms, '
    'BatchStrategy, and MaxPayloadInMB"; it is optional.',
    BATCH,
    "answer such an object, or 404",
)
BIND = Demand(
    '"The containers in a pipeline listen on the port specified in the SAGEMAKER_BIND_TO_PORT environment variable '
    '(instead of 8080)."',
    GUIDE + "inference-pipeline-real-time.html",
    f"listen on the port of that variable, or remove the label {BIND_LABEL}",
)
STOP = Demand(
    '"To stop a Docker container, command sends the SIGTERM signal, then it sends the SIGKILL signal 30 seconds '
    'later."',
    HOSTING,
    "handle SIGTERM in process 1 (a shell must `exec` the program; Python as process 1 ignores it unless it sets a "
    "handler)",
)


@pytest.fixture
def healthy(server: Server) -> Server:
    """The shared server, for what only a healthy one can show."""
    if not server.healthy:
        pytest.skip("the server is never healthy: see test_ping_becomes_200")
    if not server.container.running():
        pytest.skip("the server ended in an earlier test")
    return server


def test_ping_becomes_200(server: Server) -> None:
    HEALTHY.check(server.healthy, server.seen())


def test_the_first_200_means_ready(healthy: Server) -> None:
    READY.check(healthy.first and healthy.first.good, f"the request right after the first 200 got {healthy.first}")


@pytest.mark.parametrize("name", CONDITIONS)
def test_serves(
    name: str, healthy: Server, tested: Subject, model: Path, servers: list[Server], tmp_path: Path,
    isolated_network: str | None,
) -> None:  # fmt: skip
    """Under each of the platform's conditions."""
    if name == "network" and isolated_network is None:
        pytest.skip("needs Linux: elsewhere the host cannot reach into a network of the engine")
    if name not in healthy.conditions:
        alone = serving.start(tested, model, [name], tmp_path, isolated_network)
        servers.append(alone)
        met = alone.wait_until_healthy(tested.start_within_s)
        CONDITIONS[name].demand.check(met, f"healthy without this, and with it {alone.seen()}")


def test_ping_answers_in_time(healthy: Server, tested: Subject) -> None:
    """Also while a request is being answered; how fast a connection is accepted is printed, not judged."""
    print(f"healthy after {healthy.startup_s:.1f} s; a connection is accepted in {healthy.accept_ms():.1f} ms "
          f"(SageMaker allows 250)")  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        invocation = pool.submit(healthy.invoke, tested.body, tested.content_type)
        pings = [healthy.ping() for _ in range(3)]
        invocation.result()
    PING.check(any(ping.status == 200 for ping in pings), f"three attempts: {', '.join(str(ping) for ping in pings)}")


def test_requests_at_the_same_time(healthy: Server, tested: Subject) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: healthy.invoke(tested.body, tested.content_type), range(16)))
    bad = [str(answer) for answer in answers if not answer.good]
    INVOCATIONS.check(not bad, f"{len(bad)} of 16 requests on 8 connections failed, the first with {bad[:1]}")


def test_additional_headers(healthy: Server, tested: Subject) -> None:
    answer = healthy.invoke(
        tested.body,
        tested.content_type,
        {
            "X-Amzn-SageMaker-Inference-Id": "contract-test",
            "X-Amzn-SageMaker-Enable-Explanations": "`false`",
            "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678",
            "X-Forwarded-For": "192.0.2.1",
        },
    )
    HEADERS.check(answer.good, f"with them the request got {answer}")


def test_a_bad_body(healthy: Server, tested: Subject) -> None:
    bad = healthy.invoke(tested.bad_body, tested.content_type)
    BAD_BODY.check(bad.status and 400 <= bad.status < 500, f"{tested.bad_body[:40]!r} got {bad}")
    good = healthy.invoke(tested.body, tested.content_type)
    BAD_BODY.check(good.good, f"after a bad body a good one got {good}; {healthy.container.tail()}")


def test_the_largest_body(healthy: Server, tested: Subject) -> None:
    """Padded with zeros: what a decoder makes of them is its own affair, but it must get to see them."""
    answer = healthy.invoke(tested.body.ljust(LIMIT_BYTES, b"\0"), tested.content_type)
    LARGEST.check(answer.status and answer.status < 500 and answer.status != 413, f"such a body got {answer}")


def test_a_body_above_the_limit(healthy: Server, tested: Subject) -> None:
    answer = healthy.invoke(tested.body.ljust(LIMIT_BYTES + 2**21, b"\0"), tested.content_type)
    TOO_LARGE.check(healthy.container.running(), f"a body of 8 MB got {answer} and ended the container")
    TOO_LARGE.check(answer.status is None or answer.status < 500, f"a body of 8 MB got {answer}")
    good = healthy.invoke(tested.body, tested.content_type)
    TOO_LARGE.check(good.good, f"after a body of 8 MB a good one got {good}; {healthy.container.tail()}")


def test_execution_parameters(healthy: Server) -> None:
    answer = serving.request("GET", f"{healthy.url}/execution-parameters")
    if answer.status == 200:
        try:
            values = json.loads(answer.text)
        except ValueError:
            values = None
        fits = (
            isinstance(values, dict)
            and isinstance(values.get("MaxConcurrentTransforms", 1), int)
            and isinstance(values.get("MaxPayloadInMB", 6), int)
            and values.get("BatchStrategy", "SINGLE_RECORD") in ("SINGLE_RECORD", "MULTI_RECORD")
        )
        PARAMETERS.check(fits, str(answer))
    else:
        PARAMETERS.check(answer.status and 400 <= answer.status < 500, str(answer))


def test_it_listens_where_it_is_told(config: dict[str, Any], healthy: Server, other_server: Server) -> None:
    if (config["Labels"] or {}).get(BIND_LABEL) != "true":
        pytest.skip(f"the image does not claim it: no label {BIND_LABEL}=true")
    BIND.check(other_server.healthy, f"at port 8181: {other_server.seen()}")


def test_no_model_is_not_healthy(healthy: Server, tested: Subject, servers: list[Server], tmp_path: Path) -> None:
    """Watched for as long as a good server took to start, and half as long again."""
    (tmp_path / "empty").mkdir()
    broken = serving.start(tested, tmp_path / "empty", CONDITIONS, tmp_path)
    servers.append(broken)
    watched_s = 2 + 1.5 * healthy.startup_s
    NOT_READY.check(not broken.wait_until_healthy(watched_s), "with an empty /opt/ml/model /ping is 200")
    if not broken.container.running():
        code = broken.container.exit_code()
        NOT_READY.check(code, f"with an empty /opt/ml/model it ends with exit code {code}; {broken.container.tail()}")
    broken.container.remove()


def test_sigterm_ends_it(healthy: Server, other_server: Server, tested: Subject) -> None:
    if not other_server.healthy and other_server.container.port != 8080:
        pytest.skip("the second server is not healthy: see test_it_listens_where_it_is_told")
    HEALTHY.check(other_server.healthy, other_server.seen())
    limit_s = tested.stop_within_s or SERVE_STOP_S
    other_server.container.terminate()
    ended = other_server.container.wait(limit_s)
    code = other_server.container.exit_code()
    STOP.check(ended and code != KILLED, f"it ran on for {limit_s:.0f} s and was killed")
    print(f"exit code {code}")
