"""Where a request to an endpoint goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker.records import Record


@dataclass(frozen=True)
class Route:
    """One instance, chosen for one request.

    Use it in a `with` statement around the request: an instance that is to end waits until nobody is inside.

    `base`: the private /opt/ml of this instance, by which it is known too: a new instance has a new one, and one that
    was started again has an empty `models` in it; `urls`: one for each of the model's `containers`
    (`ContainerDefinition`s), of which there is more than one in an inference pipeline only; `log_stream`: the
    instance's, in the endpoint's log group; `region`: the endpoint's; `record`: the variant as the endpoint's
    configuration has it (ServerlessConfig and so on), with `InferenceExecutionMode`, `Serial` or `Direct`, among it;
    `data_capture` and `asynchronous`: the configuration's DataCaptureConfig and AsyncInferenceConfig; `instances`: how
    many the variant has; `shadows`: routes to the shadow variants that are to get a copy of this request (already drawn
    by their weights), each to be used in a `with` statement of its own.
    """

    endpoint: str
    variant: str
    urls: tuple[str, ...]
    log_stream: str
    region: str
    record: Record
    containers: tuple[Record, ...]
    base: Path
    release: Callable[[], None]
    instances: int = 1
    data_capture: Record | None = None
    asynchronous: Record | None = None
    shadows: tuple[Route, ...] = ()

    @property
    def url(self) -> str:
        """The first container's: http://127.0.0.1:PORT."""
        return self.urls[0]

    @property
    def container(self) -> Record:
        """The first container; of a multi-model endpoint `Mode` is MultiModel and `ModelDataUrl` the prefix."""
        return self.containers[0]

    def __enter__(self) -> Route:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
