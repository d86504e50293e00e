"""From test results to one outcome for each configuration, with its reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.estimation import Integers, fisher_more_failures
from ddp_sweep.analysis.measurements import Ending, Measurements
from ddp_sweep.analysis.metrics import COST_METRICS
from ddp_sweep.analysis.outcome import Evidence, Verdict
from ddp_sweep.analysis.quality import ALPHA, LEAST_SEEDS, FloorResults, MetricResults
from ddp_sweep.analysis.wording import (
    ENDED,
    count,
    difference_text,
    margin_text,
    metric_name,
)

__all__ = ["Judge", "Judgement"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The outcome of one configuration, as if none were the speed baseline."""

    verdict: Verdict
    evidence: Evidence
    reason: str
    twin: int | None = None
    """The configuration whose updates it repeats and whose verdict it shares."""
    contradicts: int | None = None
    """The configuration whose updates it repeats, though its quality was measured as lower."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Everything that the outcomes of configurations rest on."""

    measured: Measurements
    reference: int
    metrics: Mapping[str, MetricResults]
    floors: Mapping[str, FloorResults]
    twins: Integers
    names: Sequence[str]
    target: str
    """The target in words, ``accuracy 0.95``."""

    def judge(self) -> list[Judgement]:
        """The outcome of every configuration, by number."""
        own = [self._own(position) for position in range(self.measured.count)]
        shared = [self._shared(position, own) for position in range(self.measured.count)]
        return [self._with_failures(position, shared[position]) for position in range(len(shared))]

    @cached_property
    def _runs(self) -> Integers:
        return self.measured.tally(Ending.FINISHED, Ending.MISSED, Ending.FAILED)

    @cached_property
    def _failures(self) -> Integers:
        return self.measured.tally(Ending.MISSED, Ending.FAILED)

    @cached_property
    def _broken(self) -> Integers:
        return self.measured.tally(Ending.BROKEN)

    @cached_property
    def _rows(self) -> list[Integers]:
        """Positions of the runs of each configuration."""
        by_configuration = np.argsort(self.measured.configuration, kind="stable")
        sizes = np.bincount(self.measured.configuration, minlength=self.measured.count)
        return np.split(by_configuration, np.cumsum(sizes)[:-1])

    def _own(self, position: int) -> Judgement:
        """By the configuration's own runs alone."""
        runs, failures = self._runs[position], self._failures[position]
        if self._broken[position] or (runs and failures == runs):
            return _outcome(Verdict.FAILED, self._why_failed(position))
        if not runs:
            return _outcome(
                Verdict.INCONCLUSIVE,
                f"not yet known: no run gave a measurement ({self._endings(position)})",
            )
        if position == self.reference:
            quality = _outcome(Verdict.NON_INFERIOR, "the quality reference")
        else:
            quality = self._by_metrics(position)
        return self._with_floors(position, quality)

    def _by_metrics(self, position: int) -> Judgement:
        tested = {name: found for name, found in self.metrics.items() if found.margin is not None}
        if not tested:
            return _outcome(
                Verdict.INCONCLUSIVE,
                "not yet known: no margins were set (quality.margins in the sweep file), so "
                "nothing says how large a loss would matter",
            )
        verdicts = {name: Verdict(str(found.verdict[position])) for name, found in tested.items()}
        lost = [name for name in tested if verdicts[name] is Verdict.INFERIOR]
        if lost:
            words = "; ".join(_figures(name, tested[name], position) for name in lost)
            start = "over the margin" if COST_METRICS.issuperset(lost) else "quality lost"
            return _outcome(Verdict.INFERIOR, f"{start}: {words}", Evidence.SEEDS)
        unknown = [name for name in tested if verdicts[name] is Verdict.INCONCLUSIVE]
        if unknown:
            why = self._why_unknown(position, unknown[0], tested[unknown[0]])
            return _outcome(Verdict.INCONCLUSIVE, f"not yet known: {why}")
        words = "; ".join(_figures(name, found, position) for name, found in tested.items())
        start = "within the margin" if COST_METRICS.issuperset(tested) else "quality held"
        return _outcome(Verdict.NON_INFERIOR, f"{start}: {words}", Evidence.SEEDS)

    def _why_unknown(self, position: int, metric: str, found: MetricResults) -> str:
        name = metric_name(metric)
        if not self.measured.tally(Ending.FINISHED)[self.reference]:
            return f"the quality reference, {self.names[self.reference]}, did not finish"
        if found.n[position] == 0:
            return f"{name} was not measured"
        if found.missing[position]:
            return f"{name} is missing in some of the runs"
        if found.n[position] < LEAST_SEEDS:
            seeds = count(int(found.n[position]), "seed" if self.measured.ours else "run")
            return f"{seeds} to compare, at least {LEAST_SEEDS} are needed"
        if np.isnan(found.low[position]):
            return f"{name} is the same in all runs, and on how many samples is not recorded"
        return f"{_figures(metric, found, position)}, too uncertain to tell"

    def _shared(self, position: int, own: Sequence[Judgement]) -> Judgement:
        """The verdict of the configuration that makes the same updates, where that is decided."""
        mine, twin = own[position], int(self.twins[position])
        if twin < 0 or mine.verdict is Verdict.FAILED:
            return mine
        theirs = own[twin].verdict
        if theirs is Verdict.NON_INFERIOR and mine.verdict is Verdict.INFERIOR:
            return replace(mine, contradicts=twin)
        if theirs not in (Verdict.NON_INFERIOR, Verdict.INFERIOR):
            return mine
        held = "held" if theirs is Verdict.NON_INFERIOR else "lost"
        reason = f"quality {held}: same updates as {self.names[twin]}"
        if twin != self.reference:
            reason += f", of which {own[twin].reason.partition(': ')[2]}"
        return Judgement(verdict=theirs, evidence=Evidence.SAME_UPDATES, reason=reason, twin=twin)

    def _with_failures(self, position: int, judged: Judgement) -> Judgement:
        """More failures than the reference has can't go with a verdict of no loss."""
        runs, failures = int(self._runs[position]), int(self._failures[position])
        runs_there = int(self._runs[self.reference])
        failures_there = int(self._failures[self.reference])
        undecided = judged.verdict in (Verdict.NON_INFERIOR, Verdict.INCONCLUSIVE)
        if not undecided or not runs_there or failures * runs_there <= failures_there * runs:
            return judged
        words = (
            f"{self._endings(position)}; of the quality reference "
            f"{failures_there} of {runs_there} runs failed"
        )
        p_value = fisher_more_failures(failures, runs, failures_there, runs_there)
        if p_value <= ALPHA:
            return _outcome(
                Verdict.INFERIOR,
                f"quality lost: its runs fail more often: {words}",
                Evidence.SEEDS,
            )
        return _outcome(Verdict.INCONCLUSIVE, f"not yet known: {words}")

    def _with_floors(self, position: int, judged: Judgement) -> Judgement:
        """No verdict against the reference makes up for a value below its floor."""
        for name, found in self.floors.items():
            verdict = found.verdict[position]
            words = f"{name} {found.value[position]:.3f} against a floor of {found.floor:g}"
            if verdict == Verdict.INFERIOR:
                return _outcome(Verdict.INFERIOR, f"quality lost: {words}", Evidence.SEEDS)
            if verdict == Verdict.INCONCLUSIVE and judged.verdict is Verdict.NON_INFERIOR:
                judged = _outcome(Verdict.INCONCLUSIVE, f"not yet known: {words}, too uncertain")
        return judged

    def _why_failed(self, position: int) -> str:
        start = "did not finish: " if self._failures[position] or self._broken[position] else ""
        detail = self._detail(position)
        return f"{start}{self._endings(position)}{detail}"

    def _endings(self, position: int) -> str:
        """How many runs ended how, leaving out those that went well."""
        rows = self._rows[position]
        total = len(rows)
        missed = self.measured.ending[rows] == Ending.MISSED
        parts = [f"{missed.sum()} of {total} missed the target {self.target}".rstrip()]
        if "status" in self.measured.runs:
            statuses = self.measured.runs["status"].iloc[rows].value_counts()
            parts += [
                f"{statuses[status]} of {total} {words}"
                for status, words in ENDED.items()
                if status in statuses
            ]
        return ", ".join(parts if missed.any() else parts[1:])

    def _detail(self, position: int) -> str:
        """The last line of the first explanation that a broken run left."""
        if "status_detail" not in self.measured.runs or not self._broken[position]:
            return ""
        rows = self._rows[position]
        broken = self.measured.ending[rows] == Ending.BROKEN
        details = self.measured.runs["status_detail"].iloc[rows[broken]].dropna()
        lines = [line for text in details for line in str(text).splitlines() if line.strip()]
        return f" ({lines[-1].strip()[:200]})" if lines else ""


def _outcome(verdict: Verdict, reason: str, evidence: Evidence = Evidence.NONE) -> Judgement:
    return Judgement(verdict=verdict, evidence=evidence, reason=reason)


def _figures(name: str, found: MetricResults, position: int) -> str:
    assert found.margin is not None
    difference = difference_text(
        float(found.difference[position]),
        float(found.low[position]),
        float(found.high[position]),
        found.margin,
    )
    return f"{metric_name(name)} {difference}, margin {margin_text(found.margin)}"
