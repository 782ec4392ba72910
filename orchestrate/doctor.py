"""Looks at everything that the other scripts need, and says what to mend: settings, this machine, the AWS account.

    python orchestrate/doctor.py             (this machine and AWS)
    python orchestrate/doctor.py --local     (this machine alone, which is all that --local needs)

Nothing is started, created or changed. A check that AWS does not allow you is skipped: the job may be allowed it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from orchestrate import console, options, session, settings
from orchestrate.doctor_check import FAIL, OK, SKIP, WARN, Check
from orchestrate.errors import InputError

_STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red", SKIP: "dim"}
# What SageMaker's quotas call the uses of an instance, and which setting names its type.
_USES = {
    "training job usage": "instance-type", "transform job usage": "instance-type",
    "endpoint usage": "endpoint-instance-type",
}  # fmt: skip


@dataclass(frozen=True)
class InForce:
    """A setting, what it is now (None: nothing), and what said so."""

    name: str
    value: str | None
    source: str


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, failed="something has to be mended")
    for key in ("instance-type", "endpoint-instance-type"):
        parser.add_argument(f"--{key}", help=f"in place of {key} of the settings")
    options.add_json(parser)
    return parser


def main() -> None:
    """Parses, looks, prints."""
    args = command_line().parse_args()
    out = console.Console(args.json)
    found: list[Check] = []

    def tell(check: Check) -> None:
        found.append(check)
        out.marked(f"{check.status:<4}", _STYLES[check.status], f"{check.name:<14} {check.found}")
        if check.remedy:
            out.say(f"{'':<20}-> {check.remedy}")

    from orchestrate import doctor_here

    in_force, wrong = _settings(args)
    in_force = [setting for setting in in_force if setting.name not in session.without_effect(args)]
    out.table(("setting", "value", "from"), [(s.name, s.value or "-", s.source) for s in in_force])
    for check in wrong:
        tell(check)
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        session.THIS_MACHINE: doctor_here.checks,
        session.AWS: partial(_aws, args, in_force),
    }
    for place in session.places(args):
        out.headline(place)
        with out.progress(f"looking at {place}"):
            for check in looks[place]():
                tell(check)
    failed = [check for check in found if check.status == FAIL]
    out.say()
    out.say(f"{len(failed)} to mend" if failed else "nothing has to be mended")
    out.result({"settings": [asdict(s) for s in in_force], "checks": [asdict(c) for c in found], "ok": not failed})
    if failed:
        raise SystemExit(1)


def _settings(args: argparse.Namespace) -> tuple[list[InForce], list[Check]]:
    """What holds for the next command, and what is wrong with what was set."""
    wrong = []
    try:
        known = settings.read()
    except InputError as error:
        known = settings.Settings()
        wrong.append(Check("settings", FAIL, str(error), f"see {settings.FILE} in docs/13-command-line.md"))
    defaults = {
        "region": ("the AWS configuration's", None), "role": ("your own, where it is an execution role", None),
        "output": ("s3://sagemaker-REGION-ACCOUNT/kennel", None), "image": ("nothing names one", None),
        "repository": ("default", "kennel"), "instance-type": ("default", "ml.m5.xlarge"),
        "endpoint-instance-type": ("default", "ml.m5.large"),
    }  # fmt: skip
    found = []
    for key, (otherwise, value) in defaults.items():
        given = getattr(args, key.replace("-", "_"), None)
        if given:
            found.append(InForce(key, given, f"--{key}"))
        elif key in known.found:
            found.append(InForce(key, known.found[key].value, known.found[key].source))
        else:
            found.append(InForce(key, value, otherwise))
    return found, wrong


def _aws(args: argparse.Namespace, in_force: list[InForce]) -> Iterator[Check]:
    from botocore.exceptions import BotoCoreError, ClientError

    from orchestrate import doctor_aws

    value = {s.name: s.value for s in in_force}
    args.region = value["region"]
    try:
        boto = session.aws(args)
        credentials = boto.get_credentials()
    except InputError as error:
        yield Check("credentials", FAIL, str(error))
        return
    except BotoCoreError as error:
        yield Check("credentials", FAIL, str(error), "aws configure, or aws sso login")
        return
    if boto.region_name:
        yield Check("region", OK, boto.region_name)
    else:
        yield Check("region", FAIL, "none is configured", "set region in kennel.toml, or: aws configure")
    if credentials is None:
        yield Check("credentials", FAIL, "none were found", "aws configure (or set AWS_PROFILE); --local needs none")
        return
    if not boto.region_name:
        return
    try:
        caller = boto.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        yield Check("credentials", FAIL, str(error), "new ones: aws configure, or aws sso login; then the network")
        return
    yield Check("credentials", OK, f"account {caller['Account']}, {caller['Arn']}")
    output = value["output"] or f"s3://sagemaker-{boto.region_name}-{caller['Account']}/kennel"
    yield from doctor_aws.checks(boto, doctor_aws.Wanted(
        region=boto.region_name, role=value["role"] or session.callers_role(caller["Arn"]),
        bucket=output.removeprefix("s3://").partition("/")[0], image=value["image"], instances=_instances(value),
    ))  # fmt: skip


def _instances(value: dict[str, str | None]) -> dict[str, str]:
    return {use: str(value[key]) for use, key in _USES.items()}


if __name__ == "__main__":
    console.run(main)
