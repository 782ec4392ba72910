"""The service that multi-model-server runs in every worker: a batch of requests -> one forward pass -> the answers.

Written against the custom service interface of multi-model-server (`initialize(context)`, `handle(data, context)`):
https://github.com/awslabs/multi-model-server/blob/master/docs/custom_service.md. It expects one class in this module.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sagemaker_inference import environment

from classifier import answers, events, payload, variables
from classifier.errors import InputError
from classifier.predictor_client import RemotePredictor
from classifier.preprocessing import Preprocessing
from classifier.pulse import Pulse

if TYPE_CHECKING:
    from classifier.batching import Computing


class Service:
    """One worker: decodes, has the pixels predicted, writes the answers."""

    _predictor: Computing
    _rules: payload.Rules
    _timeout_s: int
    _pulse: Pulse

    def initialize(self, context: Any) -> None:
        """Has a picture predicted; the worker counts as running when this returns.

        With predictors of its own (`variables.PREDICTORS`) the server calls this once, in the process that it forks all
        workers from; each of them then connects for itself.
        """
        self._timeout_s = int(os.environ[variables.REQUEST_TIMEOUT])
        self._logs_requests = events.wants_every_request()
        try:
            if os.environ.get(variables.PREDICTORS):
                os.register_at_fork(after_in_child=self._connect)
            else:
                self._load(context.system_properties)
        except Exception as error:
            if isinstance(error, MemoryError):
                raise  # which the server knows, and answers with 507
            if isinstance(error, InputError):
                events.say("error", "error", sys.stderr, what=str(error))
            else:
                events.say_error("the worker cannot start", sys.stderr)
            # multi-model-server logs an Exception raised here and then counts the worker as running nevertheless.
            raise SystemExit(1) from None

    def _connect(self) -> None:
        """Uses the predictors' processes; the workers are spread over them."""
        self._pulse = Pulse(Path(os.environ[variables.STATE_DIRECTORY]), "worker")
        paths = os.environ[variables.PREDICTORS].split(":")
        remote = RemotePredictor(
            Path(paths[os.getpid() % len(paths)]), float(os.environ[variables.STARTUP_TIMEOUT]), self._pulse
        )
        self._use(remote, remote.preprocessing, remote.classes)

    def _load(self, properties: dict[str, Any]) -> None:
        """Loads the model that the server was told of into this process."""
        self._pulse = Pulse(Path(os.environ[variables.STATE_DIRECTORY]), "worker")
        from classifier import artifact
        from classifier.predictor import Predictor

        found = artifact.read(Path(properties["model_dir"]))
        predictor = Predictor(found, _gpu(properties.get("gpu_id"), int(os.environ[variables.GPUS])))
        predictor.warm_up()
        self._use(predictor, found.preprocessing, found.classes)

    def _use(self, predictor: Computing, preprocessing: Preprocessing, classes: tuple[str, ...]) -> None:
        env = environment.Environment()
        limit = env.max_request_size or variables.MAX_BYTES
        self._rules = payload.Rules(preprocessing, classes, limit, env.default_accept)
        self._predictor = predictor
        side = preprocessing.crop
        predictor.predict(np.zeros((1, side, side, 3), np.uint8))
        self._pulse.end()
        # The server reads a worker's stdout for messages of its protocol; stderr goes to the endpoint's log.
        events.say("worker_ready", stream=sys.stderr, pid=os.getpid())

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str | bytes]:
        """One answer a request, in their order; what fails in one request fails that request only.

        A request that takes too long ends this process (also where it hangs in C code, which no Python exception
        interrupts): the server then answers its caller with an error and starts another worker.
        """
        started = time.monotonic()
        context.metrics = None  # else the server has a line of text parsed for every answer; the pulse counts
        signal.alarm(self._timeout_s)
        self._pulse.begin()
        try:
            return self._answer(data, context)
        except Exception:
            events.say_error("prediction failed", sys.stderr)
            context.set_all_response_status(HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR.phrase)
            return [payload.refusal("the prediction failed; the reason is in the endpoint's log")] * len(data)
        finally:
            signal.alarm(0)
            self._pulse.end()
            self._count(len(data), context, time.monotonic() - started)

    def _count(self, requests: int, context: Any, seconds: float) -> None:
        for index in range(requests):
            status = int(context.get_response_status(index)[0] or HTTPStatus.OK)
            self._pulse.answered(status, seconds)
            if self._logs_requests:
                identity = context.get_request_id(index)
                events.say("request", "debug", sys.stderr, request_id=identity, status=status,
                           ms=round(seconds * 1000, 1))  # fmt: skip

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
