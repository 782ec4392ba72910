"""Where photographs come from: a folder, a zip archive, or the URL of one; each ends as a folder to read."""

from __future__ import annotations

import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from orchestrate.console import Console
from orchestrate.errors import InputError

# https://github.com/udacity/deep-learning-v2-pytorch, project-dog-classification
UDACITY_URL = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
_MIB = 1 << 20
# Photographs hardly compress: an archive that unpacks to much more than itself is damaged or hostile.
_LARGEST_RATIO = 20
_FREE_OF_RATIO = 200 * _MIB


def unpack(archive: Path, target: Path) -> None:
    """Extracts a zip of photographs into the new folder `target`.

    Raises:
        InputError: no zip, damaged, larger than the disk, or with entries that leave the folder, link or explode.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            entries = bundle.infolist()
            for entry in entries:
                _check(archive, entry)
            total = sum(entry.file_size for entry in entries)
            if total > max(_FREE_OF_RATIO, _LARGEST_RATIO * archive.stat().st_size):
                raise InputError(f"{archive} would unpack to {total / _MIB:,.0f} MiB, more than {_LARGEST_RATIO} times "
                                 f"its size: that is no archive of photographs")  # fmt: skip
            free = shutil.disk_usage(target.parent).free
            if total > free:
                raise InputError(
                    f"{archive} needs {total / _MIB:,.0f} MiB and {target.parent} has "
                    f"{free / _MIB:,.0f} MiB left: free some space or choose another --output"
                )
            target.mkdir()
            for entry in entries:
                if not entry.is_dir():
                    bundle.extract(entry, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}): it is damaged or no zip; fetch it again") from None


def download(url: str, path: Path, console: Console) -> None:
    """Fetches `url` to `path`, from where an interrupted download stopped; a complete one is kept as it is.

    Raises:
        InputError: the address cannot be reached, or gives something else than the whole file.
    """
    if path.is_file():
        console.say(f"{path} is there already: not fetched again")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    done = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer, console.progress(f"fetching {url}") as show:
            resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
            done = done if resumed else 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length else None
            console.say(f"fetching {url}" + (f" from byte {done:,}" if done else ""))
            with partial.open("ab" if resumed else "wb") as stream:
                while chunk := answer.read(_MIB):
                    stream.write(chunk)
                    done += len(chunk)
                    show(f"fetching {url}: {done / _MIB:,.0f} MiB" + (f" of {total / _MIB:,.0f}" if total else ""))
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url} could not be fetched ({reason}): check the network and run the command again, "
                         f"it goes on where it stopped") from None  # fmt: skip
    if total is not None and done != total:
        raise InputError(f"{url} stopped after {done:,} of {total:,} bytes: run the command again, "
                         f"it goes on where it stopped")  # fmt: skip
    partial.replace(path)


def _check(archive: Path, entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    mode = entry.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InputError(f"{archive} has the entry {entry.filename!r}, which leaves its folder: it is not unpacked")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{archive} has the entry {entry.filename!r}, which is no ordinary file: it is not unpacked")
