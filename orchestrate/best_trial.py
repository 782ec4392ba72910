"""The best trial of a search, for a training that takes it up."""

from __future__ import annotations

from orchestrate import follow, one_job, tuned
from orchestrate.errors import InputError
from orchestrate.session import Session


def of(session: Session, name: str) -> tuple[dict[str, str], str, dict[str, str]]:
    """Of a search's best trial: all hyperparameters, the image, channel -> URI of the photographs and weights.

    Raises:
        InputError: there is no such search, or it has no best trial (yet).
    """
    job = tuned.describe(session, name)
    if "HyperParameterTuningJobName" in job:
        definition, best = job["TrainingJobDefinition"], job.get("BestTrainingJob")
        folder = definition["OutputDataConfig"]["S3OutputPath"]
        chosen = best and {**definition.get("StaticHyperParameters", {}), **best["TunedHyperParameters"]}
        status = job["HyperParameterTuningJobStatus"]
    else:
        definition, status = job, job["TrainingJobStatus"]
        folder = one_job.folder_of(job)
        found = one_job.trials(session, job) if status in follow.ENDED else []
        top = follow.best(found, one_job.direction(job))
        chosen = top and {**job["HyperParameters"], **top.hyperparameters}
    if not chosen:
        raise InputError(f"the search {name} is {status} and has no best trial: "
                         f"see python orchestrate/tune.py {session.flags} --attach {name}")  # fmt: skip
    inputs = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in definition["InputDataConfig"]}
    inputs = tuned.noted(session, folder).get("inputs") or inputs
    return tuned.passed_on(chosen), definition["AlgorithmSpecification"]["TrainingImage"], inputs
