"""--managed-debugger: the request with SageMaker's own Debugger, and what is said when SageMaker refuses it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from local_sagemaker import validation
from orchestrate import console, jobs, train
from orchestrate.errors import InputError, JobFailed
from orchestrate.session import Session

MACHINE = jobs.Machine("ml.m5.xlarge", 600)
INPUTS = {"train": "s3://bucket/train"}
IMAGE = "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest"


def request(session: Session, **hyperparameters: str) -> dict[str, Any]:
    given = {name.replace("_", "-"): value for name, value in hyperparameters.items()}
    made = train.request(session, "rex", "image", INPUTS, given, MACHINE, managed=True)
    validation.check("sagemaker", "CreateTrainingJob", made)
    return made


def test_the_request(local: Session) -> None:
    made = request(local)
    collections = {c["CollectionName"] for c in made["DebugHookConfig"]["CollectionConfigurations"]}
    assert collections == {"losses", "gradients", "weights", "biases", "relu_output"}
    rules = made["DebugRuleConfigurations"] + made["ProfilerRuleConfigurations"]
    assert {rule["RuleEvaluatorImage"] for rule in rules} == {IMAGE}
    assert [rule["RuleParameters"] for rule in rules][-1] == {"rule_to_invoke": "ProfilerReport"}
    assert made["DebugHookConfig"]["S3OutputPath"] == made["ProfilerConfig"]["S3OutputPath"] == local.root


def test_the_request_follows_the_hyperparameters(local: Session) -> None:
    made = request(local, collections="losses,weights", rules="Overfit:off", save_interval="20")
    assert [c["CollectionName"] for c in made["DebugHookConfig"]["CollectionConfigurations"]] == ["losses", "weights"]
    assert made["DebugHookConfig"]["HookParameters"] == {"save_interval": "20"}
    names = {rule["RuleConfigurationName"] for rule in made["DebugRuleConfigurations"]}
    assert names == {"LossNotDecreasing", "Overtraining", "WeightUpdateRatio", "UnchangedTensor"}


def refuse(session: Session, code: str, message: str) -> None:
    """From now on SageMaker answers CreateTrainingJob so. (Nobody without the service can see its own words.)"""
    body = json.dumps({"__type": code, "message": message}).encode()

    class Raw:
        def stream(self) -> Any:
            yield body

    session.boto.events.register(
        "before-send.sagemaker.CreateTrainingJob", lambda request, **_: AWSResponse(request.url, 400, {}, Raw())
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "SageMaker Debugger is not available for this account"),
        ("AccessDeniedException", "You are not allowed to use ProfilerRuleConfigurations"),
    ],
)
def test_a_refusal_is_explained(local: Session, out: console.Console, code: str, message: str) -> None:
    refuse(local, code, message)
    with pytest.raises(InputError) as told:
        train.train(local, out, "rex", "process", INPUTS, {}, MACHINE, managed=True)
    assert f"({code}: {message})" in str(told.value) and "Leave the option out" in str(told.value)


def test_another_refusal_is_told_as_it_is(local: Session, out: console.Console) -> None:
    refuse(local, "ResourceLimitExceeded", "no more instances")
    with pytest.raises(Exception, match="no more instances") as told:
        train.train(local, out, "rex", "process", INPUTS, {}, MACHINE, managed=True)
    assert not isinstance(told.value, (InputError, JobFailed))


def test_a_region_without_the_rules_image(local: Session) -> None:
    with pytest.raises(InputError, match=r"Unsupported region: eu-south-2.*leave the option out"):
        request(replace(local, region="eu-south-2"))
