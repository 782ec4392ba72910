"""What local SageMaker itself costs: a job that does nothing, a describe call, a tuning job of 100 such jobs.

    python benchmarks/local_sagemaker.py              # prints, and writes benchmarks/results/local-sagemaker.md

It measures and asserts nothing. The server runs on one core, this program on another; the jobs' `train` is a shell
script of one line, which is also run without SageMaker, as the baseline.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psutil
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import conditions  # noqa: E402
from local_sagemaker import daemon  # noqa: E402

ROLE = "arn:aws:iam::000000000000:role/anyone"
TRAIN = "#!/bin/sh\necho accuracy=0.5\n"
ENDED = ("Completed", "Failed", "Stopped")
POLL_S = 0.005
MB = 2**20


@dataclass(frozen=True)
class Server:
    url: str
    process: psutil.Process
    directory: Path
    sagemaker: Any

    def rss(self) -> float:
        """Megabytes of memory."""
        return float(self.process.memory_info().rss) / MB

    def request(self, name: str) -> dict[str, Any]:
        return {"TrainingJobName": name, **definition(self.directory)}

    def create(self, name: str) -> None:
        self.sagemaker.create_training_job(**self.request(name))

    def status(self, name: str) -> str:
        return str(self.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])


def definition(directory: Path) -> dict[str, Any]:
    return {
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "process",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}],
        },
        "OutputDataConfig": {"S3OutputPath": (directory / "out").as_uri()},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A server on a core of its own, with its state in a temporary directory."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "bin").mkdir()
        train = directory / "bin" / "train"
        train.write_text(TRAIN)
        train.chmod(0o755)
        url = daemon.ensure(directory / "state", directory / "bin")
        process = psutil.Process(json.loads((directory / "state" / "server.json").read_text())["pid"])
        cores = sorted(os.sched_getaffinity(0))
        for task in (process.pid, *(thread.id for thread in process.threads())):
            os.sched_setaffinity(task, {cores[0]})
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        client = boto3.client(
            "sagemaker",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 0}),
        )
        try:
            yield Server(url, process, directory, client)
        finally:
            daemon.stop(directory / "state")


def jobs(on: Server, count: int) -> list[list[str]]:
    """Jobs that do nothing, one after the other; and the same program without SageMaker."""
    direct = []
    for _ in range(count):
        begin = time.perf_counter()
        subprocess.run([on.directory / "bin" / "train"], stdout=subprocess.DEVNULL, check=True)
        direct.append(time.perf_counter() - begin)
    through = []
    for number in range(count):
        begin = time.perf_counter()
        on.create(f"noop-{number}")
        while (status := on.status(f"noop-{number}")) not in ENDED:
            time.sleep(POLL_S)
        through.append(time.perf_counter() - begin)
        if status != "Completed":
            raise SystemExit(f"noop-{number} ended as {status}")
    return [
        ["`train` run directly", "", *_spread(direct, 1000), "ms", str(count)],
        ["job through the API, create to Completed", "< 1.0 s", *_spread(through, 1000), "ms", str(count)],
    ]


def describes(on: Server, count: int, seconds: float) -> list[list[str]]:
    """DescribeTrainingJob and ListTrainingJobs, over one connection and over boto3, while nothing else happens."""
    rows = []
    for operation, body in (
        ("DescribeTrainingJob", {"TrainingJobName": "noop-0"}),
        ("ListTrainingJobs", {"MaxResults": 100}),
    ):
        rates = [_rate(on, operation, body, seconds / count) for _ in range(count)]
        goal = "200/s" if operation == "DescribeTrainingJob" else ""
        rows.append([f"{operation}, one connection", goal, *_spread(rates), "/s", str(count)])
    rates = []
    for _ in range(count):
        begin, calls = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds / count:
            on.status("noop-0")
            calls += 1
        rates.append(calls / (time.perf_counter() - begin))
    rows.append(["DescribeTrainingJob, boto3 as the client", "", *_spread(rates), "/s", str(count)])
    return rows


def _rate(on: Server, operation: str, body: dict[str, Any], seconds: float) -> float:
    connection = http.client.HTTPConnection(urlsplit(on.url).netloc)
    headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        connection.request("POST", "/", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{operation} answered {answer.status}")
        calls += 1
    connection.close()
    return calls / (time.perf_counter() - begin)


def tuning(on: Server, trials: int, parallel: int) -> list[list[str]]:
    """Tuning jobs of trials that do nothing: two, because the first one loads Optuna."""
    rows = []
    for number in (1, 2):
        name, before = f"tuning-{number}", on.rss()
        _tune(on, name, trials, parallel)
        begin, seen = time.perf_counter(), {0: before}
        while True:
            described = on.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
            done = described["TrainingJobStatusCounters"]["Completed"]
            seen.setdefault(done, on.rss())
            if described["HyperParameterTuningJobStatus"] in ENDED:
                break
            time.sleep(0.02)
        took = time.perf_counter() - begin
        if done != trials:
            raise SystemExit(f"{name}: {done} of {trials} trials completed")
        marks = [min(seen, key=lambda count: abs(count - mark)) for mark in (trials // 10, trials // 2, trials)]
        memory = ", ".join(f"{seen[mark]:.0f} after {mark}" for mark in marks)
        rows.append(
            [f"{_th(number)} tuning job", f"{took:.1f} s", f"{took / trials * 1000:.0f} ms", f"{before:.0f}", memory]
        )
    return rows


def _tune(on: Server, name: str, trials: int, parallel: int) -> None:
    on.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1"}]},
        },
        TrainingJobDefinition=definition(on.directory),
    )


def _spread(values: list[float], factor: float = 1) -> list[str]:
    ordered = sorted(value * factor for value in values)
    return [f"{statistics.median(ordered):.1f}", f"{ordered[0]:.1f} to {ordered[-1]:.1f}"]


def _th(number: int) -> str:
    return {1: "first", 2: "second"}[number]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=30, help="jobs that do nothing")
    parser.add_argument("--seconds", type=float, default=10, help="of describe calls of each kind")
    parser.add_argument("--trials", type=int, default=100, help="of each tuning job")
    parser.add_argument("--parallel", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, default=conditions.RESULTS / "local-sagemaker.md", help="where to write")
    options = parser.parse_args()
    with server() as on:
        load = os.getloadavg()[0]
        rows = [*jobs(on, options.jobs), *describes(on, 10, options.seconds)]
        searches = tuning(on, options.trials, options.parallel)
    text = "\n".join(
        [
            "# What local SageMaker costs\n",
            f"`python benchmarks/local_sagemaker.py`. {conditions.sentence('boto3', 'starlette', 'uvicorn', 'optuna')}",
            f"Load when it began: {load:.1f}. The server was held to one core, the client to the others.\n",
            conditions.table(["what", "goal", "median", "range", "unit", "n"], rows),
            f"Tuning jobs of {options.trials} trials that do nothing, {options.parallel} at a time, one by one "
            "on one server; memory is the server's resident set in MiB:\n",
            conditions.table(["what", "time", "a trial", "memory before", "memory"], searches),
        ]
    )
    conditions.publish(text, options.out)


if __name__ == "__main__":
    main()
