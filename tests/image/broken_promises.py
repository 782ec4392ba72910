"""Promises to break in the miniature image, one at a time: what the suite must notice, and by which tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Broken:
    """In `file` of the miniature, `old` becomes `new`; in `suite` then fail the tests `failing`, and no others."""

    suite: str
    file: str
    old: str
    new: str
    failing: tuple[str, ...]


def image(old: str, new: str, *failing: str) -> Broken:
    return Broken("image", "Dockerfile", old, new, failing)


def train(old: str, new: str, *failing: str) -> Broken:
    return Broken("training", "train.py", old, new, failing)


def serve(old: str, new: str, *failing: str) -> Broken:
    return Broken("serving", "serve.py", old, new, failing)


HERE = "# Here a broken promise may be put.\n"
ISOLATED = "'eth0\\t00000000\\t' not in Path('/proc/net/route').read_text()"
SMALL_SHM = "os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize < 2**29"
SAVE = "json.dumps(count))\n"
PING = '200 if "count" in state else 503'
REFUSE = "        elif len(body) > LIMIT:\n"

BROKEN = {
    "shell form": image('["/usr/bin/env"]', 'env "$0"', "test_entrypoint_in_exec_form"),
    "tini": image(
        'ENTRYPOINT ["/usr/bin/env"]',
        'RUN ln -s /usr/bin/env /app/tini\nENTRYPOINT ["/app/tini"]',
        "test_entrypoint_is_not_tini",
    ),
    "not on PATH": image("/app/train", "/app/learn", "test_program_can_be_started[train]"),
    "not executable": image("755 serve.py", "644 serve.py", "test_program_can_be_started[serve]"),
    "a user": image("EXPOSE", "USER 1000\nEXPOSE", "test_runs_as_root"),
    "a volume": image("EXPOSE", "VOLUME /opt/ml/model\nEXPOSE", "test_no_volume_over_the_platforms_directories"),
    "files in /opt/ml": image(
        "EXPOSE", "COPY serve.py /opt/ml/model/\nEXPOSE", "test_nothing_lies_where_the_platform_mounts"
    ),
    "success told as failure": train(SAVE, SAVE + "sys.exit(1)\n", "test_success_is_exit_code_0"),
    "no model": train(
        '(ML / "model" / "count.json").write_text(json.dumps(count))',
        'stopping and fail("stopped")',
        "test_a_model_is_left",
    ),
    "a link in the model": train(
        SAVE, SAVE + "(ML / 'model/link').symlink_to('count.json')\n", "test_the_model_is_made_of_files"
    ),
    "trains with a network": train(HERE, f"if {ISOLATED}: fail('no route')\n", "test_trains[network]"),
    "trains with shared memory": train(
        HERE, f"import os\nif {SMALL_SHM}: fail('/dev/shm is full')\n", "test_trains[shared-memory]"
    ),
    "writes beside the data": train(
        "for epoch", "(ML / 'input/data/train/cache').touch()\nfor epoch", "test_trains[read-only-input]"
    ),
    "bears no variables": train(
        HERE, "import os\nif 'TRAINING_JOB_ARN' in os.environ: fail('what is that?')\n", "test_trains[variables]"
    ),
    "bears no tuning": train(
        HERE, "if len(hyperparameters) > 5: fail('an unknown hyperparameter')\n", "test_trains[tuning]"
    ),
    "failure told as success": train("sys.exit(1)", "sys.exit(0)", "test_failure_is_another_exit_code"),
    "no failure file": train(
        '(ML / "output" / "failure").write_text(reason)', "print(reason)", "test_failure_is_described"
    ),
    "train ignores SIGTERM": train("lambda *_: stopping.append(True)", "signal.SIG_IGN", "test_sigterm_ends_it"),
    "nothing kept": train("        break", "        sys.exit(1)", "test_what_was_reached_is_kept"),
    "never healthy": serve(PING, "500", "test_ping_becomes_200"),
    "a constant 200": serve(PING, "200", "test_the_first_200_means_ready", "test_no_model_is_not_healthy"),
    "exit code 0 without a model": serve("os._exit(1)", "os._exit(0)", "test_no_model_is_not_healthy"),
    "serves with a network": serve(HERE, f"if {ISOLATED}: os._exit(1)\n", "test_serves[network]"),
    "serves with shared memory": serve(HERE, f"if {SMALL_SHM}: os._exit(1)\n", "test_serves[shared-memory]"),
    "writes beside the model": serve(HERE, "(MODEL / 'cache').touch()\n", "test_serves[read-only-model]"),
    "bears no batch variables": serve(
        HERE, "if 'SAGEMAKER_BATCH' in os.environ: os._exit(1)\n", "test_serves[variables]"
    ),
    "slow ping": serve(
        f"            self.answer({PING})",
        f"            threading.Event().wait(3 * ('pinged' in state))\n            self.answer({PING})\n"
        "            state.update({'pinged': 1} if 'count' in state else {})",
        "test_ping_answers_in_time",
    ),
    "one request at a time": serve(
        REFUSE,
        "        elif state.setdefault('turn', self) is not self:\n            self.answer(503)\n"
        "        elif threading.Event().wait(0.1) or state.pop('turn') is not self or len(body) > LIMIT:\n",
        "test_requests_at_the_same_time",
    ),
    "refuses headers": serve(
        REFUSE,
        "        elif 'X-Amzn-Trace-Id' in self.headers:\n            self.answer(400)\n" + REFUSE,
        "test_additional_headers",
    ),
    "500 for a bad body": serve("self.answer(400)", "self.answer(500)", "test_a_bad_body"),
    "a small limit": serve("LIMIT = 6_291_456", "LIMIT = 1_000_000", "test_the_largest_body"),
    "a large body ends it": serve("self.answer(413)", "os._exit(1)", "test_a_body_above_the_limit"),
    "odd parameters": serve('"MaxPayloadInMB": 6', '"MaxPayloadInMB": "6 MB"', "test_execution_parameters"),
    "another port": serve(
        'int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))', "8080", "test_it_listens_where_it_is_told"
    ),
    "serve ignores SIGTERM": serve("lambda *_: os._exit(0)", "signal.SIG_IGN", "test_sigterm_ends_it"),
}
