"""The servers that benchmarks/serving.py compares: how each is started, asked, and what it weighs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.load import Body

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "serving_peers"
USUAL = ROOT / "benchmarks" / "baselines" / "usual_serving"
_BOUNDARY = "kennel-benchmark"


@dataclass(frozen=True)
class Server:
    """`command(port, directory)`: starts it, with files of its own in the directory. `body`: a photograph as it takes
    it. `python`: None for our own environment, else that of the peers is used."""

    name: str
    command: Callable[[int, Path], Sequence[str]]
    ping: str
    path: str
    body: Callable[[bytes], Body]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    url: str
    process: psutil.Process
    healthy_s: float

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time that all its processes have taken so far."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """Proportional set size of all its processes, in MB: what they share counts once."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total / 1e6


def raw(photograph: bytes) -> Body:
    return photograph, "image/jpeg"


def form(photograph: bytes) -> Body:
    head = (f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
            f"Content-Type: image/jpeg\r\n\r\n")  # fmt: skip
    return (
        head.encode() + photograph + f"\r\n--{_BOUNDARY}--\r\n".encode(),
        f"multipart/form-data; boundary={_BOUNDARY}",
    )


def base64_json(photograph: bytes) -> Body:
    return json.dumps({"image_data": base64.b64encode(photograph).decode()}).encode(), "application/json"


def kennel(artifact: Path) -> Server:
    return Server("Kennel", lambda port, d: [str(ROOT / "container_src" / "bin" / "serve")], "ping", "invocations", raw,
                  {"SAGEMAKER_BASE_DIR": str(artifact.parent)})  # fmt: skip


def all_of(artifact: Path, peers: Path | None, cpus: int) -> list[Server]:
    """`peers`: their environment's Python; None leaves them out."""
    here = {"KENNEL_ARTIFACT": str(artifact), "PEER_WORKERS": str(cpus)}
    threads = {"OMP_NUM_THREADS": "1"}
    servers = [
        kennel(artifact),
        Server("the usual way (MMS, toolkit's handler)", _usual(cpus), "ping", "invocations", raw,
               here | {"PYTHONPATH": str(USUAL)}),
    ]  # fmt: skip
    if not peers:
        return servers
    python = str(peers)
    bin_ = peers.parent

    def fastapi(workers: int) -> Callable[[int, Path], list[str]]:
        return lambda port, d: [python, "-m", "uvicorn", "with_fastapi:app", "--port", str(port), "--workers",
                                str(workers), "--log-level", "error"]  # fmt: skip

    ours = {"KENNEL_PREDICTOR": "1"}
    litserve = lambda port, d: [python, str(PEERS / "with_litserve.py"), str(port)]  # noqa: E731
    servers += [
        Server("TorchServe", _torchserve(bin_, artifact), "ping", "predictions/model", raw, here),
        Server("LitServe", litserve, "health", "predict", base64_json, here),
        Server("BentoML", lambda port, d: [str(bin_ / "bentoml"), "serve", "with_bentoml:Classifier", "-p", str(port)],
               "readyz", "predict", form, here | {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "true"}),
        Server("FastAPI + uvicorn", fastapi(1), "ping", "predict", form, here),
        Server("FastAPI + uvicorn, a worker a core", fastapi(cpus), "ping", "predict", form, here | threads),
        Server("LitServe, Kennel's predictor", litserve, "health", "predict", base64_json, here | ours | threads),
        Server("FastAPI, Kennel's predictor, a worker a core", fastapi(cpus), "ping", "predict", form,
               here | ours | threads),
    ]  # fmt: skip
    return servers


@contextlib.contextmanager
def running(server: Server, directory: Path, photograph: bytes, limit_s: float = 300) -> Iterator[Running]:
    """Started, and answering; ended afterwards with all its processes.

    Raises:
        RuntimeError: it ended, or gave no answer in time; with the end of its log.
    """
    port = free_port()
    environment = {**os.environ, **server.environment, "SAGEMAKER_BIND_TO_PORT": str(port)}
    if server.name == "Kennel":
        environment["SAGEMAKER_BIND_TO_ADDRESS"] = "127.0.0.1"
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    directory.mkdir(parents=True)
    command = list(server.command(port, directory))
    log = directory / "log"
    began = time.monotonic()
    with log.open("wb") as stream:
        process = psutil.Popen(
            command, cwd=PEERS if server.path != "invocations" else directory, env=environment, stdout=stream,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        # Healthy is what answers a ping and a photograph: some servers say yes before they have a model.
        body, kind = server.body(photograph)
        while not (_answers(f"{url}/{server.ping}") and _answers(f"{url}/{server.path}", body, kind)):
            if (
                not process.is_running()
                or process.status() == psutil.STATUS_ZOMBIE
                or time.monotonic() - began > limit_s
            ):
                raise RuntimeError(f"{server.name} does not answer:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield Running(f"{url}/{server.path}", process, time.monotonic() - began)
    finally:
        everyone = [*process.children(recursive=True), process] if process.is_running() else []
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(everyone, timeout=30)


def free_port() -> int:
    """One that nobody listens on; below those that Linux hands out by itself."""
    for port in range(18080, 18980):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port between 18080 and 18980 is free")


def _answers(url: str, body: bytes | None = None, kind: str = "") -> bool:
    request = urllib.request.Request(url, body, {"Content-Type": kind} if kind else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _usual(cpus: int) -> Callable[[int, Path], list[str]]:
    def command(port: int, directory: Path) -> list[str]:
        (directory / "model").mkdir()
        properties = directory / "mms.properties"
        # As sagemaker-inference's start_model_server writes them, to a file of its own.
        properties.write_text(
            "enable_envvars_config=true\ndecode_input_request=false\nload_models=ALL\n"
            f"default_workers_per_model={cpus}\ninference_address=http://127.0.0.1:{port}\n"
            f"management_address=unix:{directory / 'management.sock'}\n"
            "default_service_handler=usual_service\ndefault_response_timeout_seconds=60\nvmargs=-XX:-UseContainerSupport\n"
        )
        return [
            "env", f"TMPDIR={directory}", f"TEMP={directory}",  # its pid file; several may live on one machine
            sys.executable, "-m", "mms.model_server", "--start", "--foreground", "--model-store", "/",
            "--models", f"model={directory / 'model'}", "--mms-config", str(properties),
        ]  # fmt: skip

    return command


def _torchserve(bin_: Path, artifact: Path) -> Callable[[int, Path], list[str]]:
    """Its own handler for image classification, with the network in eager mode."""

    def command(port: int, directory: Path) -> list[str]:
        told = json.loads((artifact / "model.json").read_text())
        (directory / "network.py").write_text(
            "from torchvision.models.resnet import ResNet, BasicBlock, Bottleneck\n"
            f"class Network(ResNet):\n    def __init__(self):\n        super().__init__({_layers(told['model'])}, "
            f"num_classes={len(told['classes'])})\n"
        )
        convert = "import sys, torch, safetensors.torch as st; torch.save(st.load_file(sys.argv[1]), sys.argv[2])"
        weights = directory / "weights.pt"
        subprocess.run([bin_ / "python", "-c", convert, artifact / "model.safetensors", weights], check=True)
        (directory / "index_to_name.json").write_text(json.dumps(dict(enumerate(told["classes"]))))
        subprocess.run(
            [bin_ / "torch-model-archiver", "--model-name", "model", "--version", "1", "--model-file",
             directory / "network.py", "--serialized-file", weights, "--handler", "image_classifier", "--extra-files",
             directory / "index_to_name.json", "--export-path", directory],
            check=True,
        )  # fmt: skip
        config = directory / "config.properties"
        config.write_text(
            f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{free_port() + 1}\n"
            f"metrics_address=http://127.0.0.1:{free_port() + 2}\ndisable_token_authorization=true\n"
        )
        return ["env", f"PATH={bin_}:{os.environ['PATH']}", f"TMPDIR={directory}", f"LOG_LOCATION={directory}",
                f"METRICS_LOCATION={directory}", str(bin_ / "torchserve"), "--start", "--foreground", "--ncs",
                "--model-store", str(directory), "--models", "model=model.mar", "--ts-config", str(config)]  # fmt: skip

    return command


def _layers(model: str) -> str:
    return {"resnet18": "BasicBlock, [2, 2, 2, 2]", "resnet50": "Bottleneck, [3, 4, 6, 3]"}[model]
