"""What stays when jobs and endpoints have gone, and is paid for by the GB: data, images, logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrate import prices, storage
from orchestrate.session import Session

# Folders whose folders are things of their own; of another folder the whole is one thing, as that of a job.
_SHELVES = ("data", "weights", "features", "checkpoints", "endpoints")
_SERVER = ".sagemaker"  # below runs/: what the local server knows, which is its own
_LOGS = "/aws/sagemaker/Endpoints/kennel-"
_GB = 1e9


@dataclass(frozen=True)
class Stored:
    """`kind`: data, images or logs; `name`: a folder below --output, a digest, a log group. `label`: for people."""

    kind: str
    name: str
    bytes: int
    usd_a_month: float
    label: str = ""


def find(session: Session, repository: str, kinds: tuple[str, ...]) -> tuple[list[Stored], list[str]]:
    """(what there is of these kinds, a sentence for each kind that could not be listed)."""
    ways: dict[str, Callable[[], Iterator[Stored]]] = {
        "data": lambda: _data(session),
        "images": lambda: _images(session, repository),
        "logs": lambda: _logs(session),
    }
    found: list[Stored] = []
    notes = []
    for kind in kinds:
        try:
            found += ways[kind]()
        except _errors() as error:
            notes.append(f"{kind} could not be listed: {error}")
    return found, notes


def request(session: Session, stored: Stored, repository: str) -> tuple[str, dict[str, Any]]:
    """(what is asked of AWS, its parameters), that take it away."""
    if stored.kind == "images":
        return "BatchDeleteImage", {"repositoryName": repository, "imageIds": [{"imageDigest": stored.name}]}
    if stored.kind == "logs":
        return "DeleteLogGroup", {"logGroupName": stored.name}
    return "DeleteObjects", {"below": storage.join(session.root, stored.name, "")}


def delete(session: Session, stored: Stored, repository: str) -> None:
    """Takes it away, for good."""
    if stored.kind == "data":
        session.storage.delete(storage.join(session.root, stored.name))
    elif stored.kind == "images":
        _, parameters = request(session, stored, repository)
        session.client("ecr").batch_delete_image(**parameters)
    else:
        session.client("logs").delete_log_group(logGroupName=stored.name)


def _data(session: Session) -> Iterator[Stored]:
    sizes: Counter[str] = Counter()
    for name, size in session.storage.list(session.root):
        folder, _, rest = name.partition("/")
        if folder == _SERVER or not rest:
            continue
        inner, _, below = rest.partition("/")
        sizes[f"{folder}/{inner}" if folder in _SHELVES and below else folder] += size
    # On this machine nobody is paid for it.
    usd = 0.0 if session.root.startswith("file:") else prices.storage("S3")
    for name, size in sorted(sizes.items()):
        yield Stored("data", name, size, size / _GB * usd)


def _images(session: Session, repository: str) -> Iterator[Stored]:
    client = session.client("ecr")
    try:
        pages = list(client.get_paginator("describe_images").paginate(repositoryName=repository))
    except client.exceptions.RepositoryNotFoundException:
        return
    for image in (image for page in pages for image in page["imageDetails"]):
        size = image.get("imageSizeInBytes", 0)
        tags = ", ".join(image.get("imageTags", [])) or "untagged"
        yield Stored("images", image["imageDigest"], size, size / _GB * prices.storage("ECR"), f"{repository}:{tags}")


def _logs(session: Session) -> Iterator[Stored]:
    pages = session.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=_LOGS)
    for group in (group for page in pages for group in page["logGroups"]):
        size = group.get("storedBytes", 0)
        yield Stored("logs", group["logGroupName"], size, size / _GB * prices.storage("CloudWatch Logs"))


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ClientError, ResponseParserError
