"""What smdebug's Trial is to a rule, of the step that was just recorded, without reading it back from its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from classifier.watch.smdebug_client import (
    REDUCTIONS_PREFIX,
    StepUnavailable,
    TensorUnavailable,
    TensorUnavailableForStep,
    get_logger,
    get_numpy_reduction,
    match_inc,
    reverse_reduction_tensor_name,
    smd,
)

# A series of a tensor over time has at most so many points; then every other one is dropped.
_POINTS = 400
_REDUCED = ("min", "max", "mean", "std")


@dataclass
class Recorded:
    """One tensor of the step: as it is, or its reductions by (name, of absolute values)."""

    name: str
    step: int = -1
    whole: NDArray[Any] | None = None
    reductions: dict[tuple[str, bool], float] = field(default_factory=dict)

    def value(self, step_num: int, mode: Any = None, worker: str | None = None) -> NDArray[Any]:
        """Raises TensorUnavailableForStep: only reductions were recorded."""
        if self.whole is None:
            raise TensorUnavailableForStep(self.name, step_num, mode, True)
        return self.whole

    def reduction_value(
        self, step_num: int, reduction_name: str, mode: Any = None, worker: str | None = None, abs: bool = False
    ) -> float:
        """As recorded, or else of the whole tensor. Raises TensorUnavailableForStep."""
        if (reduction_name, abs) in self.reductions:
            return self.reductions[reduction_name, abs]
        return float(get_numpy_reduction(reduction_name, self.value(step_num, mode), abs))


class LiveTrial:
    """Holds the step that is being recorded, and of all before it what the report draws.

    `at`, `epoch`: when the step was, for rules to tell.
    """

    def __init__(self, collections: Callable[[], Mapping[str, Any]]) -> None:
        self.at, self.epoch = 0.0, 0
        self.dynamic_refresh = False
        self.logger = get_logger()
        self.name = self.path = "live"
        self.series: dict[str, dict[str, Any]] = {}
        self._collections = collections
        self._step, self._mode, self._mode_step = -1, smd.modes.GLOBAL, -1
        self._tensors: dict[str, Recorded] = {}

    def begin(self, step: int, mode: Any, mode_step: int) -> None:
        """Forgets the step before."""
        self._step, self._mode, self._mode_step = step, mode, mode_step
        self._tensors = {}

    def add(self, tensor: str, value: NDArray[Any]) -> None:
        """As smdebug names it and its reductions."""
        reduction: tuple[str, bool] | None = None
        if tensor.startswith(REDUCTIONS_PREFIX):
            tensor, name, absolute = reverse_reduction_tensor_name(tensor)
            reduction = name, absolute
        recorded = self._tensors.setdefault(tensor, Recorded(tensor, self._step))
        if reduction:
            recorded.reductions[reduction] = float(value)
        else:
            recorded.whole = value

    def keep(self, number: int, names: Sequence[str]) -> None:
        """Appends min, max, mean and std of these collections' tensors to `series`, at step `number`."""
        for collection in names:
            for tensor in self.tensor_names(collection=collection):
                series = self.series.setdefault(
                    tensor, {"collection": collection, "steps": [], **{name: [] for name in _REDUCED}}
                )
                if series["collection"] != collection:
                    continue
                series["steps"].append(number)
                for name in _REDUCED:
                    series[name].append(float(self._tensors[tensor].reduction_value(self._step, name)))
                if len(series["steps"]) > _POINTS:
                    for name in ("steps", *_REDUCED):
                        del series[name][1::2]

    # What rules ask of a trial: smdebug/trials/trial.py.

    def steps(self, mode: Any = smd.modes.GLOBAL) -> list[int]:
        return [self._step if mode == smd.modes.GLOBAL else self._mode_step]

    def mode(self, global_step: int) -> Any:
        return self._mode

    def mode_step(self, global_step: int) -> int:
        return self._mode_step

    def wait_for_steps(self, required_steps: Sequence[int], mode: Any = smd.modes.GLOBAL) -> None:
        for step in required_steps:
            if step not in self.steps(mode):
                raise StepUnavailable(step, mode)

    def tensor_names(
        self, *, step: int | None = None, mode: Any = None, regex: Any = None, collection: str | None = None
    ) -> list[str]:
        if collection is not None:
            found = self._collections().get(collection)
            return sorted(self._tensors.keys() & found.tensor_names) if found else []
        patterns = [regex] if isinstance(regex, str) else regex
        return sorted(name for name in self._tensors if patterns is None or match_inc(name, patterns))

    def has_tensor(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str) -> Recorded:
        if name not in self._tensors:
            raise TensorUnavailable(name)
        return self._tensors[name]

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
