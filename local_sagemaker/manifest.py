"""A manifest of objects, the S3DataType ManifestFile: `[{"prefix": "s3://BUCKET/KEY/"}, "relative/path", ...]`.

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html.
"""

from __future__ import annotations

import json
from pathlib import Path

from local_sagemaker import storage
from local_sagemaker.errors import JobError


def read(uri: str, listing: Path, region: str, failed: str = "", least: int = 0) -> tuple[str, list[str]]:
    """The prefix and the names below it; `listing` is the file that the manifest is copied to.

    Raises JobError, which begins with `failed`, where it is none or has fewer than `least` names.
    """
    storage.download_file(uri, listing, region)
    try:
        first, *names = json.loads(listing.read_text())
        prefix = first["prefix"]
        if not all(isinstance(part, str) for part in (prefix, *names)):
            raise TypeError("a name is not a string")
        if len(names) < least:
            raise TypeError("it names no objects")
    except (ValueError, TypeError, KeyError) as error:
        raise JobError(
            f"ClientError: {failed}{uri} is no manifest ({error}): "
            'it is JSON of the form [{"prefix": "s3://BUCKET/KEY/"}, "FILE", ...].'
        ) from error
    return prefix, names
