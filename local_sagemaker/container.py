"""The runner of images: `docker run IMAGE train|serve` with the private directory on /opt/ml."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig
from docker.types import Mount as DockerMount
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from local_sagemaker.process import free_port
from local_sagemaker.runners import ENGINE_LOST, Hosts, RunnerError, Work

# On each container and network: the directory it works on, by which leftovers are found.
LABEL = "local-sagemaker.base"
_LOST = (DockerException, RequestException, HTTPError, OSError)  # what docker-py raises when the engine goes away
log = logging.getLogger(__name__)


class DockerRunner:
    """Runs containers on the engine that the environment names. Raises RunnerError when none answers."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env()
            self._gpus = gpus(self._client.info())
        except DockerException as error:
            raise RunnerError(
                f"no Docker engine answers ({error}): start it, or name the image 'process' to run without one."
            ) from error

    @contextlib.contextmanager
    def hosts(self, count: int, base: Path, isolated: bool) -> Iterator[Hosts]:
        names = tuple(f"algo-{number}" for number in range(1, count + 1))
        if count == 1:
            yield Hosts(names, "eth0")
            return
        name = f"local-sagemaker-{hashlib.sha256(str(base).encode()).hexdigest()[:12]}"
        try:
            network = self._client.networks.create(name, internal=isolated, labels={LABEL: str(base)})
        except DockerException as error:
            raise RunnerError(f"the network of the job's {count} hosts cannot be made: {_said(error)}.") from error
        try:
            yield Hosts(names, "eth0", name)
        finally:
            with contextlib.suppress(*_LOST):
                network.remove()

    def start(self, work: Work, write: Callable[[bytes], None]) -> RunningContainer:
        self._pull(work.image)
        port = free_port()
        more: dict[str, Any] = {"entrypoint": list(work.entrypoint)} if work.entrypoint else {}
        if work.verb == "serve":
            more["ports"] = {"8080/tcp": ("127.0.0.1", port)}
        if work.verb == "train":
            more["hostname"] = work.host  # which SageMaker makes resolvable on a single host too
        if work.network:
            more["network"] = work.network
            aliases = self._client.api.create_endpoint_config(aliases=[work.host])
            more["networking_config"] = {work.network: aliases}
        elif work.isolated and work.verb == "serve":
            more["network"] = self._one_way_network(work.base)
        elif work.isolated:
            more["network_mode"] = "none"
        if work.memory_mb:
            more["mem_limit"] = f"{work.memory_mb}m"
        try:
            container = self._client.containers.create(
                work.image,
                list(work.arguments) if work.entrypoint or work.arguments else [work.verb],
                environment=work.environment,
                mounts=_mounts(work),
                labels={LABEL: str(work.base)},
                # Memory is taken as it is used; Docker's own 64 MB kill every DataLoader with workers.
                shm_size=psutil.virtual_memory().total // 2,
                device_requests=self._gpus,
                # The server keeps the log; the engine's copy of a container that floods it must not fill the disk.
                log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m"}),
                **more,
            )
        except DockerException as error:
            self._remove_networks(work.base)
            raise RunnerError(f"the container of {work.image} cannot be made: {_said(error)}.") from error
        try:
            # Before the start and not from the engine's log afterwards: so a container that prints faster than it is
            # read waits, and no line is lost.
            printed = container.attach(stream=True)
            container.start()
        except DockerException as error:
            container.remove(force=True)
            self._remove_networks(work.base)
            raise RunnerError(f"the container of {work.image} does not start: {_said(error)}.") from error
        return RunningContainer(
            container,
            f"http://127.0.0.1:{port}",
            printed,
            write,
            hand_back=lambda: self._clean_up(work),
            reconnect=self._client.close,
        )

    def sweep(self, base: Path) -> None:
        try:
            for container in self._client.containers.list(
                all=True, filters={"label": f"{LABEL}={base}"}, ignore_removed=True
            ):
                image = container.attrs["Config"]["Image"]
                container.remove(force=True)
                self._hand_back(Work("", image, "train", base))
            self._remove_networks(base)
        except _LOST as error:
            raise RunnerError(f"containers of {base} may be left: {_said(error)}.") from error

    def _one_way_network(self, base: Path) -> str:
        """A network into which requests come, through the container's port, and out of which nothing goes.

        One that Docker calls internal would have no port; without masquerading, no answer finds its way back.
        """
        name = f"local-sagemaker-{hashlib.sha256(str(base).encode()).hexdigest()[:12]}"
        options = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
        try:
            self._client.networks.create(name, options=options, labels={LABEL: str(base)})
        except DockerException as error:
            raise RunnerError(f"the network of an isolated container cannot be made: {_said(error)}.") from error
        return name

    def _remove_networks(self, base: Path) -> None:
        for network in self._client.networks.list(filters={"label": f"{LABEL}={base}"}):
            network.remove()

    def _clean_up(self, work: Work) -> None:
        if work.verb == "serve" and work.isolated:
            self._remove_networks(work.base)
        self._hand_back(work)

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
        self,
        container: Container,
        url: str,
        printed: Iterator[bytes],
        write: Callable[[bytes], None],
        hand_back: Callable[[], None],
        reconnect: Callable[[], None],
    ) -> None:
        self.url = url
        self._container = container
        self._printed = printed
        self._write = write
        self._hand_back = hand_back
        self._reconnect = reconnect
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
        if self._kill:
            self._kill.cancel()
        self._kill = threading.Timer(grace_s, self._signal, ["SIGKILL"])
        self._kill.daemon = True
        self._kill.start()

    def _signal(self, name: str) -> None:
        with contextlib.suppress(*_LOST):  # it has ended in the meantime, or _wait says that the engine is gone
            self._container.kill(signal=name)

    def _read(self) -> None:
        with contextlib.suppress(*_LOST):  # _wait says that the engine is gone
            for chunk in self._printed:
                self._write(chunk)

    def _wait(self) -> None:
        try:
            code = int(self._container.wait()["StatusCode"])
            self._reader.join(timeout=10)
            self._container.remove(force=True)
            self._hand_back()
            self._code = code
        except _LOST as error:
            log.warning("the Docker engine was lost: %s", error)
            self._reconnect()  # its other connections are as dead; the next request opens a new one
        if self._kill:
            self._kill.cancel()
        self._ended.set()


def gpus(info: dict[str, Any]) -> list[DeviceRequest]:
    """All GPUs that the engine can give, by what `docker info` says: through NVIDIA's runtime or through CDI."""
    if "nvidia" in info.get("Runtimes", {}):
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    if any(device.get("ID") == "nvidia.com/gpu=all" for device in info.get("DiscoveredDevices") or []):
        return [DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=all"])]
    return []


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
