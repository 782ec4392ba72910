"""Writes each AWS API call of this Python process to the file RECORD_CALLS_TO, one JSON document a line.

Python imports this module by itself at its start when the directory is on PYTHONPATH, so that the scripts are recorded
as they are. What a script waits for on AWS takes minutes and here a moment: its pauses are cut short.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from botocore.client import BaseClient

_LONGEST_PAUSE_S = 0.2
_call = BaseClient._make_api_call
_sleep = time.sleep


def _recorded(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
    line = {
        "script": Path(sys.argv[0]).stem,
        "service": client.meta.service_model.service_name,
        "operation": operation,
        "parameters": parameters,
    }
    with Path(os.environ["RECORD_CALLS_TO"]).open("a") as file:
        # What is no JSON is the body of a file.
        file.write(json.dumps(line, default=lambda _: "...") + "\n")
    return _call(client, operation, parameters)


BaseClient._make_api_call = _recorded
if "local_sagemaker" not in sys.orig_argv:
    time.sleep = lambda seconds: _sleep(min(float(seconds), _LONGEST_PAUSE_S))
