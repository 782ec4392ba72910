"""IAM, as far as the SDKs ask before they start a job: every role is there and may do everything, because any
credentials are good here."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.listing import page
from local_sagemaker.platform import Platform
from local_sagemaker.protocol import Call
from local_sagemaker.support import Support

POLICY = {"PolicyName": "AdministratorAccess", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {
                "AWS": f"arn:aws:iam::{ACCOUNT}:root",
                "Service": ["sagemaker.amazonaws.com", "scheduler.amazonaws.com", "bedrock.amazonaws.com"],
            },
            "Action": "sts:AssumeRole",
        }
    ],
}
_SINCE = 1_577_836_800.0  # 2020-01-01: roles have no records


def get_role(platform: Platform, call: Call) -> dict[str, Any]:
    name = call.parameters["RoleName"]
    return {
        "Role": {
            "Path": "/",
            "RoleName": name,
            "RoleId": "AROALOCALSAGEMAKER00",
            "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            "CreateDate": _SINCE,
            "AssumeRolePolicyDocument": quote(json.dumps(_TRUST), safe=""),
            "MaxSessionDuration": 43_200,
        }
    }


def list_attached(platform: Platform, call: Call) -> dict[str, Any]:
    is_there = POLICY["PolicyArn"].startswith(f"arn:aws:iam::aws:policy{call.parameters.get('PathPrefix', '/')}")
    return {"AttachedPolicies": [POLICY] if is_there else [], "IsTruncated": False}


def list_inline(platform: Platform, call: Call) -> dict[str, Any]:
    return {"PolicyNames": [], "IsTruncated": False}


def list_tags(platform: Platform, call: Call) -> dict[str, Any]:
    return {"Tags": [], "IsTruncated": False}


def simulate(platform: Platform, call: Call) -> dict[str, Any]:
    request = call.parameters
    results = [
        {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed", "MatchedStatements": []}
        for action in request["ActionNames"]
        for resource in request.get("ResourceArns", ["*"])
    ]
    chosen, token = page(
        results,
        request.get("Marker"),
        request.get("MaxItems", 100),
        lambda result: f"{result['EvalActionName']} {result['EvalResourceName']}",
    )
    return {"EvaluationResults": chosen, "IsTruncated": token is not None, **({"Marker": token} if token else {})}


HANDLERS = {
    "GetRole": get_role,
    "ListAttachedRolePolicies": list_attached,
    "ListRolePolicies": list_inline,
    "ListRoleTags": list_tags,
    "SimulatePrincipalPolicy": simulate,
}
_PAGES = ("RoleName", "Marker", "MaxItems")
SUPPORT = {
    "ListAttachedRolePolicies": Support(without_effect=_PAGES),
    "ListRolePolicies": Support(without_effect=_PAGES),
    "ListRoleTags": Support(without_effect=_PAGES),
    "SimulatePrincipalPolicy": Support(
        without_effect=(
            "PolicySourceArn",
            "PolicyInputList",
            "PermissionsBoundaryPolicyInputList",
            "ResourcePolicy",
            "ResourceOwner",
            "CallerArn",
            "ContextEntries",
            "PolicyExclusionList",
            "ResourceHandlingOption",
        )
    ),
}
