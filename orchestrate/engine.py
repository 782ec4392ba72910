"""The docker command: building, pushing, and its failures in one sentence each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrate.errors import InputError, JobFailed

# BuildKit's plain progress: `#7 [builder 3/9] RUN apt-get ...`, `#7 12.3 words of the step`, `#7 DONE 20.1s`.
_STEP = re.compile(r"#\d+ (\[(?:[\w.-]+ )?\d+/\d+\] .*|exporting to image)$")
_NOTHING_TO_TELL = re.compile(r"(#\d+ )?(ERROR: )?process .* did not complete successfully: exit code: \d+$")
_STEP_WIDTH = 100
_TAIL = 15
# What BuildKit, the engine and registries say, in lower case.
UNREACHABLE = ("connection refused", "no such host", "i/o timeout", "no route to host", "network is unreachable",
               "connection reset", "server misbehaving")  # fmt: skip
REFUSED = ("unauthorized", "forbidden", "denied", "no basic auth", "authorization failed",
           "authentication required", "insufficient_scope")  # fmt: skip


class EngineFailed(JobFailed):
    """A build or a push was started and failed; the message tells why and what to do (exit 1)."""


def check() -> None:
    """Raises InputError when there is no docker command, no engine or no BuildKit."""
    answer = docker(["version", "--format", "{{.Server.Version}}"])
    if answer.returncode:
        raise InputError(
            f"no container engine answers ({_last(answer.stderr)}): start Docker (`systemctl start docker`, or Docker "
            "Desktop), or point DOCKER_HOST to an engine"
        )
    if docker(["buildx", "version"]).returncode:
        raise InputError(
            "docker has no buildx here, and the Dockerfile needs BuildKit: install the package docker-buildx "
            "(docker-buildx-plugin from Docker's own archive)"
        )


def docker(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `docker ...` to its end. `environment`: what to add to the caller's.

    Raises:
        InputError: there is no such program.
    """
    with _docker_missing():
        return subprocess.run(
            ["docker", *arguments], env=os.environ | (environment or {}), capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


def build(arguments: Sequence[str], say: Callable[[str], None]) -> None:
    """`docker ARGUMENTS` (a buildx build with plain progress); `say` gets the beginning of each step.

    Raises:
        EngineFailed: with the sentence for what BuildKit said.
    """
    tail: deque[str] = deque(maxlen=400)
    with _running(["docker", *arguments]) as (process, lines):
        for line in lines:
            tail.append(line)
            if step := _STEP.match(line):
                say(f"  {textwrap.shorten(step[1], _STEP_WIDTH, placeholder=' ...')}")
    if process.returncode:
        raise EngineFailed(explain_build(list(tail)))


def explain_build(lines: Sequence[str]) -> str:
    """What a failed build's output comes down to, and what to do."""
    text = "\n".join(lines).lower()
    solve = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1] if lines else "no words")
    reason = solve.removeprefix("ERROR: ").removeprefix("failed to solve: ")
    if "no space left on device" in text:
        where = next(line for line in lines if "no space left on device" in line.lower())
        return (
            f"the disk became full during the build ({_plain(where)}): make room, for example with `docker builder "
            "prune` and `docker image prune`, and build again"
        )
    if "digest mismatch" in text:
        return (
            f"a file to be put into the image is not the one that the Dockerfile names ({reason}): download it again; "
            "where a proxy or mirror changes it, give the right file with --weights DIR"
        )
    if "failed to resolve source metadata" in text or "pull access denied" in text or "load metadata for" in reason:
        return (
            f"the base image cannot be pulled ({reason}): check its name, the network and `docker login`, or take "
            "another with --base IMAGE"
        )
    if _NOTHING_TO_TELL.search(reason):
        words = [_plain(line) for line in lines if re.match(r"#\d+ \d+\.\d+ ", line)][-_TAIL:]
        return f"the build failed: {reason}\n" + "\n".join(f"  {line}" for line in words)
    return f"the build failed: {reason}"


def push(reference: str, environment: Mapping[str, str], say: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """(digest, short layer ID -> what became of it: `Pushed`, `Layer already exists`, ...) of a pushed image.

    Raises:
        EngineFailed: with the registry's words. A manifest is put after its layers, so nothing has the tag then.
    """
    layers: dict[str, str] = {}
    tail: deque[str] = deque(maxlen=40)
    digest = ""
    with _running(["docker", "push", reference], environment) as (process, lines):
        for line in lines:
            tail.append(line)
            # First the last line: a tag may look like a layer's ID.
            if found := re.search(r": digest: (sha256:[0-9a-f]{64}) size: ", line):
                digest = found[1]
            elif layer := re.fullmatch(r"([0-9a-f]{12}): (.+)", line):
                layers[layer[1]] = layer[2]
                if layer[2] in ("Pushed", "Layer already exists"):
                    say(f"  {line}")
    if process.returncode or not digest:
        raise EngineFailed(
            f"the push of {reference} failed ({_last(chr(10).join(tail))}): nothing has that tag there; mend the "
            "cause and run this again, what was built and pushed so far is kept"
        )
    return digest, layers


def inspect(image: str) -> dict[str, Any] | None:
    """`docker image inspect`; None where the engine has no such image."""
    answer = docker(["image", "inspect", image])
    if answer.returncode:
        return None
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found[0]


def refusal(host: str, words: str) -> str:
    """The sentence for a registry that does not answer as it should."""
    last = _last(words)
    lower = last.lower()
    if "http response to https client" in lower:
        return f"the registry {host} speaks HTTP without TLS, which only localhost may: give it a certificate"
    if any(sign in lower for sign in UNREACHABLE):
        return f"the registry {host} cannot be reached ({last}): check host, port and network, and that it runs"
    if any(sign in lower for sign in REFUSED):
        return f"the registry {host} refuses the credentials ({last}): `docker login {host}` with ones that may push"
    return f"the registry {host} cannot be used: {last}"


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """The docker command and the lines that it prints, while it prints them; it does not go on when we do not."""
    with _docker_missing():
        process = subprocess.Popen(
            command, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1,
        )  # fmt: skip
    assert process.stdout is not None
    with process:
        try:
            yield process, (line.rstrip() for line in process.stdout)
        except BaseException:
            process.terminate()
            raise


@contextmanager
def _docker_missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError("the program `docker` was not found: install Docker with buildx") from None


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "no reason was given"


def _plain(line: str) -> str:
    """Without BuildKit's step number and clock."""
    return re.sub(r"^(#\d+ )?(\d+\.\d+ )?(ERROR: )?", "", line).strip()
