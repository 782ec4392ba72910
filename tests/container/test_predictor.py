"""Pixels in, probabilities out, whichever engine computes them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file

from classifier import artifact, images, network
from classifier.config import MODELS
from classifier.engines import Misfit, choosing, graph, on_openvino, on_torch
from classifier.errors import InputError
from classifier.predictor import Predictor
from classifier.preprocessing import Preprocessing
from contract_serving import CLASSES, write_artifact

Pixels = npt.NDArray[np.uint8]
# What an engine may be off by, of a probability.
EXACT = {"fp32": 1e-5, "torch": 1e-5, "bf16": choosing.FAR}
needs_bfloat16 = pytest.mark.skipif(not on_openvino.has_bfloat16(), reason="needs a processor with bfloat16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    return artifact.read(write_artifact(tmp_path_factory.mktemp("model")))


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choosing.VARIABLE, raising=False)


def by_torch(model: artifact.Artifact, pixels: Pixels) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        logits = network.load(model)(images.normalize(torch.from_numpy(pixels), model.preprocessing))
    answer: npt.NDArray[np.float32] = logits.numpy()
    return answer


@pytest.mark.parametrize("name", ["fp32", "torch", pytest.param("bf16", marks=needs_bfloat16)])
def test_probabilities_are_those_of_the_network(
    model: artifact.Artifact, pixels: Pixels, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(choosing.VARIABLE, name)
    predictor = Predictor(model)
    predictor.warm_up()
    assert name in predictor.processor
    answered, logits = predictor.predict(pixels), by_torch(model, pixels)
    assert answered.shape == (5, len(CLASSES)) and answered.dtype == np.float32
    np.testing.assert_allclose(answered, choosing.softmax(logits), atol=EXACT[name])
    # A batch gives what its members give alone: nothing leaks from one caller to the next.
    alone = np.concatenate([predictor.predict(one[np.newaxis]) for one in pixels])
    np.testing.assert_allclose(answered, alone, atol=EXACT[name])
    # And whether others are computed at the same time or not.
    predictor.open_lanes()
    with ThreadPoolExecutor(4) as threads:
        for together in threads.map(predictor.predict, [pixels] * 8):
            np.testing.assert_allclose(together, answered, atol=EXACT[name])
    # The head on the features, and the means of the maps, are the logits.
    head = load_file(model.weights_path)
    features = predictor.features(pixels)
    maps = np.stack([predictor.activation_map(pixels, index) for index in range(len(CLASSES))])
    assert features.shape == (5, 512) and maps.shape == (3, 5, 2, 2)
    far = 0.05 if name == "bf16" else 1e-4
    np.testing.assert_allclose(features @ head["fc.weight"].T + head["fc.bias"], logits, atol=far)
    np.testing.assert_allclose(maps.mean((2, 3)).T + head["fc.bias"], logits, atol=far)


def test_all_threads_are_for_a_caller_who_is_alone(model: artifact.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Predictor(model)._engine
    assert isinstance(engine, on_openvino.OnOpenVino)
    engine.open_lanes()
    taken: list[str] = []

    class Telling:
        """Computes nothing; asks once more in the middle of it, as another caller does, where `meanwhile` says so."""

        meanwhile = False

        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, pixels: Pixels, output: str) -> npt.NDArray[np.float32]:
            taken.append(self.name)
            if Telling.meanwhile:
                Telling.meanwhile = False
                engine.run(pixels)
            return np.zeros((1, 3), np.float32)

    monkeypatch.setattr(engine, "_alone", Telling("alone"))
    monkeypatch.setattr(engine, "_shared", Telling("shared"))
    pixels = np.zeros((1, 32, 32, 3), np.uint8)

    def asks(times: int) -> list[str]:
        taken.clear()
        for _ in range(times):
            engine.run(pixels)
        return taken

    Telling.meanwhile = True
    assert asks(1)[1] == "shared"  # two that met
    enough = on_openvino._LONE_ENOUGH
    assert asks(enough + 2) == ["shared"] * enough + ["alone"] * 2
    Telling.meanwhile = True
    assert asks(2) == ["alone", "shared", "shared"]


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_is_the_network(name: str) -> None:
    """Of every model; trained statistics of the normalizations, not the ones and zeros of a new network."""
    torch.manual_seed(0)
    net, preprocessing = network.build(name, 3), Preprocessing(36, 32)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.2, 0.6), (module.bias, -0.1, 0.1),
                                      (module.running_mean, -0.1, 0.1), (module.running_var, 0.5, 1.5)):  # fmt: skip
                assert tensor is not None
                torch.nn.init.uniform_(tensor, low, high)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = net.eval()(images.normalize(torch.from_numpy(pixels), preprocessing)).numpy()
    weights = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
    engine = on_openvino.OnOpenVino("fp32", graph.resnet(name, 3, preprocessing, weights), 1)
    np.testing.assert_allclose(engine.run(pixels), expected, rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_have_no_graph() -> None:
    state = {key: tensor.numpy() for key, tensor in network.build("resnet18", 3).state_dict().items()}
    for given, reason in (
        ({key: state[key] for key in state if key != "bn1.bias"}, "bn1.bias is missing"),
        (state | {"layer5.0.conv1.weight": state["conv1.weight"]}, "layer5.0.conv1.weight is unknown"),
        (state | {"layer1.0.conv1.weight": state["conv1.weight"]}, "."),
    ):
        with pytest.raises(Misfit, match=reason):
            graph.resnet("resnet18", 3, Preprocessing(36, 32), given)
    with pytest.raises(Misfit, match="3 outputs"):
        graph.resnet("resnet18", 4, Preprocessing(36, 32), state)


def test_the_engine_is_chosen_and_told_of(model: artifact.Artifact) -> None:
    predictor = Predictor(model)
    assert predictor.processor.startswith("cpu, OpenVINO ")
    assert "photographs/s" in predictor.choice and "from fp32" in predictor.choice
    assert ("bf16" in predictor.choice) == on_openvino.has_bfloat16()


class Answering:
    """An engine that answers what it is told to."""

    processor, batches = "", (1,)

    def __init__(self, name: str, logits: list[float]) -> None:
        self.name, self._logits = name, logits

    def open_lanes(self) -> int:
        return 1

    def run(self, pixels: Pixels, output: str = "logits") -> npt.NDArray[np.float32]:
        return np.tile(np.array(self._logits, np.float32), (len(pixels), 1))


@pytest.mark.parametrize(
    ("other", "seconds", "recorded", "chosen"),
    [
        ([2.0, 1.0], [3.0, 1.0], 0.0, "int8"),  # as exact, and faster
        ([2.0, 1.0], [1.0, 1.0], 0.0, "fp32"),  # no faster
        ([1.0, 2.0], [3.0, 1.0], 0.0, "fp32"),  # faster, and another answer
        ([1.0, 2.0], [3.0, 1.0], 0.45, "int8"),  # the answer that it was accepted with
        ([float("nan"), 1.0], [3.0, 1.0], 0.0, "fp32"),
    ],
)
def test_the_fastest_of_those_that_are_exact(
    model: artifact.Artifact, monkeypatch: pytest.MonkeyPatch, other: list[float], seconds: list[float],
    recorded: float, chosen: str,
) -> None:  # fmt: skip
    engines = {"fp32": Answering("fp32", [2.0, 1.0]), "int8": Answering("int8", other)}
    monkeypatch.setattr(choosing, "seconds", lambda engines, pixels: seconds[: len(engines)])
    monkeypatch.setitem(model.engines, "int8", {"distance": recorded})
    assert choosing.fastest(model, engines).engine.name == chosen


def test_torch_is_not_imported(model: artifact.Artifact) -> None:
    code = (
        f"import sys, pathlib; from classifier import artifact; from classifier.predictor import Predictor; "
        f"Predictor(artifact.read(pathlib.Path({str(model.weights_path.parent)!r}))).warm_up(); "
        f"assert 'torch' not in sys.modules; assert not sys.modules['openvino_telemetry']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_openvino_torch_computes(
    model: artifact.Artifact, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("classifier.engines.graph")
    monkeypatch.setitem(sys.modules, "classifier.engines.graph", None)
    predictor = Predictor(model)
    assert "OpenVINO, which is faster, cannot be used here" in predictor.choice
    assert predictor.processor.startswith("cpu, torch fp32")
    np.testing.assert_allclose(predictor.predict(pixels), choosing.softmax(by_torch(model, pixels)), atol=1e-5)
    monkeypatch.setenv(choosing.VARIABLE, "bf16")
    with pytest.raises(InputError, match="KENNEL_ENGINE=bf16 needs OpenVINO, which cannot be used here"):
        Predictor(model)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tensorrt", "KENNEL_ENGINE='tensorrt' is no engine: set it to one of int8, bf16, fp32, torch"),
        ("int8", "KENNEL_ENGINE=int8 needs an artifact with an 8-bit network, which this one lacks"),
    ],
)
def test_an_engine_that_there_is_not(
    model: artifact.Artifact, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setenv(choosing.VARIABLE, name)
    with pytest.raises(InputError, match=words):
        Predictor(model)


@pytest.mark.parametrize("name", ["", "torch"])
def test_weights_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(choosing.VARIABLE, name)
    misfit = artifact.read(write_artifact(tmp_path, outputs=7))
    with pytest.raises(InputError, match=r"fits no resnet18 of 3 classes: .*fetch or train the model again"):
        Predictor(misfit)


def test_a_model_that_answers_nan_is_refused(model: artifact.Artifact, tmp_path: Path) -> None:
    state = network.load(model).state_dict()
    state["fc.bias"][1] = float("nan")
    artifact.write(
        tmp_path,
        model=model.model,
        classes=model.classes,
        preprocessing=model.preprocessing,
        metrics={},
        provenance={},
        state=state,
    )
    with pytest.raises(InputError, match="smaller learning-rate"):
        Predictor(artifact.read(tmp_path)).warm_up()


def test_a_gpu_has_a_graph_for_every_batch() -> None:
    """Each part is no longer than its graph; together they are the batch."""
    for n in (1, 3, 8, 32, 33, 100):
        parts = on_torch.divided(torch.arange(n))
        assert torch.cat([part for part, _ in parts]).tolist() == list(range(n))
        assert all(len(part) <= size and size in on_torch.BATCHES for part, size in parts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_answers_what_the_cpu_does(model: artifact.Artifact) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 48, 48, 3), dtype=np.uint8)
    predictor = Predictor(model, 0)
    predictor.warm_up()
    np.testing.assert_allclose(predictor.predict(pixels), choosing.softmax(by_torch(model, pixels)), atol=5e-3)
    assert predictor.features(pixels).shape == (37, 512)
    assert predictor.activation_map(pixels, 0).shape == (37, 2, 2)
