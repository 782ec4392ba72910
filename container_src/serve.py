"""The entry point of `serve`: artifact -> multi-model-server with classifier.handler, until SIGTERM.

The contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> int:
    """Serves the artifact in `$SAGEMAKER_BASE_DIR/model` until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="serve",
        description="Serves the model in $SAGEMAKER_BASE_DIR/model (default /opt/ml/model) over HTTP until SIGTERM.",
        epilog="Environment variables: SAGEMAKER_BIND_TO_PORT (default 8080), SAGEMAKER_BIND_TO_ADDRESS (0.0.0.0), "
        "SAGEMAKER_MODEL_SERVER_WORKERS (eight a CPU), SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS (60), "
        "SAGEMAKER_STARTUP_TIMEOUT (600), SAGEMAKER_MAX_PAYLOAD_IN_MB (6), SAGEMAKER_MODEL_SERVER_VMARGS, "
        "KENNEL_ENGINE (int8, bf16, fp32 or torch; the fastest), "
        "SAGEMAKER_MULTI_MODEL (true: models come by request), SAGEMAKER_CONTAINER_LOG_LEVEL (10: every request).",
    )
    parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    from sagemaker_inference import environment

    from classifier import artifact, events
    from classifier.errors import InputError
    from serving import memory, settings, supervision

    served: dict[str, Any] = {"multi_model": True}
    started = False
    try:
        # environment.model_dir is another with several models, which come one by one.
        if Path(environment.model_dir).name != "models":
            model = artifact.read(Path(environment.model_dir))
            served = {"model": model.model, "classes": len(model.classes)}
        chosen = settings.read()
        settings.check_port(chosen.address, chosen.port)
        events.say("start", **served, workers=chosen.workers, threads=chosen.threads, port=chosen.port)
        print(chosen.device.line, flush=True)
        memory.tell()
        started = True
        with private_directory() as directory:
            supervision.run(chosen, directory, stopping)
    except InputError as error:
        if started:
            events.say("stop", "error", exit_code=1)
        print(f"serve: {error}", file=sys.stderr)
        return 1
    events.say("stop", exit_code=0)
    return 0


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory of this server alone: configuration, sockets, pid file. Removed at the end.

    It lies in /tmp where the temporary directory's name is long: a socket's path has at most 107 characters.
    """
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="kennel-serve-", dir=base if len(base) < 60 else "/tmp", ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
