"""What a reader should know about single configurations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Integers
from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.verdicts.recommendation import fresh_figures
from ddp_sweep.analysis.verdicts.scaling import Scaling
from ddp_sweep.analysis.verdicts.standing import Standing

__all__ = ["Pitfalls"]


@dataclass(frozen=True)
class Pitfalls:
    """Findings about each configuration, worded when they are asked for."""

    standing: Standing

    def of(self, position: int) -> tuple[Finding, ...]:
        """Findings about one configuration."""
        checks = (
            self._untimed,
            self._failures,
            self._contradictions,
            self._factors,
            self._fresh,
        )
        return tuple(finding for check in checks for finding in check(position))

    @cached_property
    def _no_claim(self) -> Integers:
        """Runs whose time says nothing; shape [configurations]."""
        measured = self.standing.measured
        return np.bincount(measured.configuration[measured.untimed], minlength=measured.count)

    @cached_property
    def _counts(self) -> tuple[Integers, Integers]:
        """Runs that finished, and runs that failed or missed the target."""
        measured = self.standing.measured
        return measured.tally(Ending.FINISHED), measured.tally(Ending.MISSED, Ending.FAILED)

    @cached_property
    def _scaling(self) -> Scaling:
        return Scaling(self.standing)

    def _untimed(self, position: int) -> Iterator[Finding]:
        if self._no_claim[position]:
            yield Finding(
                kind="no_speedup_claim",
                severity=Severity.WARNING,
                message=(
                    "No speedup is given: it ran with more workers than cores, "
                    "or beside other trials."
                ),
            )

    def _failures(self, position: int) -> Iterator[Finding]:
        finished, failed = (int(counts[position]) for counts in self._counts)
        if failed and finished:
            yield Finding(
                kind="failed_runs",
                severity=Severity.WARNING,
                message=(
                    f"{failed} of {failed + finished} runs failed or missed the target. They "
                    "count as infinitely slow: the speedup is a ratio of medians."
                ),
                evidence={"failed": failed, "runs": failed + finished},
            )

    def _contradictions(self, position: int) -> Iterator[Finding]:
        contradicts = int(self.standing.assessment.judgements.contradicts[position])
        if contradicts >= 0:
            twin = self.standing.names[contradicts]
            yield Finding(
                kind="same_updates_contradicted",
                severity=Severity.WARNING,
                message=(
                    f"It should make the same updates as {twin}, yet its quality was measured "
                    "as lower. The measurement stands; please look into what differs."
                ),
                evidence={"same_updates_as": twin},
            )

    def _factors(self, position: int) -> Iterator[Finding]:
        """Which factor made a speedup larger than the number of workers, or smaller than one."""
        yield from self._scaling.of(position)

    def _fresh(self, position: int) -> Iterator[Finding]:
        if position == self.standing.winner:
            yield from fresh_figures(self.standing, position)
