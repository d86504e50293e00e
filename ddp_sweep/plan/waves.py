"""Which trials share workers, and how many of them may run side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from ddp_sweep.plan.trials import Trial

__all__ = ["Wave", "waves"]


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Trials that run before any of the next wave begins."""

    trials: tuple[Trial, ...]
    """In their order."""
    side_by_side: int | None
    """How many run at once; None where the capacity is not known."""

    @property
    def world_size(self) -> int:
        """Workers of the largest trial; of every trial where several run at once."""
        return max(trial.world_size for trial in self.trials)


def waves(trials: Sequence[Trial], placement: str, capacity: int | None) -> tuple[Wave, ...]:
    """Divide trials into waves, in their order.

    ``exclusive`` makes one wave of single trials. ``packed`` makes one for each number of workers
    with ``floor(capacity / workers)`` trials at a time: groups of workers of mixed sizes do not
    queue fairly, while groups of one size that fit together never wait for each other.

    Args:
        trials: In the order of the plan, which for ``packed`` goes by the number of workers.
        placement: ``exclusive`` or ``packed``.
        capacity: Workers that can run at once; None where that is not known.
    """
    if not trials:
        return ()
    if placement == "exclusive":
        return (Wave(trials=tuple(trials), side_by_side=1),)
    groups = [tuple(group) for _, group in groupby(trials, key=attrgetter("world_size"))]
    return tuple(Wave(trials=group, side_by_side=_width(group, capacity)) for group in groups)


def _width(group: Sequence[Trial], capacity: int | None) -> int | None:
    if capacity is None:
        return None
    return max(1, min(len(group), capacity // group[0].world_size))
