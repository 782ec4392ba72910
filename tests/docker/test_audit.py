"""The audit, run as a program, with a server that answers as OSV's API does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

NETTY = "pkg:maven/io.netty/netty-codec-http2"
PURLS = [
    f"{NETTY}@4.1.91.Final",
    "pkg:pypi/pillow@9.0.0",
    "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64&distro=debian-12&upstream=openssl%403.0.11-1~deb12u1",
    "pkg:deb/debian/openssl@3.0.11-1~deb12u1?arch=amd64&distro=debian-12&upstream=openssl%403.0.11-1~deb12u1",
    "pkg:deb/ubuntu/libc6@2.39-0ubuntu8?arch=amd64&distro=ubuntu-24.04&upstream=glibc%402.39-0ubuntu8",
    "pkg:generic/openjdk@25.0.2",
]
# Records in OSV's schema (https://ossf.github.io/osv-schema).
RAPID_RESET = {
    "id": "GHSA-xpw8-rcwv-8f8p",
    "summary": "io.netty:netty-codec-http2 vulnerable to HTTP/2 Rapid Reset Attack",
    "aliases": ["CVE-2023-44487"],
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}],
    "database_specific": {"severity": "HIGH"},
    "affected": [
        {
            "package": {"ecosystem": "Maven", "name": "io.netty:netty-codec-http2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "4.1.100.Final"}]}],
        },
        {
            "package": {"ecosystem": "Maven", "name": "another:package"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9"}]}],
        },
    ],
}
PILLOW = {
    "id": "GHSA-8vj2-vxx3-667w",
    "details": "Arbitrary expression injection\nand more",
    "aliases": ["CVE-2022-22817", "PYSEC-2022-10"],
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "pillow"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.0.1"}]}],
        }
    ],
}
PILLOW_AGAIN = {"id": "PYSEC-2022-10", "aliases": ["CVE-2022-22817"], "affected": []}
WITHDRAWN = {"id": "GHSA-with-draw-nnnn", "withdrawn": "2024-01-01T00:00:00Z", "affected": []}
UNFIXED = {
    "id": "DEBIAN-CVE-2024-0001",
    "upstream": ["CVE-2024-0001"],
    "affected": [
        {
            "package": {"ecosystem": "Debian:12", "name": "openssl"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
    ],
}
FIXED = {
    "id": "DSA-5764-1",
    "affected": [
        {
            "package": {"ecosystem": "Debian:12", "name": "openssl"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.14-1~deb12u2"}]}],
        }
    ],
}
ALLOW = {"package": NETTY, "ids": ["CVE-2023-44487"], "reason": "HTTP/2 is off", "expires": "2999-01-01"}


class Osv:
    """What the service knows: (ecosystem, name) -> records; and what it was asked."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.queries: list[dict[str, Any]] = []
        self.url = ""

    def answer(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """One answer of a batch: a record a page, as OSV splits long answers."""
        records = self.known.get((query["package"]["ecosystem"], query["package"]["name"]), [])
        page = int(query.get("page_token", "0"))
        found: dict[str, Any] = {}
        if records:
            found["vulns"] = [{"id": records[page]["id"], "modified": "2024-01-01T00:00:00Z"}]
        if page + 1 < len(records):
            found["next_page_token"] = str(page + 1)
        return found


@pytest.fixture
def osv() -> Iterator[Osv]:
    service = Osv()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/querybatch"
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            service.queries += queries
            self.reply(200, {"results": [service.answer(query) for query in queries]})

        def do_GET(self) -> None:
            name = self.path.removeprefix("/v1/vulns/")
            found = [record for records in service.known.values() for record in records if record["id"] == name]
            self.reply(200 if found else 404, found[0] if found else {"code": 5, "message": "Bug not found."})

        def reply(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()


def audit(folder: Path, url: str, *allowed: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Runs it on a bill of PURLS with this allow-list."""
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"purl": purl} for purl in PURLS]}
    (folder / "sbom.json").write_text(json.dumps(bill | {"components": [*bill["components"], {"name": "debian"}]}))
    lines = [
        f"- package: {entry['package']}\n  ids: {json.dumps(entry['ids'])}\n  reason: {entry['reason']}\n"
        f"  expires: {entry['expires']}\n"
        for entry in allowed
    ]
    (folder / "allow.yaml").write_text("".join(lines))
    return run(folder / "sbom.json", "--allow", folder / "allow.yaml", OSV_URL=url)


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "docker" / "audit.py"), *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_nothing_known(osv: Osv, tmp_path: Path) -> None:
    answer = audit(tmp_path, osv.url)
    assert answer.returncode == 0, answer.stderr
    assert "4 packages, 0 findings" in answer.stdout
    asked = [(query["package"]["ecosystem"], query["package"]["name"], query["version"]) for query in osv.queries]
    # Source packages of the distribution, once each; nothing of what OSV does not know.
    assert asked == [
        ("Debian:12", "openssl", "3.0.11-1~deb12u1"),
        ("Ubuntu:24.04:LTS", "glibc", "2.39-0ubuntu8"),
        ("Maven", "io.netty:netty-codec-http2", "4.1.91.Final"),
        ("PyPI", "pillow", "9.0.0"),
    ]


def test_a_finding_that_is_allowed_and_one_that_is_not(osv: Osv, tmp_path: Path) -> None:
    osv.known["Maven", "io.netty:netty-codec-http2"] = [RAPID_RESET]
    answer = audit(tmp_path, osv.url, ALLOW)
    assert answer.returncode == 0, answer.stderr
    assert "GHSA-xpw8-rcwv-8f8p (CVE-2023-44487)\n" in answer.stdout
    assert f"{NETTY} 4.1.91.Final, severity HIGH, fixed in 4.1.100.Final\n" in answer.stdout
    assert "allowed until 2999-01-01: HTTP/2 is off" in answer.stdout

    osv.known["PyPI", "pillow"] = [PILLOW, PILLOW_AGAIN, WITHDRAWN]
    answer = audit(tmp_path, osv.url, ALLOW)
    assert answer.returncode == 1
    # Two databases, one finding; what was withdrawn is none.
    assert "GHSA-8vj2-vxx3-667w (CVE-2022-22817, PYSEC-2022-10)\n" in answer.stdout
    assert "4 packages, 2 findings, 1 of them fail" in answer.stdout
    assert "FAILS: not allowed" in answer.stdout and "Arbitrary expression injection\n" in answer.stdout
    assert "severity CVSS_V3 CVSS:3.1/AV:N" in answer.stdout
    assert answer.stderr.startswith("error: 1 findings are not allowed: take a fixed version")

    # Allowed for one package is not allowed for another.
    other = ALLOW | {"package": "pkg:pypi/pillow"}
    assert audit(tmp_path, osv.url, other).returncode == 1


def test_what_the_distribution_has_no_fix_for_does_not_fail(osv: Osv, tmp_path: Path) -> None:
    osv.known["Debian:12", "openssl"] = [UNFIXED]
    answer = audit(tmp_path, osv.url)
    assert answer.returncode == 0, answer.stderr
    assert "DEBIAN-CVE-2024-0001 (CVE-2024-0001)" in answer.stdout and "no fixed package yet" in answer.stdout
    osv.known["Debian:12", "openssl"] = [UNFIXED, FIXED]
    answer = audit(tmp_path, osv.url)
    assert answer.returncode == 1
    assert "2 findings, 1 of them fail" in answer.stdout and "fixed in 3.0.14-1~deb12u2" in answer.stdout


def test_an_entry_that_has_expired(osv: Osv, tmp_path: Path) -> None:
    osv.known["Maven", "io.netty:netty-codec-http2"] = [RAPID_RESET]
    answer = audit(tmp_path, osv.url, ALLOW | {"expires": "2024-05-01"})
    assert answer.returncode == 1
    assert "FAILS: was allowed until 2024-05-01" in answer.stdout
    assert f"have expired (CVE-2023-44487 of {NETTY} on 2024-05-01)" in answer.stderr
    # Also where nothing needs it any more: a list that is not looked after is worth nothing.
    osv.known.clear()
    assert audit(tmp_path, osv.url, ALLOW | {"expires": "2024-05-01"}).returncode == 1


def test_an_entry_that_nothing_needs_any_more(osv: Osv, tmp_path: Path) -> None:
    answer = audit(tmp_path, osv.url, ALLOW)
    assert answer.returncode == 0
    assert "warning: not found any more, take it out of" in answer.stdout
    assert f": CVE-2023-44487 of {NETTY}\n" in answer.stdout


@pytest.mark.parametrize("entry", [
    {"package": NETTY, "ids": [], "reason": "x", "expires": "2999-01-01"},
    {"package": NETTY, "ids": ["x"], "reason": "", "expires": "2999-01-01"},
    {"package": NETTY, "ids": ["x"], "reason": "x", "expires": "soon"},
])  # fmt: skip
def test_an_allow_list_that_says_too_little(osv: Osv, tmp_path: Path, entry: Mapping[str, Any]) -> None:
    answer = audit(tmp_path, osv.url, ALLOW, entry)
    assert answer.returncode == 2
    assert "allow.yaml, entry 2: give exactly package" in answer.stderr and "Traceback" not in answer.stderr


def test_no_answer_and_no_bill(tmp_path: Path) -> None:
    answer = audit(tmp_path, "http://127.0.0.1:1")
    assert answer.returncode == 2
    assert "OSV cannot be asked at http://127.0.0.1:1" in answer.stderr and "OSV_URL" in answer.stderr
    answer = run(tmp_path / "nothing.json")
    assert answer.returncode == 2 and "python docker/sbom.py IMAGE makes one" in answer.stderr
    (tmp_path / "a.json").write_text("[]")
    assert run(tmp_path / "a.json").returncode == 2


def test_the_projects_own_list_can_be_read(osv: Osv, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text(json.dumps({"components": [{"purl": f"{NETTY}@4.1.91.Final"}]}))
    osv.known["Maven", "io.netty:netty-codec-http2"] = [RAPID_RESET]
    answer = run(tmp_path / "sbom.json", "--osv", osv.url)
    assert "allowed until" in answer.stdout, answer.stdout + answer.stderr
