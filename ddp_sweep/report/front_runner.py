"""Who is ahead while a sweep runs: a ranking of the results so far, taken between trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ddp_sweep.errors import DdpSweepError
from ddp_sweep.results import Results, ResultsFolder

if TYPE_CHECKING:
    from ddp_sweep.analysis import RankedConfiguration

__all__ = ["CellOutcome", "FrontRunner", "Judge", "Quality", "front_runner"]

_SHARE = 0.03
"""Of the time of the sweep that rankings may take."""
_TOO_LONG_S = 10.0
"""A ranking that holds up the next trial for so long is the last one before the end."""


class Quality(StrEnum):
    """What is known so far of a configuration's quality."""

    BASELINE = "baseline"
    HELD = "quality held"
    UNKNOWN = "not yet known"
    LOST = "quality lost"
    FAILED = "did not finish"


@dataclass(frozen=True, kw_only=True)
class CellOutcome:
    """Speed and quality of one configuration so far."""

    speedup: float | None
    quality: Quality


@dataclass(frozen=True, kw_only=True)
class FrontRunner:
    """The fastest configuration so far, of those whose quality held if there is one."""

    name: str
    """In words: ``2 workers x 64 (global batch 128)``."""
    baseline: str
    speedup: float | None
    speedup_low: float | None
    """90 % interval; None with too few runs."""
    speedup_high: float | None
    quality: Quality
    is_baseline: bool
    trials: int
    """Trials that had ended when this was worked out."""
    cells: Mapping[str, CellOutcome] = field(default_factory=dict)
    """Every configuration, by its id."""


class Judge:
    """Ranks what a folder holds now and then, so that it takes a small share of the time.

    Args:
        folder: Results folder of the running sweep.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.newest: FrontRunner | None = None
        """As of the last ranking; None before the first that was possible."""
        self.spent_s = 0.0
        """Time that rankings have taken."""
        self._folder = ResultsFolder(folder)
        self._clock = clock
        self._next_s = clock()

    def prepare(self) -> None:
        """Load what a ranking needs, so that the first is not held up by that."""
        import ddp_sweep.analysis  # noqa: F401

    def look(self, *, at_any_cost: bool = False) -> None:
        """Rank anew, unless that was done too recently for what it costs."""
        began_s = self._clock()
        if began_s < self._next_s and not at_any_cost:
            return
        # Curves of single steps have no part in a ranking.
        self.newest = front_runner(self._folder.read(("trials", "evals"))) or self.newest
        now_s = self._clock()
        self.spent_s += now_s - began_s
        took_s = now_s - began_s
        # A trial must never begin while one of these goes on.
        self._next_s = now_s + (took_s / _SHARE if took_s < _TOO_LONG_S else math.inf)


def front_runner(results: Results) -> FrontRunner | None:
    """Who is ahead in these results; None where they cannot be ranked yet."""
    from ddp_sweep.analysis import rank

    try:
        ranking = rank(results)
    except DdpSweepError:
        return None

    def quality(entry: RankedConfiguration) -> Quality:
        if entry in (ranking.baseline, ranking.reference) and entry.verdict.value in (
            "baseline",
            "non_inferior",
        ):
            return Quality.BASELINE if entry is ranking.baseline else Quality.HELD
        return _QUALITIES[entry.verdict.value]

    cells = {
        str(entry.configuration_id): CellOutcome(speedup=entry.speedup, quality=quality(entry))
        for entry in ranking.configurations
    }
    first = ranking.recommendation.fastest or next(
        (
            one
            for one in ranking.configurations
            if quality(one) is Quality.UNKNOWN and _faster(one)
        ),
        ranking.baseline,
    )
    return FrontRunner(
        name=first.name,
        baseline=ranking.baseline.name,
        speedup=first.speedup,
        speedup_low=first.speedup_low,
        speedup_high=first.speedup_high,
        quality=quality(first),
        is_baseline=first is ranking.baseline,
        trials=int(results.trials["final"].sum()),
        cells=cells,
    )


def _faster(entry: RankedConfiguration) -> bool:
    return entry.speedup is not None and entry.speedup > 1


_QUALITIES = {
    "baseline": Quality.BASELINE,
    "non_inferior": Quality.HELD,
    "inconclusive": Quality.UNKNOWN,
    "inferior": Quality.LOST,
    "failed": Quality.FAILED,
}
