"""Where every configuration of one sweep stands, before anything is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.names import Names
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import Floats, Integers
from ddp_sweep.analysis.statistics.speedup import Speedups
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.analysis.verdicts.assessment import Assessment
from ddp_sweep.analysis.verdicts.reasons import Judgement, Reasons
from ddp_sweep.analysis.wording import ratio

__all__ = ["Standing"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An assessment of one sweep, with the names that people know its configurations by."""

    assessment: Assessment
    names: Names
    target: str
    """The target in words, ``accuracy 0.95``."""

    @property
    def measured(self) -> Measurements:
        """The runs, without those of confirmations."""
        return self.assessment.measured

    @cached_property
    def reference(self) -> int:
        """Number of the quality reference."""
        return int(self.assessment.reference[0])

    @cached_property
    def baseline(self) -> int:
        """Number of the configuration every speedup is relative to."""
        return int(self.assessment.baseline[0])

    @property
    def speed(self) -> Speedups:
        """Against the baseline."""
        return self.assessment.speed

    @property
    def cost_ratio(self) -> Floats:
        """Cost of every configuration / cost of the baseline."""
        return self.assessment.cost_ratio

    @cached_property
    def judgements(self) -> Sequence[Judgement]:
        """The outcome of every configuration, by number."""
        return self.reasons.all()

    @cached_property
    def reasons(self) -> Reasons:
        """The outcomes in words."""
        return Reasons(
            judge=self.assessment.judge,
            judgements=self.assessment.judgements,
            names=self.names,
            target=self.target,
            not_confirmed={
                int(position): self._why_not_confirmed(int(position))
                for position in np.flatnonzero(self.assessment.confirmations.refuted)
            },
        )

    @property
    def order(self) -> Integers:
        """Configurations from first to last rank: by class, then by speedup."""
        return self.assessment.order

    @cached_property
    def candidates(self) -> Integers:
        """Those of known quality and speed, in order of rank."""
        return self.order[self.assessment.candidates[self.order]]

    @cached_property
    def faster_unknown(self) -> int | None:
        """The fastest of unknown quality that the data show, or may show, as a speedup."""
        faster = self.order[self.assessment.faster_unknown[self.order]]
        return int(faster[0]) if len(faster) else None

    @cached_property
    def winner(self) -> int | None:
        """The configuration to take, if any."""
        winner = int(self.assessment.winners[0])
        return None if winner < 0 else winner

    def speedup_text(self, position: int) -> str:
        """Speedup with its interval, ``1.83x [1.78, 1.88]``."""
        return _speedup_text(self.speed, position)

    def fresh_speedup_text(self, position: int) -> str:
        """The speedup of fresh runs alone."""
        found = self.assessment.confirmations.of(position)
        assert found is not None
        return _speedup_text(found.speed, position)

    def fresh_reason(self, position: int) -> str:
        """The outcome of fresh runs alone."""
        found = self.assessment.confirmations.of(position)
        assert found is not None
        reasons = Reasons(
            judge=found.judge,
            judgements=found.judgements,
            names=self.names,
            target=self.target,
        )
        return reasons.of(position)

    def _why_not_confirmed(self, position: int) -> str:
        found = self.assessment.confirmations.of(position)
        assert found is not None
        if found.judgements.verdict[position] == Verdict.NON_INFERIOR:
            speedup = self.fresh_speedup_text(position)
            return f"not yet known: fresh seeds do not bear out its speedup: {speedup}"
        outcome, _, figures = self.fresh_reason(position).partition(": ")
        return f"{outcome}: on fresh seeds, {figures}"


def _speedup_text(speed: Speedups, position: int) -> str:
    text = f"{ratio(speed.speedup[position])}x"
    low, high = float(speed.low[position]), float(speed.high[position])
    if np.isnan(low) and np.isnan(high):
        return text
    if np.isnan(high):
        return f"{text} (at least {ratio(low)}x)"
    if np.isnan(low):
        return f"{text} (at most {ratio(high)}x)"
    return f"{text} [{ratio(low)}, {ratio(high)}]"
