"""Where every configuration stands, before anything is recommended or warned about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ddp_sweep.analysis.estimation import Floats, Integers
from ddp_sweep.analysis.measurements import Measurements
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.speedup import Speedups
from ddp_sweep.analysis.verdict import Judgement
from ddp_sweep.analysis.wording import ratio

__all__ = ["Standing"]

_CLASSES = {
    Verdict.NON_INFERIOR: 0,
    Verdict.INCONCLUSIVE: 1,
    Verdict.INFERIOR: 2,
    Verdict.FAILED: 3,
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Measurements, the two baselines, and what follows for each configuration."""

    measured: Measurements
    names: Sequence[str]
    reference: int
    baseline: int
    judgements: Sequence[Judgement]
    speed: Speedups
    """Against the baseline."""
    cost_ratio: Floats

    @cached_property
    def classes(self) -> Integers:
        """0 for quality that held, then not yet known, lost, did not finish; [configurations]."""
        classes = np.array([_CLASSES[judgement.verdict] for judgement in self.judgements])
        if classes[self.baseline] == 1:  # itself the measure of the others
            classes[self.baseline] = 0
        return classes

    @cached_property
    def order(self) -> Integers:
        """Configurations from first to last rank: by class, then by speedup."""
        slowest_last = np.where(np.isnan(self.speed.speedup), np.inf, -self.speed.speedup)
        return np.lexsort((slowest_last, self.classes))

    @cached_property
    def candidates(self) -> Integers:
        """Those of known quality and speed, in order of rank."""
        held = np.array([found.verdict is Verdict.NON_INFERIOR for found in self.judgements])
        known = held & ~np.isnan(self.speed.speedup)
        return self.order[known[self.order]]

    @cached_property
    def faster_unknown(self) -> int | None:
        """The fastest of unknown quality that the data show, or may show, as a speedup."""
        unknown = [self.judgements[p].verdict is Verdict.INCONCLUSIVE for p in self.order]
        faster = self.order[np.array(unknown) & (self.speed.speedup[self.order] > 1)]
        return int(faster[0]) if len(faster) else None

    def speedup_text(self, position: int) -> str:
        """Speedup with its interval, ``1.83x [1.78, 1.88]``."""
        text = f"{ratio(self.speed.speedup[position])}x"
        low, high = self.speed.low[position], self.speed.high[position]
        return text if np.isnan(low) else f"{text} [{ratio(low)}, {ratio(high)}]"
