"""The page that says who imports whom, and why which module is large: `make docs` writes it, with its picture.

    python docs/architecture.py            # docs/18-architecture.md and docs/pictures/imports.svg

The arrows and the floors come from the code and from import-linter's settings in pyproject.toml.
"""

from __future__ import annotations

import html
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import tomli

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs" / "18-architecture.md", ROOT / "docs" / "pictures" / "imports.svg"
ROOMS = ("container_src", "orchestrate", "local_sagemaker", "benchmarks", "docker", "requirements")
LONG = 250
# Package or module -> what it is. A module belongs to the longest of these that its name begins with.
PARTS = {
    "orchestrate": "the scripts",
    "local_sagemaker": "the SageMaker API on loopback",
    "local_sagemaker.operations": "one module a resource",
    "local_sagemaker.s3": "S3 on files",
    "serving": "looks after a server's processes",
    "classifier": "data, training, answers",
    "classifier.watch": "profile, rules, report",
    "classifier.engines": "what computes answers",
}
# A module of more than LONG lines says here why it is one.
LARGE = {
    "benchmarks/fuzz.py": "the run, its checks and its page; the mutations are a module of their own",
    "benchmarks/input.py": "six measurements of one path, in the order in which a photograph takes it",
    "benchmarks/local_modes_probes/rows.py": "a function a row of the table",
    "benchmarks/mutations.py": "a function a way to damage a request",
    "benchmarks/profiling.py": "each case in a process of its own, paired, and the table",
    "benchmarks/serving.py": "nine servers in one run, and the page that compares them",
    "benchmarks/training.py": "each case in a process of its own, paired, and the table",
    "benchmarks/training_gpu.py": "measurement and the bound that stops it",
    "benchmarks/scale_plan.py": "the tables of a page",
    "container_src/classifier/config.py": "every hyperparameter with its range and meaning: a table in code",
    "container_src/classifier/data.py": "what a data set may look like, and its batches; the loading is `loading.py`",
    "container_src/classifier/watch/debugger.py": "one object that PyTorch calls at every step",
    "container_src/classifier/watch/rules/machine_rules.py": "a class a rule",
    "container_src/classifier/watch/rules/tensor_rules.py": "a class a rule",
    "docker/audit.py": "one scan: packages, advisories, what is allowed",
    "local_sagemaker/container.py": "everything that is asked of Docker",
    "local_sagemaker/daemon.py": "one process from `up` to `down`",
    "local_sagemaker/endpoint.py": "the states of one resource",
    "local_sagemaker/instance.py": "the life of one serving process or container",
    "local_sagemaker/operations/model_packages.py": "eleven operations of one resource",
    "local_sagemaker/s3/store.py": "what makes S3's answers true on a file system",
    "local_sagemaker/training_run.py": "the states of one resource",
    "local_sagemaker/transform_run.py": "the states of one resource",
    "local_sagemaker/tuning_run.py": "the states of one resource",
    "local_sagemaker/validation.py": "the members of a request against botocore's models",
    "orchestrate/clean.py": "one list of what there is, and its removal",
    "orchestrate/prepare.py": "checks, splits and writes in one pass over the photographs",
    "orchestrate/session.py": "the one place that knows where the API is: credentials, storage, the server",
    "orchestrate/transform.py": "manifest, job and table of one script",
    "orchestrate/tune.py": "one script",
}
_STYLE = """
.box{fill:#fff;stroke:#57606a}.name{font:600 13px sans-serif;fill:#1f2328}.what{font:11px sans-serif;fill:#57606a}
path{fill:none;stroke:#8c959f}marker path{fill:#8c959f;stroke:none}
@media (prefers-color-scheme:dark){.box{fill:#161b22;stroke:#8b949e}.name{fill:#e6edf3}.what{fill:#9198a1}
path{stroke:#6e7681}marker path{fill:#6e7681}}"""
_HEAD = """\
# 18. Architecture: who imports whom

Written by `make docs` from the code; do not edit. What each room is for stands in the
[overview](00-overview.md), what to touch to add a backbone, a rule, a payload or an operation in
[Working on Kennel](../CONTRIBUTING.md#where-to-change-what).

![Which part imports which](pictures/imports.svg)

An arrow: some module of the one imports some module of the other. The scripts take from the image's code only
what loads no torch; the one arrow to local SageMaker is the session's. A part of a package uses what lies
in the package itself without an arrow. There is no circle.
"""


def long_modules() -> dict[str, int]:
    """Path -> lines, of modules of more than `LONG` lines."""
    found = {path: len(path.read_text(encoding="utf-8").splitlines()) for room in ROOMS for path in
             sorted((ROOT / room).rglob("*.py")) if "build" not in path.relative_to(ROOT).parts}  # fmt: skip
    return {path.relative_to(ROOT).as_posix(): lines for path, lines in found.items() if lines > LONG}


def graph() -> dict[str, set[str]]:
    """Part -> those that it imports; the package that it lies in left out."""
    sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]
    packages = dict.fromkeys(part.partition(".")[0] for part in PARTS)
    found = grimp.build_graph(*packages, exclude_type_checking_imports=True)
    parts: dict[str, set[str]] = {part: set() for part in PARTS}
    for module in found.modules:
        of = _part(module)
        parts[of] |= {_part(to) for to in found.find_modules_directly_imported_by(module)}
    return {of: imported - {of, of.rpartition(".")[0]} for of, imported in parts.items()}


def picture(parts: dict[str, set[str]]) -> str:
    """As SVG: whoever imports stands above what it imports."""
    floors: dict[str, int] = {}
    for part in TopologicalSorter(parts).static_order():
        floors[part] = 1 + max((floors[to] for to in parts[part]), default=-1)
    top = max(floors.values())
    width, height, gap = 200, 44, 74
    rows = [[part for part in PARTS if floors[part] == top - row] for row in range(top + 1)]
    widest = max(map(len, rows))
    total = widest * (width + 24) + 24
    at = {}
    for row, members in enumerate(rows):
        left = (total - len(members) * (width + 24) + 24) / 2
        at.update({part: (left + n * (width + 24), 16 + row * (height + gap)) for n, part in enumerate(members)})
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {len(rows) * (height + gap) - gap + 32}" '
        f'role="img" aria-label="Which part imports which"><style>{_STYLE}</style>',
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
    ]
    for part, to in sorted((of, to) for of, imported in parts.items() for to in imported):
        (x, y), (x2, y2) = at[part], at[to]
        x, x2, y = x + width / 2, x2 + width / 2, y + height
        bend = (y2 - y) / 2
        lines.append(f'<path d="M{x:g} {y:g}C{x:g} {y + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" '
                     f'marker-end="url(#tip)"/>')  # fmt: skip
    for part, (x, y) in at.items():
        lines.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="6"/>'
                     f'<text class="name" x="{x + 10:g}" y="{y + 18:g}">{part}</text>'
                     f'<text class="what" x="{x + 10:g}" y="{y + 34:g}">{html.escape(PARTS[part])}</text>')  # fmt: skip
    return "\n".join([*lines, "</svg>\n"])


def page() -> str:
    """The page, in Markdown."""
    settings = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    lines = [_HEAD, "## The floors of `classifier`\n",
             "A module imports only from floors below its own (`make lint` holds it):\n",
             "| floor | modules |", "| --- | --- |"]  # fmt: skip
    for number, layer in zip(range(len(layers), 0, -1), layers, strict=True):
        names = ", ".join(f"`{name.strip().removeprefix('classifier.')}`" for name in layer.split("|"))
        lines.append(f"| {number} | {names} |")
    lines += ["", f"## Modules of more than {LONG} lines\n", "| module | why it is one |", "| --- | --- |"]
    if without := sorted(long_modules().keys() - LARGE.keys()):
        raise SystemExit(f"{', '.join(without)}: more than {LONG} lines; split it, or say why not in LARGE")
    lines += [f"| `{path}` | {LARGE[path]} |" for path in sorted(long_modules())]
    return "\n".join(lines) + "\n"


def _part(module: str) -> str:
    return max((part for part in PARTS if f"{module}.".startswith(f"{part}.")), key=len)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PICTURE.write_text(picture(graph()), encoding="utf-8")
