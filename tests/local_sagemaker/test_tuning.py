"""Tuning jobs through boto3: a real search over real trials."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Local, training_request, unique, wait_for

RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "9"}],
    "CategoricalParameterRanges": [{"Name": "batch", "Values": ["16", "32"]}],
}
# The objective is a function of what was proposed, and trials end in another order than they began.
CODE = """
import random, time
h = json.load(open("input/config/hyperparameters.json"))
time.sleep(random.random() / 5)
print("accuracy=%r" % (int(h["epochs"]) + float(h["lr"])))
"""


def request(code: str = CODE, jobs: int = 4, parallel: int = 2, **config: Any) -> dict[str, Any]:
    job = training_request(code, Path("/tmp"))
    algorithm = {**job["AlgorithmSpecification"], "MetricDefinitions": [{"Name": "acc", "Regex": "accuracy=([0-9.]+)"}]}
    return {
        "HyperParameterTuningJobName": unique("tuning"),
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": RANGES,
            **config,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": job["HyperParameters"],
            "AlgorithmSpecification": algorithm,
            **{key: job[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")},
        },
    }


def create(local: Local, asked: dict[str, Any]) -> str:
    asked["TrainingJobDefinition"]["OutputDataConfig"] = {"S3OutputPath": (local.state.parent / "out").as_uri()}
    local.sagemaker.create_hyper_parameter_tuning_job(**asked)
    return str(asked["HyperParameterTuningJobName"])


def tuned(local: Local, asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The description of a tuning job when it has ended, and its trials."""
    name = create(local, asked)
    described = wait_for(
        lambda: local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda job: job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"),
    )
    return described, trials(local, name)


def trials(local: Local, name: str, **more: Any) -> list[dict[str, Any]]:
    answer = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, MaxResults=100, **more
    )
    found: list[dict[str, Any]] = answer["TrainingJobSummaries"]
    return found


def value(trial: dict[str, Any]) -> float:
    return float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def test_a_search(local: Local) -> None:
    job, found = tuned(local, request(jobs=5))
    name = job["HyperParameterTuningJobName"]
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == job["ObjectiveStatusCounters"]["Succeeded"] == 5
    assert [trial["TrainingJobName"][: len(name) + 5] for trial in found] == [f"{name}-00{n}-" for n in range(1, 6)]
    for trial in found:
        proposed = trial["TunedHyperParameters"]
        assert value(trial) == pytest.approx(int(proposed["epochs"]) + float(proposed["lr"]))
        assert 0.0001 <= float(proposed["lr"]) <= 0.1
        assert proposed["batch"] in ("16", "32")
        described = local.sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"])
        assert described["TuningJobArn"] == job["HyperParameterTuningJobArn"]
        assert described["HyperParameters"] == {"code": CODE, **proposed, "_tuning_objective_metric": "acc"}
    best = max(found, key=value)
    assert job["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]
    by_value = trials(local, name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert [value(trial) for trial in by_value] == sorted(map(value, found), reverse=True)
    (summary,) = local.sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name)["HyperParameterTuningJobSummaries"]
    assert (summary["Strategy"], summary["HyperParameterTuningJobStatus"]) == ("Bayesian", "Completed")
    assert summary["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 2}


def test_minimize(local: Local) -> None:
    job, found = tuned(local, request(HyperParameterTuningJobObjective={"Type": "Minimize", "MetricName": "acc"}))
    assert job["BestTrainingJob"]["TrainingJobName"] == min(found, key=value)["TrainingJobName"]


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
def test_a_seed_repeats_the_search_although_trials_run_in_parallel(local: Local, strategy: str) -> None:
    runs = [tuned(local, request(jobs=8, parallel=3, Strategy=strategy, RandomSeed=seed))[1] for seed in (5, 5, 6)]
    first, again, other = ([trial["TunedHyperParameters"] for trial in run] for run in runs)
    assert first == again != other


def test_trials_run_in_parallel_and_not_more_than_asked(local: Local, tmp_path: Path) -> None:
    # Each trial waits until two others run, so it can only end when three run at once.
    code = f"""
import os, pathlib, time
here = pathlib.Path({str(tmp_path)!r})
(here / os.environ["TRAINING_JOB_NAME"]).touch()
while len(list(here.iterdir())) < 3:
    time.sleep(0.02)
print("most", len(list(here.iterdir())))
print("accuracy=1")
"""
    job, found = tuned(local, request(code, jobs=3, parallel=3))
    assert job["TrainingJobStatusCounters"]["Completed"] == 3
    serial, found = tuned(local, request(code.replace("< 3", "< 1"), jobs=3, parallel=1))
    assert serial["HyperParameterTuningJobStatus"] == "Completed"
    ends = [(trial["TrainingStartTime"], trial["TrainingEndTime"]) for trial in found]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_one_failing_trial_does_not_end_the_search(local: Local) -> None:
    job, found = tuned(
        local, request('import os; print("accuracy=1"); raise SystemExit("-002-" in os.environ["TRAINING_JOB_NAME"])')
    )
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert (
        job["TrainingJobStatusCounters"] | {"Completed": 3, "NonRetryableError": 1} == job["TrainingJobStatusCounters"]
    )
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 1}
    assert [trial["ObjectiveStatus"] for trial in found] == ["Succeeded", "Failed", "Succeeded", "Succeeded"]
    assert found[1]["FailureReason"] == "AlgorithmError: accuracy=1, exit code: 1"


def test_when_all_trials_fail_the_search_fails(local: Local) -> None:
    job, _ = tuned(local, request('print("broken"); raise SystemExit(2)', jobs=3))
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert "AlgorithmError: broken, exit code: 2" in job["FailureReason"]
    assert "BestTrainingJob" not in job


def test_an_objective_that_is_never_printed(local: Local) -> None:
    job, found = tuned(local, request('print("acc: 1")', jobs=2))
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert "the regex 'accuracy=([0-9.]+)' of the objective metric 'acc'" in job["FailureReason"]
    assert [(trial["TrainingJobStatus"], trial["ObjectiveStatus"]) for trial in found] == [("Completed", "Failed")] * 2
    assert "No line of the log matched" in found[0]["FailureReason"]


def test_stop_ends_the_running_trials_and_starts_no_other(local: Local) -> None:
    name = create(local, request("import time; time.sleep(600)", jobs=10, parallel=2))
    wait_for(lambda: trials(local, name), lambda found: len(found) == 2)
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    job = wait_for(
        lambda: local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda job: job["HyperParameterTuningJobStatus"] == "Stopped",
    )
    assert job["TrainingJobStatusCounters"]["Stopped"] == len(trials(local, name)) == 2
    with pytest.raises(ClientError, match="is in status Stopped"):
        local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_unknown_and_used_names(local: Local) -> None:
    with pytest.raises(
        local.sagemaker.exceptions.ResourceNotFound, match="can't find a tuning job with the name nobody"
    ):
        local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="nobody")
    asked = request(jobs=1)
    tuned(local, asked)
    with pytest.raises(local.sagemaker.exceptions.ResourceInUse):
        create(local, asked)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Strategy": "Grid"}, "does not do HyperParameterTuningJobConfig.Strategy Grid"),
        ({"ParameterRanges": {}}, "at least one hyperparameter"),
        (
            {"ParameterRanges": {"CategoricalParameterRanges": [{"Name": "code", "Values": ["a"]}]}},
            "both static and tuned",
        ),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "f1"}},
            "metric 'f1' has no definition",
        ),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "must give MaxNumberOfTrainingJobs"),
        (
            {"TrainingJobEarlyStoppingType": "Auto"},
            "does not do HyperParameterTuningJobConfig.TrainingJobEarlyStoppingType Auto",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(local: Local, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create(local, request(**config))
