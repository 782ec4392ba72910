"""The model and the preprocessing of the peers: what their documentation's ResNet examples do, on our weights.

With KENNEL_PREDICTOR=1 it is Kennel's decoder and predictor instead, behind the same two functions.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

ARTIFACT = Path(os.environ["KENNEL_ARTIFACT"])
TOP = 5

if os.environ.get("KENNEL_PREDICTOR"):
    import numpy as np

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "container_src"))
    from classifier import artifact, images
    from classifier.predictor import Predictor

    _found = artifact.read(ARTIFACT)
    _classes = _found.classes
    _predictor = Predictor(_found)
    _predictor.warm_up()

    def predict(bodies: list[bytes]) -> list[list[tuple[str, float]]]:
        pixels = np.stack([images.load(body, _found.preprocessing) for body in bodies])
        return [_best(row) for row in _predictor.predict(pixels)]

    def _best(row: np.ndarray) -> list[tuple[str, float]]:
        return [(_classes[i], float(row[i])) for i in row.argsort()[::-1][:TOP]]

else:
    import torch
    import torchvision
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision import transforms

    _told = json.loads((ARTIFACT / "model.json").read_text())
    _classes = tuple(_told["classes"])
    _sizes = _told["preprocessing"]
    _network = torchvision.models.get_model(_told["model"], weights=None, num_classes=len(_classes)).eval()
    _network.load_state_dict(load_file(ARTIFACT / "model.safetensors"))
    _prepare = transforms.Compose([
        transforms.Resize(_sizes["resize"]), transforms.CenterCrop(_sizes["crop"]), transforms.ToTensor(),
        transforms.Normalize(_sizes["mean"], _sizes["std"]),
    ])  # fmt: skip

    def predict(bodies: list[bytes]) -> list[list[tuple[str, float]]]:
        pixels = torch.stack([_prepare(Image.open(io.BytesIO(body)).convert("RGB")) for body in bodies])
        with torch.inference_mode():
            found = _network(pixels).softmax(dim=1).topk(TOP)
        return [
            [(_classes[i], p) for i, p in zip(indices, values, strict=True)]
            for indices, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]
