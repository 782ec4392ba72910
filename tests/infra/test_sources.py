"""The scan of the source finds an API call however it is written, and takes nothing else for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.sources import operations, services


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("client.delete_tags(ResourceArn=arn)", {"sagemaker:DeleteTags"}),
        ("call(client.delete_tags)", {"sagemaker:DeleteTags"}),
        ('client.get_paginator("list_pipelines")', {"sagemaker:ListPipelines"}),
        ('create(session, "CreateTransformJob", request)', {"sagemaker:CreateTransformJob"}),
        ('getattr(client, f"stop_{kind}")("pipeline_execution")', {"sagemaker:StopPipelineExecution"}),
        ("client.search(Resource=kind)", {"sagemaker:Search"}),
        ("pattern.search(text); search; 'search'", set()),
        ("s3.upload_file(path, bucket, key)", {"s3:PutObject", "s3:UploadPart", "s3:CreateMultipartUpload",
                                               "s3:CompleteMultipartUpload"}),
        ("from sagemaker.core.resources import Model; Model.get(name)", {"sagemaker:DescribeModel"}),
        ("from sagemaker.core.resources import TransformJob; job.stop()", {"sagemaker:StopTransformJob"}),
        ("{}.get('a'); session.stop()", set()),
        ("from orchestrate import a; from sagemaker.core.resources import TrainingJob; a.update()", set()),
    ],
)  # fmt: skip
def test_operations(tmp_path: Path, line: str, found: set[str]) -> None:
    (tmp_path / "a.py").write_text(line)
    assert operations(tmp_path / "a.py", {"sagemaker", "s3"}) == found


def test_services(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('session.client("s3"); boto3.client("sts", region_name=r); session.client(name)')
    assert services([tmp_path / "a.py"]) == {"s3", "sts"}
