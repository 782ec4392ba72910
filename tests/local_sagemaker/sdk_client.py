"""What a user of the SageMaker SDK 3.x writes; nothing here says that SageMaker is local. Run by test_sdk.py.

python sdk_client.py CODE DIRECTORY      # what the image trains with; a directory with the input
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    HyperParameterTuningJob,
    Model,
    ModelPackageGroup,
    TrainingJob,
    TransformJob,
)
from sagemaker.core.shapes import (
    ContainerDefinition,
    ProductionVariant,
    TransformDataSource,
    TransformInput,
    TransformOutput,
    TransformResources,
    TransformS3DataSource,
)
from sagemaker.core.training.configs import Compute, InputData, StoppingCondition
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

ROLE = "arn:aws:iam::000000000000:role/anyone"
INSTANCE = "ml.m5.large"
logging.basicConfig(level=logging.INFO)
code, directory = sys.argv[1], Path(sys.argv[2])
said: dict[str, object] = {}
session = Session()
said["bucket"] = session.default_bucket()

trainer = ModelTrainer(
    training_image="process",
    role=ROLE,
    base_job_name="sdk",
    sagemaker_session=session,
    compute=Compute(instance_type=INSTANCE, instance_count=1, volume_size_in_gb=1),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
    hyperparameters={"code": code, "lr": "0.5"},
)
# A local path: the SDK uploads it to the default bucket.
data = InputData(channel_name="train", data_source=str(directory))
trainer.train(input_data_config=[data], wait=True, logs=True)
trained = TrainingJob.get(trainer._latest_training_job.training_job_name)
said["trained"] = [trained.training_job_status, trained.model_artifacts.s3_model_artifacts]

tuner = HyperparameterTuner(
    trainer,
    "loss",
    {"lr": ContinuousParameter(0.1, 0.9)},
    [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    objective_type="Minimize",
    max_jobs=2,
    max_parallel_jobs=2,
    base_tuning_job_name="sdk",
)
uploaded = trained.input_data_config[0].data_source.s3_data_source.s3_uri
tuner.tune(inputs=[InputData(channel_name="train", data_source=uploaded)], wait=True)
tuned = HyperParameterTuningJob.get(tuner.latest_tuning_job.hyper_parameter_tuning_job_name)
trials = list(tuned.get_all_training_jobs())
said["tuned"] = [tuned.hyper_parameter_tuning_job_status, len(trials)]
best = TrainingJob.get(tuner.best_training_job())
said["best"] = [best.training_job_status, 0.1 <= best.final_metric_data_list[0].value <= 0.9]

name = trained.training_job_name
container = ContainerDefinition(image="process", model_data_url=trained.model_artifacts.s3_model_artifacts)
model = Model.create(model_name=name, primary_container=container, execution_role_arn=ROLE)
variant = ProductionVariant(variant_name="A", model_name=name, instance_type=INSTANCE, initial_instance_count=1)
config = EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name)
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=b"woof", content_type="text/plain")
said["answer"] = answer.body.read().decode()
endpoint.delete()
endpoint.wait_for_delete(poll=1)
config.delete()

source = TransformDataSource(s3_data_source=TransformS3DataSource(s3_data_type="S3Prefix", s3_uri=uploaded))
batch = TransformJob.create(
    transform_job_name=name,
    model_name=name,
    transform_input=TransformInput(data_source=source, content_type="text/plain"),
    transform_output=TransformOutput(s3_output_path=f"s3://{session.default_bucket()}/out"),
    transform_resources=TransformResources(instance_type=INSTANCE, instance_count=1),
)
batch.wait(poll=1)
said["batch"] = [batch.transform_job_status, session.read_s3_file(session.default_bucket(), "out/photograph.out")]
model.delete()
said["models left"] = len(list(Model.get_all(name_contains=name)))

group = ModelPackageGroup.create(model_package_group_name=name)
said["group"] = ModelPackageGroup.get(name).model_package_group_status
group.delete()
Path(sys.argv[3]).write_text(json.dumps(said))
