"""Brings a model's data below the container's /opt/ml, as the model's container definition says."""

from __future__ import annotations

import tempfile
from pathlib import Path

from local_sagemaker import archive, storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.runners import Mount

ADDITIONAL = "additional-model-data-sources"


def bring(container: Record, base: Path, region: str) -> tuple[Mount, ...]:
    """Fills `base/model`; gives what is to be mounted instead of copied. Raises JobError.

    A multi-model container gets none: its models come one by one, when they are asked for.
    """
    (base / "model").mkdir(parents=True)
    if container.get("Mode") == "MultiModel":
        return ()
    if "ModelDataUrl" in container:
        _extract(container["ModelDataUrl"], base / "model", region)
    wanted = [("model", container["ModelDataSource"])] if "ModelDataSource" in container else []
    wanted += [
        (f"{ADDITIONAL}/{more['ChannelName']}", more) for more in container.get("AdditionalModelDataSources", [])
    ]
    mounts = [_bring_source(source["S3DataSource"], base, target, region) for target, source in wanted]
    return tuple(mount for mount in mounts if mount)


def _bring_source(source: Record, base: Path, target: str, region: str) -> Mount | None:
    uri = source["S3Uri"]
    if source["CompressionType"] == "Gzip":
        _extract(uri, base / target, region)
        return None
    local = storage.local_path(uri)
    try:
        if source["S3DataType"] == "S3Prefix":
            if local is not None:
                if not local.is_dir():
                    raise JobError(f"{uri} is no directory")
                return Mount(local, target)
            storage.download(uri, base / target, region)
        else:
            (base / target).mkdir(parents=True, exist_ok=True)
            storage.download_file(uri, base / target / uri.rpartition("/")[2], region)
    except JobError as error:
        raise _not_found(uri, error) from error
    return None


def _extract(uri: str, directory: Path, region: str) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        packed = storage.local_path(uri)
        if packed is None:
            packed = Path(scratch) / "model.tar.gz"
        try:
            if not packed.is_file():
                storage.download_file(uri, packed, region)
        except JobError as error:
            raise _not_found(uri, error) from error
        try:
            archive.unpack(packed, directory)
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
