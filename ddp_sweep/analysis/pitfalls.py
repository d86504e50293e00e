"""What a reader should know about single configurations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.measurements import Ending
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.standing import Standing
from ddp_sweep.analysis.wording import ratio

__all__ = ["pitfalls"]


def pitfalls(standing: Standing) -> list[tuple[Finding, ...]]:
    """Findings about each configuration, by number."""
    found: list[list[Finding]] = [[] for _ in range(standing.measured.count)]
    for check in (_untimed, _failures, _contradictions, _scaling):
        for position, finding in check(standing):
            found[position].append(finding)
    return [tuple(findings) for findings in found]


def _untimed(standing: Standing) -> Iterator[tuple[int, Finding]]:
    measured = standing.measured
    for position in np.unique(measured.configuration[measured.untimed]):
        yield (
            int(position),
            Finding(
                kind="no_speedup_claim",
                severity=Severity.WARNING,
                message=(
                    "No speedup is given: it ran with more workers than cores, "
                    "or beside other trials."
                ),
            ),
        )


def _failures(standing: Standing) -> Iterator[tuple[int, Finding]]:
    measured = standing.measured
    finished = measured.tally(Ending.FINISHED)
    failed = measured.tally(Ending.MISSED, Ending.FAILED)
    for position in np.flatnonzero((failed > 0) & (finished > 0)):
        total = int(failed[position] + finished[position])
        yield (
            int(position),
            Finding(
                kind="failed_runs",
                severity=Severity.WARNING,
                message=(
                    f"{failed[position]} of {total} runs failed or missed the target. They count "
                    "as infinitely slow: the speedup is a ratio of medians."
                ),
                evidence={"failed": int(failed[position]), "runs": total},
            ),
        )


def _contradictions(standing: Standing) -> Iterator[tuple[int, Finding]]:
    for position, judgement in enumerate(standing.judgements):
        if judgement.contradicts is not None:
            twin = standing.names[judgement.contradicts]
            yield (
                position,
                Finding(
                    kind="same_updates_contradicted",
                    severity=Severity.WARNING,
                    message=(
                        f"It should make the same updates as {twin}, yet its quality was measured "
                        "as lower. The measurement stands; please look into what differs."
                    ),
                    evidence={"same_updates_as": twin},
                ),
            )


def _scaling(standing: Standing) -> Iterator[tuple[int, Finding]]:
    """More speedup than workers, or less than none: which factor made it."""
    speed = standing.speed
    world_size = standing.measured.settings["world_size"].to_numpy(dtype=np.float64)
    more_workers = world_size > world_size[standing.baseline]
    low = np.where(np.isnan(speed.low), speed.speedup, speed.low)
    high = np.where(np.isnan(speed.high), speed.speedup, speed.high)
    with np.errstate(over="ignore", invalid="ignore"):
        above = more_workers & (low > world_size / world_size[standing.baseline])
        below = more_workers & (high < 1)
    for position in np.flatnonzero(above | below):
        yield (
            int(position),
            Finding(
                kind="super_linear" if above[position] else "retrograde",
                severity=Severity.INFO,
                message=_scaling_message(
                    standing, int(position), super_linear=bool(above[position])
                ),
            ),
        )


def _scaling_message(standing: Standing, position: int, *, super_linear: bool) -> str:
    speed = standing.speed
    sizes = standing.measured.settings["world_size"]
    workers = f"{sizes.iloc[position] / sizes.iloc[standing.baseline]:.3g}x the workers"
    start = f"{ratio(speed.speedup[position])}x as fast with {workers}: "
    per_worker = float(speed.throughput_efficiency[position])
    samples = float(speed.statistical_efficiency[position])
    text = (
        f"{start}each worker processed {ratio(per_worker)}x as many samples a second as in the "
        "baseline"
    )
    if not np.isnan(samples):
        text += f", and the target took {ratio(1 / samples)}x as many samples"
    elif super_linear:
        text += ". A better batch size on fewer workers may give part of that"
    return f"{text}."
