"""Local SageMaker beside the local modes of SageMaker's own SDK, 2.x and 3.x: row by row, each row run.

    python benchmarks/local_modes.py                    # prints, and writes benchmarks/results/local-modes.md
    python benchmarks/local_modes.py --only "batch transform" --modes here sdk2

Needs a Docker engine with `docker compose`, uv, and the package index: each SDK gets an environment of its own in a
temporary directory (--environments keeps them). The rows are in `local_modes_probes/`, each a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import conditions  # noqa: E402
from benchmarks.local_modes_probes.rows import ROWS  # noqa: E402
from local_sagemaker import daemon  # noqa: E402

PROBES = ROOT / "benchmarks" / "local_modes_probes"
IMAGE, IMAGE_WITH_CMD = "local-modes:plain", "local-modes:cmd"
LIMIT_S = 240  # a row that takes longer hangs
SDKS = {"sdk2": "sagemaker[local]==2.*", "sdk3": "sagemaker==3.*"}
TELEMETRY_OFF = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


@dataclass(frozen=True)
class Column:
    title: str
    python: Path
    environment: dict[str, str]


def environments(directory: Path, names: list[str]) -> dict[str, Path]:
    """An environment for each SDK, made with uv where it is not there yet; its Python."""
    pythons = {}
    for name in names:
        python = directory / name / "bin" / "python"
        if not python.exists():
            subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, directory / name], check=True)
            subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, SDKS[name]], check=True)
        pythons[name] = python
    return pythons


@contextlib.contextmanager
def images(base: str) -> Iterator[None]:
    subprocess.run(
        ["docker", "build", "--quiet", f"--tag={IMAGE}", f"--build-arg=BASE={base}", str(PROBES / "image")], check=True
    )
    with_cmd = f'FROM {IMAGE}\nCMD ["train"]\n'.encode()
    subprocess.run(["docker", "build", "--quiet", f"--tag={IMAGE_WITH_CMD}", "-"], input=with_cmd, check=True)
    try:
        yield
    finally:
        remove_containers()
        subprocess.run(["docker", "image", "rm", "--force", IMAGE_WITH_CMD, IMAGE], stdout=subprocess.DEVNULL)


def remove_containers() -> None:
    """What the rows left of the two images, and the network that the SDK makes."""
    for image in (IMAGE, IMAGE_WITH_CMD):
        found = subprocess.run(["docker", "ps", "-aq", "--filter", f"ancestor={image}"], capture_output=True, text=True)
        if found.stdout.split():
            subprocess.run(["docker", "rm", "--force", *found.stdout.split()], stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "network", "rm", "sagemaker-local"], capture_output=True)


@contextlib.contextmanager
def columns(names: list[str], directory: Path, scratch: Path) -> Iterator[dict[str, Column]]:
    """The modes that are asked for; for `here` a server runs meanwhile."""
    plain = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "IMAGE": IMAGE,
        "IMAGE_WITH_CMD": IMAGE_WITH_CMD,
        "PYTHONPATH": str(ROOT),
    }
    if "DOCKER_HOST" in os.environ:
        plain["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    (scratch / "telemetry-off.yaml").write_text(TELEMETRY_OFF)
    sdk = {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(scratch / "telemetry-off.yaml"), "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    found: dict[str, Column] = {}
    for name, python in environments(directory, [name for name in names if name in SDKS]).items():
        title = f"SDK {installed(python)}"
        found[name] = Column(title, python, {**plain, **sdk})
    if "here" not in names:
        yield found
        return
    (scratch / "bin").mkdir()
    (scratch / "bin" / "train").write_text("#!/bin/sh\nexit 0\n")
    (scratch / "bin" / "train").chmod(0o755)
    url = daemon.ensure(scratch / "state", scratch / "bin")
    state = {"AWS_ENDPOINT_URL": url, "STATE": str(scratch / "state")}
    found["here"] = Column("local SageMaker", Path(sys.executable), {**plain, **state})
    try:
        yield found
    finally:
        daemon.stop(scratch / "state")


def installed(python: Path) -> str:
    code = "from importlib.metadata import version; print(version('sagemaker'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run(name: str, column: Column, row: str) -> str:
    """One cell of the table."""
    with tempfile.TemporaryDirectory() as work:
        environment = {**column.environment, "WORK": work}
        command = [str(column.python), "-m", "benchmarks.local_modes_probes", name, row]
        try:
            done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"**no**: nothing after {LIMIT_S} s"
        finally:
            give_back(Path(work))
            remove_containers_of_sdks(name)
        lines = done.stdout.strip().splitlines()
        try:
            result = json.loads(lines[-1])
        except (IndexError, ValueError):
            return f"**no**: {cell(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'nothing')}"
        if result["done"]:
            return f"{result['said']} ({result['seconds']:.1f} s)"
        return f"**no**: {cell(result['said'].replace(work, 'WORK'))}"


def written(path: Path) -> dict[str, list[str]]:
    """The rows of an earlier run."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {row[0]: row[1:] for row in rows if row[0] in ROWS}


def remove_containers_of_sdks(name: str) -> None:
    """The SDK leaves its containers; the next row shall not meet them."""
    if name in SDKS:
        remove_containers()


def give_back(work: Path) -> None:
    """Removes what containers wrote as root."""
    if os.geteuid() != 0:
        mount = f"--volume={work}:/work"
        subprocess.run(["docker", "run", "--rm", mount, IMAGE, "chown", "-R", f"{os.geteuid()}", "/work"], check=True)


def cell(text: str) -> str:
    text = re.sub(r"\['docker.*?\]", "docker compose", " ".join(text.replace("|", "\\|").split()))
    return text if len(text) <= 200 else text[:197] + "..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", choices=["here", "sdk2", "sdk3"], default=["here", "sdk2", "sdk3"])
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows; the file keeps its others")
    parser.add_argument("--base", default="debian:12-slim", help="base of the image, with Perl (default: %(default)s)")
    parser.add_argument("--environments", type=Path, metavar="DIR", help="keep the SDKs' environments here")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "local-modes.md", help="where to write")
    options = parser.parse_args()
    rows = options.only or list(ROWS)
    with tempfile.TemporaryDirectory() as name, images(options.base):
        scratch = Path(name)
        directory = options.environments or scratch / "environments"
        with columns(options.modes, directory, scratch) as found:
            titles = [column.title for column in found.values()]
            table = written(options.out) if options.only else {}
            for row in rows:
                table[row] = [run(name, column, row) for name, column in found.items()]
                print(row, *table[row], sep="\n    ", flush=True)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(page(titles, table))


def page(titles: list[str], table: dict[str, list[str]]) -> str:
    return (
        "# Local SageMaker beside the SDK's local modes\n\n"
        f"`python benchmarks/local_modes.py`. Each cell was run: what came out, and the seconds it took; or **no** and "
        f"what it said. {conditions.sentence('boto3', 'docker')}\n{docker_version()}\n\n"
        + conditions.table(["", *titles], [[row, *table[row]] for row in ROWS if row in table])
    )


def docker_version() -> str:
    engine = ["docker", "version", "--format", "Docker engine {{.Server.Version}}"]
    compose = ["docker", "compose", "version", "--short"]
    said = [subprocess.run(command, capture_output=True, text=True).stdout.strip() for command in (engine, compose)]
    return f"{said[0]}, compose {said[1]}."


if __name__ == "__main__":
    main()
