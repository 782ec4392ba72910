"""The handler service of sagemaker-pytorch-inference-toolkit: the toolkit's transformer around the usual functions."""

from __future__ import annotations

from sagemaker_inference.default_handler_service import DefaultHandlerService
from sagemaker_inference.transformer import Transformer
from usual_inference import Handler


class Service(DefaultHandlerService):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(transformer=Transformer(default_inference_handler=Handler()))
