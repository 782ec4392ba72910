"""The line about the device, and the refusals, with drivers compiled here: the one thing that cannot be installed.

A libcuda and a libnvidia-ml export the functions that are asked, with chosen answers, and are found as real ones are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import contract_serving
import contract_training
from classifier import device, driver, machine
from classifier.device import Wheel
from classifier.driver import Driver, Gpu
from classifier.errors import InputError
from conftest import ROOT
from contract_serving import Server
from contract_training import Job
from photographs import data_set

CUDA = r"""
#include <stddef.h>
#include <string.h>
int cuDriverGetVersion(int *out) { *out = CUDA_VERSION; return 0; }
int cuInit(unsigned flags) { return CUINIT; }
int cuGetErrorString(int error, const char **out) {
    *out = error == 100 ? "no CUDA-capable device is detected" : "unknown error";
    return 0;
}
int cuDeviceGetCount(int *out) { *out = GPUS; return 0; }
int cuDeviceGet(int *out, int index) { *out = 7 + index; return 0; }
int cuDeviceGetName(char *out, int length, int gpu) { strncpy(out, "NVIDIA A10G", length); return gpu < 7; }
int cuDeviceTotalMem_v2(size_t *out, int gpu) { *out = 24158142464; return gpu < 7; }
int cuDeviceGetAttribute(int *out, int attribute, int gpu) { *out = attribute == 75 ? 8 : -1; return gpu < 7; }
"""
NVML = r"""
#include <string.h>
static int started = 0;
int nvmlInit_v2(void) { started = 1; return 0; }
int nvmlShutdown(void) { started = 0; return 0; }
int nvmlSystemGetDriverVersion(char *out, unsigned length) { strncpy(out, DRIVER, length); return !started; }
"""
Install = Callable[..., dict[str, str]]
A10G = Gpu("NVIDIA A10G", 24158142464, 8)
T4 = Gpu("Tesla T4", 15843721216, 7)
TORCH = Wheel("2.10.0", (12, 8))
NEW = Driver("535.183.01", (12, 2), (A10G,), None)
OLD = Driver("470.182.03", (11, 4), (A10G,), None)
FILE = Path("/dev/nvidia0")


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Compiles a driver and returns the environment in which a process finds it."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler to make a driver")

    def call(version: str, cuda: int, gpus: int = 1, cuinit: int = 0, nvml: bool = True) -> dict[str, str]:
        directory = tmp_path / "driver"
        directory.mkdir()
        sources = {"libcuda.so.1": CUDA} | ({"libnvidia-ml.so.1": NVML} if nvml else {})
        for name, source in sources.items():
            subprocess.run(
                ["cc", "-shared", "-fPIC", f"-DCUDA_VERSION={cuda}", f"-DCUINIT={cuinit}", f"-DGPUS={gpus}",
                 f'-DDRIVER="{version}"', "-x", "c", "-", "-o", directory / name],
                input=source, text=True, check=True,
            )  # fmt: skip
        return {"LD_LIBRARY_PATH": str(directory)}

    return call


def asked(environment: dict[str, str], task: str = "train") -> subprocess.CompletedProcess[str]:
    """`find` in a process that finds the libraries of `environment`, and does not import torch for it."""
    code = (
        "import sys\nfrom classifier import device\nfrom classifier.errors import InputError\n"
        f"try: print(device.find({task!r}).line)\nexcept InputError as error: sys.exit(str(error))\n"
        "assert 'torch' not in sys.modules"
    )
    return subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "container_src"), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_gpu_with_a_driver_that_is_new_enough(install: Install) -> None:
    wheel = device.installed()
    done = asked(install("535.183.01", 12020))
    assert done.stdout == (
        f"device: NVIDIA A10G, 22.5 GiB; driver 535.183.01 (CUDA 12.2), torch {wheel.torch} with CUDA 12.8; bfloat16\n"
    ), done.stderr


def test_a_driver_without_nvml_is_known_by_its_cuda_version(install: Install) -> None:
    assert "GiB; driver (CUDA 12.4), torch" in asked(install("550.54.14", 12040, nvml=False)).stdout


def test_a_driver_that_is_too_old(install: Install) -> None:
    old = install("470.182.03", 11040)
    done = asked(old, "serve")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("the NVIDIA driver 470.182.03 (CUDA 11.4) of this host is too old: torch 2.10.0 with")
    for word in (
        "needs 525.60.13 or newer",
        "InferenceAmiVersion al2-ami-sagemaker-inference-gpu-2-1",
        "TransformAmiVersion al2-ami-sagemaker-batch-gpu-535",
        "ml.g6",
    ):
        assert word in done.stderr
    advice = asked(old).stderr
    assert "AmiVersion" not in advice and "a training job has no choice of AMI, so choose a newer instance" in advice
    hidden = asked(old | {"CUDA_VISIBLE_DEVICES": "-1"}).stdout
    assert f"device: {machine.cpus()} CPUs, CUDA_VISIBLE_DEVICES hides the GPUs; torch" in hidden


def test_libraries_of_a_driver_without_a_gpu_mean_the_cpu(install: Install) -> None:
    if driver.device_files():
        pytest.skip("this machine has a GPU")
    done = asked(install("470.182.03", 11040, cuinit=100), "serve")
    assert done.stdout == (
        f"device: {machine.cpus()} CPUs, NVIDIA driver 470.182.03 (CUDA 11.4) without a GPU (CUDA error 100, no "
        f"CUDA-capable device is detected); torch 2.10.0 with CUDA 12.8\n"
    ), done.stderr


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A training job that stops at its data: there is none."""
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
    return Job(tmp_path / "ml", {split: tmp_path / split for split in ("train", "valid")})


def test_train_with_a_driver_that_is_too_old(install: Install, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_training, "QUIET", contract_training.QUIET | install("470.182.03", 11040))
    code, log = job.run({})
    assert code == 1 and "Traceback" not in log and "device:" not in log
    assert job.failure().startswith("the NVIDIA driver 470.182.03 (CUDA 11.4) of this host is too old")
    assert len(job.failure()) < 1024  # what the platform shows of it
    assert job.failure() in log


@pytest.mark.slow
def test_train_says_once_what_it_computes_on(install: Install, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = install("535.183.01", 12020) | {"CUDA_VISIBLE_DEVICES": ""}
    monkeypatch.setattr(contract_training, "QUIET", contract_training.QUIET | cpu)
    code, log = job.run({"weights": "none"})
    assert code == 1 and "Traceback" not in log and "train" in job.failure()
    lines = re.findall(r"^device: .*$", log, re.M)
    assert len(lines) == 1, log
    assert re.fullmatch(
        rf"device: {machine.cpus()} CPUs, CUDA_VISIBLE_DEVICES hides the GPUs; torch \S+ with CUDA 12\.8; "
        rf"(bfloat16|float32)", lines[0]
    )  # fmt: skip


@pytest.mark.slow
def test_train_does_not_turn_to_the_cpu_when_torch_cannot_use_the_gpu(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver is good for our questions, and torch asks more of it.
    monkeypatch.setattr(contract_training, "QUIET", contract_training.QUIET | install("535.183.01", 12020))
    data = data_set(tmp_path / "data", {"train": 2, "valid": 1})
    job = Job(tmp_path / "ml", {split: data / split for split in ("train", "valid")})
    code, log = job.run({"weights": "none", "image-size": "32", "epochs": "1"})
    assert code == 1 and "Traceback" not in log and "device: NVIDIA A10G, 22.5 GiB; driver 535.183.01" in log
    assert job.failure().startswith("the driver offers a GPU and torch cannot use it: ")


def test_serve_with_a_driver_that_is_too_old(install: Install, tmp_path: Path) -> None:
    contract_serving.write_artifact(tmp_path / "model")
    server = Server(tmp_path, variables=install("470.182.03", 11040)).start()
    assert server.process.wait(timeout=300) == 1
    log = server.log().splitlines()
    assert len(log) == 1, log  # nothing was started
    assert log[0].startswith("serve: the NVIDIA driver 470.182.03 (CUDA 11.4) of this host is too old")
    assert "InferenceAmiVersion al2-ami-sagemaker-inference-gpu-2-1" in log[0]


@pytest.mark.slow
def test_serve_says_once_what_it_computes_on(install: Install, tmp_path: Path) -> None:
    contract_serving.write_artifact(tmp_path / "model")
    cpu = install("535.183.01", 12020) | {"CUDA_VISIBLE_DEVICES": "", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    server = Server(tmp_path, variables=cpu).start()
    try:
        server.wait_for_ping(200)
        lines = [line for line in server.log().splitlines() if "device: " in line]
        cpus = machine.cpus()
        assert len(lines) == 1, server.log()
        assert lines[0].startswith(f"device: {cpus} CPUs, CUDA_VISIBLE_DEVICES hides the GPUs; torch 2.")
        assert lines[0].endswith("with CUDA 12.8")
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "name", "reason"),
    [
        (1, "NVIDIA A10G", "the driver offers a GPU and torch cannot use it: "),
        (2, "2 x NVIDIA A10G", "the driver offers a GPU and torch cannot use it: "),
    ],
)
def test_serve_does_not_turn_to_the_cpu_when_the_gpu_cannot_be_used(
    install: Install, tmp_path: Path, gpus: int, name: str, reason: str
) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver of its own")
    contract_serving.write_artifact(tmp_path / "model")
    server = Server(tmp_path, variables=install("535.183.01", 12020, gpus)).start()
    try:
        assert server.process.wait(timeout=300) == 1, server.log()
    finally:
        server.stop()
    log = server.log()
    assert log.count("device: ") == 1
    assert f"device: {name}, 22.5 GiB; driver 535.183.01 (CUDA 12.2), torch" in log
    assert log.splitlines()[-1].startswith(f"serve: the model cannot be loaded: {reason}")


@pytest.mark.parametrize(
    ("task", "found", "expected"),
    [
        ("train", (A10G, A10G), "device: NVIDIA A10G, 22.5 GiB (the first of 2); driver 535.183.01 (CUDA 12.2), "
                                "torch 2.10.0 with CUDA 12.8; bfloat16"),
        ("serve", (A10G, A10G), "device: 2 x NVIDIA A10G, 22.5 GiB; driver 535.183.01 (CUDA 12.2), "
                                "torch 2.10.0 with CUDA 12.8; float16"),
        ("train", (T4,), "device: Tesla T4, 14.8 GiB; driver 535.183.01 (CUDA 12.2), "
                         "torch 2.10.0 with CUDA 12.8; float16"),
    ],
)  # fmt: skip
def test_several_gpus_and_older_ones(task: device.Task, found: tuple[Gpu, ...], expected: str) -> None:
    chosen = device.choose(task, Driver("535.183.01", (12, 2), found, None), TORCH, [FILE], None)
    assert (chosen.line, chosen.gpus) == (expected, found)


@pytest.mark.parametrize(
    ("found", "wheel", "files", "visible", "words"),
    [
        (None, TORCH, [], None, "no NVIDIA driver; torch 2.10.0 with CUDA 12.8;"),
        (None, TORCH, [], "-1", "no NVIDIA driver; torch"),
        (None, TORCH, [FILE], "-1", "CUDA_VISIBLE_DEVICES hides the GPUs; torch"),
        (OLD, TORCH, [FILE], "", "CUDA_VISIBLE_DEVICES hides the GPUs; torch"),
        (NEW, Wheel("2.10.0", None), [FILE], None, "NVIDIA A10G unused; torch 2.10.0 without CUDA;"),
        (None, Wheel("2.10.0", None), [], None, "no NVIDIA driver; torch 2.10.0 without CUDA;"),
        (Driver("580.65.06", (13, 0), (), "no GPU found"), TORCH, [], None, "driver 580.65.06 (CUDA 13.0) without a"),
    ],
)  # fmt: skip
def test_reasons_for_the_cpu(
    found: Driver | None, wheel: Wheel, files: list[Path], visible: str | None, words: str
) -> None:
    chosen = device.choose("serve", found, wheel, files, visible)
    assert not chosen.gpus and chosen.number_format == "float32"
    # The engine that answers says in which format it computes.
    assert words in f"{chosen.line};" and "float" not in chosen.line


@pytest.mark.parametrize(
    ("found", "wheel", "words"),
    [
        (None, TORCH, r"a GPU is there \(/dev/nvidia0\), but .* libcuda.so.1 is not: .*DRIVER_CAPABILITIES"),
        (Driver(None, (12, 2), (), "CUDA error 802, system not yet initialized"), TORCH,
         r"its driver \(CUDA 12.2\) does not start: CUDA error 802, system not yet initialized; start again"),
        (Driver("470.1", (11, 4), (), "CUDA error 804, unsupported"), TORCH, r"driver 470.1 \(CUDA 11.4\) .* too old"),
        (NEW, Wheel("2.11.0", (13, 0)), r"too old: torch 2.11.0 with CUDA 13.0 needs 580.65.06 or newer; for an "
         r"endpoint choose InferenceAmiVersion al2023-ami-sagemaker-inference-gpu-4-1 \(orchestrate/deploy.py does\), "
         r"or a newer instance family"),
    ],
)  # fmt: skip
def test_reasons_to_refuse(found: Driver | None, wheel: Wheel, words: str) -> None:
    with pytest.raises(InputError, match=words):
        device.choose("serve", found, wheel, [FILE], None)


def test_the_compatibility_libraries_of_a_host_count(install: Install) -> None:
    """An old driver under newer libraries of CUDA: what counts is the CUDA that a program meets."""
    done = asked(install("470.182.03", 12080))
    assert done.stdout.startswith("device: NVIDIA A10G, 22.5 GiB; driver 470.182.03 (CUDA 12.8), torch"), done.stderr


def test_device_files_are_those_of_gpus(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert [path.name for path in driver.device_files(tmp_path)] == ["nvidia0", "nvidia1"]


def test_what_is_read_of_torch_is_what_torch_says() -> None:
    import torch

    wheel = device.installed()
    assert torch.__version__.partition("+")[0] == wheel.torch
    assert (f"{wheel.cuda[0]}.{wheel.cuda[1]}" if wheel.cuda else None) == torch.version.cuda
