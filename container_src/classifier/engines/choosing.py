"""Which engine answers: the fastest that is exact enough, found out on the processor at hand.

Exact enough is what computes probabilities like those of float32. The 8-bit graph has been compared with it where it
was calibrated, on photographs; here it is asked whether this processor's integers give what they gave there, for not
every processor adds them up without overflow.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from classifier import machine
from classifier.artifact import Artifact
from classifier.engines import Engine, Floats, Misfit, Pixels
from classifier.errors import InputError

if TYPE_CHECKING:
    from classifier.engines.on_openvino import OnOpenVino

# Names one of NAMES, and on a CPU no other is considered.
VARIABLE = "KENNEL_ENGINE"
NAMES = ("int8", "bf16", "fp32", "torch")
# How far a probability may be from that of float32, beyond what was found where the graph was calibrated.
FAR = 0.05
# A more exact engine is taken if it needs at most this much of the fastest one's time.
_AS_FAST = 1.1
# Seconds for comparing the engines' speeds.
_BUDGET_S = 0.25
_PICTURES = 4

Loaded = TypeVar("Loaded")


class Judged(NamedTuple):
    """`distance`: the largest one of a probability from float32's; `seconds`: of a batch of one."""

    engine: Engine
    distance: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.engine.name} {1 / self.seconds:.0f} photographs/s, {self.distance:.2g} from fp32"


class Choice(NamedTuple):
    """`why`: for the log."""

    engine: Engine
    why: str


def choose(artifact: Artifact, gpu: int | None) -> Choice:
    """The engine for an artifact on that GPU, or on the CPU.

    Raises:
        InputError: the weights do not fit the model that the artifact names, torch cannot use the GPU, or KENNEL_ENGINE
            names an engine that there is not.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced and forced not in NAMES:
        raise InputError(f"{VARIABLE}={forced!r} is no engine: set it to one of {', '.join(NAMES)}, or leave it out")
    if gpu is not None:
        from classifier.engines.on_torch import OnGpu

        return Choice(_loaded(artifact, lambda: OnGpu(artifact, gpu)), "the one that there is for GPUs")
    threads = int(os.environ.get("OMP_NUM_THREADS") or machine.cpus())
    why = f"as {VARIABLE} says"
    if forced != "torch":
        try:
            engines = _openvino(artifact, threads, forced)
        except ImportError as error:  # a processor or a system that OpenVINO is not made for
            if forced:
                raise InputError(f"{VARIABLE}={forced} needs OpenVINO, which cannot be used here ({error}): set it to "
                                 f"torch, or leave it out") from None  # fmt: skip
            why = f"OpenVINO, which is faster, cannot be used here ({error})"
        else:
            return Choice(engines[forced], why) if forced else fastest(artifact, engines)
    from classifier.engines.on_torch import OnCpu

    return Choice(_loaded(artifact, lambda: OnCpu(artifact, threads)), why)


def fastest(artifact: Artifact, engines: Mapping[str, Engine]) -> Choice:
    """The fastest of those that are exact enough. `engines`: fp32 and others by name, the most exact first."""
    pixels = pictures(artifact.preprocessing.crop)
    distances = {name: distance(engine, engines["fp32"], pixels) for name, engine in engines.items()}
    expected = {name: artifact.engines.get(name, {}).get("distance", 0.0) for name in engines}
    exact = [e for name, e in engines.items() if name == "fp32" or distances[name] <= expected[name] + FAR]
    judged = [Judged(engine, distances[engine.name], s)
              for engine, s in zip(exact, seconds(exact, pixels[:1]), strict=True)]  # fmt: skip
    shortest = min(one.seconds for one in judged)
    chosen = next(one for one in judged if one.seconds <= _AS_FAST * shortest)
    others = [str(one) for one in judged if one is not chosen]
    others += [f"{name} is {far:.2g} from fp32, which is too far" for name, far in distances.items()
               if engines[name] not in exact]  # fmt: skip
    return Choice(chosen.engine, "; ".join([str(chosen), *others]))


def pictures(side: int) -> Pixels:
    """The same few generated pictures at any time and place: uint8 [n, side, side, 3], coloured squares."""
    squares = np.random.default_rng(0).integers(0, 256, (_PICTURES, 8, 8, 3), dtype=np.uint8)
    at = np.arange(side) * 8 // side
    return np.ascontiguousarray(squares[:, at][:, :, at])


def distance(engine: Engine, reference: Engine, pixels: Pixels) -> float:
    """The largest difference between two engines' probabilities; NaN where one of them answers so."""
    return float(np.abs(softmax(engine.run(pixels)) - softmax(reference.run(pixels))).max())


def softmax(logits: Floats) -> Floats:
    """Of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    shares: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def seconds(engines: Sequence[Engine], pixels: Pixels, budget_s: float = _BUDGET_S) -> list[float]:
    """Of one forward pass of each, the shortest seen. They take turns, so that what disturbs one disturbs all."""
    best = [math.inf] * len(engines)
    rounds, ends = 0, time.perf_counter() + budget_s
    while rounds < 3 or time.perf_counter() < ends:
        for i, engine in enumerate(engines):
            began = time.perf_counter()
            engine.run(pixels)
            best[i] = min(best[i], time.perf_counter() - began)
        rounds += 1
    return best


def _openvino(artifact: Artifact, threads: int, forced: str) -> dict[str, OnOpenVino]:
    """Those that there can be, the most exact first; with `forced` only that one. Raises ImportError; InputError."""
    from safetensors.numpy import load_file

    from classifier.engines import graph, on_openvino
    from classifier.engines.on_openvino import OnOpenVino

    def floating() -> Mapping[str, OnOpenVino]:
        weights = load_file(artifact.weights_path)
        network = graph.resnet(artifact.model, len(artifact.classes), artifact.preprocessing, weights)
        names = ["fp32"] + ["bf16"] * on_openvino.has_bfloat16()
        return {name: OnOpenVino(name, network, threads) for name in names if forced in ("", name)}

    if forced == "bf16" and not on_openvino.has_bfloat16():
        raise InputError(f"{VARIABLE}=bf16 needs a processor with bfloat16, which this one lacks: set it to fp32, or "
                         f"leave it out")  # fmt: skip
    if forced == "int8" and "int8" not in artifact.engines:
        raise InputError(f"{VARIABLE}=int8 needs an artifact with an 8-bit network, which this one lacks: train with "
                         f"quantize=always, or leave {VARIABLE} out")  # fmt: skip
    engines = dict(_loaded(artifact, floating)) if forced != "int8" else {}
    if "int8" in artifact.engines and forced in ("", "int8"):
        engines["int8"] = OnOpenVino("int8", on_openvino.read(*artifact.read_engine("int8")), threads)
    return engines


def _loaded(artifact: Artifact, load: Callable[[], Loaded]) -> Loaded:
    """What `load` gives. Raises InputError: the weights do not fit the model."""
    try:
        return load()
    except (Misfit, RuntimeError) as error:  # RuntimeError: load_state_dict's, for missing, unknown and ill-shaped ones
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{artifact.weights_path} fits no {artifact.model} of {len(artifact.classes)} classes: {reason}; "
            f"fetch or train the model again"
        ) from None
