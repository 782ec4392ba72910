"""One line of the doctor's: what was looked at, how it is, what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class Check:
    """`status`: ok; warn: works, less well or not for everything; fail: does not work; skip: could not be looked at."""

    name: str
    status: str
    found: str
    remedy: str = ""


def asked(name: str, look: Callable[[], Check]) -> Check:
    """What `look` finds; skip where AWS does not let the caller look, or cannot be reached."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        return look()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "?")
        return Check(
            name, SKIP, f"{error.operation_name} was refused ({code}): you may not look, the job may all the same"
        )
    except (BotoCoreError, ResponseParserError) as error:
        return Check(name, SKIP, f"AWS could not be asked: {error}")
