"""The host of an endpoint by the family of its instances: which AMI, so that the NVIDIA driver is new enough.

The image's torch is built with CUDA 12.8, which runs on NVIDIA driver 525.60.13 and newer.
"""

from __future__ import annotations

from dataclasses import dataclass

from classifier.device import HOSTS
from orchestrate.errors import InputError


@dataclass(frozen=True)
class Host:
    """What to ask of the host. `ami`: InferenceAmiVersion, None for what the family starts with."""

    ami: str | None
    note: str | None
    """for people; None where there is nothing to tell"""


# Drivers with which families start, and those of the AMIs:
# https://docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html, and the documentation of
# ProductionVariant.InferenceAmiVersion in botocore's model of SageMaker.
DRIVER_470 = ("g4dn", "g5", "p3", "p4d", "p4de")
# 535 (g6, p5), 550 (p5e, p5en). AWS's page has no number for the others, but their GPUs came with drivers that are
# newer than what CUDA 12 needs: Ada (g6e) with 525, Blackwell (g7, g7e, p6) with 570.
NEW_ENOUGH = ("g6", "g6e", "g7", "g7e", "p5", "p5e", "p5en", "p6-b200", "p6-b300")
# The one with 535, which takes all of DRIVER_470. Unlike `...-gpu-2` it does not put the CUDA base image's
# compatibility libraries before a driver that needs none. `al2023-...-gpu-4-1` (580) is for CUDA 13: AWS's own tests
# found an image with CUDA 12.9 that does not start on it (aws/deep-learning-containers#6187).
DRIVER_535_AMI = HOSTS[12].inference_ami
# Of batch transform, with the same driver.
TRANSFORM_AMI = HOSTS[12].transform_ami
_NEURON = "its chips need AWS Neuron, and this image computes with CUDA or on a CPU"
REFUSED = {
    "inf1": _NEURON,
    "inf2": _NEURON,
    "trn1": _NEURON,
    "trn1n": _NEURON,
    "trn2": _NEURON,
    "dl1": "its chips are Habana Gaudi, and this image computes with CUDA or on a CPU",
    "p2": "its GPUs (K80) have no driver newer than 470, and CUDA 12 needs 525",
    "p6e-gb200": "its processors are ARM, and this image has CUDA on x86-64 only",
}


def choose(instance_type: str, version: str | None = None) -> Host:
    """The host for `ml.FAMILY.SIZE`, with the AMI `version` if a person asks for one.

    Raises:
        InputError: the image cannot use such an instance, or SageMaker has no such AMI.
    """
    family = "".join(instance_type.split(".")[1:2])
    if family in REFUSED:
        raise InputError(
            f"the image cannot use {instance_type}: {REFUSED[family]}; take a GPU such as ml.g5.xlarge or "
            f"ml.g6.xlarge, or a CPU such as ml.m5.large"
        )
    if version is not None:
        return _given(version)
    if family in DRIVER_470:
        note = f"{DRIVER_535_AMI} (NVIDIA driver 535): ml.{family} starts with 470, too old for CUDA 12"
        return Host(DRIVER_535_AMI, f"inference AMI: {note}")
    if family in NEW_ENOUGH:
        return Host(None, f"inference AMI: that of ml.{family}, whose NVIDIA driver is new enough for CUDA 12")
    return Host(None, None)


def of_transform(instance_type: str) -> str | None:
    """TransformAmiVersion of a batch transform job on `ml.FAMILY.SIZE`; None for what the family starts with.

    Raises:
        InputError: the image cannot use such an instance.
    """
    return TRANSFORM_AMI if choose(instance_type).ami else None


def _given(version: str) -> Host:
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    known = model.shape_for("ProductionVariantInferenceAmiVersion").enum
    if version not in known:
        raise InputError(f"SageMaker has no inference AMI {version!r}: give --inference-ami one of {', '.join(known)}")
    return Host(version, f"inference AMI: {version}, as was asked for")
