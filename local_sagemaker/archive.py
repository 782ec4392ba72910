"""model.tar.gz and output.tar.gz: packing directories, unpacking one safely."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backports import tarfile
from isal import igzip_threaded

from local_sagemaker.errors import JobError

_BLOCK = 1024 * 1024  # bytes


def pack(directories: list[Path], target: Path) -> None:
    """Packs the files below directories as if they were one; of files of the same name the first one's is kept.

    ISA-L's lowest level, because weights hardly compress: a ninth of the time of Python's gzip (100 MB of weights: 0.34
    instead of 3.05 s) at the same size. Raises JobError as `contents` does.
    """
    with (
        igzip_threaded.open(target, "wb", compresslevel=1, threads=1, block_size=_BLOCK) as packed,  # type: ignore[no-untyped-call]
        tarfile.open(fileobj=packed, mode="w|", bufsize=_BLOCK, dereference=True) as tar,  # hard links become files
    ):
        for name, path in contents(directories):
            tar.add(path, arcname=name, recursive=False, filter=_anonymous)


def contents(directories: list[Path]) -> Iterator[tuple[str, Path]]:
    """The files and directories below directories, by their names in there.

    Raises JobError for a link or a special file: SageMaker does not follow them, and the model would arrive without
    its weights.
    """
    found: dict[str, bool] = {}  # name -> whether it is a directory
    for directory in directories:
        if directory.is_symlink():
            raise _refused(directory.name, "is a symbolic link; leave the directory where it is")
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory).as_posix()
            if path.is_symlink():
                raise _refused(name, "is a symbolic link; write a regular file instead")
            if not path.is_file() and not path.is_dir():
                raise _refused(name, "is neither a file nor a directory")
            if name in found or any(not found.get(parent.as_posix(), True) for parent in Path(name).parents):
                continue
            found[name] = path.is_dir()
            yield name, path


def unpack(source: Path, directory: Path) -> None:
    """Unpacks into a directory; JobError for what is no archive and for members that would leave the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(source, "r:*") as tar:
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise JobError(f"ClientError: {source.name} cannot be unpacked: {error}.") from error


def _refused(name: str, why: str) -> JobError:
    return JobError(f"ClientError: Artifact upload failed: {name} {why}.")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who ran the job is nobody's business who reads the artifact."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
