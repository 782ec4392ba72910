"""Batch transform through boto3: objects of this server's own S3 through containers, and what can go wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local, left_over, unique, wait_for
from .hosted import model

# Answers each payload in capitals, with what it was told; the words that it knows are orders.
UPPER = """
import json
class Upper(Handler):
    tries = 0
    def do_GET(self):
        if self.path == "/execution-parameters":
            told = os.environ.get("TOLD")
            self.answer(200 if told else 404, (told or "").encode())
        else:
            self.answer(200)
    def do_POST(self):
        body = self.body()
        # In one piece, because requests come side by side.
        os.write(1, f"payload {body[:60]} {self.headers['Content-Type']} {self.headers['Accept']}\\n".encode())
        if b"bad" in body:
            self.answer(400, b"no such dog")
        elif b"broken" in body:
            self.answer(500, b"out of dogs")
        elif b"twice" in body and not Upper.tries:
            Upper.tries += 1
            self.answer(503)
        elif b"wait" in body:
            time.sleep(3600)
        else:
            self.answer(200, body.upper())
print("batch", os.environ["SAGEMAKER_BATCH"], os.environ.get("SAGEMAKER_BATCH_STRATEGY"),
      os.environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB"), os.environ.get("MINE"), flush=True)
serve(Upper)
"""


@pytest.fixture(scope="module")
def upper(local: Local) -> str:
    return model(local, UPPER)


@pytest.fixture
def bucket(local: Local) -> str:
    name = unique("transform")
    s3 = local.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


def put(local: Local, bucket: str, **objects: bytes) -> None:
    for key, body in objects.items():
        local.client("s3").put_object(Bucket=bucket, Key=key.replace("__", "/"), Body=body)


def outputs(local: Local, bucket: str) -> dict[str, bytes]:
    s3 = local.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])]
    return {key.removeprefix("out/"): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def transform(local: Local, upper: str, bucket: str, **more: Any) -> str:
    given = {
        "TransformJobName": unique("transform"),
        "ModelName": upper,
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in"}}
    given["TransformInput"] = {"DataSource": source, **more.get("TransformInput", {})}
    given["TransformOutput"] = {"S3OutputPath": f"s3://{bucket}/out", **more.get("TransformOutput", {})}
    local.sagemaker.create_transform_job(**given)
    return str(given["TransformJobName"])


def finished(local: Local, name: str) -> dict[str, Any]:
    job: dict[str, Any] = wait_for(
        lambda: local.sagemaker.describe_transform_job(TransformJobName=name),
        lambda job: job["TransformJobStatus"] in ("Completed", "Failed", "Stopped"),
    )
    return job


def lines(local: Local, name: str) -> list[str]:
    found = local.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=f"{name}/"
    )
    return [event["message"] for event in found["events"]]


def test_whole_objects_keep_their_folders(local: Local, upper: str, bucket: str) -> None:
    put(local, bucket, in__a=b"rex", in__deep__b=b"fido", in__deep__c=b"twice")
    more = {"TransformInput": {"ContentType": "text/plain"}, "TransformOutput": {"Accept": "text/html"}}
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    environment = {"MINE": "yes"}
    name = transform(local, upper, bucket, **more, TransformResources=resources, Environment=environment)
    job = finished(local, name)
    assert job["TransformJobStatus"] == "Completed", job
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert outputs(local, bucket) == {"a.out": b"REX", "deep/b.out": b"FIDO", "deep/c.out": b"TWICE"}
    said = lines(local, name)
    assert said.count("batch true None None yes") == 2
    assert "payload b'rex' text/plain text/html" in said
    assert "sagemaker logs: MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MultiRecord" in said
    listed = local.sagemaker.list_transform_jobs(NameContains=name, StatusEquals="Completed")["TransformJobSummaries"]
    assert [item["TransformJobArn"] for item in listed] == [job["TransformJobArn"]]
    local.sagemaker.add_tags(ResourceArn=job["TransformJobArn"], Tags=[{"Key": "a", "Value": "b"}])


@pytest.mark.parametrize(
    ("strategy", "payloads"),
    [("SingleRecord", ["b'rex'", "b'fido'", "b'tail'"]), ("MultiRecord", [r"b'rex\nfido\ntail'"])],
)
def test_lines_are_batched_and_assembled_in_order(
    local: Local, upper: str, bucket: str, strategy: str, payloads: list[str]
) -> None:
    put(local, bucket, in__a=gzip.compress(b"rex\r\nfido\n\ntail"))
    name = transform(
        local,
        upper,
        bucket,
        TransformInput={"SplitType": "Line", "CompressionType": "Gzip"},
        TransformOutput={"AssembleWith": "Line"},
        BatchStrategy=strategy,
        MaxPayloadInMB=1,
        MaxConcurrentTransforms=3,
    )
    assert finished(local, name)["TransformJobStatus"] == "Completed"
    assert outputs(local, bucket) == {"a.out": b"REX\nFIDO\nTAIL\n"}
    said = lines(local, name)
    assert sorted(line.split()[1] for line in said if line.startswith("payload")) == sorted(payloads)
    told = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}[strategy]
    assert f"batch true {told} 1 None" in said


def test_batches_hold_as_much_as_a_payload_may(local: Local, upper: str, bucket: str) -> None:
    line = b"x" * 400_000
    put(local, bucket, in__a=b"\n".join([line] * 5))
    changes: dict[str, Any] = {"TransformInput": {"SplitType": "Line"}, "MaxPayloadInMB": 1}
    name = transform(local, upper, bucket, **changes)
    assert finished(local, name)["TransformJobStatus"] == "Completed"
    assert len([text for text in lines(local, name) if text.startswith("payload")]) == 3
    put(local, bucket, in__a=b"x" * 2_000_000)
    for more in (changes, {"MaxPayloadInMB": 1}):
        job = finished(local, transform(local, upper, bucket, **more))
        assert job["TransformJobStatus"] == "Failed"
        assert "has 2000000 bytes and MaxPayloadInMB is 1" in job["FailureReason"]


def test_a_manifest_and_the_containers_own_parameters(local: Local, bucket: str) -> None:
    told = {"MaxConcurrentTransforms": 4, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 0}
    name = model(local, UPPER, Environment={"VERSION": "1", "TOLD": json.dumps(told)})
    manifest = json.dumps([{"prefix": f"s3://{bucket}/in/"}, "a", "deep/b"]).encode()
    put(local, bucket, in__a=b"rex", in__deep__b=b"fido", in__no=b"no", manifest=manifest)
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{bucket}/manifest"}
    job = transform(local, name, bucket, TransformInput={"DataSource": {"S3DataSource": source}})
    assert finished(local, job)["TransformJobStatus"] == "Completed"
    assert outputs(local, bucket) == {"a.out": b"REX", "deep/b.out": b"FIDO"}
    parameters = "MaxConcurrentTransforms=4, MaxPayloadInMB=0, BatchStrategy=SingleRecord"
    assert f"sagemaker logs: {parameters}" in lines(local, job)


@pytest.mark.parametrize("told", ['{"MaxConcurrentTransforms": 0}', '{"BatchStrategy": "ALL"}', "[]"])
def test_parameters_that_cannot_be(local: Local, bucket: str, told: str) -> None:
    put(local, bucket, in__a=b"rex")
    name = model(local, UPPER, Environment={"VERSION": "1", "TOLD": told})
    job = finished(local, transform(local, name, bucket))
    assert job["TransformJobStatus"] == "Failed"
    assert "the container's /execution-parameters answered" in job["FailureReason"]


def test_one_bad_object_does_not_spoil_the_others(local: Local, upper: str, bucket: str) -> None:
    put(local, bucket, in__a=b"bad", in__b=b"rex")
    job = finished(local, transform(local, upper, bucket))
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: See job logs for more information")
    assert "answered 400 no such dog" in job["FailureReason"]
    assert outputs(local, bucket) == {"b.out": b"REX"}


def test_a_server_error_is_tried_again(local: Local, upper: str, bucket: str) -> None:
    put(local, bucket, in__a=b"broken")
    name = transform(local, upper, bucket, ModelClientConfig={"InvocationsMaxRetries": 2})
    job = finished(local, name)
    assert job["FailureReason"].startswith("AlgorithmError: See job logs for more information")
    assert "answered 500 out of dogs" in job["FailureReason"]
    assert len([line for line in lines(local, name) if line.startswith("payload")]) == 3


def test_a_container_that_hangs_is_given_up(local: Local, upper: str, bucket: str) -> None:
    put(local, bucket, in__a=b"wait")
    config = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    job = finished(local, transform(local, upper, bucket, ModelClientConfig=config))
    assert "did not answer within 1 s" in job["FailureReason"]


def test_a_job_is_stopped_in_the_middle(local: Local, upper: str, bucket: str) -> None:
    put(local, bucket, in__a=b"wait", in__b=b"rex")
    name = transform(local, upper, bucket)
    wait_for(lambda: _lines_if_any(local, name), lambda said: any(line.startswith("payload") for line in said))
    local.sagemaker.stop_transform_job(TransformJobName=name)
    assert finished(local, name)["TransformJobStatus"] == "Stopped"
    assert outputs(local, bucket) == {}
    assert not [one for one in left_over(local.state) if name in one.environ().get("SAGEMAKER_BASE_DIR", "")]
    with pytest.raises(ClientError, match="is in status Stopped"):
        local.sagemaker.stop_transform_job(TransformJobName=name)


def _lines_if_any(local: Local, name: str) -> list[str]:
    try:
        return lines(local, name)
    except local.client("logs").exceptions.ResourceNotFoundException:
        return []


def test_a_container_that_does_not_come_up(local: Local, bucket: str) -> None:
    put(local, bucket, in__a=b"rex")
    job = finished(local, transform(local, model(local, "print('no weights'); sys.exit(3)"), bucket))
    assert job["TransformJobStatus"] == "Failed"
    assert "did not pass the ping health check, it ended with exit code 3" in job["FailureReason"]
    assert "no weights" in job["FailureReason"]


def test_input_that_is_not_there(local: Local, upper: str, bucket: str) -> None:
    job = finished(local, transform(local, upper, bucket))
    assert f"there is no object below s3://{bucket}/in" in job["FailureReason"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ModelName": "none-of-that-name"}, "Could not find model"),
        ({"MaxConcurrentTransforms": 60, "MaxPayloadInMB": 2}, "must be at most 100, and is 120"),
        ({"BatchStrategy": "SingleRecord"}, "needs a SplitType other than None"),
        ({"TransformInput": {"SplitType": "RecordIO"}}, "does not do TransformInput.SplitType RecordIO"),
        ({"DataProcessing": {"InputFilter": "$.a"}}, "does not do DataProcessing.InputFilter"),
        ({"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 9}}, "ResourceLimitExceeded"),
        ({"TransformJobName": "a_b"}, "regular expression"),
    ],
)
def test_what_is_refused(local: Local, upper: str, bucket: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        transform(local, upper, bucket, **change)


def test_names_are_used_once(local: Local, upper: str, bucket: str) -> None:
    name = transform(local, upper, bucket)
    with pytest.raises(ClientError, match=r"\(ResourceInUse\)"):
        transform(local, upper, bucket, TransformJobName=name)
    with pytest.raises(ClientError, match=r"\(ResourceNotFound\)"):
        local.sagemaker.describe_transform_job(TransformJobName="none-of-that-name")
    finished(local, name)


def test_a_killed_server_fails_its_jobs_and_ends_their_containers(start: Callable[..., Local]) -> None:
    server = start("--endpoint-stop-s", "1")
    name = unique("killed")
    server.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    put(server, name, in__a=b"wait")
    job = transform(server, model(server, UPPER), name)
    wait_for(lambda: _lines_if_any(server, job), lambda said: any(line.startswith("payload") for line in said))
    server.kill()
    server.up()
    described = server.sagemaker.describe_transform_job(TransformJobName=job)
    assert described["TransformJobStatus"] == "Failed"
    assert "the local SageMaker server ended" in described["FailureReason"]
    assert left_over(server.state) == []
    # What was written before the end is there.
    assert server.client("s3").get_object(Bucket=name, Key="in/a")["Body"].read() == b"wait"
