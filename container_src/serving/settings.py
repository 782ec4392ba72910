"""What the environment and the machine say about a server."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from sagemaker_inference import environment, parameters

from classifier import device, machine, predictor_process, variables
from classifier.device import Device
from classifier.errors import InputError

# What multi-model-server accepts. The ports that Linux hands out by itself begin at 32768: choose one below.
HIGHEST_PORT = 32766
# sagemaker-inference's default (-XX:-UseContainerSupport) lets the JVM size itself by the host, not by the container.
# An eighth of the memory holds a queue of 100 bodies; the rest belongs to the workers. The server only passes bytes on:
# the compiler that optimizes (C2) takes more of the processor than its code saves, 2 ms a request in the first minute.
VMARGS = "-XX:MaxRAMPercentage=12.5 -XX:+ExitOnOutOfMemoryError -XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class Settings:
    """`workers`: processes that decode, or, with `multi_model`, that hold a model each, a model."""

    address: str
    port: int
    workers: int
    threads: int
    device: Device
    multi_model: bool
    request_timeout_s: int
    startup_timeout_s: int
    max_payload_bytes: int
    vmargs: str


def read() -> Settings:
    """Reads sagemaker-inference's variables; what they leave open follows the machine.

    Raises:
        InputError: a variable that should hold a number does not, or there is a GPU that cannot be used.
    """
    multi_model = os.environ.get(parameters.MULTI_MODEL_ENV) == "true"
    try:
        env = environment.Environment()
        found = device.find("serve")
        cpus = machine.cpus()
        workers = int(env.model_server_workers or (1 if multi_model else decoders(cpus, len(found.gpus))))
        port = int(env.inference_http_port)
        # Minutes are sagemaker-inference's older unit. Its default, an hour, is of no use where callers wait 60 s.
        minutes = os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT")
        timeout_s = env.model_server_timeout_seconds or (int(minutes) * 60 if minutes else 60)
        max_bytes = env.max_request_size
        largest = int(os.environ.get(predictor_process.LARGEST_BATCH) or 1)
    except ValueError as error:
        raise InputError(
            f"an environment variable SAGEMAKER_* or KENNEL_* holds no whole number ({error}); correct it"
        ) from None
    if not 0 < port <= HIGHEST_PORT:
        raise InputError(f"the server cannot use port {port}: set SAGEMAKER_BIND_TO_PORT to one of 1 to {HIGHEST_PORT}")
    if min(workers, timeout_s, largest) < 1:
        raise InputError(
            f"the workers ({workers}), the time-out ({timeout_s} s) and the largest batch ({largest}) must be at least "
            f"1: correct SAGEMAKER_MODEL_SERVER_WORKERS, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS or "
            f"{predictor_process.LARGEST_BATCH}"
        )
    return Settings(
        address=os.environ.get("SAGEMAKER_BIND_TO_ADDRESS", "0.0.0.0"),
        port=port,
        workers=workers,
        threads=cpus,
        device=found,
        multi_model=multi_model,
        request_timeout_s=timeout_s,
        startup_timeout_s=env.startup_timeout,
        max_payload_bytes=max_bytes or variables.MAX_BYTES,
        vmargs=os.environ.get("SAGEMAKER_MODEL_SERVER_VMARGS", VMARGS),
    )


def decoders(cpus: int, gpus: int) -> int:
    """Workers that decode: enough that requests wait for the predictor, which makes batches of them."""
    return 8 * cpus if not gpus else max(2 * cpus, 8 * gpus)


def check_port(address: str, port: int) -> None:
    """Refuses a port that is taken: multi-model-server would find out only after loading the model.

    Raises:
        InputError: another process listens there, or we may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {address}:{port} ({error.strerror}): stop what listens there, "
                f"or set SAGEMAKER_BIND_TO_PORT to a free port"
            ) from None
