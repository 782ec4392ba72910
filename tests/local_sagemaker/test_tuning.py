"""Tuning jobs through boto3: a real search over real trials."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.platform import Platform
from local_sagemaker.settings import Settings, cpus

from .conftest import Local, channel, training_request, unique, wait_for

RANGES: dict[str, Any] = {
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
# `number` is 1 in the first trial.
NUMBER = 'import os, time; number = int(os.environ["TRAINING_JOB_NAME"].split("-")[-2])\n'
ONE = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]}


@pytest.fixture(scope="module")
def local(start: Callable[..., Local]) -> Local:
    """Several trials at once however few CPUs the machine has."""
    return start("--training-stop-s", "1", "--max-parallel-jobs", "4")


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
    return ended(local, name), trials(local, name)


def ended(local: Local, name: str) -> dict[str, Any]:
    """The description of a tuning job when it has ended."""
    described: dict[str, Any] = wait_for(
        lambda: local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda job: job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"),
    )
    return described


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


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Grid", "Hyperband"])
def test_a_seed_repeats_the_search_although_trials_run_in_parallel(local: Local, strategy: str) -> None:
    config: dict[str, Any] = {"Strategy": strategy, "RandomSeed": 5}
    if strategy == "Grid":
        names = {"epochs": ["1", "2", "3"], "lr": ["0.1", "0.2"]}
        config["ParameterRanges"] = {
            "CategoricalParameterRanges": [{"Name": name, "Values": values} for name, values in names.items()]
        }
    if strategy == "Hyperband":
        config["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}}
    code = CODE
    if strategy == "Bayesian":  # learns from what was stopped early, too, at the value that stopped it
        config["TrainingJobEarlyStoppingType"] = "Auto"
        code = CODE.replace("print(", "for more in (0, 1, 2): print(").replace('["lr"])', '["lr"]) + more')
    first, again = (
        [trial["TunedHyperParameters"] for trial in tuned(local, request(code, jobs=6, parallel=3, **config))[1]]
        for _ in range(2)
    )
    assert first == again
    assert len({tuple(proposal.items()) for proposal in first}) == 6


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
    assert job["FailureReason"].startswith("All training jobs failed. Please take a look at the training jobs failures")
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
    job = ended(local, name)
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
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


def test_a_regex_that_does_not_match_is_said_while_the_search_runs(local: Local) -> None:
    name = create(local, request(NUMBER + 'print("acc: 1"); time.sleep(600 * (number > 1))', jobs=9, parallel=1))
    described = wait_for(
        lambda: local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda job: "FailureReason" in job,
    )
    assert described["HyperParameterTuningJobStatus"] == "InProgress"
    assert "No line of the log matched the regex 'accuracy=([0-9.]+)'" in described["FailureReason"]
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_a_grid_has_as_many_trials_as_combinations(local: Local) -> None:
    asked = request(Strategy="Grid", ParameterRanges={"CategoricalParameterRanges": [
        {"Name": "epochs", "Values": ["1", "2"]}, {"Name": "lr", "Values": ["0.1", "0.2", "0.1"]},
    ]})  # fmt: skip
    del asked["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    job, found = tuned(local, asked)
    assert sorted(map(value, found)) == pytest.approx([1.1, 1.2, 2.1, 2.2])
    assert job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 4
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"epochs": "2", "lr": "0.2"}


def test_early_stopping_ends_a_trial_that_is_worse_than_the_median(local: Local) -> None:
    code = (
        NUMBER
        + """
for value in (1, 2) if number == 4 else (1, 5, 9):
    print(f"accuracy={value}")
time.sleep(600 * (number == 4))
"""
    )
    job, found = tuned(local, request(code, jobs=5, parallel=1, TrainingJobEarlyStoppingType="Auto"))
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert [trial["TrainingJobStatus"] for trial in found] == ["Completed"] * 3 + ["Stopped", "Completed"]
    assert [value(trial) for trial in found] == [9, 9, 9, 2, 9]
    assert job["TrainingJobStatusCounters"]["Stopped"] == 1
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 5, "Pending": 0, "Failed": 0}


def test_hyperband_ends_trials_while_they_run(local: Local) -> None:
    # Nobody ends by himself: whom his bracket spares takes more than MaxResource, read from `epochs`.
    code = NUMBER + 'print(f"accuracy={number}\\n" * 4); time.sleep(600)'
    asked = request(code, jobs=4, Strategy="Hyperband", ParameterRanges=ONE)
    asked["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] = "3"
    job, found = tuned(local, asked)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert [(trial["TrainingJobStatus"], value(trial)) for trial in found] == [("Stopped", n) for n in (1, 2, 3, 4)]


def test_warm_start(local: Local) -> None:
    parent, before = tuned(local, request())
    name = parent["HyperParameterTuningJobName"]
    # Never as good as the parent, whose trials have at least one epoch more than these.
    asked = request("print('accuracy=0.5')", jobs=1)
    asked["TrainingJobDefinition"]["StaticHyperParameters"]["code"] = "print('accuracy=0.5')"
    asked["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    job, found = tuned(local, asked)
    assert job["BestTrainingJob"]["TrainingJobName"] == found[0]["TrainingJobName"]
    overall = job["OverallBestTrainingJob"]
    assert overall["TrainingJobName"] == max(before, key=value)["TrainingJobName"]
    assert overall["TuningJobName"] == name
    better = request("print('accuracy=100')", jobs=1)
    better["WarmStartConfig"] = asked["WarmStartConfig"]
    job, found = tuned(local, better)
    assert job["OverallBestTrainingJob"]["TrainingJobName"] == found[0]["TrainingJobName"]
    transfer = request(jobs=1)
    transfer["TrainingJobDefinition"]["InputDataConfig"] = [channel("train", local.state.parent.as_uri())]
    transfer["WarmStartConfig"] = {**asked["WarmStartConfig"], "WarmStartType": "TransferLearning"}
    job, _ = tuned(local, transfer)
    assert "OverallBestTrainingJob" not in job

    def refused(message: str, **changes: Any) -> None:
        other = request(**changes.pop("config", {}))
        other["WarmStartConfig"] = {**asked["WarmStartConfig"], **changes.pop("warm", {})}
        other["TrainingJobDefinition"].update(changes)
        with pytest.raises(ClientError, match=message):
            create(local, other)

    static = {"code": CODE}
    refused("must name another tuning job", warm={"ParentHyperParameterTuningJobs": [
        {"HyperParameterTuningJobName": name}, {"HyperParameterTuningJobName": name}]})  # fmt: skip
    refused("can't find a tuning job with the name nobody", warm={"ParentHyperParameterTuningJobs": [
        {"HyperParameterTuningJobName": "nobody"}]})  # fmt: skip
    refused("InputDataConfig is not that of the parent", InputDataConfig=[channel("train", "file:///data")])
    objective = {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "acc"}}
    refused("is Maximize 'acc', that of this one Minimize 'acc'", config=objective)
    refused("The set of tunable plus static HyperParameter names", StaticHyperParameters={**static, "more": "1"})
    continuous = {**RANGES, "IntegerParameterRanges": [], "ContinuousParameterRanges": [
        *RANGES["ContinuousParameterRanges"], {"Name": "epochs", "MinValue": "1", "MaxValue": "9"}]}  # fmt: skip
    refused("'epochs' is Integer in the parent tuning job .* and Continuous", config={"ParameterRanges": continuous})


def test_a_parent_must_have_ended(local: Local) -> None:
    name = create(local, request("import time; time.sleep(600)", jobs=1))
    asked = request()
    asked["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    with pytest.raises(ClientError, match="is in status InProgress: it must be Completed, Stopped or Failed"):
        create(local, asked)
    with pytest.raises(ClientError, match="is in status InProgress: stop it"):
        local.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_a_trial_gets_its_share_of_the_cpus_unless_the_request_says_otherwise(local: Local) -> None:
    code = 'import os; print("accuracy=" + os.environ.get("OMP_NUM_THREADS", "0"))'
    share = max(1, cpus() // 2)
    assert [value(trial) for trial in tuned(local, request(code, jobs=2, parallel=2))[1]] == [share] * 2
    assert value(tuned(local, request(code, jobs=1, parallel=1))[1][0]) == int(os.environ.get("OMP_NUM_THREADS", "0"))
    asked = request(code, jobs=2, parallel=2)
    asked["TrainingJobDefinition"]["Environment"] = {"OMP_NUM_THREADS": "7"}
    assert [value(trial) for trial in tuned(local, asked)[1]] == [7, 7]


def test_no_more_trials_at_once_than_the_machine_is_to_have(start: Callable[..., Local], tmp_path: Path) -> None:
    one = start("--max-parallel-jobs", "1")
    code = f"""
import os, time
place = {str(tmp_path / "place")!r}
os.close(os.open(place, os.O_CREAT | os.O_EXCL))  # fails where another trial runs
time.sleep(0.2)
os.unlink(place)
print("accuracy=1")
"""
    names = [create(one, request(code, jobs=3, parallel=3)) for _ in range(2)]
    for name in names:
        job = ended(one, name)
        assert job["TrainingJobStatusCounters"]["Completed"] == 3
        assert job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"] == 3


def test_a_target_ends_the_search_and_what_still_runs(local: Local) -> None:
    code = NUMBER + 'time.sleep(600 * (number == 1)); print(f"accuracy={number}")'
    job, found = tuned(local, request(code, jobs=9, TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 3}))
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert [trial["TrainingJobStatus"] for trial in found] == ["Stopped", "Completed", "Completed"]
    assert value(job["BestTrainingJob"]) == 3


def test_no_improvement_ends_the_search(local: Local) -> None:
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    code = NUMBER + 'print(f"accuracy={[1, 2, 2.01, 1, 2, 3][number - 1]}")'  # 2.01 is less than 1 % better
    job, found = tuned(local, request(code, jobs=9, parallel=1, TuningJobCompletionCriteria=criteria))
    assert (job["HyperParameterTuningJobStatus"], len(found)) == ("Completed", 5)
    assert job["TuningJobCompletionDetails"] == {"NumberOfTrainingJobsObjectiveNotImproving": 3}
    assert job["BestTrainingJob"]["TrainingJobName"] == found[2]["TrainingJobName"]
    assert job["ConsumedResources"]["RuntimeInSeconds"] == int(
        (job["HyperParameterTuningEndTime"] - job["CreationTime"]).total_seconds()
    )


def test_the_time_of_a_search_is_limited(tmp_path: Path, process_path: Path) -> None:
    """AWS's least limit is two minutes, so the server is not asked over HTTP."""
    platform = Platform(Settings(tmp_path / "state", process_path, training_stop_s=1))
    limits = {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 1}
    asked = request("import time; time.sleep(600)", ResourceLimits=limits)
    asked["TrainingJobDefinition"]["OutputDataConfig"] = {"S3OutputPath": (tmp_path / "out").as_uri()}
    platform.tuning.submit(asked, "eu-west-1")
    job = wait_for(
        lambda: platform.records.get("tuning-jobs", asked["HyperParameterTuningJobName"]),
        lambda record: record["HyperParameterTuningJobStatus"] != "InProgress",
    )
    platform.shutdown()
    assert job["TrainingJobStatusCounters"]["Stopped"] == len(job["_Trials"]) == 1
    assert (job["HyperParameterTuningJobStatus"], job["FailureReason"][-9:]) == ("Failed", "(stopped)")


def test_several_definitions_take_turns(local: Local) -> None:
    asked = request(jobs=4)
    definition, config = asked.pop("TrainingJobDefinition"), asked["HyperParameterTuningJobConfig"]
    objective = config.pop("HyperParameterTuningJobObjective")
    config.pop("ParameterRanges")
    epochs = {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "9"}]}
    definition["OutputDataConfig"] = {"S3OutputPath": (local.state.parent / "out").as_uri()}
    definition["TuningObjective"] = objective
    asked["TrainingJobDefinitions"] = [
        {**definition, "DefinitionName": "first", "HyperParameterRanges": epochs,
         "StaticHyperParameters": {"code": CODE, "lr": "0"}},
        {**definition, "DefinitionName": "second", "HyperParameterRanges": {**RANGES, **epochs}},
    ]  # fmt: skip
    asked["Tags"] = [{"Key": "team", "Value": "search"}]
    local.sagemaker.create_hyper_parameter_tuning_job(**asked)
    name = asked["HyperParameterTuningJobName"]
    job = ended(local, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    found = trials(local, name)
    assert [trial["TrainingJobDefinitionName"] for trial in found] == ["first", "second"] * 2
    assert [sorted(trial["TunedHyperParameters"]) for trial in found] == [["epochs"], ["batch", "epochs", "lr"]] * 2
    assert value(job["BestTrainingJob"]) == max(map(value, found))
    assert local.sagemaker.list_tags(ResourceArn=found[0]["TrainingJobArn"])["Tags"] == asked["Tags"]
    config["HyperParameterTuningJobObjective"] = objective
    with pytest.raises(ClientError, match="each definition gives its own TuningObjective"):
        local.sagemaker.create_hyper_parameter_tuning_job(**asked)


def test_a_deleted_search_leaves_its_training_jobs(local: Local) -> None:
    job, found = tuned(local, request(jobs=1))
    name = job["HyperParameterTuningJobName"]
    local.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    with pytest.raises(local.sagemaker.exceptions.ResourceNotFound):
        local.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert local.finished(found[0]["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_a_trial_that_is_deleted_meanwhile_is_still_counted(local: Local) -> None:
    name = create(local, request(NUMBER + 'print("accuracy=1"); time.sleep(600 * (number > 1))', jobs=2, parallel=1))
    first, _ = wait_for(lambda: trials(local, name), lambda found: len(found) == 2)
    local.sagemaker.delete_training_job(TrainingJobName=first["TrainingJobName"])
    local.printed(trials(local, name)[0]["TrainingJobName"], "accuracy=1")
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    job = ended(local, name)
    assert job["BestTrainingJob"]["TrainingJobName"] == first["TrainingJobName"]
    counters = job["TrainingJobStatusCounters"]
    assert (counters["Completed"], counters["Stopped"], len(trials(local, name))) == (1, 1, 1)


def hyperband(**config: int) -> dict[str, Any]:
    return {"Strategy": "Hyperband", "StrategyConfig": {"HyperbandStrategyConfig": config}}


CHOICES = {"CategoricalParameterRanges": [{"Name": "batch", "Values": ["16", "32", "64"]}]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Strategy": "Grid"}, "supports categorical hyperparameters only: give 'epochs'"),
        (
            {"Strategy": "Grid", "ParameterRanges": CHOICES},
            "must be the number of distinct combinations, 3, and not 4",
        ),
        ({"ParameterRanges": {}}, "at least one hyperparameter"),
        (
            {"ParameterRanges": {"CategoricalParameterRanges": [{"Name": "code", "Values": ["a"]}]}},
            "both static and tuned",
        ),
        (
            {"ParameterRanges": CHOICES},
            r"ranges \[3.0\] must be equal or greater than the value of MaxNumberOfJobs, \[4\]",
        ),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "f1"}},
            "A metric is required for this hyperparameter tuning job objective. .* name 'f1'",
        ),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "must give MaxNumberOfTrainingJobs"),
        (hyperband(), "MaxResource parameter is not provided and could not be inferred"),
        (hyperband(MinResource=9, MaxResource=3), "MinResource 9 and MaxResource 3 must be in this order"),
        (hyperband(MaxResource=20_001), "MaxResource at most 20000"),
        ({**hyperband(MaxResource=9), "Strategy": "Random"}, "only be given with the Strategy Hyperband"),
        (
            {**hyperband(MaxResource=9), "TrainingJobEarlyStoppingType": "Auto"},
            "must be Off with the Strategy Hyperband",
        ),
        (
            {"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 9}},
            "greater than or equal to 120",
        ),
        (
            {"ParameterRanges": {**RANGES, "AutoParameters": [{"Name": "a", "ValueHint": "1"}]}},
            "does not do HyperParameterTuningJobConfig.ParameterRanges.AutoParameters",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(local: Local, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create(local, request(**config))


def test_a_definition_is_given_once(local: Local) -> None:
    asked = request()
    asked["TrainingJobDefinitions"] = [asked["TrainingJobDefinition"]]
    with pytest.raises(ClientError, match="Either TrainingJobDefinition or TrainingJobDefinitions"):
        create(local, asked)
    asked = request()
    asked["TrainingJobDefinition"]["TuningObjective"] = {"Type": "Maximize", "MetricName": "acc"}
    with pytest.raises(ClientError, match="TuningObjective and HyperParameterRanges belong to TrainingJobDefinitions"):
        create(local, asked)
