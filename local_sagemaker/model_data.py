"""Brings a model's data below the container's /opt/ml, as the model's container definition says."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from local_sagemaker import archive, storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.runners import Mount

ADDITIONAL = "additional-model-data-sources"


def bring(container: Record, base: Path, region: str) -> tuple[Mount, ...]:
    """Fills `base/model`; gives what is to be mounted instead of copied. Raises JobError.

    A multi-model container gets none: its models come one by one, when they are asked for.
    """
    base.mkdir(parents=True)
    if "ModelDataUrl" in container and container.get("Mode") != "MultiModel":
        _extract(container["ModelDataUrl"], base, "model", region)
    sources = [("model", container["ModelDataSource"])] if "ModelDataSource" in container else []
    for more in container.get("AdditionalModelDataSources", []):
        sources.append((f"{ADDITIONAL}/{more['ChannelName']}", more))
    mounts = [_bring_source(source["S3DataSource"], base, target, region) for target, source in sources]
    if all(mount is None or mount.target != "model" for mount in mounts):
        (base / "model").mkdir(exist_ok=True)
    return tuple(mount for mount in mounts if mount)


def _bring_source(source: Record, base: Path, target: str, region: str) -> Mount | None:
    uri = source["S3Uri"]
    if source["CompressionType"] == "Gzip":
        _extract(uri, base, target, region)
        return None
    try:
        mounted = storage.mountable(uri) if source["S3DataType"] == "S3Prefix" else None
        if mounted is not None:
            if not mounted.is_dir():
                raise JobError(f"{uri} is no directory.")
            return Mount(mounted, target)
        (base / target).mkdir(parents=True)
        if source["S3DataType"] == "S3Prefix":
            storage.download(uri, base / target, region)
        else:
            name = (storage.local_path(uri) or PurePosixPath(uri)).name
            storage.download_file(uri, base / target / name, region)
    except JobError as error:
        raise _not_found(uri, error) from error
    return None


def _extract(uri: str, base: Path, target: str, region: str) -> None:
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        packed = storage.local_path(uri)
        if packed is None:
            packed = Path(scratch) / "model.tar.gz"
        try:
            if not packed.is_file():
                storage.download_file(uri, packed, region)
        except JobError as error:
            raise _not_found(uri, error) from error
        try:
            archive.unpack(packed, base / target)
        except JobError as error:
            raise JobError(
                f'Failed to extract model data archive from URL "{uri}". Please ensure that the object located at '
                f"the URL is a valid tar.gz archive. {_detail(error)}"
            ) from error


def _not_found(uri: str, error: JobError) -> JobError:
    return JobError(
        f'Failed to download model data from URL: "{uri}". Please ensure that there is an object located at the URL '
        f"and that the role passed to CreateModel has permissions to download it. {_detail(error)}"
    )


def _detail(error: JobError) -> str:
    return str(error).removeprefix("ClientError: ")
