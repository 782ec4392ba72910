"""What the AWS account has and lacks. Nothing is created or changed: each check only looks."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrate import session
from orchestrate.doctor_check import FAIL, OK, SKIP, WARN, Check, asked

_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([\w-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)(?::([\w.-]+)|@(sha256:\w+))?")
_SERVERLESS_GB = 10
_OLD_DAYS = 90
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What commands would use now. `role`, `image`: None where nothing names one; `instances`: use -> instance type."""

    region: str
    role: str | None
    bucket: str
    image: str | None
    instances: Mapping[str, str]


def checks(boto: Any, wanted: Wanted) -> Iterator[Check]:
    """Of the account, for credentials that work."""
    yield asked("bucket", lambda: _bucket(boto.client("s3", region_name=wanted.region), wanted))
    yield asked("role", lambda: _role(boto.client("iam", region_name=wanted.region), wanted))
    if wanted.role:
        yield asked("role's rights", lambda: _rights(boto.client("iam", region_name=wanted.region), wanted))
    yield asked("image", lambda: _image(boto.client("ecr", region_name=wanted.region), wanted))
    yield from _quotas(boto.client("service-quotas", region_name=wanted.region), wanted)


def _bucket(s3: Any, wanted: Wanted) -> Check:
    from botocore.exceptions import ClientError

    name = wanted.bucket
    try:
        headers = s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return Check("bucket", FAIL, f"{name} does not exist",
                         f"aws s3 mb s3://{name}, or name another as bucket in kennel.toml")  # fmt: skip
        if status == 403:
            return Check("bucket", FAIL, f"{name} is not open to you, or somebody else's",
                         "name your own as bucket in kennel.toml, or have ScriptsPolicy attached (infra/)")  # fmt: skip
        raise
    region = headers.get("x-amz-bucket-region", wanted.region)
    if region != wanted.region:
        return Check("bucket", FAIL, f"{name} is in {region}, and SageMaker is asked in {wanted.region}",
                     f"take a bucket of {wanted.region}, or --region {region}")  # fmt: skip
    return Check("bucket", OK, f"{name} in {region}")


def _role(iam: Any, wanted: Wanted) -> Check:
    if not wanted.role:
        return Check("role", FAIL, "none is named, and you are no SageMaker execution role",
                     "set role in kennel.toml; infra/template.yaml makes one (output ExecutionRoleArn)")  # fmt: skip
    if not session.ROLE.fullmatch(wanted.role):
        return Check(
            "role", FAIL, f"{wanted.role} is no role's ARN", "it looks like arn:aws:iam::123456789012:role/NAME"
        )
    name = wanted.role.rpartition("/")[2]
    try:
        document = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    except iam.exceptions.NoSuchEntityException:
        return Check("role", FAIL, f"there is no role {name}", "correct it; infra/template.yaml makes one")
    if "sagemaker.amazonaws.com" not in json.dumps(document):
        return Check("role", FAIL, f"{name} does not let SageMaker take it on",
                     "add sagemaker.amazonaws.com to the principals of its trust policy")  # fmt: skip
    return Check("role", OK, f"{wanted.role}; SageMaker may take it on")


def _rights(iam: Any, wanted: Wanted) -> Check:
    partition = str(wanted.role).split(":")[1]
    found = _IMAGE.fullmatch(wanted.image or "")
    needed = {f"arn:{partition}:s3:::{wanted.bucket}/*": ["s3:GetObject", "s3:PutObject"]}
    if found:
        repository = f"arn:{partition}:ecr:{found[2]}:{found[1]}:repository/{found[3]}"
        needed[repository] = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    denied = []
    for resource, actions in needed.items():
        answer = iam.simulate_principal_policy(
            PolicySourceArn=wanted.role, ActionNames=actions, ResourceArns=[resource]
        )
        denied += [r["EvalActionName"] for r in answer["EvaluationResults"] if r["EvalDecision"] != "allowed"]
    if denied:
        return Check("role's rights", FAIL, f"its policies do not allow {', '.join(denied)}",
                     "take the role that infra/template.yaml makes, or add them")  # fmt: skip
    return Check("role's rights", OK, "it may read and write the bucket" + (", and pull the image" if found else ""))


def _image(ecr: Any, wanted: Wanted) -> Check:
    if not wanted.image:
        return Check("image", WARN, "none is named", "python orchestrate/build.py pushes one; set image in kennel.toml")
    found = _IMAGE.fullmatch(wanted.image)
    if not found:
        return Check("image", FAIL, f"{wanted.image} is no image of ECR, which SageMaker pulls from",
                     "it looks like ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG")  # fmt: skip
    account, region, repository, tag, digest = found.groups()
    if region != wanted.region:
        return Check("image", FAIL, f"{wanted.image} is in {region}, and SageMaker is asked in {wanted.region}",
                     f"python orchestrate/build.py --region {wanted.region} pushes it there")  # fmt: skip
    which = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    there = {"registryId": account, "repositoryName": repository, "imageIds": [which]}
    try:
        (told,) = ecr.describe_images(**there)["imageDetails"]
    except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
        return Check("image", FAIL, f"{wanted.image} is not there", "python orchestrate/build.py pushes one")
    days = (time.time() - told["imagePushedAt"].timestamp()) / 86400
    size = told.get("imageSizeInBytes", 0) / 1e9
    architectures = _architectures(ecr, there)
    weight = f"{size:.2f} GB compressed" if size else "size not told"
    text = f"{weight}, {days:.0f} days old, {' and '.join(architectures) or 'architecture not told'}"
    if architectures and "amd64" not in architectures:
        return Check("image", FAIL, text, "SageMaker's instances of this project are amd64: build it on such a machine")
    if size > _SERVERLESS_GB:
        return Check("image", WARN, text, f"serverless endpoints take up to {_SERVERLESS_GB} GB: build.py --device cpu")
    if days > _OLD_DAYS:
        return Check("image", WARN, text, "build.py makes one with this month's security updates")
    return Check("image", OK, text)


def _architectures(ecr: Any, there: Mapping[str, Any]) -> list[str]:
    """Of an image, or of each image of an index; empty where ECR does not tell the caller."""
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError

    try:
        manifest = json.loads(
            ecr.batch_get_image(**there, acceptedMediaTypes=list(_MANIFESTS))["images"][0]["imageManifest"]
        )
        if "manifests" in manifest:
            platforms = [m.get("platform", {}) for m in manifest["manifests"]]
            return sorted({p["architecture"] for p in platforms} - {"unknown"})
        url = ecr.get_download_url_for_layer(
            registryId=there["registryId"], repositoryName=there["repositoryName"],
            layerDigest=manifest["config"]["digest"],
        )["downloadUrl"]  # fmt: skip
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [str(json.load(answer)["architecture"])]
    except (ClientError, ResponseParserError, OSError, KeyError, IndexError, ValueError):
        return []


def _quotas(client: Any, wanted: Wanted) -> Iterator[Check]:
    """Of the instance types in use; one that is 0 refuses every job."""
    names = {f"{instance} for {use}": instance for use, instance in wanted.instances.items()}
    found: dict[str, dict[str, Any]] = {}

    def look() -> Check:
        for page in client.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker"):
            found.update({q["QuotaName"]: q for q in page["Quotas"] if q["QuotaName"] in names})
            if len(found) == len(names):
                break
        return Check("quota", OK, "")

    refused = asked("quota", look)
    if refused.status != OK:
        yield refused
        return
    for name in names:
        if name not in found:
            yield Check("quota", SKIP, f"{name} is not listed in {wanted.region}")
            continue
        value = int(found[name]["Value"])
        address = (f"https://{wanted.region}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/"
                   f"{found[name]['QuotaCode']}")  # fmt: skip
        remedy = "" if value else f"ask for more (free; takes hours to days), or take another type: {address}"
        yield Check("quota", OK if value else FAIL, f"{name}: {value}", remedy)
