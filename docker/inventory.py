"""Runs inside an image, by its Python, and prints as JSON what is in there. Standard library only.

docker run --rm -i --network none --entrypoint /opt/venv/bin/python IMAGE - <docker/inventory.py
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

_FIELDS = ("Package", "Version", "Architecture", "source:Package", "source:Version")


def python_packages() -> list[dict[str, str]]:
    """Name, version and licence of every distribution."""
    return [
        {
            "name": found.metadata["Name"],
            "version": found.version,
            "license": (found.metadata.get_all("License-Expression") or found.metadata.get_all("License") or [""])[0],
        }
        for found in metadata.distributions()
    ]


def debian_packages() -> list[dict[str, str]]:
    """What dpkg has installed, with the source package that each was built from."""
    template = "".join(f"${{{field}}}\\t" for field in _FIELDS) + "${db:Status-Status}\\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", template], check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in listed.splitlines()]
    return [dict(zip(_FIELDS, row[:-1], strict=True)) for row in rows if row[-1] == "installed"]


def system() -> dict[str, str]:
    """ID and VERSION_ID of the distribution."""
    found = platform.freedesktop_os_release()
    return {"id": found["ID"], "version": found.get("VERSION_ID", "")}


def jars() -> tuple[list[dict[str, object]], list[dict[str, str]]]:
    """(Java archives among the Python packages: checksum, and what Maven and netty left inside about their contents;
    Java runtimes: version)."""
    found: list[dict[str, object]] = []
    runtimes = []
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.jar")):
        if path.name == "jrt-fs.jar":
            release = re.search(r'^JAVA_VERSION="(.+)"', (path.parent.parent / "release").read_text(), re.MULTILINE)
            runtimes.append({"version": release[1] if release else ""})
            continue
        libraries = []
        with zipfile.ZipFile(path) as archive:
            # A jar put together from others has entries of the same name: each is read.
            for entry in archive.infolist():
                if entry.filename.endswith("/pom.properties"):
                    told = re.findall(
                        r"^(groupId|artifactId|version)=(\S+)", archive.read(entry).decode(), re.MULTILINE
                    )
                    libraries.append(dict(told))
                elif entry.filename.endswith("/io.netty.versions.properties"):
                    for name, version in re.findall(
                        r"(?m)^(netty-[\w-]+)\.version=(\S+)", archive.read(entry).decode()
                    ):
                        libraries.append({"groupId": "io.netty", "artifactId": name, "version": version})
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append({"path": str(path), "sha256": checksum, "libraries": libraries})
    return found, runtimes


archives, runtimes = jars()
print(json.dumps({
    "system": system(), "python": platform.python_version(), "python packages": python_packages(),
    "debian packages": debian_packages(), "jars": archives,
    "java runtimes": runtimes,
}))  # fmt: skip
