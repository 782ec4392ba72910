"""The service that multi-model-server runs in every worker: a batch of requests -> one forward pass -> the answers.

Written against the custom service interface of multi-model-server (`initialize(context)`, `handle(data, context)`):
https://github.com/awslabs/multi-model-server/blob/master/docs/custom_service.md. It expects one class in this module.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sagemaker_inference import environment

from classifier import answers, artifact, payload
from classifier.errors import InputError

if TYPE_CHECKING:
    from classifier.predictor import Predictor

# Where a worker tells serve.py how loading went: the file `ready` or `failure` (one sentence) in this directory.
STATE_DIRECTORY = "KENNEL_SERVE_STATE"
# What a request may take, in seconds. multi-model-server's own limit covers loading too, so it cannot be this short.
REQUEST_TIMEOUT = "KENNEL_REQUEST_TIMEOUT_S"
# How many GPUs serve.py found. The server spreads its workers over those that its own look at `nvidia-smi` finds.
GPUS = "KENNEL_GPUS"

log = logging.getLogger("kennel")


class Service:
    """Holds one worker's predictor."""

    _predictor: Predictor
    _rules: payload.Rules
    _timeout_s: int

    def initialize(self, context: Any) -> None:
        """Loads the model and answers a generated request; the worker counts as running when this returns."""
        # The server reads a worker's stdout for messages of its protocol; stderr goes to the endpoint's log.
        log.addHandler(logging.StreamHandler(sys.stderr))
        log.setLevel(logging.INFO)
        log.propagate = False
        state = Path(os.environ[STATE_DIRECTORY])
        started = time.monotonic()
        try:
            self._load(_gpu(context.system_properties.get("gpu_id"), int(os.environ[GPUS])))
        except Exception as error:
            if not isinstance(error, InputError):
                log.exception("loading the model failed")
            (state / "failure").write_text(" ".join(str(error).split()) or type(error).__name__, encoding="utf-8")
            # multi-model-server logs an Exception raised here and then counts the worker as running nevertheless.
            raise SystemExit(1) from None
        (state / "ready").touch()
        log.info("worker ready on %s after %.1f s", self._predictor.processor, time.monotonic() - started)

    def _load(self, gpu: int | None) -> None:
        from classifier.predictor import Predictor

        env = environment.Environment()
        found = artifact.read(Path(environment.model_dir))
        limit = env.max_request_size or payload.MAX_BYTES
        self._rules = payload.Rules(found.preprocessing, found.classes, limit, env.default_accept)
        self._timeout_s = int(os.environ[REQUEST_TIMEOUT])
        self._predictor = Predictor(found, gpu)
        self._predictor.warm_up()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str | bytes]:
        """One answer a request, in their order; what fails in one request fails that request only.

        A request that takes too long ends this process (also where it hangs in C code, which no Python exception
        interrupts): the server then answers its caller with an error and starts another worker.
        """
        signal.alarm(self._timeout_s)
        try:
            return self._answer(data, context)
        except Exception:
            log.exception("prediction failed")
            context.set_all_response_status(HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR.phrase)
            return [payload.refusal("the prediction failed; the reason is in the endpoint's log")] * len(data)
        finally:
            signal.alarm(0)

    def _answer(self, data: list[dict[str, Any]], context: Any) -> list[str | bytes]:
        told: list[str | bytes] = [b""] * len(data)
        accepted: dict[int, payload.Request] = {}
        for index, item in enumerate(data):
            context.set_response_content_type(index, "application/json")
            try:
                accepted[index] = payload.parse(item.get("body"), context.get_all_request_header(index), self._rules)
            except payload.RequestError as error:
                context.set_response_status(error.status_code, error.phrase, index)
                told[index] = payload.refusal(error.message)
        if accepted:
            probabilities = self._predictor.predict(np.concatenate([request.pixels for request in accepted.values()]))
            for index, request in accepted.items():
                of_this, probabilities = np.split(probabilities, [len(request.pixels)])
                answer = answers.answer(request, of_this, self._rules, self._predictor)
                for name, value in (("content-type", answer.content_type), *answer.headers.items()):
                    context.set_response_header(index, name, value)
                told[index] = answer.body
        return told


def _gpu(given: int | None, gpus: int) -> int | None:
    """The index of this worker's GPU, None for the CPU. `given` is what the server says."""
    if given is None and gpus > 1:
        raise InputError(
            f"multi-model-server cannot spread its workers over {gpus} GPUs without `nvidia-smi`: start the container "
            f"with NVIDIA_DRIVER_CAPABILITIES=compute,utility, or show it one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    return given or 0 if gpus else None
