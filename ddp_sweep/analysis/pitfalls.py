"""What a reader should know about single configurations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.measurements import Ending
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.recommendation import fresh_figures
from ddp_sweep.analysis.scaling import Scaling
from ddp_sweep.analysis.standing import Standing

__all__ = ["pitfalls"]


def pitfalls(standing: Standing) -> list[tuple[Finding, ...]]:
    """Findings about each configuration, by number."""
    found: list[list[Finding]] = [[] for _ in range(standing.measured.count)]
    for check in (_untimed, _failures, _contradictions, _scaling, _fresh):
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
    scaling = Scaling(standing)
    for position in map(int, scaling.positions):
        for finding in scaling.of(position):
            yield position, finding


def _fresh(standing: Standing) -> Iterator[tuple[int, Finding]]:
    if standing.winner is not None:
        for finding in fresh_figures(standing, standing.winner):
            yield standing.winner, finding
