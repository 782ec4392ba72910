"""A GPU that has too little memory: what would fit."""

from __future__ import annotations

from collections.abc import Callable

import torch

from classifier.config import Config
from classifier.errors import InputError


def explained(config: Config, device: torch.device, step: Callable[[int], None], processes: int = 1) -> InputError:
    """Tries half of the batch, a quarter and so on until one fits, with `step`, which is given the number of examples
    and does all of an optimizer step. To be called once what filled the memory is gone. Of several `processes` each
    has its part of a batch in a GPU of its own."""
    memory = ""
    if device.type == "cuda":
        memory = f" of {torch.cuda.get_device_properties(device).total_memory / 2**30:.1f} GiB"
    sentence = (
        f"batch-size={config.batch_size} with model={config.model} and image-size={config.image_size} "
        f"does not fit into the GPU's memory{memory}"
    )
    size = config.batch_size // processes // 2
    while size >= 2:
        try:
            if device.type == "cuda":
                torch.cuda.empty_cache()
            step(size)
        except torch.OutOfMemoryError:
            size //= 2
        else:
            return InputError(f"{sentence}; batch-size={size * processes} does (tried just now): set it, with a "
                              f"learning-rate lower in proportion, or take an instance whose GPU has more")  # fmt: skip
    return InputError(f"{sentence}, and no smaller batch does: set a smaller image-size or model, or take an instance "
                      f"whose GPU has more")  # fmt: skip
