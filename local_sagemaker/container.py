"""The runner of images: `docker run IMAGE train|serve` with the private directory on /opt/ml."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import Mount as DockerMount
from requests.exceptions import RequestException

from local_sagemaker.process import free_port
from local_sagemaker.runners import RunnerError, Work

LABEL = "local-sagemaker.base"  # on each container: the directory it works on, by which leftovers are found
ENGINE_LOST = 125  # the exit code of `docker run` when the engine, not the container, failed
log = logging.getLogger(__name__)


class DockerRunner:
    """Runs containers on the engine that the environment names. Raises RunnerError when none answers."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env()
            self._client.ping()
        except DockerException as error:
            raise RunnerError(
                f"no Docker engine answers ({error}): start it, or name the image 'process' to run without one."
            ) from error

    def start(self, work: Work, write: Callable[[bytes], None]) -> RunningContainer:
        self._pull(work.image)
        port = free_port()
        more: dict[str, Any] = {"entrypoint": list(work.entrypoint)} if work.entrypoint else {}
        if work.verb == "serve":
            more["ports"] = {"8080/tcp": ("127.0.0.1", port)}
        if work.isolated:
            more["network_mode"] = "none"
        try:
            container = self._client.containers.create(
                work.image,
                list(work.arguments) if work.entrypoint or work.arguments else [work.verb],
                environment=work.environment,
                mounts=_mounts(work),
                labels={LABEL: str(work.base)},
                **more,
            )
        except DockerException as error:
            raise RunnerError(f"the container of {work.image} cannot be made: {_said(error)}.") from error
        try:
            container.start()
        except DockerException as error:
            container.remove(force=True)
            raise RunnerError(f"the container of {work.image} does not start: {_said(error)}.") from error
        return RunningContainer(container, f"http://127.0.0.1:{port}", write, lambda: self._hand_back(work))

    def sweep(self, base: Path) -> None:
        for container in self._client.containers.list(all=True, filters={"label": f"{LABEL}={base}"}):
            image = container.attrs["Config"]["Image"]
            container.remove(force=True)
            self._hand_back(Work("", image, "train", base))

    def _pull(self, image: str) -> None:
        try:
            self._client.images.get(image)
        except ImageNotFound:
            try:
                self._client.images.pull(image)
            except DockerException as error:
                raise RunnerError(
                    f"the image {image} is not on this machine and cannot be pulled ({_said(error)}): "
                    "build it, correct its name, or log in to its registry."
                ) from error
        except APIError as error:
            raise RunnerError(f"the image {image} cannot be used: {_said(error)}.") from error

    def _hand_back(self, work: Work) -> None:
        """Gives files that the container wrote as another user to the user of this server."""
        owner = os.geteuid()
        places = [work.base, *(mount.source for mount in work.mounts if mount.writable)]
        if owner == 0 or not any(_is_foreign(place, owner) for place in places):
            return
        try:
            self._client.containers.run(
                work.image,
                ["-R", f"{owner}:{os.getegid()}", "/kept"],
                entrypoint=["chown"],
                user="0",
                network_mode="none",
                remove=True,
                mounts=[DockerMount(f"/kept/{n}", str(place), "bind") for n, place in enumerate(places)],
            )
        except DockerException as error:
            log.warning("files below %s stay with another user: %s", work.base, _said(error))


class RunningContainer:
    """A container, a thread that reads what it prints, a thread that waits for its end and removes it."""

    def __init__(
        self, container: Container, url: str, write: Callable[[bytes], None], hand_back: Callable[[], None]
    ) -> None:
        self.url = url
        self._container = container
        self._write = write
        self._hand_back = hand_back
        self._kill: threading.Timer | None = None
        self._code = ENGINE_LOST
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> int | None:
        return self._code if self._ended.wait(timeout_s) else None

    def stop(self, grace_s: float) -> None:
        self._signal("SIGTERM")
        self._kill = threading.Timer(grace_s, self._signal, ["SIGKILL"])
        self._kill.daemon = True
        self._kill.start()

    def _signal(self, name: str) -> None:
        with contextlib.suppress(APIError):  # it has ended in the meantime
            self._container.kill(signal=name)

    def _read(self) -> None:
        with contextlib.suppress(DockerException, RequestException):  # _wait says that the engine is gone
            for chunk in self._container.logs(stream=True, follow=True):
                self._write(chunk)

    def _wait(self) -> None:
        try:
            self._code = int(self._container.wait()["StatusCode"])
            self._reader.join(timeout=10)
            self._container.remove(force=True)
            self._hand_back()
        except (DockerException, RequestException) as error:
            log.warning("the Docker engine was lost: %s", error)
        if self._kill:
            self._kill.cancel()
        self._ended.set()


def _mounts(work: Work) -> list[DockerMount]:
    binds = [DockerMount("/opt/ml", str(work.base), "bind")]
    for mount in work.mounts:
        binds.append(DockerMount(f"/opt/ml/{mount.target}", str(mount.source), "bind", read_only=not mount.writable))
    return binds


def _is_foreign(place: Path, owner: int) -> bool:
    return any(path.lstat().st_uid != owner for path in [place, *place.rglob("*")])


def _said(error: Exception) -> str:
    """The engine's own words, without docker-py's."""
    return str(getattr(error, "explanation", None) or error).strip().rstrip(".")
