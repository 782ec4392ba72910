"""The process that holds the model: loads it, listens on a socket when it has answered once, and batches what comes.

    python -m classifier.predictor_process SOCKET STATE_DIRECTORY [GPU]

One copy of the model in memory, however many workers decode; and a worker that a stranger's file brings down takes no
model with it. serve.py starts it, and starts it again when it ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from sagemaker_inference import environment

from classifier import artifact, events, predictor_wire
from classifier.artifact import Artifact
from classifier.batching import Batcher
from classifier.errors import InputError
from classifier.pulse import Pulse

# The variable that chooses how many images go into a forward pass at most; benchmarks/batching.py shows what it gives.
# The default for GPUs has not been measured.
LARGEST_BATCH = "KENNEL_LARGEST_BATCH"
LARGEST_ON_CPU, LARGEST_ON_GPU = 8, 32
FAILURE = "failure"


def main() -> int:
    """Serves until it is killed. Returns 1 when the model cannot be loaded; why is in STATE_DIRECTORY/failure."""
    path, state = Path(sys.argv[1]), Path(sys.argv[2])
    gpu = int(sys.argv[3]) if len(sys.argv) > 3 else None
    try:
        serve(path, state, gpu)
    except Exception as error:
        if not isinstance(error, InputError):
            events.say_error("loading the model failed")
        (state / FAILURE).write_text(" ".join(str(error).split()) or type(error).__name__, encoding="utf-8")
    return 1


def serve(path: Path, state: Path, gpu: int | None) -> None:
    """Loads the model of `environment.model_dir` and computes what connections to `path` ask for, for ever."""
    started = time.monotonic()
    found = artifact.read(Path(environment.model_dir))

    from classifier.predictor import Predictor

    predictor = Predictor(found, gpu)
    lanes = predictor.open_lanes()
    predictor.warm_up()
    largest = int(os.environ.get(LARGEST_BATCH) or (LARGEST_ON_CPU if gpu is None else LARGEST_ON_GPU))
    batcher = Batcher(predictor, largest)
    # Under its name only when it listens: whoever finds it is answered.
    coming = path.with_suffix(f".{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(coming))
    listener.listen(1024)
    coming.replace(path)
    seconds = round(time.monotonic() - started, 2)
    events.say("predictor_ready", processor=predictor.processor, engine=predictor.choice, lanes=lanes, seconds=seconds)
    threading.Thread(target=_accept, args=(listener, batcher, found, predictor.processor), daemon=True).start()
    # A pulse each: one that hangs is not hidden by the others' steps.
    running = [threading.Thread(target=batcher.run, args=(Pulse(state, f"predictor.{lane}"),)) for lane in range(lanes)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _accept(listener: socket.socket, batcher: Batcher, found: Artifact, processor: str) -> None:
    about = {"classes": found.classes, "preprocessing": found.preprocessing.to_dict(), "processor": processor}
    while True:
        connection = Connection(listener.accept()[0].detach())
        threading.Thread(target=_converse, args=(connection, batcher, about), daemon=True).start()


def _converse(connection: Connection, batcher: Batcher, about: dict[str, object]) -> None:
    """Answers one worker, in a thread of its own, so that one that stopped in the middle keeps up nobody else."""
    try:
        predictor_wire.send(connection, about, predictor_wire.EMPTY)
        while True:
            head, pixels = predictor_wire.receive(connection)
            try:
                result = batcher.compute(head["wanted"], pixels, head.get("class_index", 0))
            except Exception:
                events.say_error("a forward pass failed")
                predictor_wire.send(connection, {"error": "the forward pass failed"}, predictor_wire.EMPTY)
            else:
                predictor_wire.send(connection, {}, result)
    except (OSError, EOFError):  # the worker has ended
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
