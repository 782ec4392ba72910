"""What the image leaves out of its packages (docker/left-out.txt) is missed by nothing that it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from image.containers import docker

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("kennel")]
# Each library that a shared object of the image names and the loader does not find, and each that is there.
LIBRARIES = r"""
find /opt/venv \( -name '*.so' -o -name '*.so.*' \) -type f | while read -r file; do
    echo "has $(basename "$file")"
    ldd "$file" 2>/dev/null | sed -n 's/^\s*\(\S*\) => not found$/misses \1/p'
done | sort -u
"""
IMPORTS = """
import numpy.testing, scipy.stats, pandas.testing, torch.distributed.nn, torch.profiler, torch.utils.data
import torchvision.ops, smdebug.pytorch, sagemaker_training.entry_point, mms.model_service_worker, pkg_resources
"""


def test_no_library_names_one_that_was_left_out(image: str) -> None:
    listed = docker("run", "--rm", "--network=none", image, "sh", "-c", LIBRARIES, timeout_s=300)
    assert listed.returncode == 0, listed.stderr
    told = [line.split() for line in listed.stdout.splitlines()]
    has, misses = ({name for word, name in told if word == which} for which in ("has", "misses"))
    assert "libtorch_cpu.so" in has
    # The driver's libraries and those of network cards are not ours to bring; what the packages bring has to be there.
    site = Path(torch.__file__).parents[1]
    brought = {path.name for path in site.rglob("*.so*")}
    assert brought > {"libtorch_cpu.so", "libnvrtc.alt.so.12"}, "this environment holds the packages unabridged"
    assert not (misses - has) & brought


def test_every_package_still_imports(image: str) -> None:
    done = docker(
        "run", "--rm", "--network=none", "--env=PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python", image,
        "python3", "-W", "ignore", "-c", IMPORTS, timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
