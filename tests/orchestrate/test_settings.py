"""Options, variables, kennel.toml: which goes before which, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrate import options, settings
from orchestrate.errors import InputError
from orchestrate.session import open_session

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OF_FILE, OF_VARIABLE, OF_OPTION = (f"arn:aws:iam::123456789012:role/{name}" for name in ("file", "variable", "option"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below another, and nothing of the person who runs the tests."""
    for name in ("KENNEL_CONFIG", *map(settings.variable, settings.KEYS)):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return tmp_path


def test_an_option_goes_before_a_variable_and_that_before_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "kennel.toml").write_text(f'role = "{OF_FILE}"\nregion = "eu-north-1"\nbucket = "rex"\nimage = "i"\n')

    def role(*arguments: str) -> str | None:
        return open_session(options.parser(None).parse_args(list(arguments)), dry=True).role

    assert role() == OF_FILE
    monkeypatch.setenv("KENNEL_ROLE", OF_VARIABLE)
    assert role() == OF_VARIABLE
    assert role("--role", OF_OPTION) == OF_OPTION
    session = open_session(options.parser(None).parse_args([]), dry=True)
    assert (session.region, session.root, session.image) == ("eu-north-1", "s3://rex/kennel", "i")
    monkeypatch.setenv("KENNEL_OUTPUT", "s3://max/runs")
    assert settings.read().get("output") == "s3://max/runs", "a variable goes before the file's bucket"


def test_machines_of_jobs_and_endpoints(here: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "kennel.toml").write_text('endpoint-instance-type = "ml.c5.xlarge"\n')
    image = ("--image", "123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel:1", "--dry-run")
    done = run("deploy", "--artifact", "s3://b/model.tar.gz", *image)
    variant = json.loads(done.stdout)["CreateEndpointConfig"]["ProductionVariants"][0]
    assert variant["InstanceType"] == "ml.c5.xlarge", done.stderr
    done = run(
        "transform", "--artifact", "s3://b/m", "--data", "s3://b/d", *image, KENNEL_INSTANCE_TYPE="ml.c5.2xlarge"
    )
    assert json.loads(done.stdout)["CreateTransformJob"]["TransformResources"]["InstanceType"] == "ml.c5.2xlarge"


def test_the_image_of_a_job_goes_before_that_of_the_settings(here: Path) -> None:
    (here / "kennel.toml").write_text('image = "of-the-file"')
    args = options.parser(None).parse_args([])
    assert args.image is None and open_session(args, dry=True).require_image() == "of-the-file"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('regoin = "eu-west-1"', r"there is no setting 'regoin'; did you mean region\?"),
        ("colour = 1", "there is no setting 'colour'; there are region, role"),
        ("region = 1", r'region must be a text in quotes, as region = "..."'),
        ('region = "', "cannot be read"),
        ('bucket = "a"\noutput = "s3://b"', "sets both a bucket and an output"),
        ('bucket = "s3://a/b"', "must be the bucket's name alone"),
    ],
)
def test_what_the_file_must_not_say(here: Path, text: str, sentence: str) -> None:
    (here / "kennel.toml").write_text(text)
    with pytest.raises(InputError, match=sentence):
        settings.read()


def test_a_file_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_CONFIG", str(here / "other.toml"))
    with pytest.raises(InputError, match="there is no such file"):
        settings.read()
    (here / "other.toml").write_text('region = "sa-east-1"')
    (here / "kennel.toml").write_text('region = "eu-west-1"')
    found = settings.read()
    assert (found.get("region"), found.source("region")) == ("sa-east-1", f" ({here / 'other.toml'})")


def test_a_role_that_is_none_names_where_it_came_from(here: Path, run: Run, data: Path) -> None:
    done = run("train", "--data", data, "--image", "i", "--dry-run", KENNEL_ROLE="me")
    assert done.returncode == 2
    assert "the role 'me' (KENNEL_ROLE) is no role's ARN" in done.stderr
