"""Tuning as the public notebooks of this task do it: the baseline of benchmarks/tuning.py.

    python benchmarks/baselines/usual_tuning.py trials.json --data DIR --weights FILE|none --image-size 224

Every trial decodes every photograph in every epoch and sends it through the whole frozen network: Pillow, ImageFolder,
Resize 256 and CenterCrop 224, DataLoader, `model.train()` with frozen parameters, Adam on `fc`, validation each epoch.
`trials.json`: a list of {"learning-rate", "batch-size", "epochs"}. Prints one JSON line a trial. To its advantage all
trials share one process, so that it pays for its imports once; and the last batch of an epoch may be small.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.baselines import usual_training as usual


def train(data: Path, weights: Path | None, image_size: int, trial: dict[str, str]) -> float:
    """One trial; the last epoch's accuracy on `valid`, which is what the notebooks' regular expressions read."""
    torch.manual_seed(0)
    size = int(trial["batch-size"])
    batches = usual.loader(data / "train", image_size, size, shuffle=True)
    valid = usual.loader(data / "valid", image_size, size)
    classes = sum(1 for folder in (data / "train").iterdir() if folder.is_dir())
    model = usual.network("resnet18", weights, classes, frozen=True)
    adam = usual.optimizer(model, float(trial["learning-rate"]))
    accuracy = 0.0
    for _ in range(int(trial["epochs"])):
        usual.epoch(model, batches, adam)
        accuracy = usual.accuracy(model, valid)
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    weights = None if options.weights == "none" else Path(options.weights)
    for trial in json.loads(options.trials.read_text()):
        began = time.perf_counter()
        accuracy = train(options.data, weights, options.image_size, trial)
        print(json.dumps({**trial, "valid:accuracy": accuracy, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
