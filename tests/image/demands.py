"""What AWS demands of a container, in its words, and how a broken demand is told.

The quoted sentences are those of the SageMaker AI developer guide and of the API reference, read in 2026-11. Where
AWS demands something only between the lines, the text is ours and without quotation marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import pytest

GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
RUN_TRAIN = GUIDE + "your-algorithms-training-algo-dockerfile.html"
TRAIN_INPUT = GUIDE + "your-algorithms-training-algo-running-container.html"
TRAIN_OUTPUT = GUIDE + "your-algorithms-training-algo-output.html"
TRAIN_SIGNAL = GUIDE + "your-algorithms-training-signal-success-failure.html"
HOSTING = GUIDE + "your-algorithms-inference-code.html"
BATCH = GUIDE + "your-algorithms-batch-code.html"


@dataclass(frozen=True)
class Demand:
    """One promise that an image keeps; `advice` says what to do where it does not."""

    sentence: str
    source: str
    advice: str

    def check(self, met: object, seen: str) -> None:
        """Fails the test with the demand, what was seen and what to do, unless `met`."""
        if not met:
            self.fail(seen)

    def fail(self, seen: str) -> NoReturn:
        pytest.fail(
            f"the contract: {self.sentence}\n  {self.source}\nseen: {seen}\nto do: {self.advice}", pytrace=False
        )


@dataclass(frozen=True)
class Condition:
    """Something that the platform does to a container, and that a run can go without, to find what a program bears not.

    `options` are docker's for a run with it, `otherwise` for one without; `hyperparameters` are added to a job's.
    """

    demand: Demand
    options: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    hyperparameters: tuple[tuple[str, str], ...] = ()


NETWORK = Demand(
    'with EnableNetworkIsolation, "no inbound or outbound network calls can be made to or from the container."',
    "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html",
    "put what is fetched while it runs (packages, weights) into the image, a channel or the model, and let a "
    "look-up of a name fail without harm",
)
SHARED_MEMORY = Demand(
    "/dev/shm has the 64 MB of Docker's default; nothing in the API makes it larger.",
    "https://github.com/aws/sagemaker-python-sdk/issues/937",
    "let processes hand data over by pipes or by files in /tmp, for PyTorch set_sharing_strategy('file_system')",
)
SMALL_SHM = Condition(SHARED_MEMORY, options=("--shm-size=64m",), otherwise=("--shm-size=1g",))
# Nothing listens at the address of the credentials, as for a container without a network.
PLATFORM_VARIABLES = (
    "--env=AWS_REGION=eu-central-1",
    "--env=AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/4f2c6a1e-0000-4000-8000-000000000000",
)
