"""Makes .venv from requirements.lock; does nothing when that has been done. Standard library only.

python3 requirements/bootstrap.py
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements" / "requirements.lock"
NEEDED_GB = 12


def missing() -> list[str]:
    """What this machine lacks, each with the package that brings it."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        return [f"Python 3.10, 3.11 or 3.12 (this is {minor}): name one with `make PYTHON=python3.12 ...`"]
    lacks = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        lacks.append(f"Python's venv: apt-get install python{minor}-venv")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        lacks.append(f"Python's C headers: apt-get install python{minor}-dev, or dnf install python{minor}-devel")
    if not (shutil.which("cc") or shutil.which("gcc")):
        lacks.append("a C compiler: apt-get install build-essential, or dnf install gcc")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not VENV.exists():
        lacks.append(f"{NEEDED_GB} GB of free disk under {ROOT} (there are {free:.0f})")
    return lacks


def wanted() -> str:
    """What .venv depends on, as one hash."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), sys.version.encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def usable(python: str) -> bool:
    """Whether .venv is there already, of the Python that runs this."""
    try:
        made_of = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
    except FileNotFoundError:
        return False
    return made_of.stdout.strip() == sys.version.strip()


def main() -> None:
    """Installs, or says what is missing and exits 1."""
    stamp = VENV / ".installed"
    if stamp.exists() and stamp.read_text() == wanted():
        return
    if lacks := missing():
        raise SystemExit("error: this machine lacks\n" + "\n".join(f"  - {what}" for what in lacks))
    began = time.monotonic()
    size = "" if VENV.exists() else " (about 3 GB to download, 8 GB on disk, once)"
    print(f"Installing the locked packages into {VENV}{size}", flush=True)
    environment = {"UV_LINK_MODE": "copy"} | os.environ
    # uv brings its own certificates and knows nothing of pip's settings: hand over the machine's.
    if ssl.get_default_verify_paths().cafile:
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    python = str(VENV / "bin" / "python")

    def run(*command: str, given: bytes | None = None) -> None:
        finished = subprocess.run(command, input=given, env=environment, cwd=ROOT, check=False)
        if finished.returncode:
            raise SystemExit(f"error: `{' '.join(command)}` failed (exit {finished.returncode}); its words are above")

    locked = subprocess.run(
        [sys.executable, str(ROOT / "requirements" / "locked.py"), "--package", "uv"], check=True, capture_output=True
    ).stdout
    # A package that was being copied when somebody pressed Ctrl-C passes for installed, with half its files.
    begun = VENV / ".installing"
    if begun.exists() or not usable(python):
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
    begun.touch()
    uv = (str(VENV / "bin" / "uv"), "pip")
    if not Path(uv[0]).exists():
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps",
            "-r", "/dev/stdin", given=locked)  # fmt: skip
    # What is installed already stays, so that a change of the lock costs only what it changes.
    run(*uv, "sync", "--quiet", "--python", python, "--require-hashes", str(LOCK))
    # The project itself, as links into this checkout, so that a script sees what the editor shows.
    run(*uv, "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", "--editable", ".")
    stamp.write_text(wanted())
    begun.unlink()
    print(f"Installed in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted: the next run begins the installation anew", file=sys.stderr)
        raise SystemExit(130) from None
