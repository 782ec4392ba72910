"""Data capture and shadow variants: what is written, and that nobody waits for it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local_sagemaker.capture import Capture, Payload

from . import hosted
from .conftest import Local, wait_for

ECHO = """
class Echo(Handler):
    def do_POST(self):
        body = self.body()
        if body == b"refuse":
            self.answer(400)
        else:
            self.answer(200, os.environ["VERSION"].encode() + b":" + body, Content_Type="text/csv; charset=utf-8")
serve(Echo)
"""
PLACE = re.compile(r"\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl")


def settings(directory: Path, **more: Any) -> dict[str, Any]:
    return {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": directory.as_uri(),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        **more,
    }


def captured(directory: Path, count: int) -> list[dict[str, Any]]:
    """The lines below a directory, when there are so many."""

    def look() -> list[dict[str, Any]]:
        files = sorted(directory.rglob("*.jsonl"))
        assert all(PLACE.fullmatch(path.relative_to(directory).as_posix()) for path in files)
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    found: list[dict[str, Any]] = wait_for(look, lambda lines: len(lines) >= count)
    return found


def test_requests_and_answers_are_captured(local: Local, tmp_path: Path) -> None:
    config = hosted.config(
        local, hosted.variant(hosted.model(local, ECHO)), DataCaptureConfig=settings(tmp_path, EnableCapture=True)
    )
    name = hosted.endpoint(local, config)
    runtime = local.client("sagemaker-runtime")
    for content_type, body in (("text/csv", b"1,2"), ("image/jpeg", b"\xff\xd8"), ("application/json", b"\xff")):
        hosted.ask(local, name, b"3", ContentType="text/csv")
        runtime.invoke_endpoint(
            EndpointName=name, Body=body, ContentType=content_type, InferenceId="mine", CustomAttributes="a=1"
        )
    with pytest.raises(runtime.exceptions.ModelError):
        runtime.invoke_endpoint(EndpointName=name, Body=b"refuse")
    lines = captured(tmp_path / name / "A", 6)
    assert len(lines) == 6
    (line,) = [
        line for line in lines
        if "inferenceId" in line["eventMetadata"] and line["captureData"]["endpointInput"]["encoding"] == "CSV"
    ]  # fmt: skip
    assert line["captureData"] == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"},
        "endpointOutput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": "v1:1,2",
            "encoding": "CSV",
        },
    }
    event = line["eventMetadata"]
    assert (event["inferenceId"], event["customAttributes"], line["eventVersion"]) == ("mine", ["a=1"], "0")
    assert re.fullmatch(r"[0-9a-f-]{36}", event["eventId"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["inferenceTime"])
    binary = [line["captureData"]["endpointInput"] for line in lines]
    assert {
        (side["observedContentType"], base64.b64decode(side["data"])) for side in binary if side["encoding"] == "BASE64"
    } == {("image/jpeg", b"\xff\xd8"), ("application/json", b"\xff")}
    assert len({line["eventMetadata"]["eventId"] for line in lines}) == 6
    hosted.remove(local, name)


def test_streams_are_captured_too(local: Local, tmp_path: Path) -> None:
    capture = settings(tmp_path, CaptureOptions=[{"CaptureMode": "Output"}])
    config = hosted.config(local, hosted.variant(hosted.model(local, ECHO)), DataCaptureConfig=capture)
    name = hosted.endpoint(local, config)
    answer = local.client("sagemaker-runtime").invoke_endpoint_with_response_stream(EndpointName=name, Body=b"x")
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"v1:x"]
    (line,) = captured(tmp_path / name / "A", 1)
    assert list(line["captureData"]) == ["endpointOutput"]
    assert line["captureData"]["endpointOutput"]["data"] == "v1:x"
    hosted.remove(local, name)


def test_what_waits_is_written_when_the_server_ends(start: Any, tmp_path: Path) -> None:
    local: Local = start("--endpoint-stop-s", "1")
    config = hosted.config(local, hosted.variant(hosted.model(local, ECHO)), DataCaptureConfig=settings(tmp_path))
    name = hosted.endpoint(local, config)
    hosted.ask(local, name, b"last")
    local.down()
    assert len(captured(tmp_path / name / "A", 1)) == 1


def test_which_requests_are_drawn() -> None:
    capture = Capture()
    config = settings(Path("/nowhere"))
    assert not capture.draw(None)
    assert not capture.draw({**config, "EnableCapture": False})
    assert not capture.draw({**config, "InitialSamplingPercentage": 0})
    assert capture.draw(config)
    drawn = sum(capture.draw({**config, "InitialSamplingPercentage": 30}) for _ in range(10_000))
    assert 2_000 < drawn < 4_000  # more than 20 standard deviations to each side


def test_a_shadow_gets_copies_and_holds_up_nobody(local: Local, tmp_path: Path) -> None:
    """The shadow answers when the test says so, which is after the true answer."""
    late = f"""
class Late(Handler):
    def do_POST(self):
        body = self.body()
        while not os.path.exists({str(tmp_path / "go")!r}):
            time.sleep(0.02)
        self.answer(500 if body == b"two" else 200, b"shadow:" + body)
serve(Late)
"""
    config = hosted.config(
        local,
        hosted.variant(hosted.model(local, ECHO)),
        ShadowProductionVariants=[hosted.variant(hosted.model(local, late), VariantName="S")],
        DataCaptureConfig=settings(tmp_path / "captured"),
    )
    name = hosted.endpoint(local, config)
    for body in (b"one", b"two", b"three"):
        assert hosted.ask(local, name, body) == f"v1:{body.decode()}"
    assert not (tmp_path / "captured" / name / "S").exists()
    (tmp_path / "go").touch()
    shadow, true = captured(tmp_path / "captured" / name / "S", 2), captured(tmp_path / "captured" / name / "A", 3)
    answers = {line["captureData"]["endpointOutput"]["data"] for line in shadow}
    assert answers == {base64.b64encode(text).decode() for text in (b"shadow:one", b"shadow:three")}
    events = [{line["eventMetadata"]["eventId"] for line in lines} for lines in (shadow, true)]
    assert events[0] < events[1]
    hosted.remove(local, name)


def test_a_place_that_cannot_be_written_loses_the_line_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    capture, payload = Capture(), Payload("text/csv", b"1")
    route: Any = type("Route", (), {"endpoint": "e", "variant": "A", "region": "us-east-1"})
    for directory in (tmp_path / "file", tmp_path / "good"):
        capture.take(settings(directory), route, "id", {}, payload, payload)
    capture.close()
    assert "1 captured requests are lost" in caplog.text
    assert len(captured(tmp_path / "good" / "e" / "A", 1)) == 1
