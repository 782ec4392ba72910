"""What several ranks saw, brought together: through files on one host, through torch.distributed between hosts."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch.distributed as distributed

from classifier.atomic import replacing
from classifier.distributed import gloo_group
from classifier.watch.collected import Collected, Gpu, Operator, Sample, Span, StepTime
from classifier.watch.columns import jsonable

# A rank that has failed never comes; the others must not wait for it beyond the end of their own job.
PATIENCE_S = 30.0


def ranks() -> tuple[int, int]:
    """This process's rank and the number of them: torch.distributed's, else of torchrun's environment."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def write(output_dir: Path, seen: Collected) -> None:
    """`watch/rank-N.json` for rank 0 to read, where there are several ranks."""
    if ranks()[1] > 1:
        path = _path(output_dir, seen.rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as writing:
            writing.write_text(json.dumps(jsonable(vars(seen)), separators=(",", ":")), encoding="utf-8")


def merge(output_dir: Path, seen: Collected, gather: bool = False, patience_s: float = PATIENCE_S) -> list[Collected]:
    """Writes this rank's part; on rank 0 all that are to be had, by rank, else this one alone.

    Without `gather` those that lie in `output_dir`, as old as they may be. With it every rank must call this, and rank
    0 has those of other hosts as well. Ranks that are not to be had are named in `missing` of the first.
    """
    write(output_dir, seen)
    rank, world = ranks()
    found = {seen.rank: seen}
    missing = []
    if gather and world > 1 and distributed.is_initialized():
        try:
            found |= {part.rank: part for part in _gathered(seen, world, patience_s)}
        except RuntimeError as error:  # every failure of a backend is one
            missing.append(f"the ranks did not come together for the report: {' '.join(str(error).split())[:200]}")
    if rank > 0:
        return [seen]
    for other in (number for number in range(world) if number not in found):
        try:
            found[other] = _read(_path(output_dir, other))
        except (OSError, ValueError, TypeError, LookupError) as error:
            missing.append(f"what rank {other} saw is missing: {error}")
    seen.missing += [sentence for sentence in missing if sentence not in seen.missing]
    return [found[number] for number in sorted(found)]


def forget(output_dir: Path, rank: int) -> None:
    """Takes away what an earlier run of this rank left there."""
    _path(output_dir, rank).unlink(missing_ok=True)


def _gathered(seen: Collected, world: int, patience_s: float) -> list[Collected]:
    # Over gloo whatever the training uses: nothing of it is on a GPU, and its time-out ends in an error.
    group = gloo_group(patience_s)
    parts: list[Any] | None = [None] * world if distributed.get_rank() == 0 else None
    try:
        distributed.gather_object(seen, parts, group=group)
    finally:
        distributed.destroy_process_group(group)
    return parts or []


def _path(output_dir: Path, rank: int) -> Path:
    return output_dir / "watch" / f"rank-{rank}.json"


def _read(path: Path) -> Collected:
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Collected(**{
        **fields,
        "steps": [StepTime(*row) for row in fields["steps"]],
        "spans": [Span(*row) for row in fields["spans"]],
        "samples": [_sample(row) for row in fields["samples"]],
        "operators": [Operator(*row) for row in fields["operators"]],
    })  # fmt: skip


def _sample(row: list[Any]) -> Sample:
    at, cpu, *rest, gpus = row
    values: list[Any] = [at, tuple(cpu), *_numbers(rest), tuple(Gpu(*_numbers(gpu)) for gpu in gpus)]
    return Sample(*values)


def _numbers(row: list[Any]) -> list[Any]:
    return [math.nan if value is None else value for value in row]
