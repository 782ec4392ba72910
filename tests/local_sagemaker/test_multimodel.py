"""Multi-model endpoints through boto3, with a container that keeps the contract and has room for two models."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.containers import Containers
from local_sagemaker.errors import ApiError
from local_sagemaker.multimodel import MultiModel
from local_sagemaker.routing import Route

from . import hosted
from .conftest import ROLE, Local, unique, wait_for

# `text` is the model. Models with the texts `bad`, `forgotten` and `busy` are what they are called.
MULTI = """
import json
loaded = {}

class Multi(Handler):
    def do_POST(self):
        body = self.body()
        if self.path == "/models":
            self.load(json.loads(body))
            return
        name = self.path.split("/")[2]
        text = loaded.get(name)
        if text == "forgotten" and body == b"forget":
            del loaded[name]
        if text == "busy":
            open("inside", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.02)
        if text is None:
            self.answer(404, b"no such model")
        elif body == b"die":
            os._exit(7)
        elif body == b"refuse":
            self.answer(400, b"no dog")
        else:
            target = self.headers["X-Amzn-SageMaker-Target-Model"]
            self.answer(200, f"{text} of {target}, loaded {' '.join(sorted(loaded.values()))}".encode())
    def load(self, request):
        name, text = request["model_name"], open(request["url"] + "/text").read()
        print("load", text)
        if name in loaded:
            self.answer(409)
        elif text == "bad":
            self.answer(500, b"cannot be loaded")
        elif len(loaded) == 2:
            self.answer(507, b"no room")
        else:
            loaded[name] = text
            self.answer(200)
    def do_DELETE(self):
        text = loaded.pop(self.path.split("/")[2])
        print("unload", text)
        self.answer(200)
    def do_GET(self):
        self.answer(200 if self.path == "/ping" or self.path.split("/")[2] in loaded else 404)

serve(Multi)
"""


def archive(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(directory / name, "w:gz") as tar:
        member = tarfile.TarInfo("text")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("one", "two", "three", "bad", "forgotten", "busy"):
        archive(tmp_path / "models", f"{name}.tar.gz", name)
    archive(tmp_path / "models", "sub dir/four.tar.gz", "four")
    archive(tmp_path, "outside.tar.gz", "outside")
    (tmp_path / "models" / "broken.tar.gz").write_bytes(os.urandom(50))
    return tmp_path / "models"


def deploy(local: Local, prefix: str, directory: Path) -> str:
    (directory / "serve.py").write_text(MULTI)
    container = {
        "Image": "process",
        "Mode": "MultiModel",
        "ModelDataUrl": prefix,
        "Environment": {"SERVE_CODE": str(directory / "serve.py")},
    }
    model = unique("multi")
    local.sagemaker.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return hosted.endpoint(local, hosted.config(local, hosted.variant(model)))


@pytest.fixture
def name(local: Local, models: Path, tmp_path: Path) -> Any:
    endpoint = deploy(local, f"{models.as_uri()}/", tmp_path)
    yield endpoint
    hosted.remove(local, endpoint)


def work(local: Local, name: str) -> list[str]:
    return [line for line in hosted.log_of(local, name) if line.startswith(("load", "unload"))]


def ask(local: Local, name: str, model: str, body: bytes = b"x") -> str:
    return hosted.ask(local, name, body, TargetModel=model)


def test_models_are_loaded_when_asked_for_and_make_room_for_others(local: Local, name: str) -> None:
    assert ask(local, name, "one.tar.gz") == "one of one.tar.gz, loaded one"
    assert ask(local, name, "two.tar.gz") == "two of two.tar.gz, loaded one two"
    assert ask(local, name, "one.tar.gz") == "one of one.tar.gz, loaded one two"
    assert ask(local, name, "sub dir/four.tar.gz") == "four of sub dir/four.tar.gz, loaded four one"
    assert work(local, name) == ["load one", "load two", "load four", "unload two", "load four"]
    assert ask(local, name, "two.tar.gz") == "two of two.tar.gz, loaded four two"
    deployed = next((local.state / "endpoints" / name).glob("*/A/i-*/ml-0/models"))
    assert len(list(deployed.iterdir())) == 2


def test_models_may_be_in_s3(local: Local, models: Path, tmp_path: Path) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.upload_file(str(models / "one.tar.gz"), "models", "all/one.tar.gz")
    endpoint = deploy(local, "s3://models/all", tmp_path)
    assert ask(local, endpoint, "/one.tar.gz") == "one of /one.tar.gz, loaded one"
    with pytest.raises(ClientError, match=r"Failed to download model data\(bucket: models, key: all/two.tar.gz\)"):
        ask(local, endpoint, "two.tar.gz")
    hosted.remove(local, endpoint)


def test_one_load_serves_all_who_wait_for_it(local: Local, name: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(local, name, "three.tar.gz"), range(8)))
    assert set(answers) == {"three of three.tar.gz, loaded three"}
    assert work(local, name) == ["load three"]


def test_a_model_in_use_is_not_unloaded(local: Local, name: str) -> None:
    base = next((local.state / "endpoints" / name).glob("*/A/i-*/ml-0"))
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(ask, local, name, "busy.tar.gz")
        wait_for((base / "inside").exists, bool)
        ask(local, name, "one.tar.gz")
        ask(local, name, "two.tar.gz")
        (base / "go").touch()
        assert busy.result().startswith("busy of")
    assert "unload busy" not in work(local, name)


def test_a_model_that_the_container_forgot_is_loaded_again(local: Local, name: str) -> None:
    ask(local, name, "forgotten.tar.gz", b"forget")
    assert ask(local, name, "forgotten.tar.gz") == "forgotten of forgotten.tar.gz, loaded forgotten"
    assert work(local, name) == ["load forgotten", "load forgotten"]


def test_a_container_that_was_started_again_loads_its_models_again(local: Local, name: str) -> None:
    ask(local, name, "one.tar.gz")
    ask(local, name, "two.tar.gz")
    with pytest.raises(ClientError, match=r"\(ModelError\).*did not answer"):
        ask(local, name, "one.tar.gz", b"die")

    def again() -> str:
        try:
            return ask(local, name, "two.tar.gz")
        except ClientError as error:
            return str(error)

    wait_for(again, lambda answer: answer == "two of two.tar.gz, loaded two")


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("nobody.tar.gz", "ValidationError", r"Failed to download model data\(bucket: , key: .*nobody.tar.gz\)"),
        ("../outside.tar.gz", "ValidationError", "leaves the endpoint's models"),
        ("%2e%2e/outside.tar.gz", "ValidationError", "Failed to download model data"),
        ("broken.tar.gz", "ValidationError", "cannot be unpacked"),
        ("bad.tar.gz", "ModelError", r'Received server error \(500\) from model with message "cannot be loaded"'),
    ],
)
def test_a_model_that_cannot_be_had(local: Local, name: str, model: str, code: str, message: str) -> None:
    for _ in range(2):  # a failure is not kept
        with pytest.raises(ClientError, match=rf"\({code}\).*{message}"):
            ask(local, name, model)
    assert ask(local, name, "one.tar.gz") == "one of one.tar.gz, loaded one"


def test_a_refusal_and_a_request_without_a_model(local: Local, name: str) -> None:
    with pytest.raises(ClientError, match=r"\(ModelError\).*client error \(400\) from model with message \"no dog"):
        ask(local, name, "one.tar.gz", b"refuse")
    with pytest.raises(ClientError, match=r"\(ValidationError\).*is missing a target model header"):
        hosted.ask(local, name)
    with pytest.raises(ClientError, match=r"\(ValidationError\).*their answer is not streamed"):
        local.client("sagemaker-runtime").invoke_endpoint_with_response_stream(EndpointName=name, Body=b"")


def test_a_model_that_is_still_loading(models: Path, tmp_path: Path) -> None:
    """Without the wire, where a request would wait for a minute."""
    go = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path == "/models":
                go.wait()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        container = {"Image": "process", "Mode": "MultiModel", "ModelDataUrl": models.as_uri()}
        url = f"http://127.0.0.1:{server.server_port}"
        route = Route("e", "A", (url,), "A/i", "us-east-1", {}, (container,), tmp_path / "ml", lambda: None)
        hurried = MultiModel(Containers(), patience_s=0.1)
        for _ in range(2):
            with pytest.raises(ApiError, match="still downloading or loading") as refused:
                hurried.invoke(route, "one.tar.gz", b"x", {})
            assert (refused.value.code, refused.value.status) == ("ModelNotReadyException", 429)
        go.set()

        def answered() -> int:
            try:
                return hurried.invoke(route, "one.tar.gz", b"x", {}).status
            except ApiError:
                return 429

        wait_for(answered, lambda status: status == 200)
        server.shutdown()
