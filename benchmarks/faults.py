"""What is lost, and for how long, when parts of a busy server are killed, and when it is stopped.

    python benchmarks/faults.py                    # some minutes; prints, and writes benchmarks/results/faults.md
    python benchmarks/faults.py --image kennel     # also in a container with too little memory (needs an engine)

It measures and asserts nothing. An untrained ResNet-18 at 224 pixels, 16 clients in a closed loop, every second one on
a connection that it keeps. Lost is a request that was sent on an open connection and got another answer than 200, or
none; healthy again is the first 200 of /ping after the first that was not, asked for all the time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src"), str(ROOT / "tests")]

import contract_serving as contract  # noqa: E402
from benchmarks import conditions  # noqa: E402
from closed_loop import ClosedLoop, until  # noqa: E402
from contract_serving import Server  # noqa: E402

KILLS = 20
MEMORY = ("700m", "450m")


@dataclass
class Row:
    """`times`: how often it was done; `ill_s`: for how long /ping was not 200, each time."""

    what: str
    times: int
    answered: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    ill_s: list[float] = field(default_factory=list)
    note: str = ""

    def cells(self) -> list[str]:
        lost = ", ".join(f"{count} ({why})" for why, count in self.lost.items()) or "0"
        ill = f"{max(self.ill_s):.1f} s" if self.ill_s else "never ill"
        return [self.what, str(self.times), str(self.answered), lost, ill, self.note]


class Health:
    """Asks for /ping all the time, beside the load; `ill_s` of what it saw."""

    def __init__(self, server: Server) -> None:
        self._server, self.ill_s = server, list[float]()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _ask(self) -> None:
        since: float | None = None
        while not self._ends.wait(0.02):
            good = self._server.ping() == 200
            if not good and since is None:
                since = time.monotonic()
            elif good and since is not None:
                self.ill_s.append(time.monotonic() - since)
                since = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="an image of Kennel, for the row about the memory limit")
    image = parser.parse_args().image
    rows: list[Row] = []

    def done(row: Row) -> None:
        rows.append(row)
        print(" | ".join(row.cells()), flush=True)

    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        server = started(root / "first")
        try:
            done(under_load(server, "kill -9 of a worker", KILLS, lambda: pick(server, "worker").kill()))
            done(under_load(server, "a worker stopped (SIGSTOP)", 1, lambda: pick(server, "worker").suspend(), 10.0))
            done(under_load(server, "kill -9 of the predictor", 3, lambda: pick(server, "predictor").kill()))
            shutil.rmtree(server.root / "model")
            done(under_load(server, "model deleted, kill -9 of a worker", 1, lambda: pick(server, "worker").kill()))
            done(stopped(server))
        finally:
            server.stop()
        for name, what in (("starter", "kill -9 of the process that forks workers"), ("java", "kill -9 of Java")):
            done(ended(started(root / name), name, what))
        if image:
            for memory in MEMORY:
                done(without_memory(root / memory, image, memory))
    head = ["what is done", "times", "answered with 200", "lost", "/ping not 200, longest", "note"]
    table = conditions.table(head, [row.cells() for row in rows])
    text = (
        f"# What faults cost\n\n`python benchmarks/faults.py`. "
        f"{conditions.sentence('multi-model-server', 'openvino')}\n\n"
        f"An untrained ResNet-18 at 224 pixels, eight workers a CPU, 16 clients in a closed loop, half of them on "
        f"connections that they keep. Lost is what was sent on an open connection and got no 200.\n\n{table}"
    )
    conditions.publish(text, conditions.RESULTS / "faults.md")
    return 0


def started(root: Path) -> Server:
    root.mkdir()
    contract.write_artifact(root / "model", crop=224)
    return Server(root).start().wait_for_ping(200)


def pick(server: Server, name: str) -> psutil.Process:
    """A process of the server by its part: java, starter (of workers), worker, predictor."""
    everyone = [p for p in server.descendants() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    java = next(p for p in everyone if p.name() == "java")
    starter = next(p for p in everyone if p.ppid() == java.pid)
    found = {
        "java": [java],
        "starter": [starter],
        "worker": [p for p in everyone if p.ppid() == starter.pid],
        "predictor": [p for p in everyone if p.ppid() != starter.pid and "predictor_process" in " ".join(p.cmdline())],
    }
    return found[name][-1]


def load_of(server: Server) -> ClosedLoop:
    return ClosedLoop(server.port, contract.photographs()[0][1], {"Content-Type": "image/jpeg"})


def under_load(server: Server, what: str, times: int, fault: Callable[[], object], rest_s: float = 0.5) -> Row:
    """`rest_s`: between two faults, for what comes later than a sign of it."""
    row = Row(what, times)
    with Health(server) as health, load_of(server) as load:
        for _ in range(times):
            load.wait_for(20)
            fault()
            time.sleep(rest_s)
            server.wait_for_ping(200)
        load.wait_for(40)
    row.ill_s = health.ill_s
    return told(row, load)


def told(row: Row, load: ClosedLoop) -> Row:
    row.answered = load.answered.pop(200, 0)
    row.lost = {f"status {status}": count for status, count in load.answered.items()} | dict(load.lost)
    return row


def stopped(server: Server) -> Row:
    row = Row("SIGTERM", 1)
    everyone = server.descendants()
    with load_of(server) as load:
        load.wait_for(40)
        began = time.monotonic()
        server.terminate()
        code = server.process.wait(timeout=60)
        row.note = f"exit {code} after {time.monotonic() - began:.1f} s"
    left = sum(process.is_running() for process in everyone)
    row.note += f", {load.refused} clients refused, {left} processes left"
    return told(row, load)


def ended(server: Server, part: str, what: str) -> Row:
    """Of a fault that the server does not survive, which the platform answers with another container."""
    row = Row(what, 1)
    try:
        with load_of(server) as load:
            load.wait_for(40)
            began = time.monotonic()
            pick(server, part).kill()
            code = server.process.wait(timeout=120)
            row.note = f"exit {code} after {time.monotonic() - began:.1f} s: {server.log().splitlines()[-1][:90]}..."
        return told(row, load)
    finally:
        server.stop()


def without_memory(root: Path, image: str, memory: str) -> Row:
    """A container that may use as little memory as this."""
    row = Row(f"a container with {memory} of memory", 1)
    root.mkdir(parents=True)
    contract.write_artifact(root / "model", crop=224)
    server = Server(
        root,
        image,
        variables={"SAGEMAKER_STARTUP_TIMEOUT": "60"},
        options=(f"--memory={memory}", f"--memory-swap={memory}"),
    ).start()
    began = time.monotonic()
    try:
        until(lambda: server.process.poll() is not None or server.ping() == 200, 600)
        code, seconds = server.process.poll(), time.monotonic() - began
        if code is None:
            row.note = f"healthy after {seconds:.0f} s: it is enough"
        else:
            row.note = f"exit {code} after {seconds:.0f} s: {server.log().splitlines()[-1]}"
    finally:
        server.stop()
    return row


if __name__ == "__main__":
    sys.exit(main())
