"""What the operations of S3 get and give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.s3.body import Received
from local_sagemaker.s3.store import Store
from local_sagemaker.s3.uploads import Uploads

OWNER = {"DisplayName": "local-sagemaker", "ID": ACCOUNT}


class S3:
    """The objects and the multipart uploads of one server."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.uploads = Uploads(self.store)


@dataclass(frozen=True)
class Asked:
    """One request: its parameters by botocore's names, the region it was signed for, its body where that is a file."""

    operation: str
    parameters: dict[str, Any]
    region: str
    received: Received | None = None


@dataclass(frozen=True)
class Content:
    """Bytes of an open file: `length` of them from where it stands."""

    stream: BinaryIO
    length: int


@dataclass(frozen=True)
class Given:
    """One answer: its members by botocore's names, and an object's bytes."""

    members: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    content: Content | None = None


Handler = Callable[[S3, Asked], Given]
