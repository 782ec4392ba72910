"""STS: who is asking. Here it is always the one account."""

from __future__ import annotations

from typing import Any

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call


def get_caller_identity(platform: Platform, call: Call) -> dict[str, Any]:
    return {"Arn": f"arn:aws:iam::{ACCOUNT}:root", "UserId": ACCOUNT, "Account": ACCOUNT}


HANDLERS = {"GetCallerIdentity": get_caller_identity}
