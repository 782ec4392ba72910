"""Builds the image from this checkout and pushes it, named by the commit, to ECR or another registry.

    python orchestrate/build.py                                  (to the repository `kennel` of your account's ECR)
    python orchestrate/build.py --registry localhost:5000
    python orchestrate/build.py --no-push [--weights DIR] [-- --build-arg PIP_INDEX_URL=https://...]

What follows `--` goes to docker build as it is. On this machine the image is kennel:TAG and kennel:latest. A repository
that is missing in ECR is made. Tags are never moved: a commit that is there already is neither built nor pushed again.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrate import console, engine, image, jobs, options, pricing, registry, revision, session
from orchestrate.errors import InputError
from orchestrate.image import Built, Pushed, Recipe
from orchestrate.registry import Destination

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("cuda", "cpu")
_REPOSITORY = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Docker takes a first word without a dot or a port for a user of Docker Hub.
_REGISTRY = re.compile(r"localhost|[\w-]+(\.[\w-]+)+|[\w.-]+:\d+", re.ASCII)


def main(root: Path = ROOT) -> None:
    """Parses, builds, pushes, prints."""
    args = command_line().parse_args()
    out = console.Console(args.json or args.dry_run)
    recipe = _recipe(root, args)
    if args.dry_run:
        print(jobs.printable(_dry(recipe, args)))
        return
    engine.check()
    if args.no_push:
        built = image.build(recipe, out)
        _show_built(built, out)
        out.say(f"try it: python orchestrate/train.py --local --image {built.image} --data DIR")
        out.result(_document(recipe, built, None))
        return
    with _destination(args, out) as destination:
        there = registry.find(destination, recipe.tag)
        if there:
            _there_already(recipe, destination, there, out)
            return
        built = image.built_before(recipe) if args.no_build else image.build(recipe, out)
        _show_built(built, out)
        pushed = image.push(built, destination, recipe.tag, out)
    out.say(f"pushed in {pushed.seconds:.1f} s: {_layers(pushed.new_layers, pushed.new_bytes)} new, "
            f"{_layers(pushed.present_layers, pushed.present_bytes)} there already")  # fmt: skip
    if not args.registry:
        out.say(pricing.of_storage("ECR", pushed.new_bytes))
    out.say(pushed.uri)
    _say_next(pushed.uri, out)
    out.result(_document(recipe, built, pushed))


def command_line() -> options.Parser:
    """What can be given."""
    made = options.parser(__doc__, failed="the build or the push failed", has_place=False)
    where = made.add_argument_group("where it goes")
    where.add_argument("--registry", metavar="HOST[:PORT]", help="any registry (default: ECR of your AWS account)")
    made.add_setting("--repository", "repository", "kennel", "name of the image in the registry")
    where.add_argument("--tag", help="(default: the commit's first 12 digits, with -cpu for --device cpu)")
    session.add_region(where)
    where.add_argument("--no-push", action="store_true", help="only build")
    where.add_argument("--no-build", action="store_true", help="push what an earlier --no-push built of this commit")
    what = made.add_argument_group("what goes in")
    what.add_argument("--device", choices=DEVICES, default="cuda", help="cpu leaves CUDA out (default: cuda)")
    what.add_argument("--base", metavar="IMAGE", help="base image (default: the Dockerfile's)")
    what.add_argument("--weights", metavar="DIR", type=Path,
                      help="take the pretrained weights (MODEL-HASH.pth) from there, not from the network")  # fmt: skip
    what.add_argument("--allow-dirty", action="store_true", help="push although files differ from the commit")
    options.add_dry_run(made, "print the exact commands and requests and send nothing")
    options.add_json(made)
    made.add_argument("docker", nargs="*", metavar="-- OPTION", help="further options of docker build")
    return made


def _recipe(root: Path, args: argparse.Namespace) -> Recipe:
    """Raises InputError: an option that cannot be used, no git checkout, or changes that no commit holds."""
    if args.no_push and (args.no_build or args.registry):
        raise InputError("--no-push only builds: leave out --no-build and --registry, or --no-push")
    if not _REPOSITORY.fullmatch(args.repository):
        raise InputError(f"--repository {args.repository!r}: use lower-case letters, digits and single . _ - /")
    if args.registry and not _REGISTRY.fullmatch(args.registry):
        raise InputError(
            f"--registry {args.registry!r}: give HOST:PORT, or HOST with a dot in it, without https:// and path"
        )
    if args.docker and not args.docker[0].startswith("-"):
        raise InputError(
            f"{args.docker[0]!r} is no option: those of docker build come after `--` and begin with a hyphen"
        )
    if args.weights and not args.weights.is_dir():
        raise InputError(f"--weights {args.weights}: there is no such folder")
    found = revision.of(root, revision.paths_of_image(root, image.dockerfile(root)))
    if found.changed and not args.no_push and not args.allow_dirty:
        more = f" and {len(found.changed) - 3} more" if len(found.changed) > 3 else ""
        raise InputError(
            f"{', '.join(found.changed[:3])}{more} changed since the commit {found.commit[:12]}, which the image would "
            f"be named by: commit first, or add --allow-dirty to push it as {found.tag}"
        )
    tag = args.tag or found.tag + ("-cpu" if args.device == "cpu" else "")
    if not _TAG.fullmatch(tag):
        raise InputError(f"--tag {tag!r}: use up to 128 letters, digits and . _ -")
    return Recipe(root, found, args.repository, tag, args.device, args.base, args.weights, tuple(args.docker))


@contextmanager
def _destination(args: argparse.Namespace, out: console.Console) -> Iterator[Destination]:
    if args.registry:
        yield Destination(args.registry, args.repository)
        return
    with registry.ecr(lambda: session.aws(args), args.repository) as (destination, is_new):
        if is_new:
            out.say(f"made the repository {destination.name}: tags cannot be moved, images are scanned, "
                    f"the last {registry.KEPT_IMAGES} stay")  # fmt: skip
        yield destination


def _there_already(recipe: Recipe, destination: Destination, there: registry.Found, out: console.Console) -> None:
    """Raises InputError when what has the tag was made of something else."""
    if there.revision != recipe.revision.name:
        raise InputError(
            f"{destination.name}:{recipe.tag} is there already, of revision {there.revision}, and tags are not moved: "
            "choose another --tag"
        )
    uri = f"{destination.name}@{there.digest}"
    out.say(f"{destination.name}:{recipe.tag} is there already: nothing is built or pushed")
    out.say(uri)
    _say_next(uri, out)
    out.result(_document(recipe, None, None) | {"uri": uri, "digest": there.digest})


def _show_built(built: Built, out: console.Console) -> None:
    took = "was built before" if built.seconds is None else f"built in {built.seconds:.1f} s"
    out.say(f"{built.image}: {took}, {_size(built.bytes)} unpacked")


def _say_next(uri: str, out: console.Console) -> None:
    out.say(f"next: python orchestrate/tune.py --image {uri} --data DIR|URI")


def _document(recipe: Recipe, built: Built | None, pushed: Pushed | None) -> dict[str, Any]:
    """What --json prints."""
    return {
        "image": recipe.image,
        "tag": recipe.tag,
        "revision": recipe.revision.name,
        "built": asdict(built) if built else None,
        "pushed": asdict(pushed) if pushed else None,
        "uri": pushed.uri if pushed else None,
        "digest": pushed.uri.partition("@")[2] if pushed else None,
    }


def _dry(recipe: Recipe, args: argparse.Namespace) -> Mapping[str, Any]:
    document: dict[str, Any] = {"build": shlex.join(["docker", *recipe.command()])}
    if not args.no_push:
        host = args.registry or "ACCOUNT.dkr.ecr.REGION.amazonaws.com"
        document["push"] = shlex.join(["docker", "push", f"{host}/{recipe.image}"])
    if not (args.no_push or args.registry):
        document["if the repository is missing"] = registry.requests(recipe.repository)
    return document


def _layers(count: int, size: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'} ({_size(size)})"


def _size(size: int) -> str:
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{size / unit:.2f} {name}"


if __name__ == "__main__":
    console.run(main)
