"""smdebug's hook, with each tensor read once, and its files written in the calling thread."""

from __future__ import annotations

from typing import Any

import torch

from classifier.watch.event_file import EventFile, Seen
from classifier.watch.smdebug_client import smd

REDUCTIONS = ("min", "max", "mean", "std")
_FEW = 10_000


class Hook(smd.Hook):  # type: ignore[misc]
    """`seen` is told every tensor and every reduction that is written. Frozen parameters are saved once."""

    seen: Seen = staticmethod(lambda name, value: None)
    writer: EventFile | None

    def has_default_configuration(self) -> bool:
        # With the default one smdebug logs a traceback of its errors and goes silent, instead of raising them.
        return False

    def _initialize_writers(self, only_initialize_if_missing: bool = False) -> None:
        if self.writer is None or not only_initialize_if_missing:
            self.writer = EventFile(self.out_dir, self.step, self.worker, self.seen)

    def _log_params(self, module: torch.nn.Module) -> None:
        first = not self.exported_collections
        for name, parameter in module.named_parameters():
            if first or parameter.requires_grad:
                self._save_for_tensor(f"{type(module).__name__}_{name}", parameter.data)

    def _write_reductions(
        self, tensor_name: str, tensor_value: torch.Tensor, save_collections: Any, tensor_ref: Any = None
    ) -> None:
        absolute = any(collection.reduction_config.abs_reductions for collection in save_collections)
        self._moments = _moments(tensor_value, absolute)
        super()._write_reductions(tensor_name, tensor_value, save_collections, tensor_ref)

    def _get_reduction_of_data(self, reduction_name: str, value: torch.Tensor, tensor_name: str, abs: bool) -> Any:
        known = self._moments.get((reduction_name, abs))
        if known is not None:
            return torch.tensor(known, dtype=torch.float32)
        return smd.Hook._get_reduction_of_data(reduction_name, value, tensor_name, abs)

    @staticmethod
    def _make_numpy_array(tensor_value: Any) -> Any:
        # numpy has no bfloat16.
        if isinstance(tensor_value, torch.Tensor) and tensor_value.dtype == torch.bfloat16:
            tensor_value = tensor_value.float()
        return smd.Hook._make_numpy_array(tensor_value)


def _moments(tensor: torch.Tensor, absolute: bool) -> dict[tuple[str, bool], float]:
    """The usual reductions in one transfer from the device; `absolute`: also the mean of absolute values."""
    count = tensor.numel()
    if not tensor.is_floating_point() or not count:
        return {}
    tensor = tensor.detach().float()
    values = [*torch.aminmax(tensor)]
    if count < _FEW:
        # The deviation of a single value is 0 and not undefined.
        std, mean = torch.std_mean(tensor, correction=min(1, count - 1))
        values += [mean, std]
    else:
        # A fifth of the time, to six digits: of so many values the mean is not far beyond the deviation.
        mean, square = tensor.mean(), torch.linalg.vector_norm(tensor).double().square()
        values += [mean, ((square - count * mean.double().square()) / (count - 1)).clamp(min=0).sqrt().float()]
    names = [(name, False) for name in REDUCTIONS]
    if absolute:
        names.append(("mean", True))
        values.append(torch.linalg.vector_norm(tensor, 1) / count)
    return dict(zip(names, torch.stack(values).tolist(), strict=True))
