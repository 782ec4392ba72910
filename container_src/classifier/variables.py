"""What `serve` tells its processes by environment variables, and what both sides assume where nothing is said.

A module of its own, so that the process that only looks after the others loads no decoder and no torch.
"""

from __future__ import annotations

# Where a process's pulse goes.
STATE_DIRECTORY = "KENNEL_SERVE_STATE"
# What a request may take, in seconds. multi-model-server's own limit covers loading too, so it cannot be this short.
REQUEST_TIMEOUT = "KENNEL_REQUEST_TIMEOUT_S"
# What the predictors may take to load the model.
STARTUP_TIMEOUT = "KENNEL_STARTUP_TIMEOUT_S"
# The sockets of the predictors' processes, separated by colons. None: every worker loads its model (several models).
PREDICTORS = "KENNEL_PREDICTORS"
# How many GPUs serve.py found. With several models, the server spreads their workers over those that its own look at
# `nvidia-smi` finds.
GPUS = "KENNEL_GPUS"

# Of InvokeEndpoint (botocore's model); a body may be longer where SAGEMAKER_MAX_PAYLOAD_IN_MB says so.
MAX_BYTES = 6 * 1024 * 1024
# The module that multi-model-server runs in its workers.
HANDLER = "classifier.handler"
