"""The README's commands run as they stand: on generated photographs, with options that make them small, and a yes.

What runs on this machine has the real container code. What runs on AWS has moto for S3 and STS, and for SageMaker a
local server with a container of a few lines.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from infra.scripts import account
from local_sagemaker import daemon
from local_sagemaker.process import free_port
from orchestrate.prepare import Source
from photographs import CLASSES, data_set

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^## ([^\n]*)$|^```(\w*)\n(.*?)^```$", re.M | re.S)
PER_CLASS = 8
SEARCH = " --trials 1 --range epochs=1:2 --image-size 32"
# Script -> what makes it small.
SMALL = {
    "tune": SEARCH,
    "train": " --image-size 32",
    "pipeline": f"{SEARCH} --cache-features off --debug false",
    "clean": " --yes",
}
# Script -> the yes of a person at a terminal.
YES = dict.fromkeys(("tune", "train", "deploy", "clean"), " --yes")


def blocks() -> dict[tuple[str, int], str]:
    """(heading, number below it) -> code block; the one above every heading is below ''."""
    found: dict[tuple[str, int], str] = {}
    heading, number = "", 0
    for match in BLOCK.finditer((ROOT / "README.md").read_text("utf-8")):
        if match[1]:
            heading, number = match[1], 0
        else:
            found[heading, number] = match[3]
            number += 1
    return found


BLOCKS = blocks()
HERE, ON_AWS, ALONE = "On your photographs", "On AWS", "Local SageMaker, alone"


def altered(block: str, old: str, new: str) -> str:
    """Raises AssertionError when there is nothing to alter: the README says something else by now."""
    assert old in block, f"the README has no {old!r} any more"
    return block.replace(old, new)


def with_options(block: str, options: Mapping[str, str]) -> str:
    """`options`, script -> options, after the script's name."""
    return re.sub(r"(python orchestrate/(\w+)\.py)", lambda found: found[1] + options.get(found[2], ""), block)


@dataclass
class Person:
    """Types what the README says, in a folder where `python orchestrate/...` is this checkout's."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def types(self, block: str) -> str:
        """What is printed on standard output. Raises AssertionError when a command of the block fails."""
        # The environment that is activated is the one that the tests run in.
        activate = self.folder / ".venv" / "bin" / "activate"
        if not activate.exists():
            activate.parent.mkdir(parents=True)
            activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
            (self.folder / "orchestrate").symlink_to(ROOT / "orchestrate")
        done = subprocess.run(
            ["bash", "-c", f"source .venv/bin/activate\nset -eux\n{block}"], cwd=self.folder, env=self.variables,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def ours() -> dict[str, str]:
    """The environment without what would lead elsewhere than a person's own."""
    led_by = ("AWS_", "KENNEL_", "LOCAL_SAGEMAKER")
    return {name: value for name, value in os.environ.items() if not name.startswith(led_by)}


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """With photographs in class folders, and one to ask about."""
    folder = tmp_path_factory.mktemp("person")
    data_set(folder, {"photos": PER_CLASS})
    (folder / "dog.jpg").write_bytes((folder / "photos" / CLASSES[0] / "0.jpg").read_bytes())
    yield Person(folder, ours())
    daemon.stop(folder / "runs" / ".sagemaker")


def test_every_block_is_one_that_is_tested() -> None:
    """A new one needs a test below; the two at the top are `make`'s, whose targets test_command_lines.py looks for."""
    assert list(BLOCKS) == [
        ("", 0), ("What `make demo` does", 0), (HERE, 0), (HERE, 1), (ON_AWS, 0), (ON_AWS, 1), (ALONE, 0),
    ]  # fmt: skip
    assert set(re.findall(r"^make (\w+)", BLOCKS["", 0], re.M)) == {"demo", "test"}


def test_on_your_photographs(person: Person) -> None:
    block = altered(BLOCKS[HERE, 0], "BACKBONE=resnet18-f37072fd.pth", "BACKBONE=none")
    told = person.types(with_options(block, SMALL))
    assert "report:   runs/dogs/results/report.html" in told
    assert (person.folder / "runs/dogs/results/report.html").is_file()
    assert (person.folder / "runs/breeds/tuning.html").is_file()
    with Image.open(person.folder / "answer.jpg") as picture:
        assert picture.width > 100
    assert "deleted: Endpoint rex" in told
    # Each step printed the next one with its names filled in: those that the README has.
    nexts = re.findall(r"next: +(python orchestrate/train.*|python orchestrate/deploy.*)", told)
    assert len(nexts) == 2
    for line in nexts:
        assert line in BLOCKS[HERE, 0]

    # What comes after it takes the names from before.
    person.types(f"export BACKBONE=none\n{with_options(BLOCKS[HERE, 1], SMALL)}")
    rows = list(csv.DictReader((person.folder / "answers.csv").open(encoding="utf-8")))
    assert len(rows) == PER_CLASS * len(CLASSES)
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert (person.folder / "runs/compare-dogs-dogs-10.html").is_file()

    person.types("python orchestrate/clean.py --local --stop-server")
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(person.folder) in str(p.info["cmdline"])]
    assert left == []


def test_local_sagemaker_alone(person: Person, tmp_path: Path) -> None:
    port = str(free_port())
    block = altered(BLOCKS[ALONE, 0], ":8580", f":{port}")
    block = altered(block, "up --background", f"up --background --port {port}")
    state = tmp_path / "state"
    try:
        told = Person(person.folder, {**person.variables, "LOCAL_SAGEMAKER_STATE": str(state)}).types(block)
    finally:
        daemon.stop(state)
    assert '"TrainingJobSummaries": []' in told
    assert f"http://127.0.0.1:{port}" in told and told.endswith("local SageMaker has ended.\n")


@pytest.fixture
def on_aws(tmp_path: Path) -> Iterator[Person]:
    """A person of an AWS account whose settings are the README's, and whose image is what the local server runs."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    (tmp_path / "kennel.toml").write_text(BLOCKS[ON_AWS, 0])
    with account(tmp_path, f"http://{host}:{port}") as variables:
        yield Person(tmp_path, {**variables, "KENNEL_IMAGE": "process"})
    server.stop()


def of_the_toml(name: str) -> str:
    found = re.search(rf'^{name} = "(.*?)"', BLOCKS[ON_AWS, 0], re.M)
    assert found
    return found[1]


def test_on_aws(on_aws: Person) -> None:
    def client(service: str) -> Any:
        url = on_aws.variables[f"AWS_ENDPOINT_URL_{service.upper()}"]
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name=of_the_toml("region"), endpoint_url=url, **keys)

    client("s3").create_bucket(
        Bucket=of_the_toml("bucket"), CreateBucketConfiguration={"LocationConstraint": of_the_toml("region")}
    )
    # In place of 1.1 GB of photographs, in a folder of that name.
    data_set(on_aws.folder, {Source("udacity").name: PER_CLASS})
    (on_aws.folder / "dog.jpg").write_bytes((on_aws.folder / "dogImages" / CLASSES[0] / "0.jpg").read_bytes())
    first, *rest = BLOCKS[ON_AWS, 1].splitlines(keepends=True)
    assert first.startswith("python orchestrate/build.py")
    told = on_aws.types(altered(with_options("".join(rest), YES), "--source udacity", "--source dogImages"))
    assert "cost: at most" in told

    sagemaker = client("sagemaker")
    assert len(sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="breeds")["TrainingJobSummaries"]) == 8  # fmt: skip
    trained = sagemaker.describe_training_job(TrainingJobName="dogs")
    assert trained["RoleArn"] == of_the_toml("role")
    assert trained["ModelArtifacts"]["S3ModelArtifacts"].startswith(f"s3://{of_the_toml('bucket')}/kennel/")
    assert (on_aws.folder / "answer.jpg").is_file()
    assert sagemaker.list_endpoints()["Endpoints"] == [] and sagemaker.list_models()["Models"] == []


def test_building_for_aws(on_aws: Person) -> None:
    """The first of the seven: what it would do."""
    if not (ROOT / ".git").exists():
        pytest.skip("an image is named by a commit: needs a git checkout")
    line = BLOCKS[ON_AWS, 1].splitlines()[0]
    requests = json.loads(on_aws.types(with_options(line, {"build": " --dry-run --allow-dirty"})))
    told = json.dumps(requests)
    assert "docker" in told and "CreateRepository" in told
