"""What need not be given on every command line: `KENNEL_*` variables and the file kennel.toml.

An option goes before a variable, a variable before the file, and the file before what the AWS tools are configured for.
The file is the one that KENNEL_CONFIG names, else the first kennel.toml in the working directory or above it:

    region = "eu-west-1"
    role = "arn:aws:iam::123456789012:role/kennel"
    bucket = "kennel-123456789012-eu-west-1"        # or: output = "s3://BUCKET/PREFIX"
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel@sha256:..."
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrate.errors import InputError

FILE = "kennel.toml"
_NAMES_THE_FILE = "KENNEL_CONFIG"
# What can be set -> what it is.
KEYS = {
    "region": "AWS region",
    "role": "ARN of the role that jobs and endpoints run as",
    "bucket": "everything is written to s3://BUCKET/kennel",
    "output": "URI under which everything is written",
    "image": "container image",
    "repository": "the image's repository in ECR",
    "instance-type": "machine of jobs",
    "endpoint-instance-type": "machine of endpoints",
}


@dataclass(frozen=True)
class Setting:
    """A value and where it was found: the name of a variable, or the path of the file."""

    value: str
    source: str


@dataclass(frozen=True)
class Settings:
    """What variables and file say. `file`: None where there is none; a bucket is told as the output that it means."""

    file: Path | None = None
    found: Mapping[str, Setting] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        """The value, None where nothing says one."""
        return self.found[key].value if key in self.found else None

    def source(self, key: str) -> str:
        """` (KENNEL_ROLE)`, for a message about the value; nothing where there is none."""
        return f" ({self.found[key].source})" if key in self.found else ""


def variable(key: str) -> str:
    """`KENNEL_INSTANCE_TYPE`."""
    return "KENNEL_" + key.upper().replace("-", "_")


def read() -> Settings:
    """What holds here and now.

    Raises:
        InputError: a file that cannot be read, or says something that is no setting.
    """
    file = _file()
    found = _output_of_bucket(_of_file(file), str(file)) if file else {}
    variables = {
        key: Setting(os.environ[variable(key)], variable(key)) for key in KEYS if os.environ.get(variable(key))
    }
    return Settings(file, {**found, **_output_of_bucket(variables, "the environment")})


def _file() -> Path | None:
    named = os.environ.get(_NAMES_THE_FILE)
    if named:
        if not Path(named).is_file():
            raise InputError(f"{_NAMES_THE_FILE} names {named}, and there is no such file: correct it, or unset it")
        return Path(named)
    here = Path.cwd()
    return next((folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def _of_file(file: Path) -> dict[str, Setting]:
    document = _toml(file)
    for key, value in document.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key.replace("_", "-"), KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise InputError(f"{file}: there is no setting {key!r}; {hint}")
        if not isinstance(value, str) or not value:
            raise InputError(f'{file}: {key} must be a text in quotes, as {key} = "..."')
    return {key: Setting(value, str(file)) for key, value in document.items()}


def _toml(file: Path) -> dict[str, Any]:
    # Read by few commands, so that the others do not pay for the import.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{file} cannot be read: {error}; its lines look like region = "eu-west-1"') from None
    return document


def _output_of_bucket(found: dict[str, Setting], where: str) -> dict[str, Setting]:
    """Raises InputError: one place says both, and they may differ."""
    bucket = found.pop("bucket", None)
    if bucket is None:
        return found
    if "output" in found:
        raise InputError(f"{where} sets both a bucket and an output, which is where in a bucket: keep one of them")
    if "/" in bucket.value:
        raise InputError(f"{bucket.source}: bucket {bucket.value!r} must be the bucket's name alone; "
                         f"give s3://BUCKET/PREFIX as output")  # fmt: skip
    return {**found, "output": Setting(f"s3://{bucket.value}/kennel", bucket.source)}
