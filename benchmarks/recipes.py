"""What each part of the recommended recipe gains over a linear head, on real photographs of ten breeds of dogs.

    python benchmarks/recipes.py                  # minutes: heads on features, 5 seeds
    python benchmarks/recipes.py --fine-tuning    # the backbone too: half an hour more

It measures and asserts nothing; it prints, and writes benchmarks/results/recipes.md. Every row is an ordinary training
(`fitting.fit`) with the hyperparameters that it names. The recipe was chosen by valid:accuracy; the test split is only
reported. Needs photographs and a pretrained ResNet-18, those of ../shared/dogs and ../shared/weights unless told
otherwise.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "container_src")]

if TYPE_CHECKING:
    from classifier.config import Config
    from classifier.job import Job
    from classifier.material import Material
    from classifier.precision import Precision

SHARED = ROOT.parent / "shared"
Parts = Mapping[str, str]

# Each adds to the one before; the last is the recipe.
STEPS: Mapping[str, Parts] = {
    "a linear head, all defaults": {},
    "`epochs=16`": {"epochs": "16"},
    "`augment=true views=8`": {"augment": "true", "views": "8"},
    "`optimizer=sgd learning-rate=0.05 weight-decay=0.0001`: the recipe": {
        "optimizer": "sgd", "learning-rate": "0.05", "weight-decay": "0.0001"
    },
}  # fmt: skip
# Each changes the recipe by itself.
VARIATIONS: Mapping[str, Parts] = {
    "`mixup-alpha=0.2`": {"mixup-alpha": "0.2"},
    "`mixup-alpha=1`": {"mixup-alpha": "1"},
    "`ema-decay=0.99`": {"ema-decay": "0.99"},
    "`label-smoothing=0.1`": {"label-smoothing": "0.1"},
    "`warmup-epochs=2`": {"warmup-epochs": "2"},
    "`weight-decay=0.01`": {"weight-decay": "0.01"},
    "`learning-rate=0.1`": {"learning-rate": "0.1"},
    "`batch-size=32`": {"batch-size": "32"},
    "`epochs=32`": {"epochs": "32"},
    "`augment=false`": {"augment": "false", "views": "0"},
}
_GRADUAL = {"epochs": "8", "freeze-backbone": "until-epoch-4", "learning-rate": "0.01"}
FINE_TUNING: Mapping[str, Parts] = {
    f"`epochs=8 freeze-backbone=until-epoch-4 learning-rate=0.01 backbone-learning-rate-factor={factor}`":
        {**_GRADUAL, "backbone-learning-rate-factor": factor}
    for factor in ("0.1", "1")
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Accuracies, one for each seed."""

    valid: list[float]
    test: list[float]

    def row(self, name: str, baseline: Measured) -> list[str]:
        """Of the table: mean ± standard deviation over the seeds, and what is gained over the linear head."""
        gains = [ours - theirs for ours, theirs in zip(self.test, baseline.test, strict=True)]
        return [name, _spread(self.valid), _spread(self.test), f"{statistics.mean(gains):+.3f}"]


class Bench:
    """Trains on the features or the photographs of `data`; features are made once for each seed that needs its own."""

    def __init__(self, data: Path, weights: Path | None, image_size: int, folder: Path) -> None:
        from classifier import device, precision
        from classifier.job import Job

        self._job: Job = Job(
            "recipes", {name: data / name for name in ("train", "valid", "test")}, folder, folder, folder / "kept",
            folder / "no-hook.json", weights or folder, threading.Event(),
        )  # fmt: skip
        self._fixed = {"image-size": str(image_size), "weights": "pretrained" if weights else "none"}
        self._precision: Precision = precision.choose(device.find("train"))

    def accuracies(self, parts: Parts, seed: int) -> tuple[float, float]:
        """Of the kept epoch: on valid, and on test."""
        from classifier import fitting
        from classifier.config import Config
        from classifier.evaluation import evaluate
        from classifier.loss import criterion

        config = Config.parse({**self._fixed, **parts, "seed": str(seed)})
        material = self._material(config)
        fitted = fitting.fit(config, material, self._precision)
        material.network.load_state_dict(fitted.state)
        judged = evaluate(material.network, material.held_out["test"], criterion(Config()), material.prepare,
                          self._precision)  # fmt: skip
        return fitted.metrics["valid:accuracy"], judged.accuracy

    def _material(self, config: Config) -> Material:
        from classifier import embedding, features, material

        directories = self._job.weights_directories
        if not config.head_only:
            return material.of_photographs(config, self._job.channels, directories, self._precision)
        # What it has computed before it finds again.
        read = features.read(embedding.embed(config, self._job, self._precision))
        return material.of_features(config, read, directories, self._precision)


def measure(bench: Bench, seeds: int, fine_tuning: bool, tell: Callable[[str], None]) -> dict[str, Measured]:
    """Every row by its name, the linear head first."""
    rows: dict[str, Parts] = {}
    recipe: Parts = {}
    for name, parts in STEPS.items():
        recipe = {**recipe, **parts}
        rows[name] = recipe
    rows |= {name: {**recipe, **parts} for name, parts in VARIATIONS.items()}
    if fine_tuning:
        rows |= {name: {**recipe, **parts} for name, parts in FINE_TUNING.items()}
    found = {}
    for name, parts in rows.items():
        began = time.perf_counter()
        pairs = [bench.accuracies(parts, seed) for seed in range(seeds)]
        found[name] = Measured([valid for valid, _ in pairs], [test for _, test in pairs])
        tell(f"{name}: valid {_spread(found[name].valid)}, test {_spread(found[name].test)} "
             f"({time.perf_counter() - began:.0f} s)")  # fmt: skip
    return found


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"


def page(found: Mapping[str, Measured], seeds: int, sizes: Mapping[str, int], image_size: int, head: str) -> str:
    """The results, in Markdown."""
    from benchmarks import conditions

    baseline = next(iter(found.values()))
    columns = ["", "valid:accuracy", "test:accuracy", "test, over the linear head"]
    tables = [
        conditions.table([first, *columns[1:]], [found[name].row(name, baseline) for name in names if name in found])
        for first, names in (("each with those above", STEPS), ("the recipe, and", VARIATIONS),
                             ("the recipe, but the backbone learns, and", FINE_TUNING)) if set(names) & set(found)
    ]  # fmt: skip
    chance = (0.25 / sizes["test"]) ** 0.5
    return "\n".join([
        "# What the parts of the recipe gain\n", head,
        f"ResNet-18 at {image_size} pixels, {sizes['train']} photographs to train on; mean ± standard deviation over "
        f"{seeds} seeds, which change the head's first weights, the order and the augmentations. The recipe was chosen "
        f"by valid:accuracy. The spread is not that of other photographs: of {sizes['test']} in a test split one "
        f"accuracy has a standard error of up to {chance:.3f}, the same photographs in every row.\n",
        *tables,
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "dogs", help="folder with train, valid and test")
    parser.add_argument(
        "--weights", default=str(SHARED / "weights"), help="folder of the pretrained weights, or `none` (random)"
    )
    parser.add_argument("--image-size", type=int, default=160, help="side of what the network sees")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each row")
    parser.add_argument("--fine-tuning", action="store_true", help="also train the backbone")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/recipes.md", help="where to write")
    options = parser.parse_args()
    weights = None if options.weights == "none" else Path(options.weights)
    if not options.data.is_dir() or (weights and not any(weights.glob("resnet18-*.pth"))):
        print(f"not measured: it needs photographs in {options.data} and resnet18-*.pth in {options.weights}")
        return
    from benchmarks import conditions

    head = (f"`{shlex.join(['python', 'benchmarks/recipes.py', *sys.argv[1:]])}`. "
            f"{conditions.sentence('torch', 'torchvision')}\n")  # fmt: skip
    sizes = {name: sum(1 for path in (options.data / name).rglob("*") if path.is_file()) for name in ("train", "test")}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.data, weights, options.image_size, Path(folder))
        found = measure(bench, options.seeds, options.fine_tuning, lambda text: print(text, flush=True))
    text = page(found, options.seeds, sizes, options.image_size, head)
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
