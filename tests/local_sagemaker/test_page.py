"""The page at the server's root, in a headless Chromium: it shows what happens without being asked again."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from .conftest import Local, training_request, unique
from .test_endpoints import ECHO
from .test_tuning import create, request

HOSTILE = '<img src=x onerror="window.hacked=1">'
# Prints, waits for a file, prints on, waits for the next: the test says when.
STEPS = """
import os, time
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)
print({hostile!r}, flush=True)
print("loss=1.0", flush=True)
wait_for({gate!r} + ".1")
print("loss=0.5 and more", flush=True)
wait_for({gate!r} + ".2")
"""
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def server(start: Callable[..., Local]) -> Local:
    return start("--training-stop-s", "1", "--endpoint-stop-s", "1")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must not write an error to its console."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


def is_complaint(message: ConsoleMessage) -> bool:
    """Chromium itself says so when a request gets 404, as one does for what has just been deleted."""
    is_gone = "404" in message.text and "/local/" in message.location.get("url", "")
    return message.type in ("error", "warning") and not is_gone


def ask(server: Local, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    answer = response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
    connection.close()
    return answer


def stepping(server: Local, gate: Path, **changes: Any) -> str:
    return server.train(STEPS.format(hostile=HOSTILE, gate=str(gate)), **changes)


def test_an_empty_server_says_how_to_begin(page: Page, start: Callable[..., Local]) -> None:
    empty = start()
    page.goto(empty.url)
    expect(page.get_by_text(f"export AWS_ENDPOINT_URL={empty.url}")).to_be_visible()
    expect(page.locator("#live")).to_have_text("live")


def test_browsers_get_the_page_and_clients_get_json(server: Local) -> None:
    status, headers, body = ask(server, "GET", "/", Accept="text/html,*/*;q=0.8")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert b"http" not in body.replace(b"http-equiv", b"")  # nothing from elsewhere
    status, _, body = ask(server, "GET", "/", Accept="*/*")
    assert (status, json.loads(body)["service"]) == (200, "local-sagemaker")
    for path in (
        "/local/page/nothing.js",
        "/local/page/page.py",
        "/local/list/nothing",
        "/local/detail/endpoints/x",
    ):
        assert ask(server, "GET", path)[0] == 404, path
    assert ask(server, "GET", "/local/list/training-jobs?offset=x")[0] == 400


def test_a_job_appears_grows_and_is_stopped(server: Local, page: Page, tmp_path: Path) -> None:
    page.goto(f"{server.url}/#/training-jobs")
    expect(page.get_by_role("heading", name="Training jobs")).to_be_visible()
    gate = tmp_path / "gate"
    job = stepping(server, gate)
    page.get_by_role("link", name=job).click()  # nobody reloads
    log = page.get_by_role("log")
    expect(log).to_contain_text(f"{HOSTILE}")
    expect(log).to_contain_text("loss=1.0")
    expect(page.locator(".plot circle")).to_have_count(1)
    (tmp_path / "gate.1").touch()
    expect(log).to_contain_text("loss=0.5 and more")
    expect(page.locator(".plot polyline")).to_have_count(1)
    expect(page.locator(".plot circle")).to_have_count(2)
    expect(page.locator(".legend")).to_have_text("loss 0.5")
    page.get_by_role("searchbox", name="Search in the log").fill("AND more")
    expect(log.locator("div")).to_have_count(1)
    page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Stop the training job {job}?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert server.sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "InProgress"
    page.get_by_role("button", name="Stop", exact=True).click()
    dialog.get_by_role("button", name="Stop").click()
    expect(page.locator(".head .badge")).to_have_text("Stopped")
    assert server.finished(job)["TrainingJobStatus"] == "Stopped"
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img").count() == 0


def test_reasons_and_names_are_text(server: Local, page: Page) -> None:
    job = server.train(f"open('output/failure', 'w').write({HOSTILE!r}); raise SystemExit(3)")
    server.finished(job)
    page.goto(f"{server.url}/#/training-jobs/{job}")
    expect(page.locator(".reason")).to_have_text(f"AlgorithmError: {HOSTILE}, exit code: 3")
    assert page.locator("main img").count() == 0
    status, _, body = ask(server, "GET", f"/local/detail/training-jobs/{quote(HOSTILE, safe='')}")
    assert (status, json.loads(body)["message"]) == (404, "There is no such thing here (any more).")


def test_a_spot_job_is_interrupted(server: Local, page: Page, tmp_path: Path) -> None:
    stopping = {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
    job = stepping(server, tmp_path / "gate", EnableManagedSpotTraining=True, StoppingCondition=stopping)
    server.printed(job, "loss=1.0")
    page.goto(f"{server.url}/#/training-jobs/{job}")
    page.get_by_role("button", name="Interrupt").click()
    page.get_by_role("dialog").get_by_role("button", name="Interrupt").click()
    expect(page.get_by_role("rowheader", name="Interrupted")).to_be_visible()
    server.sagemaker.stop_training_job(TrainingJobName=job)
    server.finished(job)


def test_a_search_shows_its_trials(server: Local, page: Page) -> None:
    tuning = create(server, request(jobs=4))
    page.goto(f"{server.url}/#/tuning-jobs/{tuning}")
    expect(page.locator(".head .badge")).to_have_text("Completed")
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.locator("tr.best")).to_have_count(1)
    described = server.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    best = described["BestTrainingJob"]["TrainingJobName"]
    expect(page.locator(f'tr.best a[title="{best}"]')).to_be_visible()
    by_trial, curves = page.locator(".chart").nth(0), page.locator(".chart").nth(1)
    expect(by_trial.locator("circle.best")).to_have_count(1)
    expect(curves.locator(".legend li")).to_have_count(4)
    page.get_by_role("checkbox", name="Curve of trial 1").uncheck()
    expect(curves.locator(".legend li")).to_have_count(3)


def test_an_endpoint_is_deleted(server: Local, page: Page) -> None:
    name = server.deploy(ECHO)
    assert server.settled(name)["EndpointStatus"] == "InService"
    page.goto(f"{server.url}/#/endpoints/{name}")
    expect(page.get_by_role("cell", name="AllTraffic")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.goto(f"{server.url}/#/endpoints")
    expect(page.get_by_text("0 in all")).to_be_visible()


def test_a_transform_job_is_stopped(server: Local, page: Page, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "record").write_text("x")
    slow = """
class Slow(Handler):
    def do_POST(self):
        print("asked", flush=True)
        time.sleep(600)
serve(Slow)
"""
    model, name = server.deploy(slow), unique("transform")
    server.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "in").as_uri()}}
        },
        TransformOutput={"S3OutputPath": (tmp_path / "out").as_uri()},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    page.goto(f"{server.url}/#/transform-jobs")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("log")).to_contain_text("asked")
    expect(page.get_by_text((tmp_path / "out").as_uri(), exact=True)).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator(".head .badge")).to_have_text("Stopped")
    server.settled(model)
    server.sagemaker.delete_endpoint(EndpointName=model)


def test_a_model_package_shows_its_approval(server: Local, page: Page) -> None:
    group = unique("group")
    server.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    specification = {
        "Containers": [{"Image": "process", "ModelDataUrl": "file:///models/a.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    arn = server.sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification)
    page.goto(server.url)
    page.get_by_role("link", name=f"{group}/1").click()
    expect(page.get_by_text("file:///models/a.tar.gz", exact=True)).to_be_visible()
    approval = page.locator(".facts .badge")
    expect(approval).to_have_text("PendingManualApproval")
    server.sagemaker.update_model_package(ModelPackageArn=arn["ModelPackageArn"], ModelApprovalStatus="Approved")
    expect(approval).to_have_text("Approved")


def test_it_is_dark_where_the_system_is(server: Local, page: Page) -> None:
    page.goto(server.url)
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(lightness) > 200
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(lightness) < 60
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_nothing_new_costs_nothing(server: Local) -> None:
    _, headers, _ = ask(server, "GET", "/local/list/training-jobs")
    status, _, body = ask(server, "GET", "/local/list/training-jobs", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"")
    server.finished(server.train("pass"))
    assert ask(server, "GET", "/local/list/training-jobs", If_None_Match=headers["etag"])[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
def test_other_sites_change_nothing(server: Local, headers: dict[str, str]) -> None:
    body = json.dumps({"TrainingJobName": "any"})
    target = {"X_Amz_Target": "SageMaker.StopTrainingJob", "Content_Type": "application/x-amz-json-1.1"}
    status, _, answer = ask(server, "POST", "/", body, **target, **headers)
    assert (status, json.loads(answer)["__type"]) == (403, "AccessDeniedException")
    status, _, _ = ask(server, "POST", "/local/prune", "{}", Content_Type="application/json", **headers)
    assert status == 403


def test_a_form_changes_nothing(server: Local) -> None:
    body = '{"older_than_s": 0, "dry_run": false}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        status, _, answer = ask(server, "POST", "/local/prune", body, Content_Type=kind)
        assert (status, "are JSON" in json.loads(answer)["message"]) == (403, True)
    own = {"Origin": server.url, "Sec_Fetch_Site": "same-origin", "Content_Type": "application/json"}
    assert ask(server, "POST", "/local/prune", '{"older_than_s": 1e9, "dry_run": true}', **own)[0] == 200
    assert ask(server, "POST", "/local/prune", "[]", **own)[0] == 400


def test_a_thousand_jobs_come_in_windows(start: Callable[..., Local], page: Page) -> None:
    server = start()
    server.down()
    record = {
        **training_request("pass", Path("/out")),
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "LastModifiedTime": time.time(),
    }
    for number in range(1000):
        directory = server.state / "training-jobs" / f"job-{number:04d}"
        directory.mkdir(parents=True)
        mine = {**record, "TrainingJobName": directory.name, "CreationTime": 1_700_000_000 + number}
        (directory / "record.json").write_text(json.dumps(mine))
    server.up()
    page.goto(f"{server.url}/#/training-jobs")
    expect(page.get_by_text("1000 in all")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator("tbody tr").first).to_contain_text("job-0999")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("tbody tr").first).to_contain_text("job-0949")
    page.get_by_role("searchbox", name="Name contains").fill("-0123")
    expect(page.locator("tbody tr")).to_have_count(1)
