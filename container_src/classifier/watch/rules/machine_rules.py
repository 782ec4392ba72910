"""Rules on the readings of the machine."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from classifier.rule_settings import Setting
from classifier.watch.collected import Collected, Gpu, Sample, StepTime
from classifier.watch.rules.percents import Percents, distance
from classifier.watch.rules.rule import Firing, Rule

NO_GPU = "this machine has no GPU that could be watched"
# Windows of as many readings as `window` says, and of that many times as many: a leak may be slow.
_SCALES = (1, 8, 64)
_STEPS_EACH = 5
Tell = Callable[[Rule, Firing], None]


class _OnReadings(Rule):
    """Override `collect`, which sees every reading, and `judge`, which sees those after the first `patience`."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._readings = 0

    def on_sample(self, sample: Sample) -> None:
        self._readings += 1
        self.collect(sample)
        if self._readings > self["patience"]:
            self.judge(sample)

    def collect(self, sample: Sample) -> None: ...

    def judge(self, sample: Sample) -> None: ...


class LowGPUUtilization(_OnReadings):
    """Fires for each GPU at each reading while, of the last `window`, the 95th percentile is low, or the 5th is though
    the 95th is not."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.unseen = NO_GPU
        self._windows: defaultdict[int, Percents] = defaultdict(lambda: Percents(int(self["window"])))

    def collect(self, sample: Sample) -> None:
        for gpu in sample.gpus:
            self.unseen = ""
            self._windows[gpu.number].add(gpu.utilization)

    def judge(self, sample: Sample) -> None:
        for index, percents in self._windows.items():
            if not percents.total:
                continue
            p95, p5 = percents.percentile(95), percents.percentile(5)
            low = p95 < self["threshold_p95"]
            how = f"95 % of the readings are at {p95} % or below" if low else f"{p95} % at times and {p5} % at others"
            self.saw(low or p5 < self["threshold_p5"], f"GPU {index}: {how}", at=sample.at)


class LoadBalancing(_OnReadings):
    """Fires at each reading while the distributions of two GPUs' utilization are apart; and at the end, where ranks
    take unequally long to their losses: in the backward pass they wait for each other."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.unseen = "there was one GPU or none, and one rank"
        self._utilization: defaultdict[int, Percents] = defaultdict(Percents)

    def collect(self, sample: Sample) -> None:
        for gpu in sample.gpus:
            self._utilization[gpu.number].add(gpu.utilization)
        if len(sample.gpus) > 1:
            self.unseen = ""

    def judge(self, sample: Sample) -> None:
        shares = {index: percents.shares() for index, percents in self._utilization.items() if percents.total}
        apart = [(distance(shares[i], shares[j]), i, j) for i, j in itertools.combinations(shares, 2)]
        if apart:
            most, i, j = max(apart)
            detail = f"the utilizations of GPU {i} and GPU {j} differ by {most:.0%} on average"
            self.saw(most > self["threshold"], detail, at=sample.at)

    def on_ranks(self, ranks: Sequence[Collected]) -> None:
        """Once, at the end: all ranks' steps."""
        took = {}
        for rank in ranks:
            to_loss = [step.wait_s + step.copy_s + step.forward_s for step in rank.steps]
            if finite := [seconds for seconds in to_loss if math.isfinite(seconds)]:
                took[rank.rank] = statistics.fmean(finite)
        if len(took) < 2:
            return
        slow, fast = max(took, key=took.__getitem__), min(took, key=took.__getitem__)
        apart = 1 - took[fast] / took[slow] if took[slow] else 0.0
        detail = (f"rank {slow} takes {took[slow]:.3f} s from the start of a step to its loss, rank {fast} "
                  f"{took[fast]:.3f} s")  # fmt: skip
        last = max(step for rank in ranks for step in rank.steps)
        self.saw(apart > self["threshold"], detail, at=last.began, step=last.number, epoch=last.epoch)


class BatchSize(_OnReadings):
    """Fires at each reading while, of the last `window`, CPUs, GPUs and their memory all are little used."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.unseen = NO_GPU
        self._cpu, self._gpu, self._memory = (Percents(int(self["window"])) for _ in range(3))

    def collect(self, sample: Sample) -> None:
        if sample.gpus:
            self.unseen = ""
            self._cpu.add(_cpu(sample))
            self._gpu.add(_busiest(sample))
            self._memory.add(max((_filled(gpu) for gpu in sample.gpus if gpu.memory_total), default=math.nan))

    def judge(self, sample: Sample) -> None:
        if not (self._cpu.total and self._gpu.total and self._memory.total):
            return
        cpu, gpu, memory = (percents.percentile(95) for percents in (self._cpu, self._gpu, self._memory))
        little = (
            cpu < self["cpu_threshold_p95"]
            and gpu < self["gpu_threshold_p95"]
            and memory < self["gpu_memory_threshold_p95"]
        )
        detail = f"95 % of the readings are at most {cpu} % of the CPUs, {gpu} % of the GPU, {memory} % of its memory"
        self.saw(little, detail, at=sample.at)


class _Bottleneck(_OnReadings):
    """Fires at each reading that is a bottleneck while more than `threshold` percent of them are."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._bottlenecks = 0

    def judge(self, sample: Sample) -> None:
        found = self.bottleneck(sample)
        if found is None:
            return
        self._bottlenecks += bool(found)
        share = 100 * self._bottlenecks / (self.points + 1)
        detail = f"{found}; so it was in {share:.0f} % of the readings"
        self.saw(bool(found) and share > self["threshold"], detail, at=sample.at)

    def bottleneck(self, sample: Sample) -> str | None:
        """What it is; an empty text where there is none, None where the reading says nothing."""
        raise NotImplementedError

    def standing(self, sample: Sample) -> bool:
        """Whether every GPU does (almost) nothing; a GPU that could not be read may be busy."""
        return all(gpu.utilization < self["gpu_threshold"] for gpu in sample.gpus)


class CPUBottleneck(_Bottleneck):
    """The GPUs stand still while the CPUs are busy."""

    def bottleneck(self, sample: Sample) -> str | None:
        if not sample.gpus:
            self.unseen = NO_GPU
            return None
        cpu = _cpu(sample)
        if not (cpu > self["cpu_threshold"] and self.standing(sample)):
            return ""
        return f"CPUs at {cpu:.0f} %, the busiest GPU at {_busiest(sample):.0f} %"


class IOBottleneck(_Bottleneck):
    """The GPUs, where there are some, stand still while the CPUs wait for a disk."""

    def bottleneck(self, sample: Sample) -> str | None:
        if not math.isfinite(sample.iowait):
            self.unseen = "the time spent waiting for disks could not be read"
            return None
        if not (sample.iowait > self["io_threshold"] and self.standing(sample)):
            return ""
        idle = f", the busiest GPU at {_busiest(sample):.0f} %" if sample.gpus else ""
        return f"CPUs wait for a disk for {sample.iowait:.0f} % of the time{idle}"


class _Growth:
    """The lowest of `readings` readings, over at least `_STEPS_EACH` steps; `grew` compares the last `2 * rises + 1` of
    these. What a single step takes and gives back is not among them."""

    def __init__(self, readings: int, rises: int, increase: float) -> None:
        self._readings, self._rises, self._increase = readings, rises, increase / 100
        self._lowest: deque[float] = deque(maxlen=2 * rises + 1)
        self._held, self._count, self._began = math.inf, 0, 0

    def add(self, held: float, steps: int) -> tuple[float, float] | None:
        """(first, last) of those kept, whenever another one is complete and there are enough of them; `steps`: how
        many there have been until now."""
        self._began = self._began or steps
        self._held, self._count = min(self._held, held), self._count + 1
        if self._count < self._readings or steps < self._began + _STEPS_EACH:
            return None
        self._lowest.append(self._held)
        self._held, self._count, self._began = math.inf, 0, steps
        if len(self._lowest) < 2 * self._rises + 1:
            return None
        return self._lowest[0], self._lowest[-1]

    def grew(self) -> bool:
        """Whether they rose again and again: one jump, as the first evaluation makes, is no leak."""
        first, last = self._lowest[0], self._lowest[-1]
        worth = first * self._increase / (2 * self._rises)
        changes = [after - before for before, after in itertools.pairwise(self._lowest)]
        rises = sum(change > worth for change in changes)
        return min(changes) >= 0 and rises >= self._rises and last > first * (1 + self._increase)


class GPUMemoryIncrease(Rule):
    """Fires at each window while what those before it held rose again and again; of every GPU and of the resident
    memory. Readings before the second step, which is when everything is there that a step needs, do not count."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._series: dict[str, list[_Growth]] = {}
        self._steps = self._readings = 0

    def on_step(self, step: StepTime) -> None:
        # On the training's thread: a number that the other thread only reads.
        self._steps = step.number

    def on_sample(self, sample: Sample) -> None:
        steps = self._steps
        if steps < 2:
            return
        self._readings += 1
        if self._readings <= self["patience"]:
            return
        memories = {"the job's processes": sample.memory_bytes}
        memories |= {f"GPU {gpu.number}": gpu.memory_bytes for gpu in sample.gpus}
        for name, held in memories.items():
            if held <= 0:  # it could not be read
                continue
            if name not in self._series:
                window, rises = int(self["window"]), int(self["rises"])
                self._series[name] = [_Growth(window * scale, rises, self["increase"]) for scale in _SCALES]
            for growth in self._series[name]:
                if ends := growth.add(held, steps):
                    first, last = (end / 1e9 for end in ends)
                    detail = f"memory of {name} rose from {first:.2f} to {last:.2f} GB without falling"
                    self.saw(growth.grew(), detail, at=sample.at, step=steps)


class OverallSystemUsage(_OnReadings):
    """Fires at each reading while the 95th percentiles of the busiest core and of every GPU are low."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._used: defaultdict[str, Percents] = defaultdict(Percents)
        self._memory = 0

    def collect(self, sample: Sample) -> None:
        self._used["CPUs"].add(_cpu(sample))
        self._used["busiest core"].add(max(filter(math.isfinite, sample.cpu), default=math.nan))
        self._used["I/O wait"].add(sample.iowait)
        for gpu in sample.gpus:
            self._used[f"GPU {gpu.number}"].add(gpu.utilization)
            self._used[f"memory of GPU {gpu.number}"].add(_filled(gpu))
        self._memory = max(self._memory, sample.memory_bytes)

    def judge(self, sample: Sample) -> None:
        names = ["busiest core", *(f"GPU {gpu.number}" for gpu in sample.gpus)]
        p95 = {name: self._used[name].percentile(95) for name in names if self._used[name].total}
        if p95:
            detail = ", ".join(f"{name} at most {value} %" for name, value in p95.items())
            self.saw(max(p95.values()) < self["busy"], f"{detail}, in 95 % of the readings", at=sample.at)

    def summary(self) -> str:
        rows = [
            f"{name} {percents.percentile(50)} / {percents.percentile(95)} / {percents.percentile(99)} %"
            for name, percents in self._used.items()
            if percents.total
        ]
        if not rows:
            return ""
        return (
            f"median, 95th and 99th percentile: {'; '.join(rows)}. Resident memory up to {self._memory / 1e9:.2f} GB."
        )


RULES: tuple[type[Rule], ...] = (
    LowGPUUtilization, LoadBalancing, BatchSize, CPUBottleneck, IOBottleneck, GPUMemoryIncrease, OverallSystemUsage,
)  # fmt: skip


def _cpu(sample: Sample) -> float:
    """Of all cores, percent; NaN where none could be read."""
    cores = [busy for busy in sample.cpu if math.isfinite(busy)]
    return statistics.fmean(cores) if cores else math.nan


def _busiest(sample: Sample) -> float:
    return max((gpu.utilization for gpu in sample.gpus if math.isfinite(gpu.utilization)), default=math.nan)


def _filled(gpu: Gpu) -> float:
    """Percent of its memory; NaN where it could not be read."""
    return 100 * gpu.memory_bytes / gpu.memory_total if gpu.memory_total else math.nan
