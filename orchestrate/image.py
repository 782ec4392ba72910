"""The image: what it is made of, built, and pushed with a count of what that sent."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrate import engine, registry
from orchestrate.console import Console
from orchestrate.errors import InputError
from orchestrate.registry import Destination
from orchestrate.revision import Revision

# SageMaker's instances for which torch has wheels.
_PLATFORM = "linux/amd64"
_REVISION_LABEL = "org.opencontainers.image.revision"
_WEIGHTS = re.compile(r".+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Recipe:
    """What an image is made of and called."""

    root: Path
    revision: Revision
    repository: str
    tag: str
    device: str = "cuda"
    base: str | None = None
    weights: Path | None = None
    more: tuple[str, ...] = ()
    """further options of docker build"""

    @property
    def image(self) -> str:
        """Its name on this machine."""
        return f"{self.repository}:{self.tag}"

    def command(self) -> list[str]:
        """What docker is asked for."""
        from importlib.metadata import version

        given = {
            "VERSION": version("kennel"),
            "REVISION": self.revision.name,
            "CREATED": self.revision.created,
            "SOURCE_DATE_EPOCH": str(self.revision.epoch),
            "SOURCE": self.revision.source,
            "DEVICE": self.device,
        }
        if self.base:
            given["BASE_IMAGE" if self.device == "cuda" else "CPU_BASE_IMAGE"] = self.base
        # Without provenance, because SageMaker takes an image and no index of images, which it would become.
        command = ["buildx", "build", "--progress=plain", "--load", "--provenance=false", f"--platform={_PLATFORM}"]
        command += [f"--build-arg={name}={value}" for name, value in given.items()]
        if self.weights:
            command.append(f"--build-context=weights={self.weights}")
        tags = [f"--tag={self.image}", f"--tag={self.repository}:latest"]
        return [*command, *self.more, *tags, f"--file={dockerfile(self.root)}", str(self.root)]


@dataclass(frozen=True)
class Built:
    """An image that the engine has."""

    image: str
    bytes: int
    """unpacked"""
    seconds: float | None
    """None: it was there before"""


@dataclass(frozen=True)
class Pushed:
    """What a push sent; bytes as they travel, compressed."""

    uri: str
    """HOST/REPOSITORY@DIGEST"""
    new_layers: int
    new_bytes: int
    present_layers: int
    present_bytes: int
    seconds: float


def dockerfile(root: Path) -> Path:
    """Of the checkout `root`."""
    return root / "docker" / "Dockerfile"


def build(recipe: Recipe, out: Console) -> Built:
    """Builds.

    Raises:
        InputError: weights that are not what their names say.
        EngineFailed: BuildKit's reason, as a sentence.
    """
    if recipe.weights:
        check_weights(recipe.weights)
    out.say(f"building {recipe.image}")
    begin = time.monotonic()
    engine.build(recipe.command(), out.say)
    return _built(recipe, time.monotonic() - begin)


def built_before(recipe: Recipe) -> Built:
    """The image that an earlier build of this revision left here.

    Raises:
        InputError: there is none.
    """
    return _built(recipe, None)


def push(built: Built, destination: Destination, tag: str, out: Console) -> Pushed:
    """Pushes by one tag and measures what was sent.

    Raises:
        EngineFailed: nothing has the tag then, neither there nor, with the registry's name, here.
    """
    reference = f"{destination.name}:{tag}"
    out.say(f"pushing {reference}")
    begin = time.monotonic()
    with _tagged(built.image, reference):
        digest, sent = engine.push(reference, destination.environment, out.say)
    seconds = time.monotonic() - begin
    local = engine.inspect(reference)
    assert local is not None
    new: list[int] = []
    present: list[int] = []
    for diff, (blob, size) in zip(local["RootFS"]["Layers"], registry.layers(destination, digest), strict=True):
        # The engine tells layers by what they unpack to; one with containerd's image store by what travels.
        fate = sent.get(_short(diff)) or sent.get(_short(blob))
        (new if fate == "Pushed" else present).append(size)
    uri = f"{destination.name}@{digest}"
    return Pushed(uri, len(new), sum(new), len(present), sum(present), seconds)


def check_weights(folder: Path) -> None:
    """Raises InputError when a file's SHA-256 does not begin with the hash in its name, or there is none to take."""
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise InputError(f"--weights {folder}: there is no file MODEL-HASH.pth in it, as torchvision names its weights")
    for file in files:
        named = _WEIGHTS.fullmatch(file.name)
        if not named:
            raise InputError(f"{file}: the name has to be MODEL-HASH.pth, with the beginning of the file's SHA-256")
        with file.open("rb") as stream:
            found = hashlib.sha256()
            while block := stream.read(1 << 20):
                found.update(block)
        if not found.hexdigest().startswith(named[1]):
            raise InputError(
                f"{file} is damaged or something else: its SHA-256 begins with {found.hexdigest()[:len(named[1])]}, "
                f"not with {named[1]}; download it again"
            )  # fmt: skip


@contextmanager
def _tagged(image: str, reference: str) -> Iterator[None]:
    """The image has that name too; not when what is done with it fails, so that no name here claims to be there."""
    made = engine.docker(["tag", image, reference])
    if made.returncode:
        raise engine.EngineFailed(f"{image} cannot be named {reference}: {made.stderr.strip()}")
    try:
        yield
    except BaseException:
        engine.docker(["image", "rm", "--no-prune", reference])
        raise


def _built(recipe: Recipe, seconds: float | None) -> Built:
    found = engine.inspect(recipe.image)
    label = ((found or {}).get("Config", {}).get("Labels") or {}).get(_REVISION_LABEL)
    if found is None or label != recipe.revision.name:
        raise InputError(
            f"there is no image {recipe.image} of this revision on this machine: leave out --no-build to build it"
        )
    return Built(recipe.image, found["Size"], seconds)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]
