"""The bill of materials of the image under test, as a program prints it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from conftest import ROOT

PYTHON = "/opt/venv/bin/python"


def sbom(image: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "docker" / "sbom.py"), image], capture_output=True, text=True, check=False
    )


@pytest.mark.engine
def test_the_bill_holds_what_is_in_the_image(image: str) -> None:
    answer = sbom(image)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "kennel"
    purls = {component["purl"] for component in document["components"] if "purl" in component}
    assert len(purls) == sum("purl" in component for component in document["components"])
    # What pip and dpkg count themselves.
    script = (
        "import importlib.metadata as m, subprocess; print(len({(d.name, d.version) for d in m.distributions()}));"
        "print(subprocess.run(['dpkg-query', '-W'], capture_output=True, text=True).stdout.count(chr(10)))"
    )
    counted = subprocess.run(
        ["docker", "run", "--rm", "--network=none", f"--entrypoint={PYTHON}", image, "-c", script],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    kinds = [purl.split("/")[0] for purl in purls]
    assert [kinds.count("pkg:pypi"), kinds.count("pkg:deb")] == [int(number) for number in counted]
    assert "pkg:maven/io.netty/netty-codec-http2@4.1.91.Final" in purls
    assert "pkg:maven/org.apache.logging.log4j/log4j-core@2.17.1" in purls
    assert any(purl.startswith("pkg:pypi/torch@2.10.0") for purl in purls)
    (libc,) = [purl for purl in purls if "/libc6@" in purl]
    assert "distro=" in libc and "upstream=glibc%40" in libc
    # The same image, the same bytes.
    assert sbom(image).stdout == answer.stdout


@pytest.mark.engine
def test_images_that_cannot_be_read(engine: None) -> None:
    answer = sbom("kennel-test-nothing:here")
    assert answer.returncode == 2 and "there is no image kennel-test-nothing:here" in answer.stderr
    made = subprocess.run(
        ["docker", "build", "-q", "-"], input=b"FROM scratch\nENV A=b\n", capture_output=True, check=True
    )
    name = made.stdout.decode().strip()
    answer = sbom(name)
    subprocess.run(["docker", "rmi", name], capture_output=True, check=False)
    assert answer.returncode == 2 and "only images of this project can" in answer.stderr
    assert "Traceback" not in answer.stderr
