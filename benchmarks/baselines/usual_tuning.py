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
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

Batches = DataLoader[tuple[torch.Tensor, torch.Tensor]]


def loaders(data: Path, image_size: int, batch_size: int) -> tuple[Batches, Batches, int]:
    transform = transforms.Compose([
        transforms.Resize(round(image_size * 8 / 7)),
        transforms.CenterCrop(image_size),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    train = datasets.ImageFolder(str(data / "train"), transform)
    valid = datasets.ImageFolder(str(data / "valid"), transform)
    return (DataLoader(train, batch_size, shuffle=True), DataLoader(valid, batch_size), len(train.classes))


def network(weights: Path | None, classes: int) -> nn.Module:
    model: nn.Module = models.resnet18()
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(512, classes)
    return model


def train(data: Path, weights: Path | None, image_size: int, trial: dict[str, str]) -> float:
    """One trial; the last epoch's accuracy on `valid`, which is what the notebooks' regular expressions read."""
    torch.manual_seed(0)
    batches, valid, classes = loaders(data, image_size, int(trial["batch-size"]))
    model = network(weights, classes)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.get_submodule("fc").parameters(), lr=float(trial["learning-rate"]))
    accuracy = 0.0
    for _ in range(int(trial["epochs"])):
        model.train()
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        right = total = 0
        with torch.no_grad():
            for inputs, labels in valid:
                right += int((model(inputs).argmax(1) == labels).sum())
                total += len(labels)
        accuracy = right / total
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
