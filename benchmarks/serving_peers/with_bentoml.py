"""BentoML, as its documentation serves images: a service of one worker a core, a file in a form."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": 60})
class Classifier:
    def __init__(self) -> None:
        import eager

        self._predict = eager.predict

    @bentoml.api
    def predict(self, image: Path) -> list[tuple[str, float]]:
        return self._predict([image.read_bytes()])[0]
