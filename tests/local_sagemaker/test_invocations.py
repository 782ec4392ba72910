"""Requests to endpoints: what travels, streams, sessions, limits, and containers that misbehave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from local_sagemaker.containers import Containers, NoAnswer, Overdue

from . import hosted
from .conftest import ROLE, Local, unique, wait_for

MANY = """
import json
class Many(Handler):
    def raw(self, *pieces):
        for piece in pieces:
            self.wfile.write(piece)
        self.close_connection = True
    def do_POST(self):
        what, _, rest = self.body().decode("latin-1").partition(" ")
        head = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n"
        if what == "headers":
            self.answer(200, json.dumps(dict(self.headers)).encode(), Content_Type="application/json",
                X_Amzn_SageMaker_Custom_Attributes="back=1", X_Secret="kept")
        elif what == "refuse":
            self.answer(int(rest), b"no dog")
        elif what == "hangup":
            self.raw(head + b"Content-Length: 100\\r\\n\\r\\nhalf")
        elif what == "nothing":
            self.raw()
        elif what == "garbage":
            self.raw(b"\\x00\\x01 garbage\\r\\n\\r\\n")
        elif what == "flood":
            try:
                self.raw(head + b"Content-Length: 104857600\\r\\n\\r\\n", *[bytes(1 << 20)] * 100)
            except OSError:
                pass
        elif what == "stream":
            self.raw(head + b"Transfer-Encoding: chunked\\r\\n\\r\\n3\\r\\none\\r\\n")
            while not os.path.exists(rest):
                time.sleep(0.02)
            self.raw(b"5\\r\\ntwo\\x00\\xff\\r\\n0\\r\\n\\r\\n")
        elif what == "endless":
            try:
                self.raw(head + b"Transfer-Encoding: chunked\\r\\n\\r\\n")
                while True:
                    self.raw(b"3\\r\\none\\r\\n")
                    time.sleep(0.02)
            except OSError:
                open(rest, "w").close()
        elif what == "broken":
            self.raw(head + b"Transfer-Encoding: chunked\\r\\n\\r\\n3\\r\\none\\r\\n5\\r\\nt")
        else:
            self.answer(200, b"fine")
serve(Many)
"""


@pytest.fixture(scope="module")
def many(local: Local) -> str:
    return hosted.endpoint(local, hosted.config(local, hosted.variant(hosted.model(local, MANY))))


def invoke(local: Local, name: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = local.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **more)
    return answer


def stream(local: Local, name: str, body: bytes, **more: Any) -> dict[str, Any]:
    runtime = local.client("sagemaker-runtime")
    answer: dict[str, Any] = runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=body, **more)
    return answer


def test_the_members_of_a_request_are_headers_of_the_container(local: Local, many: str) -> None:
    answer = invoke(
        local,
        many,
        b"headers",
        ContentType="text/x-dog",
        Accept="application/json",
        CustomAttributes="a=1",
        InferenceId="one two",
        SessionId="NEW_SESSION",
    )
    seen = json.loads(answer["Body"].read())
    assert (seen["Content-Type"], seen["Accept"]) == ("text/x-dog", "application/json")
    ours = {name: value for name, value in seen.items() if name.lower().startswith(("x-amz", "auth"))}
    assert ours == {
        "X-Amzn-SageMaker-Custom-Attributes": "a=1",
        "X-Amzn-SageMaker-Inference-Id": "one two",
        "X-Amzn-SageMaker-Session-Id": "NEW_SESSION",
    }
    assert (answer["CustomAttributes"], answer["InvokedProductionVariant"]) == ("back=1", "A")
    assert "x-secret" not in answer["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TargetModel": "a.tar.gz"}, "is not a multi-model endpoint and does not support target model header"),
        ({"TargetContainerHostname": "b"}, "is not a direct multi-container endpoint"),
        ({"InferenceComponentName": "c"}, "does not do InferenceComponentName"),
        ({"EnableExplanations": "`true`"}, "does not do EnableExplanations"),
        ({"SessionId": "nobody"}, "Session nobody of endpoint .* was not found"),
        ({"TargetVariant": "B"}, "Variant B of endpoint .* not found"),
        ({"InferenceId": "x" * 65}, "'inferenceId' failed"),
        ({"CustomAttributes": "x" * 1025}, "Value 'x.*' at 'customAttributes' failed"),
        ({"EndpointName": "nobody"}, "Endpoint nobody of account 000000000000 not found"),
    ],
)
def test_a_request_that_cannot_be(local: Local, many: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ValidationError, match=message):
        local.client("sagemaker-runtime").invoke_endpoint(**{"EndpointName": many, "Body": b"", **changes})


# What the container does, the status and the message of ModelError.
FAILURES = [
    (b"refuse 400", 400, "no dog"),
    (b"refuse 503", 503, "no dog"),
    (b"nothing", 0, "The container did not answer"),
    (b"garbage", 0, "The container did not answer"),
]
# The same for an answer that has begun, which a stream passes on.
LATE_FAILURES = [(b"hangup", 0, "The container did not answer"), (b"flood", 0, "longer than 6291456 bytes")]


@pytest.mark.parametrize(
    ("form", "body", "status", "message"),
    [(invoke, *case) for case in (*FAILURES, *LATE_FAILURES)] + [(stream, *case) for case in FAILURES],
)
def test_a_container_that_misbehaves(
    local: Local, many: str, form: Callable[..., dict[str, Any]], body: bytes, status: int, message: str
) -> None:
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ModelError) as refused:
        form(local, many, body)
    answer = refused.value.response
    assert answer["OriginalStatusCode"] == status
    assert message in answer["OriginalMessage"]
    assert answer["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{many}")
    blame = "client" if status == 400 else "server"
    assert f'Received {blame} error ({status}) from primary with message "' in answer["Error"]["Message"]
    assert invoke(local, many)["Body"].read() == b"fine"


def test_a_stream_arrives_piece_by_piece(local: Local, many: str, tmp_path: Path) -> None:
    answer = stream(local, many, f"stream {tmp_path / 'go'}".encode(), Accept="text/plain")
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "A")
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"one"}}
    (tmp_path / "go").touch()
    assert b"".join(event["PayloadPart"]["Bytes"] for event in events) == b"two\x00\xff"


def test_a_client_that_goes_away_ends_the_stream(local: Local, many: str, tmp_path: Path) -> None:
    body = stream(local, many, f"endless {tmp_path / 'ended'}".encode())["Body"]
    assert next(iter(body)) == {"PayloadPart": {"Bytes": b"one"}}
    body.close()
    wait_for((tmp_path / "ended").exists, bool)


@pytest.mark.parametrize("body", [b"broken", b"hangup"])
def test_a_stream_that_breaks_off_says_so(local: Local, many: str, body: bytes) -> None:
    events = iter(stream(local, many, body)["Body"])
    assert next(events)["PayloadPart"]["Bytes"] in (b"one", b"onet", b"half")
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*did not answer"):
        list(events)


def test_what_is_sent_to_a_container_may_be_more_than_its_answer(local: Local, many: str) -> None:
    """A stream has no limit but time."""
    pieces = [event["PayloadPart"]["Bytes"] for event in stream(local, many, b"flood")["Body"]]
    assert sum(map(len, pieces)) == 100 << 20


def test_a_session_stays_with_its_instance(local: Local) -> None:
    code = """
class Stateful(Handler):
    def do_POST(self):
        session, name = self.headers["X-Amzn-SageMaker-Session-Id"], str(os.getpid())
        more = {}
        if session == "NEW_SESSION":
            more = {"X_Amzn_SageMaker_New_Session_Id": f"{name}; Expires=2030-01-01T00:00:00Z"}
        if self.body() == b"close":
            more = {"X_Amzn_SageMaker_Closed_Session_Id": session}
        self.answer(200, name.encode(), **more)
serve(Stateful)
"""
    config = hosted.config(local, hosted.variant(hosted.model(local, code), InitialInstanceCount=2))
    name = hosted.endpoint(local, config)
    opened = invoke(local, name, SessionId="NEW_SESSION")["NewSessionId"]
    session = opened.partition(";")[0]
    assert {hosted.ask(local, name, SessionId=session) for _ in range(5)} == {session}
    assert len({hosted.ask(local, name) for _ in range(5)}) == 2
    assert invoke(local, name, b"close", SessionId=session)["ClosedSessionId"] == session
    with pytest.raises(ClientError, match=f"Session {session} of endpoint {name} was not found"):
        invoke(local, name, SessionId=session)
    hosted.remove(local, name)


def test_one_container_of_several_is_asked(local: Local) -> None:
    code = """
class Named(Handler):
    def do_POST(self):
        self.body()
        self.answer(200, os.environ["VERSION"].encode())
serve(Named)
"""
    name = unique("direct")
    data = hosted.packed(code, local.state.parent / f"{name}.tar.gz").as_uri()
    containers = [
        {"Image": "process", "ModelDataUrl": data, "ContainerHostname": host, "Environment": {"VERSION": host}}
        for host in ("one", "two")
    ]
    local.sagemaker.create_model(
        ModelName=name, Containers=containers, InferenceExecutionConfig={"Mode": "Direct"}, ExecutionRoleArn=ROLE
    )
    endpoint = hosted.endpoint(local, hosted.config(local, hosted.variant(name)))
    assert hosted.ask(local, endpoint, TargetContainerHostname="two") == "two"
    assert hosted.ask(local, endpoint, TargetContainerHostname="one") == "one"
    several = "name one of one, two as the target container"
    with pytest.raises(ClientError, match=several):
        invoke(local, endpoint)
    with pytest.raises(ClientError, match=several):
        invoke(local, endpoint, TargetContainerHostname="three")
    hosted.remove(local, endpoint)


def test_the_limits_of_a_serverless_variant(local: Local, tmp_path: Path) -> None:
    code = f"""
class Slow(Handler):
    def do_POST(self):
        if self.body() == b"wait":
            open({str(tmp_path / "inside")!r}, "w").close()
            while not os.path.exists({str(tmp_path / "go")!r}):
                time.sleep(0.02)
        self.answer(200, b"done")
serve(Slow)
"""
    variant = hosted.variant(
        hosted.model(local, code),
        InstanceType=None,
        InitialInstanceCount=None,
        ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 1},
    )
    name = hosted.endpoint(local, hosted.config(local, variant))
    runtime = local.client("sagemaker-runtime")
    assert hosted.ask(local, name, bytes(4 << 20)) == "done"
    with pytest.raises(runtime.exceptions.ValidationError, match="less than or equal to 4194304"):
        invoke(local, name, bytes((4 << 20) + 1))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hosted.ask, local, name, b"wait")
        wait_for((tmp_path / "inside").exists, bool)
        with pytest.raises(ClientError, match=r"\(ThrottlingException\).*has MaxConcurrency 1") as refused:
            invoke(local, name)
        (tmp_path / "go").touch()
        assert first.result() == "done"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert hosted.ask(local, name) == "done"
    hosted.remove(local, name)


@contextmanager
def server(say: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A container of one connection; the event says that the test is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                say(connection, over)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        thread.join()


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def dribbling(connection: socket.socket, over: threading.Event) -> None:
    """Each piece in time, the whole never."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.02):
        try:
            connection.sendall(b".")
        except OSError:
            return


@pytest.mark.parametrize("say", [silent, dribbling])
def test_an_answer_has_a_time_in_all(say: Callable[[socket.socket, threading.Event], None]) -> None:
    with server(say) as url, pytest.raises(Overdue):
        Containers().ask("POST", url, b"x", timeout_s=0.3)


def test_a_container_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer, match="did not answer"):
        Containers().ask("POST", f"http://127.0.0.1:{port}/")
