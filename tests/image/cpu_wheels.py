"""Stand-ins for PyTorch's CPU wheels, for a machine that cannot reach the index that has the real ones.

They are made from the ordinary wheels that this environment has installed: without their CUDA libraries, and with one
small library in place of those, whose functions say that there is no GPU. What computes on a CPU is the same file.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

TAG = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-linux_x86_64"
# What stays of the ordinary wheels and names the CUDA libraries.
_STAYING = (
    *(f"torch/lib/{name}.so" for name in ("libtorch_python", "libtorch_cpu", "libtorch", "libshm", "libc10")),
    "torchvision/_C.so",
)
_SYSTEM = ("libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6")
_STUBS = (
    "libc10_cuda.so", "libcudart.so.12", "libcudnn.so.9", "libcufile.so.0", "libcupti.so.12", "libcusparseLt.so.0",
)  # fmt: skip
_GONE = ("torch/include/", "torch/bin/protoc", "torch/share/", "torch/lib/libtorch_cuda", "torch/lib/libc10_cuda",
         "torch/lib/libtorch_nvshmem", "torch/lib/libcaffe2_nvrtc")  # fmt: skip


def _symbols(library: Path, which: str) -> Iterator[tuple[str, str]]:
    """(name, type as `nm` prints it) of a library's dynamic symbols."""
    done = subprocess.run(["nm", "-D", f"--{which}-only", str(library)], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        *_, kind, name = line.split()
        yield name.split("@")[0], kind


def _stub(site: Path, folder: Path) -> Path:
    """libtorch_cuda.so with every symbol that the staying libraries want of CUDA's."""
    system = [Path(subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()) for name in _SYSTEM]
    had = {name for path in [*system, *(site / path for path in _STAYING)] for name, _ in _symbols(path, "defined")}
    wanted = {name for path in _STAYING for name, _ in _symbols(site / path, "undefined")} - had
    gone = [*site.glob("nvidia/*/lib/*.so.*")]
    gone += [site / "torch/lib" / f"lib{name}.so" for name in ("torch_cuda", "c10_cuda", "torch_nvshmem")]
    lines = [
        ".data\nmemory: .zero 64"
    ]  # for the one function that answers with a reference and is called without a GPU
    for name, kind in sorted({found for path in gone for found in _symbols(path, "defined") if found[0] in wanted}):
        if kind in "TW":
            answer = "lea memory(%rip),%rax" if "get_gil_checker" in name else "xor %eax,%eax"
            lines.append(f".text\n.globl {name}\n.type {name},@function\n{name}: {answer}\nret")
        elif name.startswith("_ZTI"):  # a type_info is asked for its name
            lines.append(f".data\n.balign 8\n.globl {name}\n.type {name},@object\n.size {name},16")
            lines.append(f'{name}: .quad _ZTVN10__cxxabiv117__class_type_infoE+16\n.quad 1f\n1: .string "{name[4:]}"')
        else:
            lines.append(
                f".data\n.balign 64\n.globl {name}\n.type {name},@object\n.size {name},4096\n{name}: .zero 4096"
            )
    source = folder / "stub.s"
    source.write_text("\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""]))
    return _library(folder, "libtorch_cuda.so", source)


def _library(folder: Path, name: str, source: Path) -> Path:
    command = ["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / name


def _wheel(out: Path, name: str, version: str, files: dict[str, bytes | Path]) -> Path:
    info = f"{name}-{version}.dist-info"
    path = out / f"{name}-{version}-{TAG}.whl"
    record = []
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, content in files.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{inside},sha256={digest},{len(data)}")
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = (0o755 if inside.startswith("torch/bin/") else 0o644) << 16
            wheel.writestr(entry, data)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return path


def make(out: Path) -> list[Path]:
    """The wheels of torch and torchvision, in `out`. Needs `cc` and `nm`."""
    out.mkdir(exist_ok=True)
    made = []
    for name in ("torch", "torchvision"):
        ordinary = distribution(name)
        site = Path(str(ordinary.locate_file("")))
        version = f"{ordinary.version}+cpu"
        old, new = f"{name}-{ordinary.version}.dist-info", f"{name}-{version}.dist-info"
        files: dict[str, bytes | Path] = {
            str(path).replace(old, new): site / path
            for path in ordinary.files or []
            if path.parts[0] != ".." and not str(path).startswith(_GONE) and "__pycache__" not in path.parts
            and path.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
        }  # fmt: skip
        metadata = (
            (site / old / "METADATA").read_text().replace(f"Version: {ordinary.version}\n", f"Version: {version}\n", 1)
        )
        files[f"{new}/METADATA"] = metadata.encode()
        if name == "torch":
            text = (site / "torch" / "version.py").read_text()
            files["torch/version.py"] = f"{text}\n__version__ = {version!r}\ncuda = None\n".encode()
            files["torch/lib/libtorch_cuda.so"] = _stub(site, out)
            empty = out / "empty.s"
            empty.write_text('.section .note.GNU-stack,"",@progbits\n')
            files |= {f"torch/lib/{stub}": _library(out, stub, empty) for stub in _STUBS}
        made.append(_wheel(out, name, version, files))
    return made
