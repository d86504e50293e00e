"""Speedups larger than the number of workers, or smaller than with fewer: what made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ddp_sweep.analysis.outcome import Finding, Severity, Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.statistics.speedup import speedups
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import ratio

__all__ = ["Scaling"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scaling:
    """Findings about super-linear and retrograde speedups.

    A speedup is the product of workers, throughput of a worker, and the inverse of the samples
    that were needed; whichever of these is on the side of the surprise made it.
    """

    standing: Standing

    def of(self, position: int) -> Iterator[Finding]:
        """Findings about one configuration."""
        if self._above[position]:
            yield _super_linear(self.standing, position)
        if self._below[position]:
            yield _retrograde(self.standing, position, int(self._fewer[position]))

    @property
    def positions(self) -> Integers:
        """The configurations there is something to say about."""
        return np.flatnonzero(self._above | self._below)

    @cached_property
    def _above(self) -> Booleans:
        """Faster than the baseline by more than the number of workers."""
        speed, sizes = self.standing.speed, _world_sizes(self.standing)
        workers = sizes / sizes[self.standing.baseline]
        low = np.where(np.isnan(speed.low), speed.speedup, speed.low)
        above: Booleans = (workers > 1) & (low > workers * (1 + _ROUNDING))
        return above

    @cached_property
    def _below(self) -> Booleans:
        """Slower than one of fewer workers."""
        sizes = _world_sizes(self.standing)
        slower = _shown_slower(self.standing, self._fewer)
        below: Booleans = slower & (sizes > sizes[self._fewer])
        return below

    @cached_property
    def _fewer(self) -> Integers:
        """What more workers should be faster than: the fastest of fewer ones, or the baseline."""
        fewer = _best_of_fewer(self.standing)
        return np.where(fewer >= 0, fewer, self.standing.baseline)


def _super_linear(standing: Standing, position: int) -> Finding:
    speed, sizes = standing.speed, _world_sizes(standing)
    workers = float(sizes[position] / sizes[standing.baseline])
    per_worker = float(speed.throughput_efficiency[position])
    samples = 1 / float(speed.statistical_efficiency[position])
    text = (
        f"{ratio(speed.speedup[position])}x as fast with {workers:.3g}x the workers: each worker "
        f"processed {ratio(per_worker)}x as many samples a second as in the baseline"
    )
    evidence: dict[str, Any] = {"throughput_efficiency": per_worker}
    if np.isnan(samples):
        text += ". A better batch size on fewer workers may give part of that"
    else:
        text += f", and the target took {ratio(samples)}x as many samples. "
        made_by = [
            *(["the throughput of each worker"] if per_worker > 1 else []),
            *(["the number of samples needed"] if samples < 1 else []),
        ]
        text += f"What makes it more than linear is {' and '.join(made_by)}, not the parallelism"
        evidence["statistical_efficiency"] = 1 / samples
    return Finding(
        kind="super_linear", severity=Severity.INFO, message=f"{text}.", evidence=evidence
    )


def _retrograde(standing: Standing, position: int, fewer: int) -> Finding:
    speed = standing.speed
    sizes = _world_sizes(standing)
    workers = sizes[position] / sizes[fewer]

    def relative(figure: Floats) -> float:
        return float(figure[position] / figure[fewer])

    throughput = workers * relative(speed.throughput_efficiency)
    samples = 1 / relative(speed.statistical_efficiency)
    text = (
        f"Slower than {standing.names[fewer]}, though it has {workers:.3g}x the workers: "
        f"{ratio(speed.speedup[position])}x against {ratio(speed.speedup[fewer])}x. All workers "
        f"together processed {ratio(throughput)}x as many samples a second"
    )
    evidence: dict[str, Any] = {
        "fewer_workers": standing.names[fewer],
        "throughput_ratio": throughput,
    }
    if not np.isnan(samples):
        evidence["samples_ratio"] = samples
        text += f", and the target took {ratio(samples)}x as many samples"
        fewer_a_second, more_samples = throughput < 1 - _ROUNDING, samples > 1 + _ROUNDING
        if fewer_a_second and more_samples:
            text += "; both made it slower"
        else:
            text += f"; the {'samples' if more_samples else 'throughput'} made it slower"
    return Finding(
        kind="retrograde", severity=Severity.INFO, message=f"{text}.", evidence=evidence
    )


def _best_of_fewer(standing: Standing) -> Integers:
    """For the fastest of each number of workers the fastest of any fewer ones; -1 for others."""
    speedup, sizes = standing.speed.speedup, _world_sizes(standing)
    verdict = standing.assessment.judgements.verdict
    excluded = np.isin(verdict, [Verdict.INFERIOR.value, Verdict.FAILED.value])
    allowed = np.flatnonzero(~np.isnan(speedup) & ~excluded)
    best = np.full(len(sizes), -1, dtype=np.int64)
    fastest: int | None = None
    for size in np.unique(sizes[allowed]):
        alike = allowed[sizes[allowed] == size]
        leader = int(alike[np.argmax(speedup[alike])])
        if fastest is not None:
            best[leader] = fastest
        if fastest is None or speedup[leader] > speedup[fastest]:
            fastest = leader
    return best


def _shown_slower(standing: Standing, against: Integers) -> Booleans:
    found = speedups(standing.measured, against)
    without = np.isnan(found.low) & np.isnan(found.high)
    slower: Booleans = np.where(without, found.speedup, found.high) < 1 - _ROUNDING
    return slower


def _world_sizes(standing: Standing) -> Floats:
    return standing.measured.settings["world_size"].to_numpy(dtype=np.float64)
