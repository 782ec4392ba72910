"""The mistakes that a network is surest of: found while it is evaluated, shown as pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from classifier import device, precision
from classifier.evaluation import MISTAKES, Mistake, evaluate
from classifier.preprocessing import Preprocessing
from classifier.watch import pictures


def judged(logits: torch.Tensor, labels: torch.Tensor, batch: int) -> tuple[Mistake, ...]:
    batches = list(zip(torch.split(logits, batch), torch.split(labels, batch), strict=True))
    compute = precision.choose(device.find("train"))
    loss = torch.nn.CrossEntropyLoss()
    return evaluate(torch.nn.Identity(), batches, loss, torch.Tensor.float, compute).mistakes


def test_the_surest_mistakes_come_first() -> None:
    logits = torch.tensor([[5.0, 0, 0], [0, 9.0, 0], [0, 0, 3.0], [0, 8.0, 0], [1.0, 0, 0]])
    labels = torch.tensor([0, 2, 1, 1, 2])
    found = judged(logits, labels, batch=2)
    assert [(m.number, m.label, m.called) for m in found] == [(1, 2, 1), (2, 1, 2), (4, 2, 0)]
    assert [m.probability for m in found] == logits[[1, 2, 4]].softmax(dim=1).amax(dim=1).tolist()
    rng = torch.Generator().manual_seed(0)
    many, classes = torch.randn(200, 5, generator=rng), torch.randint(0, 5, (200,), generator=rng)
    assert len(judged(many, classes, batch=64)) == MISTAKES
    assert judged(many, many.argmax(dim=1), batch=64) == ()
    assert judged(torch.full((4, 3), float("nan")), torch.tensor([0, 1, 2, 0]), batch=4) == ()


def test_pictures_are_small(tmp_path: Path) -> None:
    folder = tmp_path / "Old <b>dog"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)  # what compresses worst
    Image.fromarray(noise).save(folder / "a.jpg")
    (folder / "damaged.jpg").write_bytes(b"no photograph")
    paths: list[Path | None] = [folder / "a.jpg", folder / "damaged.jpg", folder / "gone.jpg", None]
    made = pictures.mistakes(
        [Mistake(i, 0, 1, 0.9) for i in range(4)], ["x", "y"], lambda i: paths[i], Preprocessing.for_size(96)
    )
    assert [(m["label"], m["called"], m["probability"]) for m in made] == [("x", "y", 0.9)] * 4
    assert [m["photograph"] for m in made] == [f"{folder.name}/{p.name}" if p else None for p in paths]
    assert [m["picture"] is None for m in made] == [False, True, True, True]
    kind, _, data = made[0]["picture"].partition(",")
    content = base64.b64decode(data)
    assert kind == "data:image/jpeg;base64" and len(content) <= pictures.MOST_BYTES
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (pictures.SIDE, pictures.SIDE)
