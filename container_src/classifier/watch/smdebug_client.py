"""smdebug, SageMaker Debugger's open-source client, imported as it has to be; what is used of it."""

from __future__ import annotations

import os

# Its generated code is older than what protobuf's C++ parser reads; and it reads its log level when it is imported: a
# dozen lines of start-up at INFO.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "WARNING")

import smdebug.pytorch as smd
from smdebug.core.locations import IndexFileLocationUtils, TensorFileLocation
from smdebug.core.logger import get_logger
from smdebug.core.modes import MODE_PLUGIN_NAME, MODE_STEP_PLUGIN_NAME
from smdebug.core.reductions import REDUCTIONS_PREFIX, get_numpy_reduction, reverse_reduction_tensor_name
from smdebug.core.tfrecord.record_writer import CHECKSUM_MAGIC_BYTES, masked_crc32c
from smdebug.core.utils import error_handling_agent, match_inc
from smdebug.exceptions import StepUnavailable, TensorUnavailable, TensorUnavailableForStep
from smdebug.rules import Rule

__all__ = [
    "CHECKSUM_MAGIC_BYTES", "MODE_PLUGIN_NAME", "MODE_STEP_PLUGIN_NAME", "REDUCTIONS_PREFIX", "IndexFileLocationUtils",
    "Rule", "StepUnavailable", "TensorFileLocation", "TensorUnavailable", "TensorUnavailableForStep",
    "error_handling_agent", "get_logger", "get_numpy_reduction", "masked_crc32c", "match_inc",
    "reverse_reduction_tensor_name", "smd",
]  # fmt: skip
