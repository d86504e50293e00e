"""Outcomes in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.lazy_sequence import LazySequence
from ddp_sweep.analysis.metrics import COST_METRICS
from ddp_sweep.analysis.outcome import Evidence, Verdict
from ddp_sweep.analysis.statistics.estimation import Integers
from ddp_sweep.analysis.statistics.loss_tests import MetricResults
from ddp_sweep.analysis.statistics.quality import LEAST_SEEDS
from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.verdicts.verdict import Cause, Judge, Judgements
from ddp_sweep.analysis.wording import (
    ENDED,
    count,
    difference_text,
    margin_text,
    metric_name,
)
from ddp_sweep.spec.metrics import METRICS

__all__ = ["Judgement", "Reasons"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The outcome of one configuration, as if it were not the speed baseline."""

    verdict: Verdict
    evidence: Evidence
    twin: int | None
    """The configuration whose updates it repeats and whose verdict it shares."""
    contradicts: int | None
    """The configuration whose updates it repeats, though its quality was measured as lower."""
    position: int
    reasons: Reasons = field(repr=False)

    @property
    def reason(self) -> str:
        """Why, in words; begins with the outcome and a colon."""
        return self.reasons.of(self.position)


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Puts the outcome of each configuration into words when asked."""

    judge: Judge
    judgements: Judgements
    names: Sequence[str]
    target: str
    """The target in words, ``accuracy 0.95``."""
    not_confirmed: Mapping[int, str] = field(default_factory=dict)
    """Why a configuration was not confirmed by fresh seeds."""

    def all(self) -> Sequence[Judgement]:
        """The judgement of every configuration."""
        return LazySequence(self.judge.measured.count, self._judgement)

    def _judgement(self, position: int) -> Judgement:
        found = self.judgements
        twin, contradicts = int(found.twin[position]), int(found.contradicts[position])
        return Judgement(
            verdict=Verdict(str(found.verdict[position])),
            evidence=Evidence(str(found.evidence[position])),
            twin=None if twin < 0 else twin,
            contradicts=None if contradicts < 0 else contradicts,
            position=position,
            reasons=self,
        )

    def of(self, position: int) -> str:
        """The reason of one configuration."""
        return self._words(position, self._causes[position])

    def _words(self, position: int, cause: str) -> str:
        match cause:
            case Cause.METRIC_LOST | Cause.METRIC_UNKNOWN | Cause.METRICS_HELD:
                return self._by_metrics(position, cause)
            case Cause.SAME_UPDATES:
                return self._same_updates(position)
            case Cause.FLOOR_LOST | Cause.FLOOR_UNKNOWN:
                return self._floor(position, cause)
            case Cause.FAILURES_LOST | Cause.FAILURES_UNKNOWN:
                return self._more_failures(position, cause)
            case Cause.DID_NOT_FINISH:
                return self._why_failed(position)
            case Cause.NO_RUN:
                return f"not yet known: no run gave a measurement ({self._endings(position)})"
            case Cause.NOT_CONFIRMED:
                return self.not_confirmed[position]
            case Cause.NO_MARGINS:
                return self._no_margins
        return "the quality reference"

    @cached_property
    def _causes(self) -> list[str]:
        causes: list[str] = self.judgements.cause.tolist()
        return causes

    @cached_property
    def _tested(self) -> dict[str, MetricResults]:
        return self.judge.tests.tested

    @cached_property
    def _verdicts(self) -> dict[str, list[str]]:
        return {name: found.verdict.tolist() for name, found in self._tested.items()}

    @cached_property
    def _no_margins(self) -> str:
        measured = [name for name in self.judge.tests.metrics if name not in COST_METRICS]
        if not measured and not self.judge.measured.ours:
            return "not yet known: the table has no figures of quality"
        one = "accuracy" if "accuracy" in measured or not measured else measured[0]
        relative = one not in METRICS or METRICS[one].allows_relative_margin
        example = f"--margin {one}={'2%' if relative else '0.01'}"
        how = f"quality.margins in the sweep file, or {example}"
        if not self.judge.measured.ours:
            how = f"such as {example}"
        return (
            f"not yet known: no margins were set ({how}), so nothing says how large a loss would "
            "matter"
        )

    def _metrics_that(self, verdict: Verdict, position: int) -> list[str]:
        return [name for name, found in self._verdicts.items() if found[position] == verdict]

    def _by_metrics(self, position: int, cause: str) -> str:
        tested = self._tested
        if cause == Cause.METRIC_UNKNOWN:
            name = self._metrics_that(Verdict.INCONCLUSIVE, position)[0]
            return f"not yet known: {self._why_unknown(position, name, tested[name])}"
        if cause == Cause.METRIC_LOST:
            lost = self._metrics_that(Verdict.INFERIOR, position)
            words = "; ".join(_figures(name, tested[name], position) for name in lost)
            if COST_METRICS.issuperset(lost):
                return f"over the margin: {words}"
            return f"quality lost: {words}{_ON_THIS_SET}"
        words = "; ".join(_figures(name, found, position) for name, found in tested.items())
        if COST_METRICS.issuperset(tested):
            return f"within the margin: {words}"
        return f"quality held: {words}{self._how_far(position)}"

    def _how_far(self, position: int) -> str:
        """Whether a verdict holds beyond the validation samples that it was reached on."""
        tested = [found for name, found in self._tested.items() if name not in COST_METRICS]
        if all(found.holds_beyond[position] for found in tested):
            return ", also for other data like this validation set"
        unknown = any(np.isnan(found.population_low[position]) for found in tested)
        return _ON_THIS_SET if unknown else f"{_ON_THIS_SET}, too small to tell for other data"

    def _why_unknown(self, position: int, metric: str, found: MetricResults) -> str:
        name = metric_name(metric)
        reference = int(self.judge.reference[position])
        if not self.judge.finished[reference]:
            return f"the quality reference, {self.names[reference]}, did not finish"
        if found.n[position] == 0:
            return f"{name} was not measured"
        if found.missing[position]:
            return f"{name} is missing in some of the runs"
        if found.n[position] < LEAST_SEEDS:
            seeds = count(int(found.n[position]), "seed" if self.judge.measured.ours else "run")
            return f"{seeds} to compare, at least {LEAST_SEEDS} are needed"
        if np.isnan(found.low[position]):
            return f"{name} is the same in all runs, and on how many samples is not recorded"
        figures = _figures(metric, found, position)
        if found.sign is None:
            return (
                f"{figures}; whether higher or lower is better is not known, so a change either "
                "way could be a loss, and was not ruled out"
            )
        return f"{figures}, too uncertain to tell"

    def _same_updates(self, position: int) -> str:
        twin = int(self.judgements.twin[position])
        held = self.judgements.verdict[position] == Verdict.NON_INFERIOR
        reason = f"quality {'held' if held else 'lost'}: same updates as {self.names[twin]}"
        if twin != self.judge.reference[position]:
            own = self._words(twin, str(self.judge.own.cause[twin]))
            reason += f", of which {own.partition(': ')[2]}"
        return reason

    def _more_failures(self, position: int, cause: str) -> str:
        reference = self.judge.reference[position]
        words = (
            f"{self._endings(position)}; of the quality reference "
            f"{self.judge.failures[reference]} of {self.judge.runs[reference]} runs failed"
        )
        if cause == Cause.FAILURES_LOST:
            return f"quality lost: its runs fail more often: {words}"
        return f"not yet known: {words}"

    def _floor(self, position: int, cause: str) -> str:
        wanted = Verdict.INFERIOR if cause == Cause.FLOOR_LOST else Verdict.INCONCLUSIVE
        name, found = next(
            (name, found)
            for name, found in self.judge.tests.floors.items()
            if found.verdict[position] == wanted
        )
        words = f"{name} {found.value[position]:.3f} against a floor of {found.floor:g}"
        if cause == Cause.FLOOR_LOST:
            return f"quality lost: {words}{_ON_THIS_SET}"
        return f"not yet known: {words}, too uncertain"

    def _why_failed(self, position: int) -> str:
        judge = self.judge
        start = "did not finish: " if judge.failures[position] or judge.broken[position] else ""
        return f"{start}{self._endings(position)}{self._detail(position)}"

    @cached_property
    def _rows(self) -> list[Integers]:
        """Positions of the runs of each configuration."""
        measured = self.judge.measured
        by_configuration = np.argsort(measured.configuration, kind="stable")
        sizes = np.bincount(measured.configuration, minlength=measured.count)
        return np.split(by_configuration, np.cumsum(sizes)[:-1])

    def _endings(self, position: int) -> str:
        """How many runs ended how, leaving out those that went well."""
        rows, measured = self._rows[position], self.judge.measured
        total = len(rows)
        missed = measured.ending[rows] == Ending.MISSED
        parts = [f"{missed.sum()} of {total} missed the target {self.target}".rstrip()]
        if "status" in measured.runs:
            statuses = measured.runs["status"].iloc[rows].value_counts()
            parts += [
                f"{statuses[status]} of {total} {words}"
                for status, words in ENDED.items()
                if status in statuses
            ]
        return ", ".join(parts if missed.any() else parts[1:])

    def _detail(self, position: int) -> str:
        """The last line of the first explanation that a broken run left."""
        measured = self.judge.measured
        if "status_detail" not in measured.runs or not self.judge.broken[position]:
            return ""
        rows = self._rows[position]
        broken = measured.ending[rows] == Ending.BROKEN
        details = measured.runs["status_detail"].iloc[rows[broken]].dropna()
        lines = [line for text in details for line in str(text).splitlines() if line.strip()]
        return f" ({lines[-1].strip()[:200]})" if lines else ""


_ON_THIS_SET = ", on this validation set"


def _figures(name: str, found: MetricResults, position: int) -> str:
    assert found.margin is not None
    difference = difference_text(
        float(found.difference[position]),
        float(found.low[position]),
        float(found.high[position]),
        found.margin,
    )
    return f"{metric_name(name)} {difference}, margin {margin_text(found.margin)}"
