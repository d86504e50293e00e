"""What the runs say, in arrays over all configurations: the core that every ranking rests on.

The configurations may be those of one sweep or of ten thousand that share nothing; each is
compared within its own. Words, tables and recommendations are made from this, never computed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.metrics import parse_margins
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import RecommendationStatus, Verdict
from ddp_sweep.analysis.statistics.confirmation import Confirmations, confirm
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.statistics.looks import Looks, judge_looks, runs_only
from ddp_sweep.analysis.statistics.loss_tests import Demands, LossTests
from ddp_sweep.analysis.statistics.same_updates import find_twins
from ddp_sweep.analysis.statistics.speedup import Speedups, cost_ratios, speedups
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.analysis.verdicts.baselines import quality_references, speed_baselines
from ddp_sweep.analysis.verdicts.verdict import Cause, Judge, Judgements
from ddp_sweep.results import SeedAddition

__all__ = ["Assessment", "assess"]

_CLASSES = {
    Verdict.NON_INFERIOR: 0,
    Verdict.INCONCLUSIVE: 1,
    Verdict.INFERIOR: 2,
    Verdict.FAILED: 3,
}


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Outcome and speed of every configuration; shape [configurations], NaN is unknown."""

    measured: Measurements
    """The runs that choose: all but those of confirmations."""
    sweep: Integers
    """The sweep of each configuration, 0 and up."""
    reference: Integers
    """The quality reference of each configuration."""
    baseline: Integers
    """The configuration that the speed of each one is relative to."""
    judge: Judge
    judgements: Judgements
    looks: Looks
    look: Integers
    """Number of the look that decides about each configuration."""
    speed: Speedups
    cost_ratio: Floats
    confirmations: Confirmations

    @property
    def tests(self) -> LossTests:
        """What quality was tested for, at the look that decides."""
        return self.judge.tests

    @cached_property
    def classes(self) -> Integers:
        """0 for quality that held, then not yet known, lost, did not finish."""
        verdict = self.judgements.verdict
        classes = np.select([verdict == name for name in _CLASSES], list(_CLASSES.values()))
        itself = self.baseline == np.arange(len(classes))
        classes[itself & (classes == 1)] = 0  # itself the measure of the others
        return classes

    @cached_property
    def order(self) -> Integers:
        """Configurations from first to last rank of each sweep: by class, then by speedup."""
        slowest_last = np.where(np.isnan(self.speed.speedup), np.inf, -self.speed.speedup)
        return np.lexsort((slowest_last, self.classes, self.sweep))

    @cached_property
    def candidates(self) -> Booleans:
        """Those of known quality and speed."""
        held: Booleans = self.judgements.verdict == Verdict.NON_INFERIOR
        return held & ~np.isnan(self.speed.speedup)

    @cached_property
    def faster_unknown(self) -> Booleans:
        """Those of unknown quality that the data show, or may show, as a speedup."""
        unknown = self.judgements.verdict == Verdict.INCONCLUSIVE
        faster: Booleans = unknown & (self.speed.speedup > 1)
        return faster

    @cached_property
    def proven(self) -> Booleans:
        """Candidates whose interval lies above 1, or that have none and are faster."""
        speed = self.speed
        without = np.isnan(speed.low) & np.isnan(speed.high) & (speed.speedup > 1)
        itself = self.baseline == np.arange(len(speed.speedup))
        proven: Booleans = self.candidates & ((speed.low > 1) | without) & ~itself
        return proven

    @cached_property
    def winners(self) -> Integers:
        """The configuration to take in each sweep, -1 for none; shape [sweeps].

        Of the candidates that were shown to be faster than the baseline the one of the largest
        speedup. Where there is none the baseline, unless one of unknown quality looks faster.
        """
        sweeps = int(self.sweep.max()) + 1
        winners = np.full(sweeps, -1, dtype=np.int64)
        open_question = np.bincount(self.sweep, weights=self.faster_unknown, minlength=sweeps) > 0
        stays = self.baseline[self.candidates[self.baseline] & ~open_question[self.sweep]]
        winners[self.sweep[stays]] = stays
        best_last = self.order[self.proven[self.order]][::-1]
        winners[self.sweep[best_last]] = best_last
        return winners

    @cached_property
    def statuses(self) -> list[RecommendationStatus]:
        """How far the winner of each sweep can be relied on; shape [sweeps].

        Confirmed by fresh seeds; none where fresh seeds refuted another one and there is no
        confirmation yet of this one; else provisional.
        """
        found = self.confirmations
        refuted = np.zeros(len(self.winners), dtype=np.bool_)
        refuted[self.sweep[found.refuted]] = True
        confirmed = found.passed[self.winners] & (self.winners >= 0)
        return [
            RecommendationStatus.CONFIRMED
            if sure
            else RecommendationStatus.NONE
            if winner < 0 or doubt
            else RecommendationStatus.PROVISIONAL
            for winner, doubt, sure in zip(self.winners, refuted, confirmed, strict=True)
        ]

    @cached_property
    def seeds_needed(self) -> Floats:
        """Fresh seeds a side that would show that quality held, where that is not yet known.

        The most that any margin needs; NaN where seeds are not what is missing.
        """
        needed = [found.seeds_needed for found in self.tests.tested.values()]
        if not needed:
            return np.full(self.measured.count, np.nan)
        most = np.maximum.reduce(needed)  # NaN wherever one of them is
        return np.where(self.judgements.cause == Cause.METRIC_UNKNOWN, most, np.nan)


def assess(
    measured: Measurements,
    options: RankingOptions,
    *,
    additions: Sequence[SeedAddition] = (),
    sweep: Integers | None = None,
) -> Assessment:
    """Judge quality and speed of every configuration.

    Args:
        measured: All runs.
        options: What to judge by.
        additions: Which seeds were added, and why, in order.
        sweep: The sweep of each configuration, 0 and up without gaps; one for all if None.

    Raises:
        TableError: No configuration of a sweep has the settings of the named baseline, or none
            could start.
    """
    looks = Looks.of(measured, additions)
    choosing = runs_only(measured, looks.look > 0)
    if sweep is None:
        sweep = np.zeros(measured.count, dtype=np.int64)
    reference = quality_references(choosing, options, sweep)
    demands = Demands(margins=parse_margins(options.margins), floors=options.floors)
    tests, look = judge_looks(choosing, looks, reference, demands)
    judge = Judge(
        measured=choosing,
        reference=reference,
        tests=tests,
        twins=find_twins(choosing, reference),
    )
    judgements = judge.judge()
    judged = any(not np.isnan(found.value).all() for found in tests.tested.values())
    baseline = speed_baselines(choosing, options, reference, judgements, judged_quality=judged)
    confirmations = confirm(measured, looks, reference, baseline, demands)
    refuted = confirmations.refuted & (judgements.verdict == Verdict.NON_INFERIOR)
    judgements = judgements.having(refuted, confirmations.verdict, Cause.NOT_CONFIRMED)
    return Assessment(
        measured=choosing,
        sweep=sweep,
        reference=reference,
        baseline=baseline,
        judge=judge,
        judgements=judgements,
        looks=looks,
        look=look,
        speed=speedups(choosing, baseline),
        cost_ratio=cost_ratios(choosing, baseline),
        confirmations=replace(confirmations, refuted=refuted),
    )
