"""Serving: Kennel, the usual way and the peers; the same model and photographs, one after the other on this machine.

    python benchmarks/serving.py                     # both models, all servers: about 20 minutes
    python benchmarks/serving.py --models resnet18 --only Kennel usual --seconds 5

A closed loop of 1, 4, 16 and 64 clients on this machine beside the server, which therefore shares its cores with them:
requests a second, median and 99th percentile; memory (proportional set size of all processes) afterwards; seconds from
the start to the first right answer; and, at 16 clients, the processor time that the server's processes take for a
request, which leaves out the clients and tells more than the rate where other machines share the cores. `bare` is
Kennel's predictor alone, on photographs that are decoded already, and with the decoding. The peers get an environment
of their own, from benchmarks/serving_peers/peers.lock. With ../shared the model is trained on its photographs and its
served answers are compared with its own evaluation; without, on generated ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

from benchmarks import conditions, load, servers  # noqa: E402
from benchmarks.servers import Server  # noqa: E402

SHARED = ROOT.parent / "shared"
CLIENTS = (1, 4, 16, 64)
PHOTOGRAPHS = 100
_EXTENSIONS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Row:
    """One server with one model."""

    name: str
    loads: Sequence[load.Load]
    memory_mb: float
    healthy_s: float
    cpu_ms: float
    """the server's processor time of a request at 16 clients"""

    def at(self, clients: int) -> load.Load:
        return next(one for one in self.loads if one.clients == clients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--only", nargs="+", default=[""], help="servers whose names contain one of these")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (default: 10)")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--peers", type=Path, help="an environment of the peers that is there (default: one is made)")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "serving.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        peers = args.peers or _environment(folder / "peers")
        data = _data(folder)
        photographs = [p.read_bytes() for p in _photographs(data / "test")[:PHOTOGRAPHS]]
        print(f"{len(photographs)} photographs of {sum(map(len, photographs)) // len(photographs):,} bytes", flush=True)
        parts = []
        for model in args.models:
            artifact = _trained(folder / model, data, model, args.image_size)
            print(f"{model}: bare ...", flush=True)
            bare = _bare(artifact)
            print(f"{model}: bare {bare['per_second']:.0f}/s on {bare['processor']}", flush=True)
            chosen = [s for s in servers.all_of(artifact, peers, os.cpu_count() or 1)
                      if any(text.lower() in s.name.lower() for text in args.only)]  # fmt: skip
            rows = [_measure(s, folder / f"{model}-{n}", photographs, args.seconds) for n, s in enumerate(chosen)]
            ours = servers.kennel(artifact)
            agreement = _agreement(artifact, model, ours, folder / f"{model}-agreement", data)
            parts.append(_page(model, rows, bare, agreement))
            print(parts[-1], flush=True)
        text = (
            f"# Serving\n\n`{_command(parser, args)}`. {conditions.sentence('torch', 'openvino')}\n\n"
            f"A closed loop of {args.seconds:g} s each, {len(photographs)} photographs in turn, the clients on this "
            f"machine; n: requests. Peers: {_versions(peers)}.\n\n"
        )
        text += "\n".join(parts)
        conditions.publish(text, args.out)


def _command(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """What measures the same again; where the peers' environment lies and the page goes is this machine's affair."""
    words = ["python", "benchmarks/serving.py"]
    for flag, value in (("models", args.models), ("only", args.only), ("seconds", [args.seconds]),
                        ("image-size", [args.image_size])):  # fmt: skip
        default = parser.get_default(flag.replace("-", "_"))
        if value not in (default, [default]):
            words += [f"--{flag}", *(f"{one:g}" if isinstance(one, float) else str(one) for one in value)]
    return shlex.join(words)


def _measure(server: Server, directory: Path, photographs: Sequence[bytes], seconds: float) -> Row:
    with servers.running(server, directory, photographs[0]) as running:
        bodies = [server.body(photograph) for photograph in photographs]
        load.run(running.url, bodies, 4, seconds=min(3.0, seconds))  # every worker has answered before it counts
        loads, cpu_ms = [], 0.0
        for clients in CLIENTS:
            before = running.cpu_s()
            loads.append(load.run(running.url, bodies, clients, seconds=seconds))
            if clients == 16:
                cpu_ms = 1000 * (running.cpu_s() - before) / max(1, len(loads[-1].latencies_s))
        row = Row(server.name, loads, running.memory_mb(), running.healthy_s, cpu_ms)
    told = ", ".join(f"{one.clients}: {one.per_second:.0f}/s" for one in loads)
    errors = {k: v for one in loads for k, v in one.errors.items()}
    print(f"  {server.name}: {told}, {row.memory_mb:.0f} MB, {row.healthy_s:.1f} s {errors or ''}", flush=True)
    return row


def _page(model: str, rows: Sequence[Row], bare: dict[str, object], agreement: str) -> str:
    head = ["server", "healthy, s", "memory, MB", *(f"{c} client{'s' * (c > 1)}: /s (p50, p99 ms; n)" for c in CLIENTS),
            "CPU a request at 16, ms", "over the usual way at 16"]  # fmt: skip
    usual = next((row.at(16).per_second for row in rows if "usual" in row.name), float("nan"))
    body = []
    for row in rows:
        cells = [
            f"{one.per_second:.0f} ({one.percentile_ms(50):.0f}, {one.percentile_ms(99):.0f}; {len(one.latencies_s)})"
            + (f", {sum(one.errors.values())} failed" if one.errors else "")
            for one in row.loads
        ]
        ratio = f"{row.at(16).per_second / usual:.2f}"
        body.append([row.name, f"{row.healthy_s:.1f}", f"{row.memory_mb:.0f}", *cells, f"{row.cpu_ms:.1f}", ratio])
    text = f"## {model}\n\n" + conditions.table(head, body)
    ours = next((row for row in rows if row.name == "Kennel"), None)
    per_second = float(str(bare["per_second"]))
    text += f"\nThe bare predictor ({bare['processor']}): {per_second:.0f}/s on pixels"
    text += f", {float(str(bare['with_decoding'])):.0f}/s with the decoding of photographs"
    if ours:
        shares = [ours.at(16).per_second / float(str(bare[key])) for key in ("per_second", "with_decoding")]
        text += (
            f"; the server keeps {shares[0]:.2f} and {shares[1]:.2f} of them at 16 clients. In processor time: "
            f"{bare['cpu_ms']:.1f} ms a photograph with its decoding, {ours.cpu_ms:.1f} ms a request in the server "
            f"({float(str(bare['cpu_ms'])) / ours.cpu_ms:.2f})"
        )
        peers = [row for row in rows if row.name != "Kennel" and "usual" not in row.name]
        for kind, group in (
            ("as its documentation sets it up", [row for row in peers if "Kennel" not in row.name]),
            ("with our predictor", [row for row in peers if "Kennel" in row.name]),
        ):
            if group:
                best = max(group, key=lambda row: row.at(16).per_second)
                times = ours.at(16).per_second / best.at(16).per_second
                text += (
                    f".\nThe best peer {kind} at 16 clients is {best.name}: Kennel answers {times:.2f} times as many"
                )
    return f"{text}.\n{agreement}\n"


_BARE = """
import json, sys, threading, time
from pathlib import Path
import numpy as np
from classifier import artifact, images
from classifier.predictor import Predictor
found = artifact.read(Path(sys.argv[1]))
predictor = Predictor(found)
predictor.open_lanes()
predictor.warm_up()
bodies = [p.read_bytes() for p in sorted(Path(sys.argv[2]).rglob("*.jp*g"))[:64]]
pixels = np.stack([images.load(body, found.preprocessing) for body in bodies])
def rate(work, threads, seconds=4.0):
    done, until = [0] * threads, time.perf_counter() + seconds
    def loop(n):
        while time.perf_counter() < until:
            done[n] += work(n)
    began, used = time.perf_counter(), time.process_time()
    all_ = [threading.Thread(target=loop, args=(n,)) for n in range(threads)]
    for t in all_: t.start()
    for t in all_: t.join()
    return sum(done) / (time.perf_counter() - began), 1000 * (time.process_time() - used) / sum(done)
def plain(size):
    def work(n):
        predictor.predict(pixels[:size])
        return size
    return work
def decoding(size):
    def work(n):
        predictor.predict(np.stack([images.load(body, found.preprocessing) for body in bodies[:size]]))
        return size
    return work
ways = [(size, threads) for size in (1, 8) for threads in (1, 2, 4)]
per_second, _ = max(rate(plain(s), t) for s, t in ways)
with_decoding, cpu_ms = max(rate(decoding(s), t) for s, t in ways)
print(json.dumps({"processor": predictor.processor, "per_second": per_second, "with_decoding": with_decoding,
                  "cpu_ms": cpu_ms}))
"""


def _bare(artifact: Path) -> dict[str, object]:
    """The predictor in a process of its own, as fast as any batch size and number of callers makes it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "container_src"), "OMP_NUM_THREADS": str(os.cpu_count())}
    command = [sys.executable, "-c", _BARE, str(artifact), str(artifact.parent / "input" / "data" / "test")]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def _agreement(artifact: Path, model: str, server: Server, directory: Path, data: Path) -> str:
    """The served labels of all of `test` beside what the trainer measured there."""
    photographs = _photographs(data / "test")
    right = 0
    with servers.running(server, directory, photographs[0].read_bytes()) as running:
        for path in photographs:
            body, kind = server.body(path.read_bytes())
            request = urllib.request.Request(running.url, body, {"Content-Type": kind})
            with urllib.request.urlopen(request, timeout=60) as answer:
                right += json.loads(answer.read())["predictions"][0]["label"] == path.parent.name
    metrics = json.loads((artifact / "model.json").read_text())["metrics"]
    weights = _weights(model)
    return (f"First weights: {weights.name if weights else 'random'}. Accuracy on the {len(photographs)} photographs "
            f"of test: {right / len(photographs):.4f} served, {metrics['test:accuracy']:.4f} in the trainer's "
            f"evaluation.")  # fmt: skip


def _weights(model: str) -> Path | None:
    """Pretrained ones, where they are at hand."""
    return next(iter(sorted((SHARED / "weights").glob(f"{model}-*.pth"))), None)


def _trained(base: Path, data: Path, model: str, image_size: int) -> Path:
    """The artifact of a short training, by the container's own entry point, in `base`/model."""
    weights = _weights(model)
    given = {"model": model, "image-size": str(image_size), "epochs": "5", "learning-rate": "0.01",
             "weights": "pretrained" if weights else "none"}  # fmt: skip
    config = base / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(given))
    channels = {"train": data / "train", "valid": data / "valid", "test": data / "test"}
    if weights:
        channels["weights"] = weights.parent
    (config / "inputdataconfig.json").write_text(json.dumps({name: {"TrainingInputMode": "File"} for name in channels}))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
    (base / "input" / "data").mkdir()
    for name, folder in channels.items():
        (base / "input" / "data" / name).symlink_to(folder)
    print(f"{model}: training ...", flush=True)
    began = time.monotonic()
    environment = {
        **os.environ,
        "SAGEMAKER_BASE_DIR": str(base),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run([ROOT / "container_src" / "bin" / "train"], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the training failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print(f"{model}: trained in {time.monotonic() - began:.0f} s", flush=True)
    return base / "model"


def _data(folder: Path) -> Path:
    if (SHARED / "dogs").is_dir():
        return SHARED / "dogs"
    script = ROOT / "orchestrate" / "prepare.py"
    command: list[str | Path] = [
        sys.executable,
        script,
        "--source",
        "synthetic",
        "--per-class",
        "60",
        "--size",
        "320",
        "--out",
        folder / "data",
    ]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "data"


def _photographs(folder: Path) -> list[Path]:
    """Of all classes in turn."""
    of_classes = [
        sorted(p for p in label.iterdir() if p.suffix.lower() in _EXTENSIONS) for label in sorted(folder.iterdir())
    ]
    most = max(map(len, of_classes))
    return [photographs[n] for n in range(most) for photographs in of_classes if n < len(photographs)]


def _environment(folder: Path) -> Path:
    """The peers' Python, from their lock."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    lock = servers.PEERS / "peers.lock"
    print("installing the peers ...", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    locked: list[str | Path] = ["--require-hashes", "--no-deps", "-r", lock]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *locked], check=True)
    return python


def _versions(python: Path) -> str:
    names = ("torchserve", "litserve", "bentoml", "fastapi", "uvicorn", "torch")
    code = f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {names!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
