"""The rules on how a run uses its machine: names, thresholds and advice. Pure Python.

Names, parameters and defaults are those of SageMaker Debugger's profiler rules, as `smdebug_rulesconfig` 1.0.1 holds
them (profiler_rules/rules.py). Where a rule differs from the original its `source` says how. One does everywhere:
`patience`, the readings before a rule first judges, is 60 (30 s) here and 1,000 (8 minutes) there, longer than many
jobs are.
"""

from __future__ import annotations

from classifier.rule_spec import Spec, Threshold

_SMDEBUG = "SageMaker's profiler rule of that name"
_PATIENCE = Threshold(60, 1, 100_000, "readings, two a second, before the first is judged")
_WINDOW = Threshold(500, 2, 100_000, "past readings that are looked at")


def _percent(default: float, help: str) -> Threshold:
    return Threshold(default, 0, 100, help)


SPECS = (
    Spec(
        "StepOutlier", "system",
        "steps take about equally long; the first of each epoch, which waits for its first photographs, and those that "
        "were slowed by being recorded do not count",
        "Look at what the machine did at those moments: another job on it, a checkpoint, a slow disk. Where the long "
        "part is the wait, raise workers or copy the photographs to the instance's own disk (File mode); where it is "
        "the computing, take an instance that no other job shares.",
        f"{_SMDEBUG}; here an outlier must also be `slower` times the mean, as quiet steps differ by microseconds",
        {
            "stddev": Threshold(3, 1, 100, "standard deviations above the mean that make an outlier"),
            "slower": Threshold(2, 1, 1000, "times the mean that an outlier takes at least"),
            "n_outliers": Threshold(10, 0, 100_000, "outliers before the first that counts"),
        },
    ),
    Spec(
        "LowGPUUtilization", "system",
        "every GPU is busy, and steadily",
        "Give the GPU more to do at once: raise batch-size, or image-size if the photographs allow it. Where it is "
        "busy in turns, it waits for photographs: raise workers, or store them smaller with prepare.py --resize. "
        "Where neither helps, a smaller GPU instance does the same for less.",
        _SMDEBUG,
        {
            "threshold_p95": _percent(70, "utilization whose 95th percentile is too low, in percent"),
            "threshold_p5": _percent(10, "with a 5th percentile below it a GPU is busy in turns, in percent"),
            "window": _WINDOW,
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "LoadBalancing", "system",
        "all GPUs do about the same work, and all ranks take about as long from the start of a step to its loss",
        "Give every rank the same: the same batch-size, photographs of about the same size (prepare.py --resize "
        "makes them so), and hosts of one instance type. Where a single GPU works, take an instance with one GPU.",
        f"{_SMDEBUG}; the distance of two GPUs' histograms of utilization is the earth mover's; added is that of two "
        "ranks: how much less the faster one takes from the start of a step to its loss",
        {
            "threshold": Threshold(0.5, 0, 1, "distance that is too much, of 1"),
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "Dataloader", "system",
        "steps do not wait for photographs",
        "Raise workers up to the number of CPUs; store the photographs smaller with prepare.py --resize; with a "
        "frozen backbone compute the features once (mode=embed). Else an instance type with more CPUs for each GPU, "
        "and with FastFile mode on a slow network, File mode.",
        "SageMaker's profiler rule of that name compared the number of loader processes with that of the cores; here "
        "what their lack costs is measured: the wait",
        {
            "wait": _percent(30, "percent of the steps' time that may be spent waiting"),
            "window": Threshold(100, 2, 100_000, "past steps that are looked at"),
            "patience": Threshold(50, 2, 100_000, "steps before the first is judged"),
        },
    ),
    Spec(
        "BatchSize", "system",
        "CPUs, GPUs or the GPUs' memory are well used",
        "Raise batch-size until the GPU's memory is three quarters full, and learning-rate with it; or take a smaller "
        "instance type.",
        _SMDEBUG,
        {
            "cpu_threshold_p95": _percent(70, "percent of all cores, 95th percentile"),
            "gpu_threshold_p95": _percent(70, "percent of utilization of the busiest GPU, 95th percentile"),
            "gpu_memory_threshold_p95": _percent(70, "percent of memory of the fullest GPU, 95th percentile"),
            "window": _WINDOW,
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "CPUBottleneck", "system",
        "GPUs do not stand still while the CPUs are busy; without a GPU it sees nothing: CPUs that train are meant to "
        "be busy",
        "The CPUs are what the GPU waits for: store the photographs smaller with prepare.py --resize, turn augment "
        "off or set views so that views are reused, set workers to the number of CPUs; or take an instance type with "
        "more CPUs for each GPU.",
        f"{_SMDEBUG}; it fires at each bottleneck while these are more than `threshold` of the readings",
        {
            "threshold": _percent(50, "percent of the readings that may be bottlenecks"),
            "cpu_threshold": _percent(90, "percent of all cores above which they are busy"),
            "gpu_threshold": _percent(10, "percent of utilization below which a GPU stands still"),
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "IOBottleneck", "system",
        "GPUs, and without one the CPUs, do not stand still for a disk",
        "Read less or from something faster: store the photographs smaller with prepare.py --resize, take File "
        "mode instead of FastFile where they are read in every epoch, an instance type with NVMe storage, or a larger "
        "volume, which is faster as well.",
        f"{_SMDEBUG}; it fires at each bottleneck while these are more than `threshold` of the readings; without a GPU "
        "the wait alone decides",
        {
            "threshold": _percent(50, "percent of the readings that may be bottlenecks"),
            "io_threshold": _percent(50, "percent of the cores' time spent waiting for a disk that is too much"),
            "gpu_threshold": _percent(10, "percent of utilization below which a GPU stands still"),
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "GPUMemoryIncrease", "system",
        "memory does not grow and grow: that of every GPU, and the resident memory of the job's processes",
        "Something is kept from step to step: a loss or an output that is collected with its graph (`.detach()` it, or "
        "keep `float(loss)`), a list or a cache that is never emptied. Fewer workers and a smaller batch-size only "
        "postpone the end.",
        f"{_SMDEBUG}, which compared two moving averages of a GPU's memory and so fired at each jump as well; here "
        "what is held throughout a window must have risen `rises` times and not fallen; resident memory is added",
        {
            "increase": Threshold(5, 0.1, 1000, "percent of what was held before by which it grows meanwhile"),
            "rises": Threshold(5, 2, 1000, "rises from one window to the next, of the last twice as many windows"),
            "window": Threshold(10, 1, 100_000, "readings in one window"),
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "MaxInitializationTime", "system",
        "the first step is done soon after the job began",
        "Look at what comes before training: give photographs as few large files or in FastFile mode, do not compute "
        "features in the job that a job with mode=embed can leave once, import less.",
        _SMDEBUG,
        {"threshold": Threshold(20, 0, 10_000, "minutes until the first step is done")},
    ),
    Spec(
        "OverallSystemUsage", "system",
        "something of the machine is busy: a core or a GPU",
        "The job waits for something outside of the machine, or is too small for it: look at the parts of its steps, "
        "and take a smaller instance type.",
        f"{_SMDEBUG}, which gave percentiles and never fired; here it fires while nothing is used",
        {
            "busy": _percent(25, "percent, 95th percentile, below which neither the busiest core nor a GPU is used"),
            "patience": _PATIENCE,
        },
    ),
    Spec(
        "OverallFrameworkMetrics", "system",
        "most of the time goes into steps; initialization and the first epoch do not count",
        "Evaluation, checkpoints and what is between steps take the time: make valid smaller, train more steps in an "
        "epoch, save less often (save-interval).",
        f"{_SMDEBUG}, which gave shares and never fired; here it fires where `rest` of an epoch is no step",
        {"rest": _percent(50, "percent of the epochs' time that may go into something else than steps")},
    ),
)  # fmt: skip
