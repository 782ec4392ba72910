"""Operations on buckets, and what a plain bucket answers about settings that nobody has made."""

from __future__ import annotations

from typing import Any

from local_sagemaker.arns import ACCOUNT
from local_sagemaker.errors import ApiError
from local_sagemaker.s3.service import OWNER, S3, Asked, Given, Handler
from local_sagemaker.support import Support

FULL_CONTROL = {
    "Owner": OWNER,
    "Grants": [
        {
            "Grantee": {"Type": "CanonicalUser", "ID": ACCOUNT, "DisplayName": OWNER["DisplayName"]},
            "Permission": "FULL_CONTROL",
        }
    ],
}


def list_(s3: S3, asked: Asked) -> Given:
    request = asked.parameters
    after, limit = request.get("ContinuationToken", ""), request.get("MaxBuckets", 10_000)
    prefix, region = request.get("Prefix", ""), request.get("BucketRegion")
    found = [
        {"Name": name, "CreationDate": known["CreationTime"], "BucketRegion": known["Region"]}
        for name, known in s3.store.buckets()
        if name.startswith(prefix) and name > after and region in (None, known["Region"])
    ]
    more = {"ContinuationToken": found[limit - 1]["Name"]} if len(found) > limit else {}
    return Given({"Buckets": found[:limit], "Owner": OWNER, **more})


def create(s3: S3, asked: Asked) -> Given:
    name = asked.parameters["Bucket"]
    region = asked.parameters.get("CreateBucketConfiguration", {}).get("LocationConstraint", "us-east-1")
    # In us-east-1 S3 answers to the owner as if the bucket were new.
    if not s3.store.create_bucket(name, region) and (region, s3.store.bucket(name)["Region"]) != ("us-east-1",) * 2:
        raise ApiError(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            409,
            BucketName=name,
        )
    return Given({"Location": f"/{name}"})


def head(s3: S3, asked: Asked) -> Given:
    return Given({"BucketRegion": s3.store.bucket(asked.parameters["Bucket"])["Region"], "AccessPointAlias": False})


def location(s3: S3, asked: Asked) -> Given:
    region = s3.store.bucket(asked.parameters["Bucket"])["Region"]
    return Given({"LocationConstraint": None if region == "us-east-1" else region})


def delete(s3: S3, asked: Asked) -> Given:
    s3.store.delete_bucket(asked.parameters["Bucket"])
    return Given(status=204)


def _plain(members: dict[str, Any]) -> Handler:
    """The answer of a bucket with the settings that a new one has."""

    def handler(s3: S3, asked: Asked) -> Given:
        s3.store.bucket(asked.parameters["Bucket"])
        return Given(members)

    return handler


def _none(code: str, message: str) -> Handler:
    """The refusal of a bucket that has no such settings."""

    def handler(s3: S3, asked: Asked) -> Given:
        s3.store.bucket(asked.parameters["Bucket"])
        raise ApiError(code, message, 404, BucketName=asked.parameters["Bucket"])

    return handler


HANDLERS: dict[str, Handler] = {
    "ListBuckets": list_,
    "CreateBucket": create,
    "HeadBucket": head,
    "GetBucketLocation": location,
    "DeleteBucket": delete,
    "GetBucketAcl": _plain(FULL_CONTROL),
    "GetBucketVersioning": _plain({}),
    "GetBucketLogging": _plain({}),
    "GetBucketNotificationConfiguration": _plain({}),
    "GetBucketAccelerateConfiguration": _plain({}),
    "GetBucketRequestPayment": _plain({"Payer": "BucketOwner"}),
    "GetBucketEncryption": _plain(
        {
            "ServerSideEncryptionConfiguration": {
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
            }
        }
    ),
    "GetBucketOwnershipControls": _plain(
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}
    ),
    "GetPublicAccessBlock": _plain(
        {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            }
        }
    ),
    "GetBucketPolicy": _none("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketPolicyStatus": _none("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketTagging": _none("NoSuchTagSet", "The TagSet does not exist"),
    "GetBucketCors": _none("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketLifecycleConfiguration": _none(
        "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"
    ),
    "GetBucketWebsite": _none(
        "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"
    ),
    "GetBucketReplication": _none(
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found"
    ),
    "GetObjectLockConfiguration": _none(
        "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
    ),
}
SUPPORT = {
    "CreateBucket": Support(
        without_effect=(
            "ACL",
            "GrantFullControl",
            "GrantRead",
            "GrantReadACP",
            "GrantWrite",
            "GrantWriteACP",
            "ObjectOwnership",
            "CreateBucketConfiguration.Tags",
        ),
        refused=(
            "ObjectLockEnabledForBucket",
            "BucketNamespace=account-regional",
            "CreateBucketConfiguration.Location",
            "CreateBucketConfiguration.Bucket",
        ),
    ),
    "GetBucketAccelerateConfiguration": Support(without_effect=("RequestPayer",)),
}
