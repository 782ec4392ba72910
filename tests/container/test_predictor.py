"""Pixels in, probabilities out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from classifier import artifact, images, network
from classifier.errors import InputError
from classifier.predictor import Predictor
from contract_serving import CLASSES, write_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    return artifact.read(write_artifact(tmp_path_factory.mktemp("model")))


def test_probabilities_are_those_of_the_network(model: artifact.Artifact) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    predictor = Predictor(model)
    predictor.warm_up()
    answered = predictor.predict(pixels)
    with torch.inference_mode():
        batch = images.normalize(torch.from_numpy(pixels), model.preprocessing)
        expected = network.load(model)(batch).softmax(1).numpy()
    assert answered.shape == (5, len(CLASSES))
    assert answered.dtype == np.float32
    # On a GPU the predictor computes in half precision.
    np.testing.assert_allclose(answered, expected, atol=2e-3 if torch.cuda.is_available() else 1e-6)
    # A batch gives what its members give alone: nothing leaks from one caller to the next.
    alone = np.concatenate([predictor.predict(one[np.newaxis]) for one in pixels])
    np.testing.assert_allclose(answered, alone, atol=2e-3 if torch.cuda.is_available() else 1e-5)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
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
