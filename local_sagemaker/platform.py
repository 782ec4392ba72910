"""Everything that one server holds, built once and handed to the operations."""

from __future__ import annotations

from local_sagemaker.hosting import Hosting
from local_sagemaker.invocations import Invocations
from local_sagemaker.logs import LogStore
from local_sagemaker.records import Records
from local_sagemaker.runner_choice import Runners
from local_sagemaker.s3 import access
from local_sagemaker.s3.service import S3
from local_sagemaker.settings import Settings
from local_sagemaker.training import TrainingJobs
from local_sagemaker.transform import TransformJobs
from local_sagemaker.tuning import TuningJobs


class Platform:
    """The records, the logs and those that work: training, tuning, transform, hosting, invocations."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.records = Records(settings.state)
        self.logs = LogStore(settings.state / "logs")
        self.s3 = S3(settings.state / "s3")
        runners = Runners(settings.process_path)
        self.training = TrainingJobs(self.records, self.logs, runners, settings)
        self.tuning = TuningJobs(self.records, self.training, settings)
        self.transform = TransformJobs(self.records, self.logs, runners, settings)
        self.hosting = Hosting(self.records, self.logs, runners, settings)
        self.invocations = Invocations(self.hosting, self.records)

    def recover(self) -> None:
        """Takes up a state that an earlier server left."""
        self.records.tidy()
        self.s3.store.recover()
        access.serve_from(self.s3.store)
        self.training.recover()
        self.tuning.recover()
        self.transform.recover()
        self.hosting.recover()
        self.invocations.recover()

    def shutdown(self) -> None:
        """Ends everything that runs; returns when no process is left."""
        self.invocations.shutdown()
        self.tuning.shutdown()
        self.training.shutdown()
        self.transform.shutdown()
        self.hosting.shutdown()
        self.invocations.close()
