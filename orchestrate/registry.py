"""Where images go: a repository in ECR, made if it is missing, or in any other registry."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrate import engine, jobs
from orchestrate.errors import InputError

KEPT_IMAGES = 20
UNTAGGED_DAYS = 7
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


@dataclass(frozen=True)
class Destination:
    """A repository, and how docker gets in."""

    host: str
    repository: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """what docker needs besides the caller's environment"""

    @property
    def name(self) -> str:
        """HOST/REPOSITORY, to which a tag or a digest is added."""
        return f"{self.host}/{self.repository}"


@dataclass(frozen=True)
class Found:
    """An image that is in a registry."""

    digest: str
    revision: str | None
    """its label org.opencontainers.image.revision"""


def requests(repository: str) -> dict[str, dict[str, Any]]:
    """Operation -> request, of a repository that is missing."""
    rules = [
        {
            "rulePriority": 1,
            "description": f"untagged images go after {UNTAGGED_DAYS} days",
            "selection": {
                "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days",
                "countNumber": UNTAGGED_DAYS,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": f"the last {KEPT_IMAGES} images stay",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT_IMAGES},
            "action": {"type": "expire"},
        },
    ]  # fmt: skip
    return {
        "CreateRepository": {
            "repositoryName": repository,
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfiguration": {"encryptionType": "AES256"},
            "tags": jobs.TAGS,
        },
        "PutLifecyclePolicy": {"repositoryName": repository, "lifecyclePolicyText": json.dumps({"rules": rules})},
    }


@contextmanager
def ecr(open_boto: Callable[[], Any], repository: str) -> Iterator[tuple[Destination, bool]]:
    """(the account's repository of that name, whether it was made now); the caller is logged in meanwhile.

    `open_boto`: makes the boto3.Session.

    Raises:
        InputError: no region, no credentials, or ones that have expired.
    """
    from botocore import exceptions as aws

    try:
        boto = open_boto()
        if not boto.region_name:
            raise InputError("no AWS region is configured: add --region, for example --region us-east-1")
        client = boto.client("ecr")
        uri, is_new = _repository(client, repository)
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound) as error:
        raise InputError(
            f"ECR cannot be asked ({error}): run `aws configure` or set AWS_PROFILE, push elsewhere with --registry "
            "HOST:PORT, or only build with --no-push"
        ) from None
    except (aws.SSOError, aws.TokenRetrievalError) as error:
        raise InputError(f"the AWS credentials have expired ({error}): run `aws sso login`") from None
    except aws.ClientError as error:
        if error.response["Error"]["Code"] not in _EXPIRED:
            raise
        raise InputError(
            f"the AWS credentials have expired ({error.response['Error']['Message']}): get new ones, with `aws sso "
            "login` or from where you copied them"
        ) from None
    host, _, name = uri.partition("/")
    with _logged_in(host, token) as config:
        yield Destination(host, name, {"DOCKER_CONFIG": str(config)}), is_new


def find(destination: Destination, tag: str) -> Found | None:
    """The image of that tag, None where there is none.

    Raises:
        InputError: the registry cannot be reached or refuses.
    """
    answer = _imagetools(destination, f":{tag}", "--format", "{{json .}}")
    if answer is None:
        return None
    document = json.loads(answer)
    labels = (document.get("image", {}).get("config") or {}).get("Labels") or {}
    return Found(document["manifest"]["digest"], labels.get("org.opencontainers.image.revision"))


def layers(destination: Destination, digest: str) -> list[tuple[str, int]]:
    """(digest, bytes as they travel) of an image's layers, the lowest first."""
    answer = _imagetools(destination, f"@{digest}", "--raw")
    if answer is None:
        raise engine.EngineFailed(
            f"{destination.name}@{digest} was pushed and is not there: look at the registry's log"
        )
    return [(layer["digest"], layer["size"]) for layer in json.loads(answer)["layers"]]


def _imagetools(destination: Destination, reference: str, *options: str) -> str | None:
    name = destination.name + reference
    answer = engine.docker(["buildx", "imagetools", "inspect", *options, name], destination.environment)
    if not answer.returncode:
        return answer.stdout
    if answer.stderr.strip().endswith(": not found"):
        return None
    raise InputError(engine.refusal(destination.host, answer.stderr))


def _repository(client: Any, repository: str) -> tuple[str, bool]:
    try:
        found = client.describe_repositories(repositoryNames=[repository])
        return str(found["repositories"][0]["repositoryUri"]), False
    except client.exceptions.RepositoryNotFoundException:
        wanted = requests(repository)
        made = client.create_repository(**wanted["CreateRepository"])
        client.put_lifecycle_policy(**wanted["PutLifecyclePolicy"])
        return str(made["repository"]["repositoryUri"]), True


@contextmanager
def _logged_in(host: str, token: str) -> Iterator[Path]:
    """A docker configuration that knows the token and goes away with it.

    Not `docker login`: that writes to the caller's configuration, or to a key store where there is one.
    """
    users = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    config = json.loads((users / "config.json").read_text("utf-8")) if (users / "config.json").is_file() else {}
    for credentials in ("auths", "credsStore", "credHelpers"):
        config.pop(credentials, None)
    with tempfile.TemporaryDirectory(prefix="kennel-docker-") as name:
        folder = Path(name)
        for kept in ("contexts", "cli-plugins", "buildx"):
            if (users / kept).exists():
                (folder / kept).symlink_to((users / kept).absolute())
        (folder / "config.json").write_text(json.dumps(config | {"auths": {host: {"auth": token}}}), "utf-8")
        yield folder
