"""multi-model-server's native library, where nothing may be executed from the temporary directory.

netty unpacks the library from its jar into the temporary directory and maps it from there. A hardened container
(`--read-only --tmpfs /tmp`, whose /tmp is `noexec`) has no directory that is both writable and executable: there the
library lives in memory, and a link leads to it.
"""

from __future__ import annotations

import os
import platform
import sys
import zipfile
from importlib import resources
from pathlib import Path


def library_path(directory: Path) -> Path | None:
    """Makes `directory/native` for Java's `java.library.path`; None where netty's own way works.

    The library stays in memory, and so the link valid, as long as this process lives.
    """
    if sys.platform != "linux" or not os.statvfs(directory).f_flag & os.ST_NOEXEC:
        return None
    name = f"libnetty_transport_native_epoll_{platform.machine().replace('aarch64', 'aarch_64')}.so"
    memory = os.memfd_create(name)
    with (
        resources.as_file(resources.files("mms").joinpath("frontend/model-server.jar")) as jar,
        zipfile.ZipFile(jar) as archive,
        os.fdopen(memory, "wb", closefd=False) as library,
    ):
        library.write(archive.read(f"META-INF/native/{name}"))
    native = directory / "native"
    native.mkdir()
    (native / name).symlink_to(f"/proc/{os.getpid()}/fd/{memory}")
    return native
