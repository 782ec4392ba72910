"""The policies against the API calls that the scripts really make: none is missing, none is there for nothing.

Every script runs against moto (S3, ECR, STS) and a local SageMaker (with its runtime, scaling and CloudWatch Logs) and
is recorded (recording/sitecustomize.py). What no run reaches is found in the source (sources.py).
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra import sources
from infra.permissions import Call, Need, Statement, docker_needs, needs, statements
from infra.scripts import REGION, Scripts, account
from photographs import data_set

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Tried to parse AWS")]

ROOT = Path(__file__).resolve().parents[2]
ORCHESTRATE = sorted((ROOT / "orchestrate").glob("*.py"))
SERVER = "__main__"  # the script behind `python -m local_sagemaker`, which does what SageMaker does for a job
PUSHING = ("build",)
# What the scripts do without: CarePolicy's.
CARE = {
    "ecr:BatchDeleteImage", "ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer", "iam:GetRole",
    "iam:SimulatePrincipalPolicy", "logs:DeleteLogGroup", "logs:DescribeLogGroups", "pricing:GetProducts",
    "s3:DeleteObject", "servicequotas:ListServiceQuotas",
}  # fmt: skip
POLICIES = ("ScriptsPolicy", "CarePolicy", "PushPolicy")


@pytest.fixture(scope="module")
def scripts(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripts]:
    folder = tmp_path_factory.mktemp("recorded")
    with account(folder, stack.url) as variables:
        yield Scripts(folder, variables, stack.outputs["BucketName"], stack.outputs["ExecutionRoleArn"])


@pytest.fixture(scope="module")
def calls(scripts: Scripts, stack: Any) -> list[Call]:
    """Every API call of every script, in every situation that makes calls of its own."""
    data_set(scripts.folder / "data", {"train": 4, "valid": 2, "test": 2})
    photograph = "data/test/blue/0.jpg"
    # Large enough to be sent in parts.
    weights = scripts.folder / "resnet18-0123abcd.pth"
    weights.write_bytes(bytes(9 << 20))
    _put_model(stack, "bites", {"label-smoothing": "0.9"})
    _put_model(stack, "ponders", {"workers": "60"})

    def one_after_the_other() -> None:
        scripts.run("tune --data {data} --trials 1 --range epochs=1:2 --name kennel-search")
        scripts.run("tune --attach kennel-search")
        scripts.run(f"train --from-tuning kennel-search --weights {weights} --name kennel-first")
        # It has neither, and says so after it has looked.
        scripts.run("report kennel-first", code=2)
        scripts.run("report kennel-search", code=2)
        scripts.run("deploy --from-training kennel-first --capture 100 --name kennel-rex")
        scripts.run(f"predict --endpoint kennel-rex {photograph}")
        model = "--artifact {s3}/kennel-first/output/model.tar.gz"
        scripts.run(f"deploy {model} --update kennel-rex --rollout canary --wait-s 0 --alarm errors --name kennel-max")
        scripts.run(f"deploy {model} --shadow-of kennel-rex --name kennel-shadow")
        scripts.run("deploy --end-shadow kennel-rex --name kennel-alone")
        scripts.run(f"deploy {model} --async --scale 0:2 --name kennel-line")
        scripts.run(f"predict --endpoint kennel-line {photograph}")
        scripts.run(f"transform {model} --data {{data}}/test --name kennel-batch")

    def what_goes_wrong() -> None:
        scripts.run("prepare --source synthetic --classes 2 --per-class 8 --size 32 --output {s3}/data/made")
        scripts.run("train --data {s3}/data/made --weight-decay 1 --name kennel-failed", code=1)
        scripts.run("train --attach kennel-failed", code=1)
        scripts.run("deploy --artifact {s3}/bites/model.tar.gz --name kennel-bites", code=1)
        scripts.run("transform --artifact {s3}/bites/model.tar.gz --data {s3}/data/made/test --name kennel-bad", code=1)
        scripts.run("pipeline --data {s3}/data/made --trials 1 --label-smoothing 0.9", code=1)

    with ThreadPoolExecutor() as pool:
        for lane in [pool.submit(one_after_the_other), pool.submit(what_goes_wrong)]:
            lane.result()
        long = "--data {s3}/data/made --workers 60"
        interrupted = [
            pool.submit(scripts.interrupt, f"train {long} --name kennel-long", "[Training]"),
            pool.submit(
                scripts.interrupt,
                f"tune {long} --trials 1 --range epochs=1:2 --cache-features off --name kennel-far",
                "epochs",
            ),
            pool.submit(
                scripts.interrupt,
                "transform --artifact {s3}/ponders/model.tar.gz --data {s3}/data/made/test --name kennel-slow",
                "answers go to",
            ),
        ]
        for lane in interrupted:
            lane.result()
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"digest": f"sha256:{'1' * 64}", "size": 1}, "layers": []}  # fmt: skip
        image = stack.client("ecr").put_image(
            repositoryName="kennel", imageManifest=json.dumps(manifest), imageTag="1"
        )["image"]
        name = f"{image['registryId']}.dkr.ecr.{REGION}.amazonaws.com/kennel:1"
        scripts.run(f"doctor --image {name}")
        # Local SageMaker deletes no logs.
        scripts.run("clean --what images,logs --all", code=2)
        # Somebody deleted the repository.
        stack.client("ecr").delete_repository(repositoryName="kennel", force=True)
        rest = ["clean --all", "build --allow-dirty", "pipeline --data {data} --trials 1"]
        for lane in [pool.submit(scripts.run, line, 2 if line.startswith("build") else 0) for line in rest]:
            lane.result()
        scripts.run("clean --what data --all")
    lines = Path(scripts.environment["RECORD_CALLS_TO"]).read_text().splitlines()
    return [Call(**json.loads(line)) for line in lines]


def _put_model(stack: Any, name: str, hyperparameters: dict[str, str]) -> None:
    model = json.dumps({"hyperparameters": hyperparameters}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as bundle:
        member = tarfile.TarInfo("model.json")
        member.size = len(model)
        bundle.addfile(member, io.BytesIO(model))
    stack.client("s3").put_object(
        Bucket=stack.outputs["BucketName"], Key=f"kennel/{name}/model.tar.gz", Body=archive.getvalue()
    )


Needed = dict[Need, set[str]]


def _needed(calls: list[Call], wanted: Callable[[str], bool]) -> Needed:
    """Need -> the scripts that have it."""
    found: Needed = {}
    for call in calls:
        if wanted(call.script):
            for need in needs(call, REGION):
                found.setdefault(need, set()).add(call.script)
    return found


@pytest.fixture(scope="module")
def needed_by_scripts(calls: list[Call]) -> Needed:
    needed = _needed(calls, lambda script: script not in (SERVER, *PUSHING))
    return {need: who for need, who in needed.items() if need.action not in CARE}


@pytest.fixture(scope="module")
def needed_for_care(calls: list[Call]) -> Needed:
    needed = _needed(calls, lambda script: script not in (SERVER, *PUSHING))
    return {need: who for need, who in needed.items() if need.action in CARE}


@pytest.fixture(scope="module")
def needed_for(needed_by_scripts: Needed, needed_for_care: Needed, needed_to_push: Needed) -> dict[str, Needed]:
    """Policy -> what it has to grant."""
    return dict(zip(POLICIES, (needed_by_scripts, needed_for_care, needed_to_push), strict=True))


@pytest.fixture(scope="module")
def needed_to_push(calls: list[Call]) -> Needed:
    """Botocore's calls of build.py, and those of the docker commands in its source."""
    found = _needed(calls, lambda script: script in PUSHING)
    source = "".join(file.read_text("utf-8") for file in ORCHESTRATE)
    for command in set(re.findall(r'\["(?:docker|buildx)", "(\w+)"', source)) - {"build", "version"}:
        for need in docker_needs(command, REGION, "kennel"):
            found.setdefault(need, set()).update(PUSHING)
    return found


def _missing(granted: list[Statement], needed: Needed) -> list[tuple[Need, set[str]]]:
    return [(need, who) for need, who in needed.items() if not any(s.allows(need) for s in granted)]


def _superfluous(granted: list[Statement], needed: Needed) -> list[tuple[str, str]]:
    """(statement, action or resource of it that nothing needs)."""
    found = []
    for statement in granted:
        used = [need for need in needed if statement.allows(need)]
        found += [(statement.sid, a) for a in statement.actions if not any(need.action == a for need in used)]
        found += [(statement.sid, r) for r in statement.resources if not any(statement.names(r, n) for n in used)]
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_grants_what_the_scripts_need_and_no_more(
    stack: Any, needed_for: dict[str, Needed], policy: str
) -> None:
    needed = needed_for[policy]
    granted = statements(stack.managed_policy(policy))
    assert _missing(granted, needed) == []
    assert _superfluous(granted, needed) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_the_comment_of_a_statement_names_the_scripts_that_need_it(
    stack: Any, needed_for: dict[str, Needed], policy: str
) -> None:
    needed = needed_for[policy]
    section = re.search(rf"^  {policy}:\n(.*?)^(?:  )?\w", (ROOT / "infra/template.yaml").read_text(), re.M | re.S)
    assert section
    told = {
        sid: set(names.split(", "))
        for names, sid in re.findall(r"^ +# ([\w, ]+): [^\n]*\n(?: +# [^\n]*\n)* +- Sid: (\w+)", section[1], re.M)
    }
    real = {
        statement.sid: set().union(*(who for need, who in needed.items() if statement.allows(need)))
        for statement in statements(stack.managed_policy(policy))
    }
    assert told == real


def test_an_action_less_or_more_is_noticed(stack: Any, needed_by_scripts: Needed) -> None:
    """The checks above can fail."""
    granted = statements(stack.managed_policy("ScriptsPolicy"))
    for index, statement in enumerate(granted):
        for action in statement.actions:
            fewer = Statement(
                statement.sid, tuple(set(statement.actions) - {action}), statement.resources, statement.conditions
            )
            missing = _missing([*granted[:index], fewer, *granted[index + 1 :]], needed_by_scripts)
            assert {need.action for need, _ in missing} == {action}
    more = Statement("More", ("sagemaker:DeleteTags",), ("*",), {})
    assert _superfluous([*granted, more], needed_by_scripts) == [("More", "sagemaker:DeleteTags"), ("More", "*")]


def test_every_call_in_the_source_was_recorded(calls: list[Call]) -> None:
    """A call that no run reaches would be missing in the policies: run the script here so that it is made."""
    of = sources.services(ORCHESTRATE)
    assert {"sagemaker", "sagemaker-runtime", "application-autoscaling", "logs", "s3", "sts", "ecr"} <= of
    recorded = {call.name for call in calls if call.script != SERVER}
    for file in ORCHESTRATE:
        assert sources.operations(file, of) - recorded == set(), f"{file.name} makes calls that no run here reaches"


def test_every_recorded_call_is_found_in_the_source(calls: list[Call]) -> None:
    """The scan above sees everything."""
    of = sources.services(ORCHESTRATE)
    found = set().union(*(sources.operations(file, of) for file in ORCHESTRATE))
    assert {call.name for call in calls if call.script != SERVER} - found == set()


def test_the_execution_role_is_what_sagemaker_asks_for(stack: Any, calls: list[Call]) -> None:
    granted = statements(stack.role_policy("ExecutionRole", "jobs-and-endpoints"))
    assert _missing(granted, _needed(calls, lambda script: script == SERVER)) == []
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, "CreateTrainingJob API: Execution Role
    # Permissions"; the pages of CreateHyperParameterTuningJob and CreateModel list no others.
    # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html: DescribeAlarms.
    documented = {
        "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer", "logs:CreateLogGroup", "logs:CreateLogStream",
        "logs:DescribeLogStreams", "logs:PutLogEvents", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
    }  # fmt: skip
    assert {action for statement in granted for action in statement.actions} == documented
