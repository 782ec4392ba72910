"""LitServe, as its documentation serves images: base64 in JSON, batches where PEER_BATCH says so."""

from __future__ import annotations

import base64
import os
import sys

import litserve


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        import eager

        self.predict_all = eager.predict

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image_data"])

    def predict(self, body: bytes) -> list[tuple[str, float]]:
        return self.predict_all([body])[0]

    def encode_response(self, output: list[tuple[str, float]]) -> dict[str, list[tuple[str, float]]]:
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
