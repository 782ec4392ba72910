"""The steps against a real server, with a container of a few lines: requests, following, results, cleaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from local_sagemaker import validation
from orchestrate import (
    asking,
    best_trial,
    channels,
    clean,
    console,
    deploy,
    follow,
    hosting,
    jobs,
    predict,
    ranges,
    search,
    train,
    tune,
)
from orchestrate.channels import Weights
from orchestrate.errors import InputError, JobFailed
from orchestrate.hosting import Hosting
from orchestrate.search import Search
from orchestrate.session import Session
from photographs import CLASSES, jpeg

MACHINE = jobs.Machine("ml.m5.xlarge", 600)


def space(*texts: str, **settings: Any) -> Search:
    chosen = tuple(ranges.parse(text) for text in texts)
    return search.check(Search(chosen, **settings))


Train = Callable[..., train.Trained]


@pytest.fixture
def trained(local: Session, out: console.Console, inputs: dict[str, str]) -> Train:
    """Trains with the given hyperparameters."""

    def call(channels: dict[str, str] = inputs, **hyperparameters: str) -> train.Trained:
        given = {name.replace("_", "-"): value for name, value in hyperparameters.items()}
        return train.train(local, out, jobs.unique_name("train"), "process", channels, given, MACHINE)

    return call


def test_what_is_sent_is_what_is_printed(local: Session, inputs: dict[str, str], tmp_path: Path) -> None:
    sent: dict[str, Any] = {}
    for operation in ("CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateModel", "CreateEndpointConfig"):
        local.boto.events.register(
            f"provide-client-params.sagemaker.{operation}", lambda params, model, **_: sent.update({model.name: params})
        )
    training = jobs.training(local, jobs.unique_name("train"), "process", inputs, {"epochs": "1"}, MACHINE)
    tuning = jobs.tuning(
        local,
        jobs.unique_name("tune"),
        "process",
        inputs,
        {"epochs": "1"},
        MACHINE,
        # Seed 0: what is false in Python is sent too.
        space("learning-rate=0.001:0.1:log", "batch-size=16,32", trials=1, strategy="random", seed=0),
    )
    name = jobs.unique_name("serve")
    artifact = tmp_path / "model.tar.gz"
    artifact.write_bytes(b"")
    requests = {
        "CreateTrainingJob": training,
        "CreateHyperParameterTuningJob": tuning,
        "CreateModel": hosting.model(local, name, "process", artifact.as_uri()),
        "CreateEndpointConfig": hosting.endpoint_config(
            name, Hosting("ml.g5.xlarge", ami="al2-ami-sagemaker-inference-gpu-2-1")
        ),
    }
    for operation, request in requests.items():
        validation.check("sagemaker", operation, request)
        jobs.create(local, operation, request)
    assert sent == requests


def test_search_then_train_with_its_best(
    local: Session, inputs: dict[str, str], capsys: pytest.CaptureFixture[str], out: console.Console
) -> None:
    name = jobs.unique_name("tune")
    looked_for = space("learning-rate=0.001:0.1:log", "epochs=2:3", trials=4, parallel=2)
    found = tune.tune(local, out, name, inputs, {"optimizer": "sgd"}, MACHINE, looked_for)
    told = capsys.readouterr().err
    assert [trial.number for trial in found.trials] == [1, 2, 3, 4]
    assert all(f"trial {n}  " in told for n in (1, 2, 3, 4))
    assert found.best.objective == max(t.objective for t in found.trials if t.objective is not None)
    assert found.hyperparameters == {"optimizer": "sgd", **found.best.hyperparameters}
    assert f"{name}/best.json" in found.best_json
    assert local.storage.size(found.best_json)
    tune.show(found, out)
    rows = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["best"]] == [str(found.best.number)]

    chosen, image, from_tuning = best_trial.of(local, name)
    assert (chosen, image, from_tuning) == (found.hyperparameters, "process", inputs)
    assert tune.attach(local, out, name) == found


def test_search_for_the_lowest_loss(local: Session, inputs: dict[str, str], out: console.Console) -> None:
    looked_for = space("learning-rate=0.001:0.1:log", trials=3, objective="valid:loss", strategy="random")
    found = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, looked_for)
    assert found.best.objective == min(t.objective for t in found.trials if t.objective is not None)


def test_a_failed_trial_is_told_and_the_search_goes_on(
    local: Session, inputs: dict[str, str], capsys: pytest.CaptureFixture[str], out: console.Console
) -> None:
    looked_for = space("weight-decay=0,1", "learning-rate=0.001:0.1:log", trials=6, strategy="random")
    found = tune.tune(local, out, jobs.unique_name("tune"), inputs, {}, MACHINE, looked_for)
    statuses = {(t.hyperparameters["weight-decay"], t.status) for t in found.trials}
    assert statuses == {("0", "Completed"), ("1", "Failed")}
    assert "the bowl is empty" in capsys.readouterr().err


def test_a_search_without_a_single_value(local: Session, inputs: dict[str, str], out: console.Console) -> None:
    looked_for = space("learning-rate=0.001:0.1:log", trials=2)
    name = jobs.unique_name("tune")
    with pytest.raises(JobFailed, match=f"tuning job {name} ended"):
        tune.tune(local, out, name, inputs, {"weight-decay": "1"}, MACHINE, looked_for)
    with pytest.raises(InputError, match="has no best trial"):
        best_trial.of(local, name)


def test_training_tells_its_log_and_fetches_its_results(
    local: Session, inputs: dict[str, str], capsys: pytest.CaptureFixture[str], out: console.Console, trained: Train
) -> None:
    done = trained(learning_rate="0.01", debug="true")
    told = capsys.readouterr().err
    assert "epoch 1/1: train:loss=0.5" in told and "[Completed]" in told
    assert done.training.metrics["valid:accuracy"] == pytest.approx(1.0)
    assert train.measured(done) == {"valid:accuracy": 1.0, "test:accuracy": 1.0}
    assert done.results.model["classes"] == list(CLASSES)
    assert done.results.report and "<h1>" in done.results.report.read_text()
    train.show(done, out)
    assert "test:accuracy=1.0000" in capsys.readouterr().err


def test_training_without_the_hook_has_no_report(local: Session, inputs: dict[str, str], trained: Train) -> None:
    assert trained(debug="false").results.report is None


def test_a_failed_training_says_why(local: Session, inputs: dict[str, str], trained: Train) -> None:
    with pytest.raises(JobFailed, match="the bowl is empty: fill it"):
        trained(weight_decay="1")


def test_weights_of_a_file_become_a_channel(local: Session, data: Path, tmp_path: Path, trained: Train) -> None:
    folder = tmp_path / "some where"  # with a neighbour, which the job must not see
    folder.mkdir()
    (folder / "resnet34-89abcdef.pth").write_bytes(b"weights")
    (folder / "other.txt").write_text("other")
    weights = channels.parse_weights(str(folder / "resnet34-89abcdef.pth"), "resnet34")
    assert weights.hyperparameter == "pretrained"
    inputs = channels.publish(local, str(data), weights)
    done = trained(inputs, model="resnet34")
    assert done.results.model["channels"] == ["test", "train", "valid", "weights"]
    assert [name for name, _ in local.storage.list(inputs["weights"])] == ["resnet34-89abcdef.pth"]


@pytest.mark.parametrize(
    ("name", "sentence"), [("weights.pth", "must be named resnet18-HASH.pth"), ("resnet50-01234567.pth", "--model")]
)
def test_weights_of_another_name(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=sentence):
        channels.parse_weights(str(tmp_path / name), "resnet18")


def test_data_by_its_uri(local: Session, data: Path, inputs: dict[str, str]) -> None:
    assert channels.publish(local, data.as_uri(), Weights()) == inputs
    with pytest.raises(InputError, match="has no train/ and no valid/"):
        channels.publish(local, (data / "train").as_uri(), Weights())


@pytest.fixture
def endpoint(local: Session, inputs: dict[str, str], out: console.Console) -> deploy.Deployed:
    name = jobs.unique_name("train")
    train.train(local, out, name, "process", inputs, {}, MACHINE)
    image, artifact = deploy.of_training(local, name)
    return deploy.deploy(local, out, jobs.unique_name("serve"), image, artifact, Hosting())


def test_deploy_predict_and_clean(
    local: Session, endpoint: deploy.Deployed, data: Path, tmp_path: Path, out: console.Console
) -> None:
    photographs = [data / "test" / name / "0.jpg" for name in CLASSES]
    answers = predict.predict(local, endpoint.endpoint, photographs, top_k=2)
    assert [a.labels for a in answers] == [((CLASSES[0], 0.5), (CLASSES[1], 0.25))] * 3
    for some in (answers, answers[:1]):
        predict.draw(some, tmp_path / "answers.jpg")
        with Image.open(tmp_path / "answers.jpg") as picture:
            assert picture.width > 300

    png = tmp_path / "a.png"
    png.write_bytes(jpeg(0.1, np.random.default_rng(0), format="PNG"))
    for path, sentence in (
        (png, "that is no JPEG"),
        (tmp_path / "nothing.jpg", "there is no such file"),
    ):
        with pytest.raises(InputError, match=sentence):
            predict.predict(local, endpoint.endpoint, [path])
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(asking.MOST_BYTES + 1))
    with pytest.raises(InputError, match="6,291,457 bytes"):
        predict.predict(local, endpoint.endpoint, [large])

    items = [item for item in clean.find(local) if item.name == endpoint.endpoint]
    assert [item.kind for item in items] == ["Endpoint", "EndpointConfig", "Model"]
    clean.clean(local, items, out)
    assert not [item for item in clean.find(local) if item.name == endpoint.endpoint]
    clean.clean(local, items, out)  # what is gone is gone


def test_a_failed_endpoint_tells_its_log_and_leaves_nothing(
    local: Session, inputs: dict[str, str], capsys: pytest.CaptureFixture[str], out: console.Console, trained: Train
) -> None:
    done = trained(label_smoothing="0.9")
    name = jobs.unique_name("serve")
    with pytest.raises(JobFailed, match=f"endpoint {name} ended Failed"):
        deploy.deploy(local, out, name, "process", done.training.artifact, Hosting())
    assert "this model bites" in capsys.readouterr().err
    assert not [item for item in clean.find(local) if item.name == name]


def test_the_inference_ami_that_is_told_is_the_one_that_is_set(
    local: Session, endpoint: deploy.Deployed, out: console.Console, capsys: pytest.CaptureFixture[str]
) -> None:
    def deployed_with(instance_type: str, ami: str | None = None) -> tuple[str | None, str]:
        capsys.readouterr()
        name = jobs.unique_name("serve")
        deploy.deploy(local, out, name, "process", endpoint.artifact, Hosting(instance_type, ami=ami))
        config = local.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
        deploy.undeploy(local, name)
        return config["ProductionVariants"][0].get("InferenceAmiVersion"), capsys.readouterr().err

    ami, told = deployed_with("ml.g5.xlarge")
    assert ami == "al2-ami-sagemaker-inference-gpu-2-1"
    assert f"inference AMI: {ami} (NVIDIA driver 535): ml.g5 starts with 470, too old for CUDA 12" in told
    ami, told = deployed_with("ml.g6.xlarge")
    assert ami is None and "inference AMI: that of ml.g6, whose NVIDIA driver is new enough" in told
    ami, told = deployed_with("ml.g6.xlarge", "al2-ami-sagemaker-inference-gpu-3-1")
    assert ami == "al2-ami-sagemaker-inference-gpu-3-1" and f"inference AMI: {ami}, as was asked for" in told
    with pytest.raises(InputError, match=r"cannot use ml\.inf2\.xlarge: its chips need AWS Neuron"):
        deploy.deploy(local, out, jobs.unique_name("serve"), "process", endpoint.artifact, Hosting("ml.inf2.xlarge"))


def test_what_stood_there_before_survives_a_failed_deployment(
    local: Session, endpoint: deploy.Deployed, data: Path, out: console.Console
) -> None:
    with pytest.raises(Exception, match="already exist"):
        deploy.deploy(local, out, endpoint.endpoint, "process", endpoint.artifact, Hosting())
    predict.predict(local, endpoint.endpoint, [data / "test" / CLASSES[0] / "0.jpg"])


def test_only_what_is_tagged_is_cleaned_and_a_search_goes_with_its_trials(
    local: Session, inputs: dict[str, str], out: console.Console
) -> None:
    local.client("sagemaker").create_model(
        ModelName="a-stranger", ExecutionRoleArn=local.role, PrimaryContainer={"Image": "process"}
    )
    running, alone = jobs.unique_name("tune"), jobs.unique_name("train")
    request = jobs.tuning(local, running, "process", inputs, {"workers": "60"}, MACHINE, space("epochs=1:2", trials=2))
    jobs.create(local, "CreateHyperParameterTuningJob", request)
    jobs.create(local, "CreateTrainingJob", jobs.training(local, alone, "process", inputs, {"workers": "60"}, MACHINE))
    while not follow.trials(local, running):
        pass
    items = clean.find(local)
    mine = [item for item in items if item.name.startswith((running, alone))]
    assert [(i.kind, i.name, i.action) for i in mine] == [
        ("tuning job", running, "stop"),
        ("training job", alone, "stop"),
    ]
    assert "a-stranger" not in {item.name for item in items}
    clean.clean(local, mine, out)
    with pytest.raises(JobFailed, match="Stopped"):
        follow.training(local, alone, out)
    local.client("sagemaker").delete_model(ModelName="a-stranger")
