"""Requests to endpoints: InvokeEndpoint in its three forms, from the wire to the containers and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from local_sagemaker import eventstream, runtime_protocol
from local_sagemaker.asynchronous import Asynchronous
from local_sagemaker.capture import Capture, Payload
from local_sagemaker.containers import (
    ANSWER_LIMIT,
    OCTETS,
    Answer,
    Answering,
    Containers,
    NoAnswer,
    Overdue,
    model_error,
    unanswered,
)
from local_sagemaker.errors import ApiError
from local_sagemaker.hosting import Hosting
from local_sagemaker.multimodel import WHO, MultiModel
from local_sagemaker.protocol import Reply
from local_sagemaker.records import Record, Records
from local_sagemaker.routing import Route
from local_sagemaker.runtime_protocol import refused
from local_sagemaker.serverless import Serverless
from local_sagemaker.sessions import NEW, Sessions
from local_sagemaker.shadow import Shadows

STREAM_S = 480.0  # how long a container may take for an answer that is streamed


@dataclass(frozen=True)
class _Request:
    """`given`: its members but the body; `capture`: the DataCaptureConfig where this request is one to capture."""

    given: Mapping[str, Any]
    body: bytes
    event_id: str
    capture: Record | None


@dataclass(frozen=True)
class Stream:
    """A success of InvokeEndpointWithResponseStream: its headers, its events as they come; to be closed."""

    headers: Mapping[str, str]
    events: Iterator[bytes]
    close: Callable[[], None]


class Invocations:
    """Passes requests on to the containers of the endpoints. Its methods may be called from many threads."""

    def __init__(self, hosting: Hosting, records: Records) -> None:
        self._hosting = hosting
        self._containers = Containers()
        self._multi_model = MultiModel(self._containers)
        self._serverless = Serverless()
        self._sessions = Sessions()
        self._capture = Capture()
        self._shadows = Shadows()
        self._asynchronous = Asynchronous(hosting, records, self._containers)

    def recover(self) -> None:
        """Takes up the asynchronous requests that an earlier server had accepted."""
        self._asynchronous.recover()

    def shutdown(self) -> None:
        """Lets the asynchronous requests that are not answered wait for the next server; before containers end."""
        self._asynchronous.shutdown()

    def close(self) -> None:
        """Writes what was captured; after the containers have ended, when nothing more comes."""
        self._capture.close()

    def invoke(self, name: str, headers: Mapping[str, str], body: bytes, size: int) -> Reply:
        """The container's answer. `size`: the body's, of which only the beginning is there when it is too long.

        Raises ApiError: ValidationError, ThrottlingException, ModelNotReadyException, or ModelError when the container
        refuses or fails.
        """
        given = runtime_protocol.parameters("InvokeEndpoint", name, headers, size)
        with ExitStack() as stack:
            route, request = self._enter(stack, given, body)
            answer = self._through(route, request)
            answered = runtime_protocol.answered(answer.headers)
            self._sessions.follow(route, answered)
        self._keep(route, request, answer)
        members = {"InvokedProductionVariant": route.variant, **answered}
        return runtime_protocol.reply(members, answer.content_type, answer.body)

    def stream(self, name: str, headers: Mapping[str, str], body: bytes, size: int) -> Stream:
        """The container's answer as it comes. Raises ApiError as `invoke` does, until the answer begins."""
        operation = "InvokeEndpointWithResponseStream"
        given = runtime_protocol.parameters(operation, name, headers, size)
        with ExitStack() as stack:
            route, request = self._enter(stack, given, body, is_streamed=True)
            ((who, url),) = _hops(route, given)
            try:
                passed = runtime_protocol.passed_on(given)
                answering = self._containers.open("POST", f"{url}/invocations", body, passed, STREAM_S, limit=None)
                stack.callback(answering.close)
                if answering.status >= 400:
                    raise model_error(route, who, answering.status, answering.read().decode("utf-8", "replace"))
            except NoAnswer as failure:
                raise unanswered(route, who, failure) from None
            answered = runtime_protocol.answered(answering.headers)
            members = {
                "ContentType": answering.headers.get("Content-Type", OCTETS),
                "InvokedProductionVariant": route.variant,
                **answered,
            }
            head = runtime_protocol.header_names(operation, members)
            return Stream(head, self._events(route, request, answering), stack.pop_all().close)

    def accept(self, name: str, headers: Mapping[str, str], body: bytes, size: int) -> Reply:
        """Takes an asynchronous request, which is on disk when this returns. Raises ApiError."""
        given = runtime_protocol.parameters("InvokeEndpointAsync", name, headers, size)
        with self._hosting.route(name, None) as route:
            _release(route.shadows)
            if route.asynchronous is None:
                raise refused(f"Endpoint {name} is not an asynchronous endpoint: send the request with InvokeEndpoint.")
            if _is_multi_model(route) or not _hops(route, given):
                raise refused(
                    f"Endpoint {name} has models or containers to choose from, which InvokeEndpointAsync cannot."
                )
            return runtime_protocol.accepted(self._asynchronous.accept(route, given, body))

    def _enter(
        self, stack: ExitStack, given: Mapping[str, Any], body: bytes, is_streamed: bool = False
    ) -> tuple[Route, _Request]:
        """Chooses the instance for a request that waits for its answer, and sends the shadows their copies."""
        route = stack.enter_context(self._route(given))
        try:
            _check_kind(route, given, is_streamed)
            stack.enter_context(self._serverless.limits(route, len(body)))
        except ApiError:
            _release(route.shadows)
            raise
        capture = route.data_capture if self._capture.draw(route.data_capture) else None
        request = _Request(given, body, str(uuid4()), capture)
        for shadow in route.shadows:
            self._shadows.send(shadow, partial(self._shadow, shadow, request))
        return route, request

    def _route(self, given: Mapping[str, Any]) -> Route:
        name, session = given["EndpointName"], given.get("SessionId", NEW)
        if session == NEW:
            return self._hosting.route(name, given.get("TargetVariant"))
        return self._sessions.route(name, session, partial(self._hosting.route, name))

    def _shadow(self, route: Route, request: _Request) -> None:
        self._keep(route, request, self._through(route, request))

    def _through(self, route: Route, request: _Request) -> Answer:
        """The answer of the one container, of the one model, or of the last container in a row. Raises ApiError."""
        body, headers = request.body, runtime_protocol.passed_on(request.given)
        for who, url in _hops(route, request.given):
            try:
                if _is_multi_model(route):
                    answer = self._multi_model.invoke(route, request.given["TargetModel"], body, headers)
                else:
                    answer = self._containers.ask("POST", f"{url}/invocations", body, headers)
            except NoAnswer as failure:
                raise unanswered(route, who, failure) from None
            if answer.status >= 400:
                raise model_error(route, who, answer.status, answer.body.decode("utf-8", "replace"))
            body, headers = answer.body, {**headers, "Content-Type": answer.content_type}
        return answer

    def _events(self, route: Route, request: _Request, answering: Answering) -> Iterator[bytes]:
        parts, size = [], 0
        try:
            for chunk in answering.chunks():
                size += len(chunk)
                if request.capture and size <= ANSWER_LIMIT:
                    parts.append(chunk)
                yield eventstream.event("PayloadPart", chunk)
        except NoAnswer as failure:
            code = "ModelInvocationTimeExceeded" if isinstance(failure, Overdue) else "StreamBroken"
            yield eventstream.exception("ModelStreamError", {"Message": f"{failure}.", "ErrorCode": code})
        else:
            self._keep(route, request, Answer(answering.status, answering.headers, b"".join(parts)))

    def _keep(self, route: Route, request: _Request, answer: Answer) -> None:
        """Captures an answer where this request is one to capture."""
        if request.capture:
            sent = Payload(request.given.get("ContentType"), request.body)
            came = Payload(answer.headers.get("Content-Type"), answer.body)
            self._capture.take(request.capture, route, request.event_id, request.given, sent, came)


def _check_kind(route: Route, given: Mapping[str, Any], is_streamed: bool) -> None:
    """Raises ApiError when the endpoint is of another kind than the request takes it for."""
    name = route.endpoint
    if route.asynchronous is not None:
        raise refused(f"Endpoint {name} is an asynchronous endpoint: send the request with InvokeEndpointAsync.")
    if is_streamed and (_is_multi_model(route) or len(_hops(route, given)) > 1):
        raise refused(f"Endpoint {name} has several models, or containers in a row: their answer is not streamed.")
    if "TargetModel" in given and not _is_multi_model(route):
        raise refused(f"Endpoint {name} is not a multi-model endpoint and does not support target model header.")
    if "TargetModel" not in given and _is_multi_model(route):
        raise refused(f"Request {uuid4()} is missing a target model header.")
    is_direct = route.record.get("InferenceExecutionMode") == "Direct"
    if "TargetContainerHostname" in given and not is_direct:
        raise refused(
            f"Endpoint {name} is not a direct multi-container endpoint and takes no target container hostname."
        )
    if is_direct and not _hops(route, given):
        names = ", ".join(str(container.get("ContainerHostname")) for container in route.containers)
        raise refused(
            f"Endpoint {name} is a direct multi-container endpoint: name one of {names} as the target container."
        )


def _hops(route: Route, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The containers that a request goes through, by name and URL."""
    if len(route.urls) == 1:
        return [(WHO if _is_multi_model(route) else "primary", route.url)]
    names = [
        container.get("ContainerHostname", f"container-{number}")
        for number, container in enumerate(route.containers, start=1)
    ]
    hops = list(zip(names, route.urls, strict=True))
    if route.record.get("InferenceExecutionMode") == "Direct":
        return [hop for hop in hops if hop[0] == given.get("TargetContainerHostname")]
    return hops


def _is_multi_model(route: Route) -> bool:
    return route.container.get("Mode") == "MultiModel"


def _release(routes: tuple[Route, ...]) -> None:
    for route in routes:
        route.release()
