"""ARNs of the one account that this server has."""

from __future__ import annotations

from local_sagemaker import errors

ACCOUNT = "000000000000"

# The word in an ARN -> the kind of record, which is also the name of its folder in the state directory.
KINDS = {
    "training-job": "training-jobs",
    "hyper-parameter-tuning-job": "tuning-jobs",
    "model": "models",
    "endpoint-config": "endpoint-configs",
    "endpoint": "endpoints",
    "transform-job": "transform-jobs",
    "model-package": "model-packages",
    "model-package-group": "model-package-groups",
}


def build(resource: str, name: str, region: str) -> str:
    """`build("training-job", "a", "us-east-1")` -> `arn:aws:sagemaker:us-east-1:000000000000:training-job/a`."""
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{resource}/{name}"


def parse(arn: str) -> tuple[str, str]:
    """The kind of record and its name in a SageMaker ARN; ApiError for anything else.

    `.../model-package/GROUP/3` is the record `GROUP:3`: a record's name is also a folder's.
    """
    head, _, name = arn.partition("/")
    parts = head.split(":")
    if len(parts) != 6 or parts[2] != "sagemaker" or parts[5] not in KINDS or not name:
        raise errors.validation(f"Invalid resource ARN {arn!r}: expected arn:aws:sagemaker:REGION:ACCOUNT:TYPE/NAME.")
    return KINDS[parts[5]], name.replace("/", ":")
