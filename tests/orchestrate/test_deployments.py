"""Every way to host a model, against a real server with a container of a few lines; tables, folders, batches."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_sagemaker import validation
from orchestrate import (
    clean,
    console,
    deploy,
    endpoints,
    hosting,
    hosting_options,
    inference_ami,
    jobs,
    options,
    predict,
    transform,
)
from orchestrate.errors import InputError, JobFailed
from orchestrate.hosting import Hosting, Rollout, Scaling, Serverless
from orchestrate.session import Session
from photographs import CLASSES

FIRST = [((CLASSES[0], 0.5),)]


def artifact(folder: Path, classes: list[str], bites: bool = False) -> str:
    """The URI of a model.tar.gz that the container of these tests serves."""
    described = {"classes": classes, "hyperparameters": {"label-smoothing": "0.9" if bites else "0"}}
    content = json.dumps(described).encode()
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("model.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return (folder / "model.tar.gz").as_uri()


@pytest.fixture
def first(tmp_path: Path) -> str:
    return artifact(tmp_path / "first", list(CLASSES))


@pytest.fixture
def photograph(data: Path) -> Path:
    return data / "test" / CLASSES[0] / "0.jpg"


@pytest.fixture
def start(local: Session, out: console.Console, first: str) -> Callable[..., str]:
    """Deploys, and gives the endpoint's name."""

    def call(asked: Hosting = Hosting()) -> str:  # noqa: B008
        return deploy.deploy(local, out, jobs.unique_name("serve"), "process", first, asked).endpoint

    return call


def answer(local: Session, endpoint: str, photograph: Path) -> str:
    """The label that comes first."""
    return predict.predict(local, endpoint, [photograph], top_k=1)[0].labels[0][0]


def test_serverless(local: Session, start: Callable[..., str], photograph: Path) -> None:
    name = start(Hosting(serverless=Serverless(2048, 3)))
    assert answer(local, name, photograph) == CLASSES[0]
    variant = endpoints.config_of(local, name)["ProductionVariants"][0]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 3}
    assert "InstanceType" not in variant


def test_asynchronous_is_asked_by_files(
    local: Session, start: Callable[..., str], photograph: Path, tmp_path: Path
) -> None:
    folder = (tmp_path / "line").as_uri()
    name = start(Hosting(asynchronous=folder))
    assert answer(local, name, photograph) == CLASSES[0]
    assert len(list((tmp_path / "line" / "answers").iterdir())) == 1
    text = tmp_path / "a.txt"
    text.write_text("no photograph")
    with pytest.raises(InputError, match=r"a\.txt: .*that is no JPEG"):
        predict.predict(local, name, [text])


def test_scaling_and_capture_go_with_the_endpoint(
    local: Session, start: Callable[..., str], photograph: Path, tmp_path: Path
) -> None:
    captured = tmp_path / "captured"
    name = start(Hosting(scaling=Scaling(1, 3, 500.0), capture=captured.as_uri()))
    client = local.client("application-autoscaling")
    target = {"ServiceNamespace": "sagemaker", "ResourceIds": [hosting.resource(name)]}
    (found,) = client.describe_scalable_targets(**target)["ScalableTargets"]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 3)
    (policy,) = client.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=hosting.resource(name))[
        "ScalingPolicies"
    ]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 500.0
    assert answer(local, name, photograph) == CLASSES[0]
    endpoints.remove(local, name)
    assert not client.describe_scalable_targets(**target)["ScalableTargets"]
    until = time.monotonic() + 60  # it is written behind the requests' back
    while not list(captured.rglob("*.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_another_model_by_canary_then_one_that_bites(
    local: Session, start: Callable[..., str], photograph: Path, tmp_path: Path, out: console.Console,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = start(Hosting(instances=2))
    second = artifact(tmp_path / "second", ["a cat", "b", "c"])
    sent = deploy.update_requests(
        local,
        name,
        "process",
        second,
        Hosting(instances=2),
        Rollout("canary", 50, 0, ("too many errors",)),
        "kennel-second",
    )
    for operation, request in sent:
        validation.check("sagemaker", operation, request)
    assert endpoints.change(local, out, name, sent) == [("EndpointConfig", name), ("Model", name)]
    assert answer(local, name, photograph) == "a cat"

    bites = artifact(tmp_path / "third", ["no"], bites=True)
    sent = deploy.update_requests(local, name, "process", bites, Hosting(), Rollout(wait_s=0), "kennel-third")
    with pytest.raises(JobFailed, match=f"endpoint {name} was not changed: .*it answers with the model that it had"):
        endpoints.change(local, out, name, sent)
    assert "this model bites" in capsys.readouterr().err
    assert answer(local, name, photograph) == "a cat"
    assert endpoints.parts(local, name) == [("Endpoint", name), ("EndpointConfig", "kennel-second"),
                                            ("Model", "kennel-second")]  # fmt: skip
    assert not [item for item in clean.find(local) if item.name == "kennel-third"]
    # By the endpoint's name, what it has goes too, whatever it is called.
    chosen = clean._named(local, clean.find(local), [name])
    assert [(item.kind, item.name) for item in chosen] == endpoints.parts(local, name)
    clean.clean(local, chosen, out)
    assert endpoints.parts(local, name) == []


def test_a_shadow_sees_the_requests_and_answers_none(
    local: Session, start: Callable[..., str], photograph: Path, tmp_path: Path, out: console.Console
) -> None:
    name = start()
    second = artifact(tmp_path / "second", ["a cat"])
    sent = deploy.shadow_requests(local, name, "process", second, Hosting(), 50, "kennel-shadow")
    validation.check("sagemaker", "CreateEndpointConfig", sent[1][1])
    endpoints.change(local, out, name, sent)
    now = endpoints.config_of(local, name)
    assert [v["ModelName"] for v in now["ShadowProductionVariants"]] == ["kennel-shadow"]
    assert now["ShadowProductionVariants"][0]["InitialVariantWeight"] == 0.5
    assert answer(local, name, photograph) == CLASSES[0]
    assert ("Model", "kennel-shadow") in endpoints.parts(local, name)

    deleted = endpoints.change(local, out, name, deploy.end_shadow_requests(local, name, "kennel-alone"))
    assert ("Model", "kennel-shadow") in deleted
    assert answer(local, name, photograph) == CLASSES[0]
    with pytest.raises(InputError, match="has no shadow"):
        deploy.end_shadow_requests(local, name, "kennel-again")


@pytest.mark.parametrize("kind", ["all-at-once", "canary", "linear", "rolling"])
def test_every_rollout_is_a_request_that_aws_takes(kind: str) -> None:
    validation.check(
        "sagemaker", "UpdateEndpoint", hosting.update("kennel-a", "kennel-b", Rollout(kind, 20, 60, ("x",)))
    )


def test_several_models_are_a_request_that_aws_takes(local: Session) -> None:
    request = hosting.model(local, "kennel-many", "process", "s3://bucket/models", several=True)
    validation.check("sagemaker", "CreateModel", request)
    assert request["PrimaryContainer"]["Mode"] == "MultiModel"
    assert request["PrimaryContainer"]["ModelDataUrl"] == "s3://bucket/models/"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--artifact a --serverless --scale 1:2", "--serverless and --scale do not go together"),
        ("--artifact a --serverless --memory-mb 1000", "--memory-mb 1000 must be one of 1024, 2048"),
        ("--artifact a --serverless --provisioned 6", "--provisioned 6 must be between 0 and --concurrency 5"),
        ("--artifact a --scale 2:1", "--scale '2:1' must be MIN:MAX"),
        ("--artifact a --scale 0:1", "--scale from 0 is for --async alone"),
        ("--artifact a --serverless --capture 50", "--serverless and --capture do not go together"),
        ("--artifact a --capture 0", "--capture 0 must be between 1 and 100"),
        ("--artifact a --rollout canary", "add --update ENDPOINT"),
        ("--multi-model file:///m --update e", "--update takes one model"),
        ("--artifact a --update e --scale 1:2", "--update and --scale do not go together"),
    ],
)
def test_options_that_contradict_each_other(line: str, sentence: str) -> None:
    parser = options.parser(None)
    hosting_options.add_arguments(parser)
    with pytest.raises(InputError, match=sentence):
        hosting_options.check(parser.parse_args(line.split()))


def test_an_endpoint_that_changes_stays_what_it_is(
    local: Session, start: Callable[..., str], first: str, tmp_path: Path
) -> None:
    captured = (tmp_path / "captured").as_uri()
    name = start(Hosting("ml.c5.xlarge", instances=2, capture=captured, capture_percent=10))

    def config(line: str, endpoint: str) -> dict[str, Any]:
        parser = options.parser(None)
        hosting_options.add_arguments(parser)
        args = parser.parse_args(f"--artifact {first} --update {endpoint} {line}".split())
        asked = hosting_options.place(hosting_options.check(args), args, local, endpoint)
        sent = deploy.update_requests(local, endpoint, "process", first, asked, Rollout(), "kennel-next")
        validation.check("sagemaker", *sent[1])
        return sent[1][1]

    found = config("", name)
    assert found["DataCaptureConfig"]["InitialSamplingPercentage"] == 10
    (variant,) = found["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.xlarge", 2)
    (variant,) = config("--instance-type ml.m5.large --instances 1", name)["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.m5.large", 1)
    with pytest.raises(InputError, match="has instances, and SageMaker makes none of them serverless"):
        config("--serverless", name)
    endpoints.remove(local, name)

    less = start(Hosting(serverless=Serverless(2048, 3)))
    assert config("", less)["ProductionVariants"][0]["ServerlessConfig"] == {
        "MemorySizeInMB": 2048,
        "MaxConcurrency": 3,
    }
    with pytest.raises(InputError, match="--rollout rolling is for instances"):
        config("--rollout rolling", less)


@pytest.mark.parametrize(
    ("line", "target", "wakes_late"),
    [
        ("--scale 1:2", 400.0, False),
        ("--async --scale 0:2", 5.0, True),
        ("--async --scale 0:2 --scale-target 0.5", 0.5, False),
    ],
)
def test_what_an_instance_is_to_have(line: str, target: float, wakes_late: bool) -> None:
    parser = options.parser(None)
    hosting_options.add_arguments(parser)
    asked = hosting_options.check(parser.parse_args(f"--artifact a {line}".split()))
    assert asked.scaling and asked.scaling.target == target
    assert (hosting_options.waking(asked) is not None) == wakes_late


def test_an_endpoint_that_is_not_there(local: Session, photograph: Path) -> None:
    with pytest.raises(InputError, match="there is no endpoint kennel-nowhere"):
        predict.predict(local, "kennel-nowhere", [photograph])


def test_a_folder_becomes_a_table(local: Session, start: Callable[..., str], data: Path, tmp_path: Path) -> None:
    name = start()
    answers = predict.predict(local, name, [data / "test"], top_k=2)
    assert len(answers) == 2 * len(CLASSES)
    predict.write_csv(answers, tmp_path / "answers.csv")
    rows = list(csv.reader((tmp_path / "answers.csv").open()))
    assert rows[0] == ["photograph", "label", "probability", "label_2", "probability_2"]
    assert rows[1] == [str(data / "test" / CLASSES[0] / "0.jpg"), CLASSES[0], "0.500000", CLASSES[1], "0.250000"]
    assert len(rows) == 7
    with pytest.raises(InputError, match="there is no photograph in this folder"):
        predict.predict(local, name, [tmp_path / "first"])


@pytest.mark.parametrize("as_manifest", [False, True])
def test_a_batch_becomes_a_table(
    local: Session, data: Path, first: str, tmp_path: Path, out: console.Console, as_manifest: bool
) -> None:
    source = (data / "test").as_uri()
    if as_manifest:
        manifest: list[Any] = [{"prefix": f"{source}/"}, *(f"{label}/0.jpg" for label in CLASSES)]
        (tmp_path / "some.manifest").write_text(json.dumps(manifest))
        source = (tmp_path / "some.manifest").as_uri()
    name = jobs.unique_name("batch")
    batch = transform.Batch(source, (tmp_path / "answers").as_uri(), "ml.g5.xlarge")
    sent = dict(transform.requests(local, name, "process", first, batch))
    validation.check("sagemaker", "CreateTransformJob", sent["CreateTransformJob"])
    assert sent["CreateTransformJob"]["TransformResources"]["TransformAmiVersion"] == inference_ami.TRANSFORM_AMI
    done = transform.transform(local, out, name, "process", first, batch)
    assert len(done.predictions) == (len(CLASSES) if as_manifest else 2 * len(CLASSES))
    assert {p.labels[0] for p in done.predictions} == {(CLASSES[0], 0.5)}
    assert transform.attach(local, out, name) == done and done.failure is None
    assert not [item for item in clean.find(local) if item.name == name]


def test_a_batch_with_a_photograph_that_is_none(
    local: Session, data: Path, first: str, tmp_path: Path, out: console.Console
) -> None:
    folder = tmp_path / "of mine"
    shutil.copytree(data / "test", folder)
    (folder / "notes.txt").write_text("what is no photograph by its name is not sent")
    uri = transform._published(local, str(folder), "kennel-a", True)
    assert uri.endswith(".manifest")
    (folder / "broken.jpg").write_text("no photograph")
    uri = transform._published(local, str(folder), "kennel-b", True)
    name = jobs.unique_name("batch")
    done = transform.transform(
        local, out, name, "process", first, transform.Batch(uri, (tmp_path / "answers").as_uri(), "ml.m5.large")
    )
    assert done.failure and "broken.jpg" in done.failure
    assert [p.photograph for p in done.predictions] == [f"{label}/{n}.jpg" for label in CLASSES for n in range(2)]


def test_a_batch_that_fails_tells_its_log(
    local: Session, data: Path, tmp_path: Path, out: console.Console, capsys: pytest.CaptureFixture[str]
) -> None:
    bites = artifact(tmp_path / "bites", ["no"], bites=True)
    batch = transform.Batch((data / "test").as_uri(), (tmp_path / "answers").as_uri(), "ml.m5.large")
    name = jobs.unique_name("batch")
    with pytest.raises(JobFailed, match=f"transform job {name} ended Failed"):
        transform.transform(local, out, name, "process", bites, batch)
    assert "this model bites" in capsys.readouterr().err
    assert not [item for item in clean.find(local) if item.name == name]


def test_ctrl_c_leaves_no_endpoint(
    local: Session, first: str, out: console.Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker refuses to delete one that it is still creating."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoints, "wait", interrupted)
    name = jobs.unique_name("serve")
    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(local, out, name, "process", first, Hosting())
    assert endpoints.parts(local, name) == []


def test_an_endpoint_whose_configuration_somebody_deleted(local: Session, start: Callable[..., str]) -> None:
    name = start()
    local.client("sagemaker").delete_endpoint_config(EndpointConfigName=name)
    with pytest.raises(InputError, match="has lost its configuration"):
        endpoints.config_of(local, name)
    (item,) = [item for item in clean.find(local) if item.kind == "Endpoint" and item.name == name]
    assert clean.cost(local, item) is None
