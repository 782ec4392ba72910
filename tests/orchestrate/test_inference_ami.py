"""The table of instance families and AMIs against what SageMaker's own model knows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
import pytest

from classifier import device
from orchestrate import inference_ami
from orchestrate.errors import InputError

Run = Callable[..., Any]
AMI = "ProductionVariantInferenceAmiVersion"


@cache
def enum(shape: str) -> list[str]:
    known: list[str] = botocore.session.get_session().get_service_model("sagemaker").shape_for(shape).enum
    return known


def test_every_family_with_an_accelerator_is_in_the_table_once() -> None:
    table = [*inference_ami.DRIVER_470, *inference_ami.NEW_ENOUGH, *inference_ami.REFUSED]
    families = {instance_type.split(".")[1] for instance_type in enum("ProductionVariantInstanceType")}
    # AWS names them by a letter (or three) and the generation: g5, p4de, p6-b200, inf2, trn1n, dl1; r5 and c6gd compute
    # on CPUs.
    assert sorted(table) == sorted(family for family in families if re.match(r"(g|p|inf|trn|dl)\d", family))


def test_every_instance_type_gives_a_known_ami_or_none_or_a_refusal() -> None:
    for instance_type in enum("ProductionVariantInstanceType"):
        family = instance_type.split(".")[1]
        if family in inference_ami.REFUSED:
            with pytest.raises(InputError, match=f"cannot use {instance_type}: .*; take a GPU such as"):
                inference_ami.choose(instance_type)
            continue
        host = inference_ami.choose(instance_type)
        assert (host.ami in enum(AMI)) == (family in inference_ami.DRIVER_470)
        assert (host.note is None) == (family not in (*inference_ami.DRIVER_470, *inference_ami.NEW_ENOUGH))


def test_the_ami_has_the_driver_that_the_table_says() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    text = model.shape_for("ProductionVariant").members["InferenceAmiVersion"].documentation
    drivers = dict(re.findall(r"<dt>(\S+)</dt>.*?NVIDIA driver version: (\d+)", text))
    assert drivers[inference_ami.DRIVER_535_AMI] == "535"
    for hosts in device.HOSTS.values():
        assert int(drivers[hosts.inference_ami]) >= int(hosts.driver.partition(".")[0])
    transform = model.shape_for("TransformResources").members["TransformAmiVersion"].documentation
    drivers = dict(re.findall(r"<dt>(\S+)</dt>.*?NVIDIA driver version: (\d+)", transform))
    assert int(drivers[str(device.HOSTS[12].transform_ami)]) >= int(device.HOSTS[12].driver.partition(".")[0])
    assert not any(int(driver) >= 580 for driver in drivers.values()), "then HOSTS[13] can name one"


def test_the_container_advises_what_the_script_sets() -> None:
    wheel = device.installed()
    assert wheel.cuda is None or device.HOSTS[wheel.cuda[0]].inference_ami == inference_ami.DRIVER_535_AMI


def test_the_option_overrides_the_table(run: Run) -> None:
    common = ("--image", "a.example/kennel:1", "--artifact", "s3://bucket/model.tar.gz", "--dry-run")
    done = run("deploy", *common, "--instance-type", "ml.g4dn.xlarge")
    variant = json.loads(done.stdout)["CreateEndpointConfig"]["ProductionVariants"][0]
    assert variant["InferenceAmiVersion"] == inference_ami.DRIVER_535_AMI
    assert f"inference AMI: {inference_ami.DRIVER_535_AMI} (NVIDIA driver 535)" in done.stderr
    for version in enum(AMI):
        assert inference_ami.choose("ml.g5.xlarge", version).ami == version
    done = run("deploy", *common, "--instance-type", "ml.g4dn.xlarge", "--inference-ami", "gpu-9")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"error: SageMaker has no inference AMI 'gpu-9': give --inference-ami one of {', '.join(enum(AMI))}\n"
    )
    done = run("deploy", *common, "--instance-type", "ml.p2.xlarge")
    assert done.returncode == 2 and "error: the image cannot use ml.p2.xlarge: its GPUs (K80)" in done.stderr
