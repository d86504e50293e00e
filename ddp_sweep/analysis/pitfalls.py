"""What a reader should know about single configurations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.estimation import Booleans, Integers
from ddp_sweep.analysis.measurements import Ending
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.standing import Standing
from ddp_sweep.analysis.wording import ratio

__all__ = ["Pitfalls"]


@dataclass(frozen=True)
class Pitfalls:
    """Findings about each configuration, worded when they are asked for."""

    standing: Standing

    def of(self, position: int) -> tuple[Finding, ...]:
        """Findings about one configuration."""
        checks = (self._untimed, self._failures, self._contradictions, self._scaling)
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
    def _scales(self) -> tuple[Booleans, Booleans]:
        """More speedup than workers, and less than none."""
        speed, baseline = self.standing.speed, self.standing.baseline
        world_size = self.standing.measured.settings["world_size"].to_numpy(dtype=np.float64)
        more_workers = world_size > world_size[baseline]
        low = np.where(np.isnan(speed.low), speed.speedup, speed.low)
        high = np.where(np.isnan(speed.high), speed.speedup, speed.high)
        with np.errstate(over="ignore", invalid="ignore"):
            above = more_workers & (low > world_size / world_size[baseline])
            below = more_workers & (high < 1)
        return above, below

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

    def _scaling(self, position: int) -> Iterator[Finding]:
        """Which factor made a speedup larger than the number of workers, or smaller than one."""
        above, below = (bool(scales[position]) for scales in self._scales)
        if above or below:
            yield Finding(
                kind="super_linear" if above else "retrograde",
                severity=Severity.INFO,
                message=_scaling_message(self.standing, position, super_linear=above),
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
