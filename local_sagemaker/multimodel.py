"""Multi-model endpoints: models are fetched and loaded when they are first asked for, and unloaded when room is needed.

The container's side of it: https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html. A model's files are
below /opt/ml/models/NAME/model of the instance, where NAME is a word of ours and not the TargetModel of the request.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from local_sagemaker import archive, storage
from local_sagemaker.containers import TIMEOUT_S, Answer, Containers, NoAnswer, model_error, unanswered
from local_sagemaker.errors import ApiError, JobError
from local_sagemaker.routing import Route
from local_sagemaker.runners import PROCESS_IMAGE
from local_sagemaker.runtime_protocol import refused

LOAD_S = 600.0  # how long a container may take to load a model; requests wait TIMEOUT_S of it at most
NO_ROOM, LOADED_ALREADY, MISSING = 507, 409, 404
WHO = "model"  # the name by which AWS's errors call the container of a multi-model endpoint


@dataclass
class _Model:
    """A model on an instance, or on its way there."""

    name: str = field(default_factory=lambda: uuid4().hex)
    settled: threading.Event = field(default_factory=threading.Event)
    failure: ApiError | None = None
    users: int = 0


@dataclass
class _Instance:
    """The models of one instance by TargetModel, the least recently used first."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    models: OrderedDict[str, _Model] = field(default_factory=OrderedDict)


class MultiModel:
    """Keeps each instance's models. For many threads."""

    def __init__(self, containers: Containers, patience_s: float = TIMEOUT_S) -> None:
        self._containers = containers
        self._patience_s = patience_s
        self._instances: dict[tuple[Path, str], _Instance] = {}
        self._lock = threading.Lock()

    def invoke(self, route: Route, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer of one model. Raises ApiError when it cannot be had, and NoAnswer."""
        answer = self._once(route, target, body, headers)
        if answer.status == MISSING and self._was_lost(route, target):
            answer = self._once(route, target, body, headers)
        return answer

    def _once(self, route: Route, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        with self._model(route, target) as model:
            return self._containers.ask("POST", f"{route.url}/models/{model.name}/invoke", body, headers)

    def _was_lost(self, route: Route, target: str) -> bool:
        """Whether the container has forgotten a model that it had loaded, as one does whose server started again."""
        instance = self._instance(route)
        with instance.lock:
            model = instance.models.get(target)
        if model is None or self._containers.ask("GET", f"{route.url}/models/{model.name}").status != MISSING:
            return False
        with instance.lock:
            if instance.models.get(target) is model:
                del instance.models[target]
        shutil.rmtree(_directory(route, model), ignore_errors=True)
        return True

    @contextmanager
    def _model(self, route: Route, target: str) -> Iterator[_Model]:
        """A model that is loaded, and stays so inside."""
        instance = self._instance(route)
        with instance.lock:
            model = instance.models.get(target)
            if model is None:
                model = instance.models[target] = _Model()
                load = threading.Thread(target=self._bring, args=(route, instance, target, model), daemon=True)
                load.start()
            instance.models.move_to_end(target)
            model.users += 1
        try:
            if not model.settled.wait(self._patience_s):
                raise ApiError(
                    "ModelNotReadyException",
                    f"Model {target} of endpoint {route.endpoint} is still downloading or loading. "
                    "Wait and try your request again.",
                    429,
                )
            if model.failure:
                raise model.failure
            yield model
        finally:
            with instance.lock:
                model.users -= 1

    def _instance(self, route: Route) -> _Instance:
        key = (route.base, route.url)
        with self._lock:
            if key not in self._instances:  # and those that have ended, or were started again, are forgotten
                for other in list(self._instances):
                    if other[0] == route.base or not other[0].is_dir():
                        del self._instances[other]
                self._instances[key] = _Instance()
            return self._instances[key]

    def _bring(self, route: Route, instance: _Instance, target: str, model: _Model) -> None:
        try:
            self._fetch(route, target, _directory(route, model) / "model")
            self._load(route, instance, target, model)
        except ApiError as error:
            model.failure = error
        except NoAnswer as failure:
            model.failure = unanswered(route, WHO, failure)
        except OSError as error:
            model.failure = ApiError("InternalFailure", f"Model {target} cannot be put on the instance: {error}.", 500)
        finally:
            if model.failure:
                with instance.lock:
                    if instance.models.get(target) is model:
                        del instance.models[target]
                shutil.rmtree(_directory(route, model), ignore_errors=True)
            model.settled.set()

    def _fetch(self, route: Route, target: str, directory: Path) -> None:
        uri = _location(route.container["ModelDataUrl"], target)
        source = storage.local_path(uri)
        try:
            if source is not None:
                if not source.is_file():
                    raise _missing(uri)
                archive.unpack(source, directory)
                return
            with tempfile.TemporaryDirectory() as scratch:
                packed = Path(scratch) / "model.tar.gz"
                try:
                    storage.download_file(uri, packed, route.region)
                except JobError:
                    raise _missing(uri) from None
                archive.unpack(packed, directory)
        except JobError as error:
            raise refused(f"Model {target} of endpoint {route.endpoint} cannot be used: {error}") from None

    def _load(self, route: Route, instance: _Instance, target: str, model: _Model) -> None:
        root = route.base if route.container["Image"] == PROCESS_IMAGE else Path("/opt/ml")
        request = json.dumps({"model_name": model.name, "url": str(root / "models" / model.name / "model")}).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Amzn-SageMaker-Target-Model": target,
        }
        while True:
            answer = self._containers.ask("POST", f"{route.url}/models", request, headers, LOAD_S)
            if answer.status < 400 or answer.status == LOADED_ALREADY:
                return
            if answer.status != NO_ROOM or not self._unload_one(route, instance):
                raise model_error(route, WHO, answer.status, answer.body.decode("utf-8", "replace"))

    def _unload_one(self, route: Route, instance: _Instance) -> bool:
        """Unloads the model that was not used for the longest time; False where every one is in use."""
        with instance.lock:
            idle = [name for name, model in instance.models.items() if model.settled.is_set() and not model.users]
            if not idle:
                return False
            model = instance.models.pop(idle[0])
        self._containers.ask("DELETE", f"{route.url}/models/{model.name}")
        shutil.rmtree(_directory(route, model), ignore_errors=True)
        return True


def _directory(route: Route, model: _Model) -> Path:
    return route.base / "models" / model.name


def _location(prefix: str, target: str) -> str:
    """Where a model's archive is. Raises ApiError for a name that leaves the prefix."""
    if ".." in target.split("/"):
        raise refused(f"The target model {target!r} leaves the endpoint's models: name a path below {prefix}.")
    return storage.join(prefix, target.lstrip("/"))


def _missing(uri: str) -> ApiError:
    parts = urlsplit(uri)
    key = unquote(parts.path).lstrip("/") if parts.scheme == "file" else parts.path.lstrip("/")
    return refused(
        f"Failed to download model data(bucket: {parts.netloc}, key: {key}). Please ensure that there is an object "
        "located at the URL and that the role passed to CreateModel has permissions to download the model."
    )
