"""STS: who is asking. Here it is always one session of one role of the one account, as in a SageMaker notebook."""

from __future__ import annotations

import secrets
import time
from typing import Any

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

ROLE = "local-sagemaker"
_ROLE_ID = "AROALOCALSAGEMAKER00"


def get_caller_identity(platform: Platform, call: Call) -> dict[str, Any]:
    user = _assumed(ROLE, "local")
    return {"Arn": user["Arn"], "UserId": user["AssumedRoleId"], "Account": ACCOUNT}


def assume_role(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    role = request["RoleArn"].rpartition("/")[2]
    return {
        "Credentials": _credentials(request.get("DurationSeconds", 3600)),
        "AssumedRoleUser": _assumed(role, request["RoleSessionName"]),
        **({"SourceIdentity": request["SourceIdentity"]} if "SourceIdentity" in request else {}),
    }


def get_session_token(platform: Platform, call: Call) -> dict[str, Any]:
    return {"Credentials": _credentials(call.parameters.get("DurationSeconds", 43_200))}


def _assumed(role: str, session: str) -> dict[str, str]:
    return {
        "AssumedRoleId": f"{_ROLE_ID}:{session}",
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}",
    }


def _credentials(seconds: int) -> dict[str, Any]:
    """As good as any other, because signatures are not checked."""
    return {
        "AccessKeyId": f"ASIA{secrets.token_hex(8).upper()}",
        "SecretAccessKey": secrets.token_urlsafe(30),
        "SessionToken": secrets.token_urlsafe(60),
        "Expiration": time.time() + seconds,
    }


HANDLERS = {
    "GetCallerIdentity": get_caller_identity,
    "AssumeRole": assume_role,
    "GetSessionToken": get_session_token,
}
SUPPORT = {
    "AssumeRole": Support(
        without_effect=(
            "PolicyArns",
            "Policy",
            "Tags",
            "TransitiveTagKeys",
            "ExternalId",
            "SerialNumber",
            "TokenCode",
            "ProvidedContexts",
            "MinimumSessionTokenSize",
        )
    ),
    "GetSessionToken": Support(without_effect=("SerialNumber", "TokenCode", "MinimumSessionTokenSize")),
}
