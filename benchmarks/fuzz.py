"""What strangers can do to a server: thousands of damaged requests, among them good ones that must be answered right.

    python benchmarks/fuzz.py                  # 6,000 requests; prints, and writes benchmarks/results/fuzz.md
    python benchmarks/fuzz.py --requests 500 --seed 7

A real `serve` with a small untrained network takes them from several clients at once. Most are damaged bodies
(`mutations.py`), some are damaged HTTP: wrong lengths, slow senders, bodies of 7 MB, odd methods and headers.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "container_src")]

import contract_serving  # noqa: E402
from benchmarks import conditions, mutations  # noqa: E402
from benchmarks.mutations import Case  # noqa: E402

# Of ten requests one is good.
EVERY = 10
TIMEOUT_S = 60
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"


@dataclass
class Row:
    """The answers to one kind of request."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    longest_s: float = 0.0


@dataclass
class Run:
    """What was seen so far; `complaints`: what must not be, with how often."""

    rows: dict[str, Row] = field(default_factory=lambda: collections.defaultdict(Row))
    complaints: collections.Counter[str] = field(default_factory=collections.Counter)
    servers_own: collections.Counter[str] = field(default_factory=collections.Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: int = 0

    def add(self, kind: str, status: int | None, body: bytes, seconds: float, complaint: str | None) -> None:
        """`status` is None where the connection ended without an answer."""
        with self.lock:
            row = self.rows[kind]
            row.statuses[str(status or "closed")] += 1
            row.longest_s = max(row.longest_s, seconds)
            self.done += 1
            if complaint:
                self.complaints[f"{kind}: {complaint}"] += 1
            if b'"type":' in body and status != 200:
                told = json.loads(body)
                self.servers_own[f"{kind}: {status} {told['type']}: {told['message'][:60]!a}"] += 1


def main() -> None:
    """Parses, fuzzes, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kennel-fuzz-") as name:
        root = Path(name)
        contract_serving.write_artifact(root / "model")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        server = contract_serving.Server(root, variables={"PATH": path}).start()
        try:
            print(report(fuzz(server.wait_for_ping(200), args.requests, args.clients, args.seed), args, server))
        finally:
            server.stop()


@dataclass
class Outcome:
    """A run, and the server's processes before and after it: process id -> MB of memory."""

    run: Run
    seconds: float
    before: dict[int, float]
    after: dict[int, float]


def fuzz(server: contract_serving.Server, requests: int, clients: int, seed: int) -> Outcome:
    """Sends them all; a tenth of them first, so that memory is compared of processes that have seen everything."""
    address = urlsplit(server.url)
    host, port = str(address.hostname), int(address.port or 0)
    expected = [ask(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S), case)[1] for case in good()]
    cases, run, lock = mutations.cases(seed), Run(), threading.Lock()

    def client(number: int, count: int) -> None:
        rng = random.Random(seed * 1000 + number)
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        for sent in range(count):
            with lock:
                case = next(cases)
            if sent % EVERY == 0:
                which = rng.randrange(len(expected))
                check_good(run, connection, good()[which], expected[which])
            elif sent % EVERY == 1:
                damage_http(run, host, port, rng, case)
            else:
                check(run, connection, case)
        connection.close()

    started = time.monotonic()
    before: dict[int, float] = {}
    for count in (requests // 10, requests - requests // 10):
        before = before or memory(server) if run.done else before
        with ThreadPoolExecutor(clients) as pool:
            for ended in [pool.submit(client, number, count // clients) for number in range(clients)]:
                ended.result()
        print(f"{run.done:,} requests, {time.monotonic() - started:.0f} s", flush=True)
    return Outcome(run, time.monotonic() - started, before, memory(server))


def good() -> list[Case]:
    """Requests that are answered."""
    return [Case("good", body, {"Content-Type": kind}) for kind, body in contract_serving.photographs()]


def ask(connection: http.client.HTTPConnection, case: Case, method: str = "POST") -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection.request(method, "/invocations", case.body, dict(case.headers))
    answer = connection.getresponse()
    return answer.status, answer.read()


def check(run: Run, connection: http.client.HTTPConnection, case: Case, method: str = "POST") -> None:
    """One damaged request on a connection that may be used on."""
    started = time.monotonic()
    status, body, complaint = None, b"", None
    try:
        status, body = ask(connection, case, method)
        complaint = None if method == "HEAD" else mutations.complaint(status, body)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        complaint = f"no answer ({type(error).__name__})"
    run.add(case.kind, status, body, time.monotonic() - started, complaint)


def check_good(run: Run, connection: http.client.HTTPConnection, case: Case, expected: bytes) -> None:
    """One that must be answered as it was before everything else."""
    started = time.monotonic()
    status, body, complaint = None, b"", None
    try:
        status, body = ask(connection, case)
        if status != 200 or not same(body, expected):
            complaint = f"answered {status} {body[:100]!r}"
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        complaint = f"no answer ({type(error).__name__})"
    run.add("good", status, body, time.monotonic() - started, complaint)


def same(body: bytes, expected: bytes) -> bool:
    """The same labels with the same probabilities, whatever was in the same batch."""
    told, wanted = ({p["label"]: p["probability"] for p in json.loads(b)["predictions"]} for b in (body, expected))
    return told.keys() == wanted.keys() and all(abs(told[label] - wanted[label]) < 1e-3 for label in wanted)


def damage_http(run: Run, host: str, port: int, rng: random.Random, case: Case) -> None:
    """One request that is damaged below its body, on a connection of its own."""
    length = len(case.body)
    raw: dict[str, list[bytes]] = {
        "length too long, then closed": [HEAD + b"Content-Length: %d\r\n\r\n" % (length + 500) + case.body],
        "length too short": [HEAD + b"Content-Length: %d\r\n\r\n" % (length // 2) + case.body],
        "length that is none": [HEAD + b"Content-Length: " + rng.choice([b"-1", b"x", b"9" * 30]) + b"\r\n\r\nabc"],
        "broken chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"],
        "slow sender": [HEAD + b"Content-Length: 20\r\n\r\n", *[b"a"] * 20],
        "no HTTP": [rng.choice([rng.randbytes(300), b"\x16\x03\x01\x02\0\1\0\1", b"GET\r\n\r\n", b"\r\n" * 50])],
        "bytes in headers": [HEAD + b"X-A\xe9: \xff\xfe\0\r\nContent-Length: 1\r\n\r\na"],
        "many headers": [HEAD + b"X-Header: 1\r\n" * 5000 + b"\r\n"],
    }
    other = ("7 MB", "odd method", "form", "odd path")
    kind = rng.choice([*raw, *other])
    if kind in raw:
        send_raw(run, host, port, kind, raw[kind], rng)
        return
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        if kind == "7 MB":
            check(run, connection, Case(kind, bytes(7_000_000), case.headers))
        elif kind == "odd method":
            method = rng.choice(["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "WOOF"])
            check(run, connection, Case(kind, case.body, case.headers), method)
        elif kind == "form":
            form = rng.choice(["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
            check(run, connection, Case(kind, rng.choice([b"a=b", case.body]), {"Content-Type": form}))
        else:
            path = rng.choice(["/", "/models", "/invocations/x", "/ping/../models", "/invocations?body=x", "/%2e%2e"])
            started = time.monotonic()
            connection.request("POST", path, case.body, dict(case.headers))
            answer = connection.getresponse()
            body = answer.read()
            run.add(kind, answer.status, body, time.monotonic() - started, mutations.complaint(answer.status, body))


def send_raw(run: Run, host: str, port: int, kind: str, pieces: list[bytes], rng: random.Random) -> None:
    """A server may answer or close the connection, but not say anything else."""
    started = time.monotonic()
    received = b""
    with socket.create_connection((host, port), timeout=2) as connection:
        with contextlib.suppress(OSError):  # the server may have answered and closed before all is sent
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0 if len(pieces) == 1 else rng.choice([0.01, 0.1]))
            if kind in ("length too long, then closed", "no HTTP"):
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                received += part
    status, body, complaint = None, b"", None
    if received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, body = int(head.split()[1]), rest
        # What follows the first answer is that to the rest of a body, which looks like a second request.
        body = rest[: int(head.lower().partition(b"content-length:")[2].split()[0])]
        complaint = mutations.complaint(status, body) if body else None
    run.add(kind, status, body, time.monotonic() - started, complaint)


def memory(server: contract_serving.Server) -> dict[int, float]:
    """MB of each process of the server that is Python (the Java machine's heap grows up to its limit, as it likes)."""
    found = [process for process in server.descendants() if process.name().startswith("python")]
    return {process.pid: process.memory_info().rss / 1e6 for process in found}


def report(outcome: Outcome, args: argparse.Namespace, server: contract_serving.Server) -> str:
    """Writes the page of results and returns it."""
    run = outcome.run
    rows = [
        (kind, f"{row.statuses.total():,}", ", ".join(f"{n} x {s}" for s, n in sorted(row.statuses.items())),
         f"{row.longest_s * 1000:,.0f}")
        for kind, row in sorted(run.rows.items())
    ]  # fmt: skip
    kept = [pid for pid in outcome.before if pid in outcome.after]
    grown = max((outcome.after[pid] - outcome.before[pid] for pid in kept), default=0.0)
    lines = [
        "# Fuzz: what strangers send",
        "",
        conditions.sentence("pillow", "simplejpeg", "multi-model-server"),
        f"`python benchmarks/fuzz.py --requests {args.requests} --clients {args.clients} --seed {args.seed}`, "
        f"{outcome.seconds:.0f} s. Requests are damaged as `benchmarks/mutations.py` and `benchmarks/fuzz.py` say; the "
        f"longest answer is that of a machine that {args.clients} clients keep busy.",
        "",
        conditions.table(("kind", "requests", "answers", "longest, ms"), rows),
        f"- Requests: {run.done:,}. Not a 4xx of one sentence, nor a prediction: {run.complaints.total()}.",
        *[f"  - {count} x {complaint}" for complaint, count in run.complaints.most_common(20)],
        f"- Python processes that ended: {len(outcome.before) - len(kept)} of {len(outcome.before)}. "
        f"Largest growth of one after the first tenth of the requests: {grown:.0f} MB "
        f"(of {max(outcome.after.values(), default=0):.0f} MB).",
        f"- `/ping` afterwards: {server.ping()}. Tracebacks in the log: {server.log().count('Traceback')}.",
        "- Answered by multi-model-server itself, in its own words:",
        *[f"  - {count} x {told}" for told, count in run.servers_own.most_common(20)],
    ]
    page = "\n".join(lines) + "\n"
    (conditions.RESULTS / "fuzz.md").write_text(page, encoding="utf-8")
    return page


if __name__ == "__main__":
    main()
