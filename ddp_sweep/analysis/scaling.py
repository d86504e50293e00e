"""Speedups larger than the number of workers, or smaller than with fewer: what made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ddp_sweep.analysis.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.outcome import Finding, Severity, Verdict
from ddp_sweep.analysis.speedup import speedups
from ddp_sweep.analysis.standing import Standing
from ddp_sweep.analysis.wording import ratio

__all__ = ["scaling_findings"]


def scaling_findings(standing: Standing) -> Iterator[tuple[int, Finding]]:
    """Findings about super-linear and retrograde speedups, each with the configuration's number.

    A speedup is the product of workers, throughput of a worker, and the inverse of the samples
    that were needed; whichever of these is on the side of the surprise made it.
    """
    speed = standing.speed
    sizes = _world_sizes(standing)
    workers = sizes / sizes[standing.baseline]
    low = np.where(np.isnan(speed.low), speed.speedup, speed.low)
    with np.errstate(invalid="ignore"):
        above = (workers > 1) & (low > workers)
    for position in np.flatnonzero(above):
        yield int(position), _super_linear(standing, int(position), float(workers[position]))
    fewer = _best_of_fewer(standing)
    against = np.where(fewer >= 0, fewer, standing.baseline)
    for position in np.flatnonzero(_shown_slower(standing, against) & (sizes > sizes[against])):
        yield int(position), _retrograde(standing, int(position), int(against[position]))


def _super_linear(standing: Standing, position: int, workers: float) -> Finding:
    speed = standing.speed
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
        text += f", and the target took {ratio(samples)}x as many samples"
        evidence["samples_ratio"] = samples
        if samples > 1:
            both = throughput < 1
            text += "; both made it slower" if both else "; the samples made it slower"
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
    slower: Booleans = np.where(without, found.speedup, found.high) < 1
    return slower


def _world_sizes(standing: Standing) -> Floats:
    return standing.measured.settings["world_size"].to_numpy(dtype=np.float64)
