"""Builds of the Dockerfile itself: the same input gives the same layers, and the one for the CPU trains and serves."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from image import cpu_wheels
from image.containers import docker, inspected

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("kennel")]
Build = Callable[..., str]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Stands for the pretrained weights: what is in the file does not matter to the build."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / f"resnet18-{hashlib.sha256(b'woof').hexdigest()[:8]}.pth").write_bytes(b"woof")
    return folder


@pytest.fixture
def build(weights: Path) -> Iterator[Build]:
    """Builds a checkout with further options; the images are removed at the end."""
    names: list[str] = []

    def call(root: Path, *options: str) -> str:
        names.append(f"kennel-test:{uuid.uuid4().hex[:8]}")
        done = docker(
            "build", "--quiet", f"--file={root / 'docker' / 'Dockerfile'}", f"--tag={names[-1]}",
            f"--build-context=weights={weights}", *options, str(root), timeout_s=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return names[-1]

    yield call
    docker("image", "rm", "--force", *names)


def checkout(target: Path) -> Path:
    """What a build takes, with other times and without our write bits."""
    target.mkdir()
    for name in ("pyproject.toml", ".dockerignore"):
        shutil.copyfile(ROOT / name, target / name)
    for name in ("requirements", "docker", "container_src"):
        shutil.copytree(
            ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
        )
    return target


def test_the_same_files_give_the_same_layer(weights: Path, tmp_path: Path) -> None:
    """Of our code and the weights. (The gigabytes of packages: docs/10-size.md says how that was tried.)"""
    layers = []
    for number, root in enumerate((ROOT, checkout(tmp_path / "other"))):
        tar = tmp_path / f"{number}.tar"
        done = docker(
            "build", "--target=files", "--no-cache-filter=files", f"--output=type=tar,dest={tar}",
            f"--file={root / 'docker' / 'Dockerfile'}", f"--build-context=weights={weights}", str(root), timeout_s=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with tarfile.open(tar) as archive:
            layers.append({
                entry.name: (entry.mtime, oct(entry.mode), entry.uid, content.read() if content else b"")
                for entry in archive if re.match("(code|weights)/.", entry.name)
                for content in [archive.extractfile(entry)]
            })  # fmt: skip
    assert "code/opt/kennel/serve.py" in layers[0]
    assert layers[0] == layers[1]


def test_a_change_of_our_code_changes_one_small_layer(build: Build, tmp_path: Path) -> None:
    root = checkout(tmp_path / "changed")
    with (root / "container_src" / "serve.py").open("a") as file:
        file.write("# woof\n")
    before, after = (inspected("image", build(which)) for which in (ROOT, root))
    layers = [image["RootFS"]["Layers"] for image in (before, after)]
    assert layers[0][:-1] == layers[1][:-1] and layers[0][-1] != layers[1][-1]
    history = docker("history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedBy}}", after["Id"]).stdout
    (code,) = (line for line in history.splitlines() if "/code" in line)
    assert int(code.split()[0]) < 2_000_000


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("nm") is None, reason="needs a C compiler and nm")
def test_the_build_for_the_cpu(build: Build, image: str, tmp_path: Path) -> None:
    """With stand-ins for the wheels of PyTorch's own index, which not every machine reaches."""
    python = docker("run", "--rm", image, "python3", "-c", "import sys; print(*sys.version_info[:2])").stdout.split()
    if python != [str(number) for number in sys.version_info[:2]]:
        pytest.skip(
            f"the stand-ins are made of this environment's packages, and the base has Python {'.'.join(python)}"
        )
    root = checkout(tmp_path / "cpu")
    wheels = cpu_wheels.make(tmp_path / "wheels")
    (root / "requirements" / "cpu.lock").write_text("".join(
        f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in wheels for name, version, *_ in [path.name.split("-")]
    ))  # fmt: skip
    base = re.search(r"^ARG BASE_IMAGE=(.+)$", (root / "docker" / "Dockerfile").read_text(), re.M)
    assert base
    made = build(root, "--build-arg=DEVICE=cpu", f"--build-arg=CPU_BASE_IMAGE={base[1]}",
                 f"--build-context=wheels={wheels[0].parent}")  # fmt: skip
    assert inspected("image", made)["Size"] < 1_500_000_000
    contract = sorted(str(path) for path in Path(__file__).parent.glob("test_contract_*.py"))
    command = [sys.executable, "-m", "pytest", *contract, f"--image={made}"]
    tested = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
