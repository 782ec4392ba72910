"""Serving as the public notebooks of this task do it: the baseline of benchmarks/serving.py.

multi-model-server with sagemaker-inference's default handler service, as SageMaker's managed PyTorch container sets it
up (sagemaker-pytorch-inference-toolkit): `model_fn`, `input_fn`, `predict_fn` and `output_fn` of the notebooks'
inference.py. Pillow decodes in full, eager torch answers one photograph with the numbers of all classes.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from sagemaker_inference import encoder
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from torchvision import transforms

ARTIFACT = Path(os.environ["KENNEL_ARTIFACT"])


class Handler(DefaultInferenceHandler):  # type: ignore[misc]
    def default_model_fn(self, model_dir: str, context: Any = None) -> torch.nn.Module:
        told = json.loads((ARTIFACT / "model.json").read_text())
        sizes = told["preprocessing"]
        network: torch.nn.Module = torchvision.models.get_model(
            told["model"], weights=None, num_classes=len(told["classes"])
        )
        network.load_state_dict(load_file(ARTIFACT / "model.safetensors"))
        self.prepare = transforms.Compose([
            transforms.Resize(sizes["resize"]), transforms.CenterCrop(sizes["crop"]), transforms.ToTensor(),
            transforms.Normalize(sizes["mean"], sizes["std"]),
        ])  # fmt: skip
        return network.eval()

    def default_input_fn(self, input_data: bytes, content_type: str, context: Any = None) -> torch.Tensor:
        prepared: torch.Tensor = self.prepare(Image.open(io.BytesIO(input_data)).convert("RGB")).unsqueeze(0)
        return prepared

    def default_predict_fn(self, data: torch.Tensor, model: torch.nn.Module, context: Any = None) -> torch.Tensor:
        with torch.no_grad():
            answer: torch.Tensor = model(data)
            return answer

    def default_output_fn(self, prediction: torch.Tensor, accept: str, context: Any = None) -> Any:
        return encoder.encode(prediction.numpy(), "application/json")
