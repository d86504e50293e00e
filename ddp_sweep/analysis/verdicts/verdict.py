"""From test results to one outcome for each configuration; `reasons` puts it into words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ddp_sweep.analysis.outcome import Evidence, Verdict
from ddp_sweep.analysis.statistics.estimation import (
    Booleans,
    Floats,
    Integers,
    fisher_more_failures,
)
from ddp_sweep.analysis.statistics.loss_tests import LossTests, Verdicts
from ddp_sweep.analysis.statistics.quality import ALPHA
from ddp_sweep.analysis.tables.measurements import Ending, Measurements

__all__ = ["Cause", "Judge", "Judgements"]


class Cause(StrEnum):
    """What an outcome rests on."""

    DID_NOT_FINISH = "did_not_finish"
    NO_RUN = "no_run"
    REFERENCE = "reference"
    NO_MARGINS = "no_margins"
    METRIC_LOST = "metric_lost"
    METRIC_UNKNOWN = "metric_unknown"
    METRICS_HELD = "metrics_held"
    FLOOR_LOST = "floor_lost"
    FLOOR_UNKNOWN = "floor_unknown"
    SAME_UPDATES = "same_updates"
    FAILURES_LOST = "failures_lost"
    FAILURES_UNKNOWN = "failures_unknown"
    NOT_CONFIRMED = "not_confirmed"


_BY_SEEDS = (
    Cause.METRIC_LOST,
    Cause.METRICS_HELD,
    Cause.FLOOR_LOST,
    Cause.FAILURES_LOST,
)


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """The outcome of every configuration, as if none were the speed baseline.

    Shape [configurations] throughout.
    """

    verdict: Verdicts
    cause: npt.NDArray[np.str_]
    twin: Integers
    """The configuration whose updates it repeats and whose verdict it shares; -1 for none."""
    contradicts: Integers
    """The configuration whose updates it repeats, though its quality was measured as lower."""

    @cached_property
    def evidence(self) -> npt.NDArray[np.str_]:
        """What each verdict rests on: seeds, the same updates, or nothing."""
        by_seeds = np.isin(self.cause, [cause.value for cause in _BY_SEEDS])
        by_seeds |= (self.cause == Cause.NOT_CONFIRMED) & (self.verdict == Verdict.INFERIOR)
        return np.select(
            [self.cause == Cause.SAME_UPDATES, by_seeds],
            [Evidence.SAME_UPDATES.value, Evidence.SEEDS.value],
            Evidence.NONE.value,
        )

    def having(self, changed: Booleans, verdict: Verdicts | Verdict, cause: Cause) -> Judgements:
        """These judgements with some of them changed."""
        return replace(
            self,
            verdict=np.where(changed, verdict, self.verdict),
            cause=np.where(changed, cause.value, self.cause),
            twin=np.where(changed, -1, self.twin),
        )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Everything that the outcomes of configurations rest on."""

    measured: Measurements
    """The runs, also those of earlier looks: a failure counts whenever it happened."""
    reference: Integers
    """The quality reference of each configuration."""
    tests: LossTests
    twins: Integers

    def judge(self) -> Judgements:
        """The outcome of every configuration, by number."""
        return self._with_failures(self._shared(self.own))

    @cached_property
    def own(self) -> Judgements:
        """By each configuration's own runs alone."""
        return self._unmeasured(self._with_floors(self._by_metrics()))

    @cached_property
    def runs(self) -> Integers:
        """Runs that say something about the configuration."""
        return self.measured.tally(Ending.FINISHED, Ending.MISSED, Ending.FAILED)

    @cached_property
    def failures(self) -> Integers:
        """Runs that failed or missed the target."""
        return self.measured.tally(Ending.MISSED, Ending.FAILED)

    @cached_property
    def broken(self) -> Integers:
        """Runs that could not start, or raised."""
        return self.measured.tally(Ending.BROKEN)

    @cached_property
    def finished(self) -> Integers:
        """Runs that gave the whole measurement."""
        return self.measured.tally(Ending.FINISHED)

    def _by_metrics(self) -> Judgements:
        count = self.measured.count
        nothing = np.full(count, -1, dtype=np.int64)
        verdict = np.full(count, Verdict.INCONCLUSIVE.value, dtype="<U16")
        cause = np.full(count, Cause.NO_MARGINS.value, dtype="<U16")
        found = [result.verdict for result in self.tests.tested.values()]
        if found:
            lost = np.logical_or.reduce([one == Verdict.INFERIOR for one in found])
            held = np.logical_and.reduce([one == Verdict.NON_INFERIOR for one in found])
            verdict = np.select(
                [lost, held], [Verdict.INFERIOR.value, Verdict.NON_INFERIOR.value], verdict
            )
            cause = np.select(
                [lost, held],
                [Cause.METRIC_LOST.value, Cause.METRICS_HELD.value],
                Cause.METRIC_UNKNOWN.value,
            )
        judged = Judgements(verdict=verdict, cause=cause, twin=nothing, contradicts=nothing)
        itself = self.reference == np.arange(count)
        return judged.having(itself, Verdict.NON_INFERIOR, Cause.REFERENCE)

    def _with_floors(self, judged: Judgements) -> Judgements:
        """No verdict against the reference makes up for a value below its floor."""
        for found in self.tests.floors.values():
            open_ = (found.verdict == Verdict.INCONCLUSIVE) & (
                judged.verdict == Verdict.NON_INFERIOR
            )
            judged = judged.having(open_, Verdict.INCONCLUSIVE, Cause.FLOOR_UNKNOWN)
        for found in self.tests.floors.values():
            below = found.verdict == Verdict.INFERIOR
            judged = judged.having(below, Verdict.INFERIOR, Cause.FLOOR_LOST)
        return judged

    def _unmeasured(self, judged: Judgements) -> Judgements:
        judged = judged.having(self.runs == 0, Verdict.INCONCLUSIVE, Cause.NO_RUN)
        never = (self.broken > 0) | ((self.runs > 0) & (self.failures == self.runs))
        return judged.having(never, Verdict.FAILED, Cause.DID_NOT_FINISH)

    def _shared(self, own: Judgements) -> Judgements:
        """The verdict of the configuration that makes the same updates, where that is decided."""
        has_twin = (self.twins >= 0) & (own.verdict != Verdict.FAILED)
        theirs = np.where(has_twin, own.verdict[self.twins], "")
        held, lost = theirs == Verdict.NON_INFERIOR, theirs == Verdict.INFERIOR
        against = held & (own.verdict == Verdict.INFERIOR)  # seeds that show a loss are believed
        share = (held | lost) & ~against
        shared = own.having(share, theirs, Cause.SAME_UPDATES)
        return replace(
            shared,
            twin=np.where(share, self.twins, -1),
            contradicts=np.where(against, self.twins, -1),
        )

    def _with_failures(self, judged: Judgements) -> Judgements:
        """More failures than the reference has can't go with a verdict of no loss."""
        runs_there, failures_there = self.runs[self.reference], self.failures[self.reference]
        more = self.failures * runs_there > failures_there * self.runs
        more &= np.isin(judged.verdict, [Verdict.NON_INFERIOR.value, Verdict.INCONCLUSIVE.value])
        judged = judged.having(more, Verdict.INCONCLUSIVE, Cause.FAILURES_UNKNOWN)
        shown = more & (self._p_more_failures(more) <= ALPHA)
        return judged.having(shown, Verdict.INFERIOR, Cause.FAILURES_LOST)

    def _p_more_failures(self, chosen: Booleans) -> Floats:
        """Fisher's test, once for each combination of counts; 1 where not chosen."""
        p_values = np.ones(self.measured.count)
        counts = np.stack(
            [
                self.failures,
                self.runs,
                self.failures[self.reference],
                self.runs[self.reference],
            ]
        )[:, chosen]
        distinct, position = np.unique(counts, axis=1, return_inverse=True)
        found = [fisher_more_failures(*map(int, column)) for column in distinct.T]
        p_values[chosen] = np.array(found, dtype=np.float64)[position.ravel()]
        return p_values
