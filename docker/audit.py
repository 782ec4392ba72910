"""Asks OSV (https://osv.dev) what is known against the packages of a bill of materials, and tells each finding's fate.

    python docker/sbom.py IMAGE >sbom.cdx.json
    python docker/audit.py sbom.cdx.json

A finding fails the audit (exit 1) whatever its severity, unless docker/allowed-vulnerabilities.yaml allows it with a
reason and until a date. Findings that the distribution has no fixed package for are told and do not fail: a rebuild
takes the fix as soon as there is one. An entry that has expired fails; one that fits nothing any more is told.
Names and versions of the packages are sent to OSV, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrate import console
from orchestrate.errors import InputError, JobFailed

if TYPE_CHECKING:
    from packageurl import PackageURL

ALLOWED = Path(__file__).resolve().parent / "allowed-vulnerabilities.yaml"
OSV = "https://api.osv.dev"
# The kinds that OSV knows by ecosystem.
_KINDS = ("pypi", "maven", "deb")
_BATCH = 500
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Allowed:
    """An entry of the allow-list."""

    package: str
    """purl without version"""
    ids: tuple[str, ...]
    """CVE, GHSA or other names"""
    reason: str
    expires: date


@dataclass(frozen=True)
class Package:
    """A package as OSV is asked about it."""

    purl: str
    """without version and qualifiers"""
    ecosystem: str
    name: str
    version: str

    @property
    def is_of_distribution(self) -> bool:
        return self.purl.startswith("pkg:deb/")


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a package."""

    package: Package
    id: str
    aliases: tuple[str, ...]
    severity: str
    fixed: str
    """first version without it; empty where there is none"""
    summary: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.id, *self.aliases))


def packages(sbom: Path) -> list[Package]:
    """What OSV can be asked about, of a CycloneDX document; a source package of the distribution once.

    Raises:
        InputError: it cannot be read.
    """
    from packageurl import PackageURL

    try:
        document = json.loads(sbom.read_text("utf-8"))
        purls = [component["purl"] for component in document["components"] if "purl" in component]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{sbom} is no CycloneDX document ({error}): python docker/sbom.py IMAGE makes one") from None
    found = (_package(PackageURL.from_string(purl)) for purl in purls)
    return sorted({package for package in found if package}, key=lambda package: (package.purl, package.version))


def allowed(file: Path) -> list[Allowed]:
    """The allow-list.

    Raises:
        InputError: it cannot be read, or an entry lacks something.
    """
    import yaml

    try:
        entries = yaml.safe_load(file.read_text("utf-8")) or []
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"the allow-list {file} cannot be read: {error}") from None
    found = []
    for number, entry in enumerate(entries, 1):
        if not (
            isinstance(entry, dict) and set(entry) == {"package", "ids", "reason", "expires"}
            and isinstance(entry["ids"], list) and entry["ids"] and entry["reason"] and type(entry["expires"]) is date
        ):  # fmt: skip
            raise InputError(
                f"{file}, entry {number}: give exactly package (a purl without version), ids (a list), reason, and "
                "expires (YYYY-MM-DD)"
            )
        ids = tuple(str(name) for name in entry["ids"])
        found.append(Allowed(str(entry["package"]), ids, " ".join(str(entry["reason"]).split()), entry["expires"]))
    return found


def findings(osv: str, wanted: Sequence[Package]) -> list[Finding]:
    """What OSV knows against them.

    Raises:
        InputError: OSV cannot be asked.
    """
    import requests

    with requests.Session() as http:
        try:
            pairs = [
                pair for i in range(0, len(wanted), _BATCH) for pair in _matches(http, osv, wanted[i : i + _BATCH])
            ]
            records = {name: _get(http, osv, name) for name in sorted({name for _, name in pairs})}
        except (requests.RequestException, ValueError, KeyError) as error:
            raise InputError(
                f"OSV cannot be asked at {osv} ({error}): check the network, or name a mirror with --osv URL or OSV_URL"
            ) from None
    return _merged([_finding(package, records[name]) for package, name in pairs if "withdrawn" not in records[name]])


def _package(purl: PackageURL) -> Package | None:
    if purl.type not in _KINDS:
        return None
    version = purl.version or ""
    bare = f"pkg:{purl.type}/" + (f"{purl.namespace}/" if purl.namespace else "")
    if purl.type == "deb":
        # OSV lists a distribution's source packages: Debian:12, Ubuntu:24.04:LTS.
        name, _, version = purl.qualifiers["upstream"].partition("@")
        system, _, release = purl.qualifiers["distro"].partition("-")
        year, _, month = release.partition(".")
        long_term = ":LTS" if system == "ubuntu" and month == "04" and int(year) % 2 == 0 else ""
        return Package(bare + name, f"{system.capitalize()}:{release}{long_term}", name, version)
    if purl.type == "maven":
        return Package(bare + purl.name, "Maven", f"{purl.namespace}:{purl.name}", version)
    return Package(bare + purl.name, "PyPI", purl.name, version)


def _matches(http: Any, osv: str, wanted: Sequence[Package]) -> Iterator[tuple[Package, str]]:
    """https://google.github.io/osv.dev/post-v1-querybatch: answers in the order of the questions, by pages."""
    asked = [
        (package, {"package": {"ecosystem": package.ecosystem, "name": package.name}, "version": package.version})
        for package in wanted
    ]
    while asked:
        answer = http.post(f"{osv}/v1/querybatch", json={"queries": [query for _, query in asked]}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        more = []
        for (package, query), result in zip(asked, answer.json()["results"], strict=True):
            yield from ((package, found["id"]) for found in result.get("vulns") or ())
            if token := result.get("next_page_token"):
                more.append((package, query | {"page_token": token}))
        asked = more


def _get(http: Any, osv: str, name: str) -> dict[str, Any]:
    answer = http.get(f"{osv}/v1/vulns/{name}", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    record: dict[str, Any] = answer.json()
    return record


def _finding(package: Package, record: dict[str, Any]) -> Finding:
    ours = [
        affected for affected in record.get("affected") or ()
        if (affected.get("package", {}).get("ecosystem"), affected.get("package", {}).get("name"))
        == (package.ecosystem, package.name)
    ]  # fmt: skip
    events = [event for affected in ours for span in affected.get("ranges") or () for event in span.get("events") or ()]
    vectors = [f"{found['type']} {found['score']}" for found in record.get("severity") or ()]
    return Finding(
        package,
        record["id"],
        # `upstream`: the CVE that a distribution's record is about.
        tuple(sorted({*(record.get("aliases") or ()), *(record.get("upstream") or ())})),
        (record.get("database_specific") or {}).get("severity") or next(iter(vectors), "unknown"),
        ", ".join(dict.fromkeys(event["fixed"] for event in events if "fixed" in event)),
        record.get("summary") or (record.get("details") or "").strip().partition("\n")[0][:120],
    )


def _merged(found: Sequence[Finding]) -> list[Finding]:
    """One finding where several databases tell of the same."""
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda finding: (finding.package.purl, finding.package.version, finding.id)):
        twin = next((k for k in kept if k.package == finding.package and k.names & finding.names), None)
        if twin is None:
            kept.append(finding)
            continue
        names = tuple(sorted((twin.names | finding.names) - {twin.id}))
        severity = twin.severity if twin.severity != "unknown" else finding.severity
        joined = Finding(twin.package, twin.id, names, severity, twin.fixed or finding.fixed, twin.summary)
        kept[kept.index(twin)] = joined
    return kept


def judge(found: Sequence[Finding], entries: Sequence[Allowed], today: date) -> Iterator[tuple[Finding, str, bool]]:
    """(finding, its fate in words, whether it fails the audit)."""
    for finding in found:
        entry = next((e for e in entries if e.package == finding.package.purl and finding.names & set(e.ids)), None)
        if entry and entry.expires >= today:
            yield finding, f"allowed until {entry.expires}: {entry.reason}", False
        elif entry:
            yield finding, f"FAILS: was allowed until {entry.expires}", True
        elif finding.package.is_of_distribution and not finding.fixed:
            yield finding, "the distribution has no fixed package yet", False
        else:
            yield finding, "FAILS: not allowed", True


def unused(found: Sequence[Finding], entries: Sequence[Allowed]) -> list[tuple[str, list[str]]]:
    """(package, names) of what is allowed and not found any more."""
    seen = {(finding.package.purl, name) for finding in found for name in finding.names}
    left = [(entry.package, [name for name in entry.ids if (entry.package, name) not in seen]) for entry in entries]
    return [(package, names) for package, names in left if names]


def main() -> None:
    """Parses, asks, tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sbom", type=Path, help="CycloneDX JSON, as docker/sbom.py prints it")
    parser.add_argument("--allow", metavar="FILE", type=Path, default=ALLOWED, help=f"(default: docker/{ALLOWED.name})")
    parser.add_argument(
        "--osv", metavar="URL", default=os.environ.get("OSV_URL", OSV), help=f"(default: OSV_URL, {OSV})"
    )
    args = parser.parse_args()
    out = console.Console()
    today = datetime.now(timezone.utc).date()
    entries, wanted = allowed(args.allow), packages(args.sbom)
    found = findings(args.osv.rstrip("/"), wanted)
    judged = list(judge(found, entries, today))
    for finding, fate, fails in judged:
        others = f" ({', '.join(finding.aliases)})" if finding.aliases else ""
        out.say(f"{finding.id}{others}", "bold red" if fails else None)
        out.say(f"  {finding.package.purl} {finding.package.version}, severity {finding.severity}, "
                f"fixed in {finding.fixed or 'no version'}")  # fmt: skip
        out.say(f"  {finding.summary}")
        out.say(f"  {fate}")
    for package, names in unused(found, entries):
        out.say(f"warning: not found any more, take it out of {args.allow}: {', '.join(names)} of {package}")
    expired = [entry for entry in entries if entry.expires < today]
    failing = sum(fails for _, _, fails in judged)
    out.say(f"{len(wanted)} packages, {len(found)} findings, {failing} of them fail")
    if expired:
        told = "; ".join(f"{', '.join(entry.ids)} of {entry.package} on {entry.expires}" for entry in expired)
        raise JobFailed(
            f"entries of {args.allow} have expired ({told}): look at each anew, then take it out or give a new date"
        )
    if failing:
        raise JobFailed(
            f"{failing} findings are not allowed: take a fixed version (`make lock` for Python packages, a rebuild "
            f"without cache for the distribution's), or allow them with a reason and a date in {args.allow}"
        )


if __name__ == "__main__":
    console.run(main)
