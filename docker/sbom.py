"""Prints what is in an image as a CycloneDX 1.6 bill of materials (JSON).

    python docker/sbom.py IMAGE >sbom.cdx.json

It is read from the image itself, in a container without a network: Python packages of /opt/venv, packages of the
distribution, Java libraries inside multi-model-server's jar, the Java runtime. The same image gives the same bytes.
What compiled packages carry inside (libjpeg in Pillow, say) is not listed apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrate import console, engine
from orchestrate.errors import InputError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

INVENTORY = Path(__file__).resolve().parent / "inventory.py"
PYTHON = "/opt/venv/bin/python"
# multi-model-server's jar is made of others and says only of netty which. The rest of 1.1.11, by the jar's SHA-256:
# from github.com/awslabs/multi-model-server/blob/master/frontend/gradle.properties and server/build.gradle, with the
# dates of the classes where versions moved on (gson's of 2021-10-29 are 2.8.9, log4j's of 2021-12-27 are 2.17.1).
_CONTENTS = {
    "9363acf1b1b625019ebe54d6c650fdea350333d6d1fc6b5f9ee208275a3ea4ed": (
        ("com.google.code.gson", "gson", "2.8.9"),
        ("com.lmax", "disruptor", "3.4.4"),
        ("commons-cli", "commons-cli", "1.3.1"),
        ("commons-io", "commons-io", "2.6"),
        ("org.apache.logging.log4j", "log4j-api", "2.17.1"),
        ("org.apache.logging.log4j", "log4j-core", "2.17.1"),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.17.1"),
        ("org.slf4j", "slf4j-api", "1.7.32"),
        ("software.amazon.ai", "mms-server-sdk", "1.0.1"),
    )
}


def read(image: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what `docker image inspect` says, what docker/inventory.py finds inside).

    Raises:
        InputError: no such image, or one without /opt/venv.
    """
    engine.check()
    inspected = engine.inspect(image)
    if inspected is None:
        raise InputError(f"there is no image {image} on this machine: `docker pull` it, or build it with `make image`")
    hardened = ["--network=none", "--read-only", "--cap-drop=ALL", "--user=65534:65534"]
    answer = subprocess.run(
        ["docker", "run", "--rm", "--interactive", *hardened, f"--entrypoint={PYTHON}", image, "-"],
        input=INVENTORY.read_text("utf-8"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise InputError(f"{image} cannot be read with its own {PYTHON} ({last}): only images of this project can")
    inventory: dict[str, Any] = json.loads(answer.stdout)
    return inspected, inventory


def bill(image: str, inspected: dict[str, Any], inventory: dict[str, Any]) -> str:
    """The document, valid against CycloneDX's schema.

    Raises:
        InputError: a jar whose contents nobody has listed.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    labels = inspected["Config"].get("Labels") or {}
    digest = inspected["Id"].partition(":")[2]
    described = Component(
        name=labels.get("org.opencontainers.image.title")
        or image.partition("@")[0].rpartition("/")[2].partition(":")[0],
        version=labels.get("org.opencontainers.image.version") or digest[:12],
        type=ComponentType.CONTAINER,
        bom_ref=inspected["Id"],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    components = list(_components(inventory))
    made = datetime.strptime(inspected["Created"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=described, timestamp=made),
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, inspected["Id"]),
    )
    bom.register_dependency(described, components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise RuntimeError(f"the document is no valid CycloneDX: {wrong}")
    return text


def _components(inventory: dict[str, Any]) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType

    system = inventory["system"]
    yield Component(name=system["id"], version=system["version"], type=ComponentType.OPERATING_SYSTEM, bom_ref="system")
    for found in _unique(inventory["python packages"]):
        yield _library("pypi", None, found["name"], found["version"], licenses=_licenses(found["license"]))
    for found in _unique(inventory["debian packages"]):
        # `upstream`, as syft and trivy have it: advisories are about source packages.
        qualifiers = {
            "arch": found["Architecture"],
            "distro": f"{system['id']}-{system['version']}",
            "upstream": f"{found['source:Package']}@{found['source:Version']}",
        }
        yield _library("deb", system["id"], found["Package"], found["Version"], qualifiers)
    for group, name, version in sorted({library for jar in inventory["jars"] for library in _inside(jar)}):
        yield _library("maven", group, name, version)
    for found in _unique(inventory["java runtimes"]):
        yield _library("generic", None, "openjdk", found["version"])


def _library(
    kind: str, group: str | None, name: str, version: str, qualifiers: dict[str, str] | None = None, licenses: Any = ()
) -> Component:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    purl = PackageURL(kind, group, name, version, qualifiers)
    return Component(
        name=name, group=group, version=version, purl=purl, bom_ref=purl.to_string(), licenses=licenses
    )  # fmt: skip


def _inside(jar: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for library in jar["libraries"]:
        yield library["groupId"], library["artifactId"], library["version"]
    if jar["sha256"] in _CONTENTS:
        yield from _CONTENTS[jar["sha256"]]
    else:
        raise InputError(
            f"{jar['path']} (SHA-256 {jar['sha256']}) is another jar than the ones whose contents are listed: add to "
            "docker/sbom.py, under this checksum, the libraries in it that do not name themselves"
        )


def _licenses(text: str) -> list[Any]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    lines = text.strip().splitlines()
    # Some packages put the licence's whole text there.
    return [LicenseFactory().make_from_string(lines[0])] if len(lines) == 1 and text != "UNKNOWN" else []


def _unique(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [dict(row) for row in sorted({tuple(sorted(row.items())) for row in rows})]


def main() -> None:
    """Parses, reads, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="an image on this machine, built from docker/Dockerfile")
    image = parser.parse_args().image
    sys.stdout.write(bill(image, *read(image)) + "\n")


if __name__ == "__main__":
    console.run(main)
