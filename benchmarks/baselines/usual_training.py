"""Training as the public notebooks of this task do it: the baseline of benchmarks/training.py.

    python benchmarks/baselines/usual_training.py --data DIR --weights FILE|none [--fine-tune] [--workers 2]

Pillow, ImageFolder, Resize 256 and CenterCrop 224 (or RandomResizedCrop and RandomHorizontalFlip), DataLoader, float32,
`model.train()` also where the backbone is frozen, Adam, `loss.item()` in every step, validation in every epoch. A
frozen backbone has `requires_grad = False`, so that no backward pass goes through it. Prints one JSON line an epoch.
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


def loader(
    folder: Path, image_size: int, batch_size: int, *, shuffle: bool = False, augment: bool = False, workers: int = 0
) -> Batches:
    """The photographs of `folder/<class>/`; `augment` as torchvision's references do it, a pet's part of it."""
    scaled = (
        [transforms.RandomResizedCrop(image_size, (0.35, 1.0)), transforms.RandomHorizontalFlip()] if augment else
        [transforms.Resize(round(image_size * 8 / 7)), transforms.CenterCrop(image_size)]
    )  # fmt: skip
    normalized = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    data = datasets.ImageFolder(str(folder), transforms.Compose([*scaled, *normalized]))
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers, pin_memory=torch.cuda.is_available())


def network(name: str, weights: Path | None, classes: int, frozen: bool) -> nn.Module:
    """`weights`: a state_dict of torchvision's; None leaves them random."""
    model: nn.Module = models.get_model(name)
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
    for parameter in model.parameters():
        parameter.requires_grad = not frozen
    model.fc = nn.Linear(model.fc.in_features, classes)  # type: ignore[arg-type, union-attr]
    return model


def optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)


def epoch(model: nn.Module, batches: Batches, adam: torch.optim.Optimizer) -> float:
    """One pass over the training split; its mean loss."""
    criterion = nn.CrossEntropyLoss()
    total, seen = 0.0, 0
    model.train()
    for inputs, labels in batches:
        adam.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        adam.step()
        total += loss.item() * len(labels)
        seen += len(labels)
    return total / seen


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches) -> float:
    right = seen = 0
    model.eval()
    for inputs, labels in batches:
        right += int((model(inputs).argmax(1) == labels).sum())
        seen += len(labels)
    return right / seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="with train/ and valid/")
    parser.add_argument("--weights", required=True, help="a file, or none")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--fine-tune", action="store_true", help="train the backbone too")
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(0)
    train = loader(options.data / "train", options.image_size, options.batch_size, shuffle=True,
                   augment=options.augment, workers=options.workers)  # fmt: skip
    valid = loader(options.data / "valid", options.image_size, options.batch_size, workers=options.workers)
    weights = None if options.weights == "none" else Path(options.weights)
    classes = sum(1 for folder in (options.data / "train").iterdir() if folder.is_dir())
    model = network(options.model, weights, classes, not options.fine_tune)
    adam = optimizer(model, options.learning_rate)
    for number in range(1, options.epochs + 1):
        began = time.perf_counter()
        loss = epoch(model, train, adam)
        told = {"epoch": number, "train:loss": loss, "valid:accuracy": accuracy(model, valid)}
        print(json.dumps({**told, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
