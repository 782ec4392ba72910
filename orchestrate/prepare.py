"""Any folder or zip of photographs -> a checked, split data set with a manifest.

    python orchestrate/prepare.py --source PATH|ZIP|URL|udacity|synthetic [--resize 256] [--shards] [--output DIR|URI]

The source is never changed. The output gets its name only when it is complete, and one that is there is never
overwritten by another data set.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrate import console, dataset, options, scaling, session, sharding, sources, synthetic
from orchestrate.channels import MANIFEST
from orchestrate.errors import InputError
from orchestrate.storage import Storage, check_uri, is_uri, local_path

SAMPLES = "samples.jpg"
_SAMPLES_PER_CLASS = 8
_FORMAT = "kennel-dataset/1"


@dataclass(frozen=True)
class Source:
    """`location`: a folder, a zip, a URL, `udacity` or `synthetic`; `settings` are for the last. `resize`: the shorter
    side of photographs that are larger, in pixels; `shards`: tar files in place of class folders."""

    location: str
    settings: synthetic.Settings = field(default_factory=synthetic.Settings)
    resize: int | None = None
    shards: bool = False

    @property
    def name(self) -> str:
        """A folder name for what is made of it."""
        path = Path(self.location)
        # Of an address what comes before its question mark; a folder keeps a dot in its name, which is no suffix.
        name = path.resolve().name if path.is_dir() else Path(self.location.partition("?")[0]).name.removesuffix(".zip")
        name = name or "dataset"
        if self.location == "synthetic":
            name = str(self.settings)
        elif self.location == "udacity":
            name = "dogImages"
        return name + (f"-{self.resize}px" if self.resize else "") + ("-shards" if self.shards else "")


@dataclass(frozen=True)
class Prepared:
    """`made`: False when the same data set was there already."""

    folder: Path
    fingerprint: str
    classes: tuple[str, ...]
    summary: dict[str, dataset.SplitSummary]
    dropped: tuple[str, ...]
    made: bool


def prepare(
    source: Source, output: Path, out: console.Console, valid: float = 0.15, test: float = 0.15, seed: int = 0,
    drop_bad: bool = False,
) -> Prepared:  # fmt: skip
    """Makes the data set folder `output`. `valid`, `test`: the shares of a source that is not split.

    Raises:
        InputError: the source cannot be used, or `output` holds something else.
    """
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise InputError(f"--valid {valid:g} and --test {test:g} must be above 0 and leave something for train")
    scaling.check(source.resize)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, so that the last step is a rename.
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        root, ours = _fetch(source, work, out)
        layout = dataset.read(root)
        with out.progress("checking every photograph"):
            bad = dataset.unreadable(layout)
        if drop_bad:
            layout = dataset.without(layout, set(bad))
            dataset.require_classes(layout, root)
        else:
            dataset.require_readable(bad, root)
        dropped = tuple(sorted(p.relative_to(root).as_posix() for p in bad)) if drop_bad else ()
        layout = dataset.split(layout, valid, test, seed)
        made_from = _made_from(source, layout)
        if (there := _there(output, made_from)) is not None:
            return replace(there, dropped=dropped)
        if source.resize:
            with out.progress(f"scaling to {source.resize} pixels"):
                layout, ours = dataset.resized(layout, source.resize, work / "resized"), True
        files = dataset.targets(layout)
        fingerprint = dataset.fingerprint(files, "shards" if source.shards else "")
        prepared = Prepared(
            folder=output, fingerprint=fingerprint, classes=tuple(layout["train"]), summary=dataset.summarize(layout),
            dropped=dropped, made=True,
        )  # fmt: skip
        fresh = work / "dataset"
        if source.shards:
            with out.progress("writing shards"):
                sharding.write(files, prepared.classes, fresh)
        else:
            files = _place(files, fresh, ours)
        _describe(prepared, source, made_from, files, fresh)
        if output.is_dir():
            output.rmdir()  # an empty one, see _there
        fresh.replace(output)
        return prepared
    finally:
        shutil.rmtree(work)


def inspect(folder: Path, out: console.Console) -> Prepared:
    """Checks a data set that is ready, photograph by photograph, and changes nothing.

    Raises:
        InputError: it is not ready, or a photograph cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"--data {folder}: there is no such folder")
    if sharding.is_sharded(folder):
        with out.progress("checking every photograph"):
            sharding.check(folder)
        summary, fingerprint = sharding.told(folder / MANIFEST)
        classes = dict.fromkeys(name.partition("/")[0] for name in sharding.names(folder / "train"))
        return Prepared(folder, fingerprint, tuple(classes), summary, dropped=(), made=False)
    layout = dataset.read(folder)
    if not {"train", "valid"} <= set(layout):
        raise InputError(f"{folder} is not split into train/ and valid/: "
                         f"python orchestrate/prepare.py --source {folder} does it")  # fmt: skip
    with out.progress("checking every photograph"):
        dataset.require_readable(dataset.unreadable(layout), folder)
    return Prepared(
        folder=folder, fingerprint=dataset.fingerprint(dataset.targets(layout)), classes=tuple(layout["train"]),
        summary=dataset.summarize(layout), dropped=(), made=False,
    )  # fmt: skip


def show(prepared: Prepared, out: console.Console) -> None:
    """The table of the splits, and where the data set is."""
    rows = []
    for name, s in prepared.summary.items():
        sizes = [f"{width} x {height}" for width, height in (s.smallest, s.median, s.largest)]
        rows.append((name, s.photographs, s.classes, f"{s.fewest} to {s.most}", f"{s.bytes / 2**20:.1f} MiB", *sizes))
    out.table(("split", "photographs", "classes", "a class", "size", "smallest", "median", "largest"), rows)
    if prepared.dropped:
        out.say(f"left out as unreadable: {', '.join(prepared.dropped)}")


def _fetch(source: Source, work: Path, out: console.Console) -> tuple[Path, bool]:
    """(folder to read, whether its files are ours to move)."""
    raw = work / "source"
    if source.location == "synthetic":
        with out.progress("generating photographs"):
            synthetic.generate(synthetic.check(source.settings), raw)
        return raw, True
    if source.location == "udacity" or source.location.startswith(("http://", "https://")):
        import platformdirs

        url = sources.UDACITY_URL if source.location == "udacity" else source.location
        archive = platformdirs.user_cache_path("kennel") / (url.rstrip("/").rpartition("/")[2] or "dataset.zip")
        sources.download(url, archive, out)
    else:
        archive = Path(source.location)
        if not archive.exists():
            raise InputError(f"--source {source.location}: there is no such folder or file; "
                             f"give a folder, a zip, a URL, udacity or synthetic")  # fmt: skip
        if archive.is_dir():
            return archive, False
    with out.progress(f"unpacking {archive}"):
        sources.unpack(archive, raw)
    return raw, True


def _made_from(source: Source, layout: dataset.Layout) -> str:
    """What decides what becomes of a source, known before anything is scaled or written."""
    form = f"resize={source.resize} shards={source.shards}"
    return dataset.fingerprint(dataset.targets(layout), form)


def _there(output: Path, made_from: str) -> Prepared | None:
    """The data set in `output` if it was made of the same; None where nothing is.

    Raises:
        InputError: something else is there.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    manifest = output / MANIFEST
    document = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
    if document.get("made_from") != made_from:
        raise InputError(f"{output} holds something else already and is left as it is: choose another --output, "
                         f"or move it away")  # fmt: skip
    summary, fingerprint = sharding.told(manifest)
    return Prepared(output, fingerprint, tuple(document["classes"]), summary, dropped=(), made=False)


def _place(files: Mapping[str, Path], folder: Path, ours: bool) -> dict[str, Path]:
    """Moves the photographs into their places, or copies those of others; path in the data set -> where it is now."""
    placed = {target: folder / target for target in files}
    for target, path in files.items():
        placed[target].parent.mkdir(parents=True, exist_ok=True)
        if ours:
            path.replace(placed[target])
        else:
            shutil.copyfile(path, placed[target])
    return placed


def _describe(prepared: Prepared, source: Source, made_from: str, files: Mapping[str, Path], folder: Path) -> None:
    """manifest.json and the contact sheet. `files`: path in the data set -> where it is now."""
    from orchestrate import pictures

    manifest = {
        "format": _FORMAT,
        "fingerprint": prepared.fingerprint,
        "made_from": made_from,
        "source": source.name,
        "resize": source.resize,
        "shards": source.shards,
        "classes": list(prepared.classes),
        "splits": dataset.to_json(prepared.summary),
        "dropped": list(prepared.dropped),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    of = {c: sorted(t for t in files if t.startswith(f"train/{c}/"))[:_SAMPLES_PER_CLASS] for c in prepared.classes}
    rows = {c: [files[target] for target in targets] for c, targets in of.items()}
    pictures.contact_sheet(rows, folder / SAMPLES)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """What a data set is made of and how it is split, apart from --seed."""
    group = parser.add_argument_group("making a data set")
    group.add_argument("--source", metavar="PATH|ZIP|URL|udacity|synthetic", help="photographs in class folders")
    group.add_argument("--valid", type=float, default=0.15, help="share of the validation split (default: 0.15)")
    group.add_argument("--test", type=float, default=0.15, help="share of the test split (default: 0.15)")
    group.add_argument("--drop-bad", action="store_true", help="leave out photographs that cannot be read")
    group.add_argument(
        "--resize", type=int, metavar="PIXELS", help="scale the shorter side of larger photographs to it"
    )
    group.add_argument("--shards", action="store_true", help="tar files of some 150 MB in place of class folders")
    defaults = synthetic.Settings()
    for name, what in (("classes", "classes"), ("per-class", "photographs of each class"), ("size", "pixels a side")):
        default = getattr(defaults, name.replace("-", "_"))
        group.add_argument(
            f"--{name}", type=int, default=default, help=f"{what} of a synthetic data set (default: {default})"
        )


def source_of(args: argparse.Namespace, seed: int) -> Source:
    """The source that the command line names."""
    settings = synthetic.Settings(args.classes, args.per_class, args.size, seed)
    return Source(args.source, settings, args.resize, args.shards)


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, has_place=False)
    add_source_arguments(parser)
    parser.add_argument("--output", metavar="DIR|URI", help="where to (default: runs/data/NAME)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of synthetic photographs (default: 0)")
    session.add_region(parser)
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, prepares, prints."""
    args = command_line().parse_args()
    if not args.source:
        raise InputError("--source is missing: give a folder, a zip, a URL, udacity or synthetic")
    source = source_of(args, args.seed)
    out = console.Console(args.json)
    folder, upload_to = _destination(args.output, source)
    prepared = prepare(source, folder, out, args.valid, args.test, args.seed, args.drop_bad)
    out.say(f"{len(prepared.classes)} classes from {source.name}"
            + ("" if prepared.made else f": {folder} holds exactly this data set already"))  # fmt: skip
    show(prepared, out)
    where = str(folder)
    if upload_to:
        with out.progress(f"uploading to {upload_to}"):
            where = Storage(lambda: session.aws(args).client("s3")).publish(folder, upload_to)
    out.say(f"data set: {where}")
    out.say(f"samples:  {folder / SAMPLES}")
    out.say(f"next:     python orchestrate/tune.py --data {where} --image URI   (or --local)")
    out.result({"data": where, "fingerprint": prepared.fingerprint, "classes": prepared.classes,
                "splits": dataset.to_json(prepared.summary), "dropped": prepared.dropped})  # fmt: skip


def default_folder(source: Source) -> Path:
    """Where a data set is made when nobody says where."""
    return Path("runs") / "data" / source.name


def _destination(output: str | None, source: Source) -> tuple[Path, str | None]:
    """The folder to make, and the URI to upload it to."""
    default = default_folder(source)
    if output is None:
        return default, None
    if not is_uri(output):
        return Path(output), None
    uri = check_uri(output)
    return (local_path(uri), None) if uri.startswith("file:") else (default, uri)


if __name__ == "__main__":
    console.run(main)
