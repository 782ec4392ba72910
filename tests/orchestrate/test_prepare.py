"""Data sets from folders, archives, addresses and the generator, on real photographs."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from classifier import data
from classifier.fingerprint import fingerprint
from orchestrate import console, dataset, prepare, sharding, sources, synthetic
from orchestrate.errors import InputError
from orchestrate.storage import Storage
from photographs import CLASSES, data_set, jpeg

OUT = console.Console(json_output=True)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Class folders of ten photographs, not split."""
    data_set(tmp_path, {"flat": 10})
    return tmp_path / "flat"


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def make(source: Path | str, output: Path, **options: float | bool) -> prepare.Prepared:
    return prepare.prepare(prepare.Source(str(source)), output, OUT, **options)  # type: ignore[arg-type]


def test_splits_each_class_the_same_way_every_time(flat: Path, tmp_path: Path) -> None:
    before = digest(flat)
    made = make(flat, tmp_path / "a", valid=0.2, test=0.3)
    counts = {
        s: {c: len(list((tmp_path / "a" / s / c).iterdir())) for c in CLASSES} for s in ("train", "valid", "test")
    }
    assert counts == {s: dict.fromkeys(CLASSES, n) for s, n in (("train", 5), ("valid", 2), ("test", 3))}
    contents = [h for name, h in digest(tmp_path / "a").items() if name.startswith(("train", "valid", "test"))]
    assert sorted(contents) == sorted(before.values()), "every photograph is in exactly one split"
    assert digest(flat) == before
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["classes"] == list(CLASSES)
    assert manifest["splits"]["train"]["photographs"] == 15
    assert Image.open(tmp_path / "a" / "samples.jpg").width > 200
    assert make(flat, tmp_path / "b", valid=0.2, test=0.3).fingerprint == made.fingerprint
    assert make(flat, tmp_path / "c", valid=0.2, test=0.3, seed=1).fingerprint != made.fingerprint
    assert not list(tmp_path.glob(".*")), "no work folder is left"


def test_keeps_splits_that_are_there_and_takes_the_missing_from_train(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set", {"Training": 8, "val": 2})
    (root / "val" / CLASSES[0] / "notes.txt").write_text("not a photograph, and does not say so")
    (root / "val" / CLASSES[0] / ".hidden.jpg").write_text("neither")
    shutil.rmtree(root / "val" / CLASSES[2])  # a class that is not validated is no fault
    made = make(root, tmp_path / "out", test=0.25)
    assert {s: v.photographs for s, v in made.summary.items()} == {"train": 18, "valid": 4, "test": 6}


def test_same_output_twice_is_kept_and_another_is_refused(flat: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert make(flat, output).made
    before = digest(output)
    assert not make(flat, output).made
    (flat / CLASSES[0] / "0.jpg").unlink()
    with pytest.raises(InputError, match="holds something else already"):
        make(flat, output)
    assert digest(output) == before


def test_what_is_there_is_noticed_before_anything_is_scaled(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = prepare.Source(str(flat), resize=64), tmp_path / "out"
    made = prepare.prepare(source, output, OUT)
    monkeypatch.delattr(dataset, "resized")
    assert prepare.prepare(source, output, OUT) == replace(made, made=False)
    with pytest.raises(InputError, match="holds something else already"):
        prepare.prepare(source, output, OUT, seed=1)


def test_a_data_set_is_named_as_its_source_is(tmp_path: Path) -> None:
    (tmp_path / "dogs.v2").mkdir()
    address = "https://example.com/sets/dogs.v2.zip?token=a.b"
    names = [prepare.Source(str(s)).name for s in (tmp_path / "dogs.v2", tmp_path / "dogs.v2.zip", address)]
    assert names == ["dogs.v2"] * 3
    assert prepare.Source(address, resize=64, shards=True).name == "dogs.v2-64px-shards"


def test_photographs_of_sub_folders_keep_apart(flat: Path, tmp_path: Path) -> None:
    inner = flat / CLASSES[0] / "inner"
    inner.mkdir()
    (inner / "0.jpg").write_bytes(jpeg(0.5, np.random.default_rng(9)))
    made = make(flat, tmp_path / "out")
    assert sum(s.photographs for s in made.summary.values()) == 31


def break_one_class(flat: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(flat / name)


def empty_a_class(flat: Path) -> None:
    for path in (flat / CLASSES[1]).iterdir():
        path.unlink()


def leave_two(flat: Path) -> None:
    for path in sorted((flat / CLASSES[1]).iterdir())[2:]:
        path.unlink()


def empty_everything(flat: Path) -> None:
    for name in CLASSES:
        shutil.rmtree(flat / name)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (break_one_class, f"only one class folder, {CLASSES[0]}"),
        (empty_a_class, f"no photograph is in {CLASSES[1]}"),
        (leave_two, f"the class {CLASSES[1]} has 2 photographs, too few"),
        (empty_everything, "no class folders"),
    ],
)
def test_bad_folders(flat: Path, tmp_path: Path, damage: object, sentence: str) -> None:
    assert callable(damage)
    damage(flat)
    with pytest.raises(InputError, match=sentence):
        make(flat, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_in_valid_that_train_lacks(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set", {"train": 2, "valid": 2})
    shutil.rmtree(root / "train" / CLASSES[2])
    with pytest.raises(InputError, match=f"train/ lacks the class of valid/{CLASSES[2]}"):
        make(root, tmp_path / "out")


def test_bad_photographs_are_all_named_or_left_out(flat: Path, tmp_path: Path) -> None:
    whole = (flat / CLASSES[0] / "1.jpg").read_bytes()
    (flat / CLASSES[0] / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (flat / CLASSES[1] / "2.jpg").write_text("I am a text")
    (flat / CLASSES[2] / "3.png").write_bytes(b"")
    with pytest.raises(InputError, match="3 photographs cannot be used") as caught:
        make(flat, tmp_path / "out")
    for name in (f"{CLASSES[0]}/1.jpg", f"{CLASSES[1]}/2.jpg", f"{CLASSES[2]}/3.png", "--drop-bad"):
        assert name in str(caught.value)
    made = make(flat, tmp_path / "out", drop_bad=True)
    assert made.dropped == (f"{CLASSES[0]}/1.jpg", f"{CLASSES[1]}/2.jpg", f"{CLASSES[2]}/3.png")
    assert sum(s.photographs for s in made.summary.values()) == 28
    assert dataset.unreadable(dataset.read(tmp_path / "out")) == {}


def test_more_than_ten_bad_photographs_are_counted(flat: Path, tmp_path: Path) -> None:
    for path in [*(flat / CLASSES[0]).iterdir(), *list((flat / CLASSES[1]).iterdir())[:3]]:
        path.write_text("text")
    with pytest.raises(InputError, match=r"13 photographs cannot be used: .* and 3 more"):
        make(flat, tmp_path / "out")


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.6, 0.4), (-0.1, 0.2)])
def test_bad_shares(flat: Path, tmp_path: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="leave something for train"):
        make(flat, tmp_path / "out", valid=shares[0], test=shares[1])


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder or file"):
        make(tmp_path / "nothing", tmp_path / "out")


def zipped(folder: Path, archive: Path, prefix: str = "dogImages/") -> Path:
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("__MACOSX/._dogImages", b"")
        for path in sorted(folder.rglob("*.jpg")):
            bundle.write(path, prefix + str(path.relative_to(folder)))
    return archive


def test_a_zip_gives_what_its_folder_gives(flat: Path, tmp_path: Path) -> None:
    archive = zipped(flat, tmp_path / "photos.zip")
    assert make(archive, tmp_path / "a").fingerprint == make(flat, tmp_path / "b").fingerprint


def hostile(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    if name == "link":
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize("name", ["../escaped.jpg", "/escaped.jpg", "a/../../escaped.jpg", "C:/escaped.jpg", "link"])
def test_a_hostile_zip_is_not_unpacked(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr(hostile(name), b"/etc/passwd")
    with pytest.raises(InputError, match="it is not unpacked"):
        make(archive, tmp_path / "inner" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.zip", "inner"]


def test_a_zip_that_explodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_FREE_OF_RATIO", 1 << 20)
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a/1.jpg", bytes(2 << 20))
    with pytest.raises(InputError, match="more than 20 times its size"):
        make(archive, tmp_path / "out")


def test_a_damaged_zip(flat: Path, tmp_path: Path) -> None:
    archive = zipped(flat, tmp_path / "photos.zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be unpacked"):
        make(archive, tmp_path / "out")


class Flaky(BaseHTTPRequestHandler):
    """Breaks off the first answer in the middle; serves ranges."""

    content = b""
    ranges: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if wanted else body[: len(body) // 2])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/dogImages.zip"
    server.shutdown()
    server.server_close()


def test_a_download_goes_on_where_it_stopped(flat: Path, tmp_path: Path, url: str) -> None:
    Flaky.content, Flaky.ranges = zipped(flat, tmp_path / "photos.zip").read_bytes(), []
    target = tmp_path / "cache" / "dogImages.zip"
    with pytest.raises(InputError, match="goes on where it stopped"):
        sources.download(url, target, OUT)
    assert not target.exists()
    sources.download(url, target, OUT)
    sources.download(url, target, OUT)
    assert target.read_bytes() == Flaky.content
    assert Flaky.ranges == [None, f"bytes={len(Flaky.content) // 2}-"]


def test_a_url_is_a_source(flat: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Flaky.content = zipped(flat, tmp_path / "photos.zip").read_bytes()
    with pytest.raises(InputError, match="run the command again"):
        make(url, tmp_path / "out")
    assert make(url, tmp_path / "out").made


def test_an_address_that_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be fetched"):
        sources.download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", OUT)


def test_synthetic_photographs_are_varied_and_repeatable(tmp_path: Path) -> None:
    settings = synthetic.Settings(classes=4, per_class=6, size=64, seed=3)
    for name in ("a", "b"):
        prepare.prepare(prepare.Source("synthetic", settings), tmp_path / name, OUT)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    photographs = sorted((tmp_path / "a").glob("t*/*/*.jpg"))
    assert len({p.read_bytes() for p in photographs}) == len(photographs)
    assert len({Image.open(p).size for p in photographs}) > 10
    other = synthetic.Settings(classes=4, per_class=6, size=64, seed=4)
    with pytest.raises(InputError, match="holds something else"):
        prepare.prepare(prepare.Source("synthetic", other), tmp_path / "a", OUT)


@pytest.mark.parametrize("settings", [{"classes": 1}, {"classes": 13}, {"per_class": 2}, {"size": 8}])
def test_synthetic_settings_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be between"):
        synthetic.check(synthetic.Settings(**settings))


def shrunk(source: Path, output: Path, **options: int | bool) -> prepare.Prepared:
    return prepare.prepare(prepare.Source(str(source), **options), output, OUT)  # type: ignore[arg-type]


def test_large_photographs_are_scaled_and_small_ones_kept(flat: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = flat / CLASSES[0]
    (first / "large.jpg").write_bytes(jpeg(0.1, rng, (400, 300)))
    (first / "large.png").write_bytes(jpeg(0.2, rng, (300, 600), "PNG"))
    (first / "two.dots.jpg").write_bytes(jpeg(0.3, rng, (64, 48)))
    kept = {p.read_bytes() for p in flat.rglob("*.jpg") if min(Image.open(p).size) <= 128}
    before = digest(flat)
    made = shrunk(flat, tmp_path / "out", resize=128)
    assert digest(flat) == before
    sizes = {p.name: Image.open(p).size for p in (tmp_path / "out").rglob(f"t*/{CLASSES[0]}/*")}
    sizes |= {p.name: Image.open(p).size for p in (tmp_path / "out").rglob(f"valid/{CLASSES[0]}/*")}
    assert sizes["large.jpg"] == (171, 128) and sizes["large-png.jpg"] == (128, 256) and "two-dots.jpg" in sizes
    assert kept <= {p.read_bytes() for p in (tmp_path / "out").rglob("*/*/*.jpg")}
    assert made.summary["train"].largest[0] <= 171
    assert shrunk(flat, tmp_path / "out", resize=128).made is False


def test_shards_hold_what_the_folders_hold(flat: Path, tmp_path: Path) -> None:
    one, other = (shrunk(flat, tmp_path / name, resize=64, shards=name == "b") for name in ("a", "b"))
    assert one.summary == other.summary and one.classes == other.classes
    assert one.fingerprint != other.fingerprint, "else they would be uploaded to one place"
    assert sorted(p.relative_to(tmp_path / "b").as_posix() for p in (tmp_path / "b").rglob("*.*")) == [
        "manifest.json", "samples.jpg", *(f"{s}/{n}" for s in ("test", "train", "valid")
                                          for n in ("index.json", f"{s}-000000.tar")),
    ]  # fmt: skip
    splits = [data.find_splits({s: tmp_path / name / s for s in ("train", "valid", "test")}) for name in ("a", "b")]
    for name in ("train", "valid", "test"):
        folder, packed = (of[name] for of in splits)
        assert (folder.names, folder.labels) == (packed.names, packed.labels)
        assert all(folder.store.read(i) == packed.store.read(i) for i in range(len(folder)))
    assert shrunk(flat, tmp_path / "b", resize=64, shards=True).made is False
    checked = prepare.inspect(tmp_path / "b", OUT)
    assert (checked.fingerprint, checked.classes) == (other.fingerprint, other.classes)
    prepare.show(checked, OUT)
    with pytest.raises(InputError, match="holds something else"):
        shrunk(flat, tmp_path / "a", resize=64, shards=True)


@pytest.mark.parametrize("side", [0, 31, -256, 2049])
def test_a_size_out_of_its_range(flat: Path, tmp_path: Path, side: int) -> None:
    with pytest.raises(InputError, match=f"--resize {side} must be between 32 and 2048 pixels"):
        shrunk(flat, tmp_path / "out", resize=side)
    assert not (tmp_path / "out").exists()


def test_shards_that_cannot_be_used(flat: Path, tmp_path: Path) -> None:
    ready = tmp_path / "out"
    shrunk(flat, ready, shards=True)
    with pytest.raises(InputError, match="holds shards already"):
        make(ready, tmp_path / "again")
    shard = ready / "train" / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[600:900] = bytes(300)
    shard.write_bytes(content)
    with pytest.raises(InputError, match=f"1 photograph cannot be used: train/{CLASSES[0]}/"):
        prepare.inspect(ready, OUT)
    shard.write_bytes(content[:5000])
    with pytest.raises(InputError, match=r"train-000000.tar is cut off"):
        prepare.inspect(ready, OUT)
    (ready / "manifest.json").unlink()
    shard.unlink()
    with pytest.raises(InputError, match=r"holds shards and .*train holds none: make all splits again"):
        prepare.inspect(ready, OUT)


def test_shards_of_a_uri_are_known_by_their_index(flat: Path, tmp_path: Path) -> None:
    """What a search asks features for, and what a pipeline shows to its endpoint, are told from it."""
    shrunk(flat, tmp_path / "b", shards=True)
    store, base = Storage(lambda: None), (tmp_path / "b").as_uri()
    splits = data.find_splits({s: tmp_path / "b" / s for s in ("train", "valid", "test")})
    listed = [(split, PurePosixPath(name), size) for split in splits
              for name, size in sharding.photographs(store, f"{base}/{split}")]  # fmt: skip
    assert fingerprint(listed) == data.fingerprint(list(splits.values()))
    (tmp_path / "few").mkdir()
    found = sharding.samples(store, f"{base}/test", tmp_path / "few")
    assert list(found) == list(CLASSES)
    assert found[CLASSES[1]].read_bytes() == splits["test"].store.read(splits["test"].labels.index(1))
    (tmp_path / "b" / "test" / "index.json").unlink()
    with pytest.raises(InputError, match=r"have no index.json"):
        sharding.samples(store, f"{base}/test", tmp_path / "few")
