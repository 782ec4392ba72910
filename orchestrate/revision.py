"""Which source an image is made of: the commit, and a mark where what goes into the image differs from it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from orchestrate.errors import InputError

_SHORT = 12


@dataclass(frozen=True)
class Revision:
    """A commit and what was changed since."""

    commit: str
    """40 hex digits"""
    epoch: int
    """seconds since 1970 at which the commit was made"""
    changed: tuple[str, ...] = ()
    """files of the image that differ from the commit, or that it does not have"""
    change: str = ""
    """hash of their names and contents: the same change gives the same name"""
    source: str = ""
    """where the repository was cloned from, without credentials; empty where that is no address"""

    @property
    def name(self) -> str:
        """What the label `org.opencontainers.image.revision` says."""
        return self.commit + (f"-dirty-{self.change}" if self.changed else "")

    @property
    def tag(self) -> str:
        """The same, short enough to read."""
        return self.name.replace(self.commit, self.commit[:_SHORT])

    @property
    def created(self) -> str:
        """The commit's time in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def of(root: Path, paths: tuple[str, ...]) -> Revision:
    """The revision of the checkout `root`, looking for changes in `paths` (all of it where there are none).

    Raises:
        InputError: it is no git checkout.
    """
    commit = _git(root, "rev-parse", "HEAD").strip()
    top = Path(_git(root, "rev-parse", "--show-toplevel").strip())
    listed = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    changed = tuple(sorted(entry[3:] for entry in listed.split("\0") if entry))
    digest = hashlib.sha256()
    for name in changed:
        file = top / name
        digest.update(name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b"(deleted)") + b"\0")
    epoch = int(_git(root, "log", "-1", "--format=%ct"))
    origin = _git(root, "config", "--default", "", "--get", "remote.origin.url").strip()
    source = re.sub(r"//[^/@]*@", "//", origin) if re.match(r"https?://|ssh://|git@", origin) else ""
    return Revision(commit, epoch, changed, digest.hexdigest()[:8], source)


def paths_of_image(root: Path, dockerfile: Path) -> tuple[str, ...]:
    """What `.dockerignore` lets into the build, and the Dockerfile: a change of anything else changes no image."""
    ignore = root / ".dockerignore"
    lines = ignore.read_text("utf-8").splitlines() if ignore.exists() else []
    allowed = tuple(line[1:].strip().strip("/") for line in lines if line.startswith("!"))
    return (*allowed, ".dockerignore", dockerfile.relative_to(root).as_posix()) if allowed else ()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("the program `git` was not found: install it; images are named by their commit") from None
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no reason"])[0].removeprefix("fatal: ")
        raise InputError(
            f"{root} is no git checkout with a commit, and images are named by their commit ({words}): "
            "clone the repository with git, or commit first"
        )
    return done.stdout
