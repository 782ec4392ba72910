"""`serve` when its processes are killed or stopped, and when it is stopped itself while it is busy."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import contract_serving as contract
from closed_loop import ClosedLoop, until
from contract_serving import Server

IMAGE = {"Content-Type": "image/jpeg"}
ENGINE = {"KENNEL_ENGINE": "fp32"}
_, BODY = contract.photographs()[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    contract.write_artifact(tmp_path / "model")
    running = Server(tmp_path, variables={"SAGEMAKER_MODEL_SERVER_WORKERS": "2", **ENGINE}).start()
    try:
        yield running.wait_for_ping(200)
    finally:
        running.stop()


def processes(server: Server) -> tuple[psutil.Process, list[psutil.Process], psutil.Process]:
    """The process that workers are forked from, the workers, and the predictor."""
    everyone = server.descendants()
    java = next(p for p in everyone if p.name() == "java")
    starter = next(p for p in everyone if p.ppid() == java.pid)
    workers = [p for p in everyone if p.ppid() == starter.pid]
    predictor = next(p for p in everyone if any("predictor_process" in word for word in p.cmdline()))
    return starter, workers, predictor


def replaced(server: Server, lost: list[psutil.Process]) -> bool:
    """Whether two workers run again, none of them a `lost` one."""
    workers = processes(server)[1]
    return len(workers) == 2 and not {p.pid for p in lost} & {p.pid for p in workers}


def test_what_is_lost_comes_back(server: Server) -> None:
    """Workers and the predictor, killed and stopped, one after the other; at last the server, under load."""
    starter, workers, predictor = processes(server)

    # Killed workers: /ping tells, and their successors answer. The starter is held until it was seen.
    starter.suspend()
    for worker in workers:
        worker.kill()
    server.wait_for_ping(503)
    starter.resume()
    server.wait_for_ping(200)
    until(lambda: replaced(server, workers))

    # Stopped ones answer nothing and do not end by themselves: they are killed.
    workers = processes(server)[1]
    for worker in workers:
        worker.suspend()
    until(lambda: replaced(server, workers))
    server.wait_for_ping(200)
    assert {e["pid"] for e in server.events() if e["event"] == "hangs"} == {worker.pid for worker in workers}

    # A predictor that is killed under load costs no request: a prediction is asked for again.
    with ClosedLoop(server.port, BODY, IMAGE) as load:
        load.wait_for(20)
        predictor.kill()
        load.wait_for(60)
    assert set(load.answered) == {200} and not load.lost and not load.refused
    server.wait_for_ping(200)

    # The files are needed for loading only: workers come back without them.
    shutil.rmtree(server.root / "model")
    workers = processes(server)[1]
    for worker in workers:
        worker.kill()
    until(lambda: replaced(server, workers))
    server.wait_for_ping(200)
    assert set(contract.predict(server.url, BODY)) == set(contract.CLASSES)

    everyone = server.descendants()
    check_stop_under_load(server)
    assert not [p for p in everyone if p.is_running()]


def check_stop_under_load(server: Server) -> None:
    """SIGTERM while clients ask: each gets an answer to what it sent, and is then refused."""
    with ClosedLoop(server.port, BODY, IMAGE) as load:
        load.wait_for(30)
        server.terminate()
        until(lambda: load.refused + sum(load.lost.values()) == load.clients)
        assert server.wait() == 0, server.log()
    assert not load.lost and set(load.answered) == {200}
    assert next(e["unanswered"] for e in server.events() if e["event"] == "drained") == 0


def test_a_slow_upload_is_answered_before_the_end(server: Server) -> None:
    """A body that trickles in while the server is told to stop, and ends when nobody is let in any more."""
    body = BODY + b"\0" * 100_000
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:1])
    server.terminate()
    sent = 1
    while server.ping() is not None:
        connection.send(body[sent : sent + 1])
        sent += 1
    connection.send(body[sent:])
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("connection") == "close"
    assert server.wait() == 0


def test_without_the_process_that_starts_workers_the_server_ends(server: Server) -> None:
    starter, *_ = processes(server)
    starter.kill()
    assert server.process.wait(timeout=600) == 1
    assert server.log().splitlines()[-1].startswith("serve: the process that starts the workers was killed")


def test_a_predictor_that_cannot_come_back_ends_the_server(server: Server) -> None:
    _, _, predictor = processes(server)
    (server.root / "model" / "model.json").unlink()
    os.kill(predictor.pid, signal.SIGKILL)
    assert server.process.wait(timeout=600) == 1
    assert "the model cannot be loaded" in server.log().splitlines()[-1]
