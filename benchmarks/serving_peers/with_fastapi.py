"""FastAPI, as its documentation takes files: a function that is no coroutine, in the thread pool."""

from __future__ import annotations

import eager
from fastapi import FastAPI, UploadFile

app = FastAPI()


@app.get("/ping")
def ping() -> str:
    return "healthy"


@app.post("/predict")
def predict(image: UploadFile) -> list[tuple[str, float]]:
    return eager.predict([image.file.read()])[0]
