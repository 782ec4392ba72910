"""What clean.py lists, what it costs, and what it takes away only when it is named."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto import mock_aws

from orchestrate import clean, clean_storage, console, deploy, jobs, options
from orchestrate.errors import InputError
from orchestrate.hosting import Hosting
from orchestrate.prices import Price
from orchestrate.pricing import HOURS_A_MONTH
from orchestrate.session import Session, open_session

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ALL = ("data", "images", "logs")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session on an account in which Kennel has left things, beside those of others."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "KENNEL_OUTPUT", "KENNEL_BUCKET", "KENNEL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        args = options.parser(None).parse_args(["--region", "us-east-1", "--output", "s3://rex/kennel"])
        session = open_session(args)
        s3 = session.client("s3")
        s3.create_bucket(Bucket="rex")
        for key in ("kennel/data/dogs/train/a.jpg", "kennel/data/dogs/train/b.jpg", "kennel/data/cats/c.jpg",
                    "kennel/kennel-train-1/model.tar.gz", "others/data/dogs/a.jpg"):  # fmt: skip
            s3.put_object(Bucket="rex", Key=key, Body=io.BytesIO(bytes(1000)))
        ecr, logs = session.client("ecr"), session.client("logs")
        ecr.create_repository(repositoryName="kennel")
        for tag in ("1", "2"):
            manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "config": {"digest": f"sha256:{tag * 64}", "size": 1}, "layers": []}  # fmt: skip
            ecr.put_image(repositoryName="kennel", imageManifest=json.dumps(manifest), imageTag=tag)
        for name in ("kennel-rex", "max"):
            logs.create_log_group(logGroupName=f"/aws/sagemaker/Endpoints/{name}")
        yield session


def test_what_is_stored_is_listed_with_its_price_and_goes_alone(account: Session) -> None:
    found, notes = clean_storage.find(account, "kennel", ALL)
    assert notes == []
    data = [one for one in found if one.kind == "data"]
    assert [(one.name, one.bytes) for one in data] == [
        ("data/cats", 1000), ("data/dogs", 2000), ("kennel-train-1", 1000)
    ]  # fmt: skip
    assert data[1].usd_a_month == pytest.approx(2000 / 1e9 * 0.023)
    assert sorted(one.label for one in found if one.kind == "images") == ["kennel:1", "kennel:2"]
    assert [one.name for one in found if one.kind == "logs"] == ["/aws/sagemaker/Endpoints/kennel-rex"]

    gone = [one for one in found if one.name in ("data/dogs", "/aws/sagemaker/Endpoints/kennel-rex")]
    gone += [one for one in found if one.label == "kennel:1"]
    for one in gone:
        clean_storage.delete(account, one, "kennel")
    left, _ = clean_storage.find(account, "kennel", ALL)
    assert left == [one for one in found if one not in gone]
    assert account.storage.has_any("s3://rex/others/data/dogs")


def test_what_cannot_be_listed_is_told_and_the_rest_is_listed(account: Session) -> None:
    elsewhere = replace(account, root="s3://no-such-bucket/kennel")
    found, notes = clean_storage.find(elsewhere, "no-such-repository", ALL)
    assert [one.kind for one in found] == ["logs"]
    (note,) = notes
    assert note.startswith("data could not be listed: ") and "NoSuchBucket" in note


def test_an_endpoint_costs_by_its_instances(local: Session, tmp_path: Path, out: console.Console) -> None:
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"classes": ["rex"], "hyperparameters": {}}))
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(model, model.name)
    name = jobs.unique_name("serve")
    uri = (tmp_path / "model.tar.gz").as_uri()
    deploy.deploy(local, out, name, "process", uri, Hosting("ml.m5.large", instances=2))
    mine = [item for item in clean.find(local) if item.name == name]
    assert [(item.group, *item.request) for item in mine] == [
        ("endpoints", "DeleteEndpoint", {"EndpointName": name}),
        ("endpoints", "DeleteEndpointConfig", {"EndpointConfigName": name}),
        ("endpoints", "DeleteModel", {"ModelName": name}),
    ]
    paid = replace(local, price=lambda instance_type, use: Price(0.5, f"{instance_type} {use}"))
    assert [clean.cost(paid, item) for item in mine] == [2 * 0.5 * HOURS_A_MONTH, 0, 0]
    assert clean.cost(replace(local, price=lambda *_: None), mine[0]) is None
    clean.clean(local, mine, out)


def test_a_kind_that_is_none() -> None:
    with pytest.raises(InputError, match="--what dta: there are jobs, endpoints, data"):
        clean._kinds("jobs, dta")


def test_what_is_stored_goes_only_where_its_kind_is_named(run: Run, tmp_path: Path) -> None:
    for name in ("data/rex/train/a.jpg", "data/max/train/a.jpg", "kennel-train-1/output/model.tar.gz"):
        file = tmp_path / "runs" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(100))
    try:
        done = run("clean", "--local", "--all", "--yes", "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert [one["name"] for one in document["found"]] == ["data/max", "data/rex", "kennel-train-1"]
        assert document["cleaned"] == []

        done = run("clean", "--local", "data/rex")
        assert (done.returncode, "add --what data" in done.stderr) == (2, True)
        done = run("clean", "--local", "--what", "data", "data/rex", "--dry-run")
        assert json.loads(done.stdout) == [{"DeleteObjects": {"below": (tmp_path / "runs/data/rex").as_uri() + "/"}}]
        assert (tmp_path / "runs/data/rex").is_dir()

        done = run("clean", "--local", "--what", "data", "data/rex", "--yes")
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "runs/data/rex").exists()
        assert (tmp_path / "runs/data/max").is_dir()
    finally:
        run("clean", "--local", "--stop-server")
