"""The checkpoints of a training job: there when it starts, kept in step with their place while it runs."""

from __future__ import annotations

import threading
from pathlib import Path

from local_sagemaker import contract, storage
from local_sagemaker.errors import JobError
from local_sagemaker.records import Record
from local_sagemaker.runners import Mount

SYNC_S = 30.0
DEFAULT_PATH = "/opt/ml/checkpoints"


def directory(job: Record) -> str:
    """Where the job keeps its checkpoints, relative to /opt/ml."""
    return contract.below(job["CheckpointConfig"].get("LocalPath", DEFAULT_PATH))


class Checkpoints:
    """A directory of this machine is mounted, so it is in step at every moment.

    S3 is copied from, then to every 30 s.
    """

    def __init__(self, base: Path, job: Record, region: str) -> None:
        self._region = region
        self._uri: str | None = job["CheckpointConfig"]["S3Uri"] if "CheckpointConfig" in job else None
        self._target = directory(job) if self._uri else ""
        self._local = base / self._target
        self._sent: dict[Path, tuple[int, int]] = {}
        self._stopped = threading.Event()

    def restore(self) -> tuple[Mount, ...]:
        """Brings what an earlier job left, and begins to keep it in step. Raises JobError."""
        if self._uri is None:
            return ()
        source = storage.local_path(self._uri)
        if source is not None:
            source.mkdir(parents=True, exist_ok=True)
            if self._local.is_dir():
                self._local.rmdir()  # the empty directory of the layout gives way to the mount
            return (Mount(source, self._target, writable=True),)
        self._local.mkdir(parents=True, exist_ok=True)
        if storage.has_objects(self._uri, self._region):
            storage.download(self._uri, self._local, self._region)
        self._sent = {path: _version(path) for path in self._files()}
        threading.Thread(target=self._keep, daemon=True).start()
        return ()

    def finish(self) -> None:
        """Sends what is not there yet. Raises JobError."""
        self.close()
        if self._uri and storage.local_path(self._uri) is None:
            self._send()

    def close(self) -> None:
        """Nothing more is sent in the background."""
        self._stopped.set()

    def _keep(self) -> None:
        while not self._stopped.wait(SYNC_S):
            try:
                self._send()
            except (JobError, OSError):
                continue  # a file that was just replaced, a network that is away: the next round or finish() says it

    def _send(self) -> None:
        assert self._uri
        for path in self._files():
            version = _version(path)
            if self._sent.get(path) != version:
                storage.upload_file(
                    path, storage.join(self._uri, path.relative_to(self._local).as_posix()), self._region
                )
                self._sent[path] = version

    def _files(self) -> list[Path]:
        return [path for path in sorted(self._local.rglob("*")) if path.is_file() and not path.is_symlink()]


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
