"""What autoscaling does when more requests come: a simulation, second by second, with target tracking as AWS has it.

What is modelled, and whose word it is:

- An instance answers `per_second` requests and lets `queue` wait; what comes beyond gets 503 at once (docs/04).
- The metric is requests a minute over the instances in service. The alarm needs 3 minutes above the target, and the
  metric of a minute is there a minute later. Then as many instances are asked for as bring the metric to the target,
  and no more within the cooldown. (AWS, "Target tracking scaling policies for Application Auto Scaling": it scales out
  proportionally to the metric. re:Post, "SageMaker autoscaling delay": the alarm's "3 datapoints within 3 minutes".
  The metric's delay of a minute is assumed.)
- A new instance answers `start_s` seconds after it was asked for: an assumption, for machine, image and first ping.
- Requests arrive by chance (Poisson) and go to an instance by chance, drawn from a seed. Callers do not try again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE = 60
_ALARM_MINUTES, _DELAY_MINUTES = 3, 1


@dataclass(frozen=True)
class Fleet:
    """`target`: requests a minute for each instance, as deploy.py's --scale-target; `low`: where it begins."""

    per_second: float
    target: float
    low: int
    high: int
    start_s: int
    queue: int = 100
    cooldown_s: int = 60


@dataclass(frozen=True)
class Outcome:
    """Requests that came and that got 503; the longest wait of one in a queue in seconds; instances at the end; minutes
    from the first 503 to the last."""

    requests: int
    failed: int
    longest_wait_s: float
    instances: int
    minutes: float

    @property
    def failed_share(self) -> float:
        """Of all requests."""
        return self.failed / self.requests


def step(before: float, factor: float, at_s: int = 300, ramp_s: int = MINUTE) -> Callable[[int], float]:
    """Requests a second: `before`, and from `at_s` on within `ramp_s` seconds `factor` times as many."""

    def rate(second: int) -> float:
        risen = min(max((second - at_s) / ramp_s, 0), 1)
        return before * (1 + (factor - 1) * risen)

    return rate


def simulate(fleet: Fleet, rate: Callable[[int], float], seconds: int, seed: int) -> Outcome:
    """Runs the fleet from `low` instances for so many seconds. It only grows: what is asked is what a rise does."""
    rng = np.random.default_rng(seed)
    waiting: NDArray[np.float64] = np.zeros(fleet.low)
    coming: list[tuple[int, int]] = []  # the second in which they begin, how many
    minutes_of: list[tuple[int, int]] = []  # requests of each minute, instances at its end
    failures: list[int] = []
    came = failed = this_minute = quiet_until = 0
    longest = 0.0
    for second in range(seconds):
        waiting = np.append(waiting, np.zeros(sum(count for at, count in coming if at == second)))
        coming = [(at, count) for at, count in coming if at > second]
        arrived = rng.poisson(rate(second) / len(waiting), len(waiting))
        came, this_minute = came + int(arrived.sum()), this_minute + int(arrived.sum())
        waiting = np.maximum(waiting + arrived - fleet.per_second, 0)
        refused = int(np.maximum(waiting - fleet.queue, 0).sum())
        if refused:
            failures.append(second)
        failed += refused
        waiting = np.minimum(waiting, fleet.queue)
        longest = max(longest, float(waiting.max()) / fleet.per_second)
        if (second + 1) % MINUTE == 0:
            minutes_of.append((this_minute, len(waiting)))
            this_minute = 0
            asked = min(fleet.high, wanted(minutes_of[:-_DELAY_MINUTES], fleet.target))
            more = asked - len(waiting) - sum(count for _, count in coming)
            if more > 0 and second >= quiet_until:
                coming.append((second + fleet.start_s, more))
                quiet_until = second + fleet.cooldown_s
    minutes = (failures[-1] - failures[0] + 1) / MINUTE if failures else 0.0
    return Outcome(came, failed, longest, len(waiting), minutes)


def wanted(known: Sequence[tuple[int, int]], target: float) -> int:
    """Instances that target tracking asks for, by (requests, instances) of the minutes that are known; 0: no alarm."""
    last = known[-_ALARM_MINUTES:]
    if len(last) < _ALARM_MINUTES or min(requests / instances for requests, instances in last) <= target:
        return 0
    return math.ceil(last[-1][0] / target)


def rises(
    per_second: float, instances: int, shares: tuple[float, ...], factors: tuple[float, ...], seeds: int, start_s: int
) -> Iterator[tuple[float, float, list[Outcome]]]:
    """(share of its capacity at which an instance is kept, factor of the rise, an outcome for each seed): half an hour
    in which a fleet at its target sees the traffic grow within a minute."""
    for share in shares:
        fleet = Fleet(per_second, per_second * share * MINUTE, instances, instances * 20, start_s)
        for factor in factors:
            before = instances * per_second * share
            yield share, factor, [simulate(fleet, step(before, factor), 1800, seed) for seed in range(seeds)]
