"""model.tar.gz and output.tar.gz: packing a directory, unpacking one safely."""

from __future__ import annotations

import tarfile
from pathlib import Path

from local_sagemaker.errors import JobError


def pack(directory: Path, target: Path) -> None:
    """Packs the files below a directory; the fastest gzip, because weights hardly compress.

    Raises JobError for a link or a special file: SageMaker does not follow them, and the model would arrive without
    its weights.
    """
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory).as_posix()
            if path.is_symlink():
                raise JobError(
                    f"ClientError: Artifact upload failed: {name} is a symbolic link; write a regular file instead."
                )
            if not path.is_file() and not path.is_dir():
                raise JobError(f"ClientError: Artifact upload failed: {name} is neither a file nor a directory.")
            tar.add(path, arcname=name, recursive=False, filter=_anonymous)


def unpack(source: Path, directory: Path) -> None:
    """Unpacks into a directory; JobError for what is no archive and for members that would leave the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(source, "r:*") as tar:
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise JobError(f"ClientError: {source.name} cannot be unpacked: {error}.") from error


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who ran the job is nobody's business who reads the artifact."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
