"""A sweep as it would be told to whoever watches it: plans, attempts, events."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddp_sweep.live import (
    BatchAxis,
    Connecting,
    Event,
    PastAttempt,
    PlannedTrial,
    Progress,
    SweepOverview,
    SweepPlanned,
    Tracker,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
)

DATA = Path(__file__).parent / "data"
SEEDS = 3


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@functools.cache
def trial(world_size: int, batch: int, seed: int, **changes: Any) -> PlannedTrial:
    """A trial; its ids tell what it is."""
    name = f"w{world_size}b{batch}"
    known: dict[str, Any] = {
        "trial_id": f"{name}s{seed}",
        "configuration_id": name,
        "world_size": world_size,
        "per_worker_batch_size": batch,
        "global_batch_size": world_size * batch,
        "accumulation_steps": 1,
        "seed": seed,
        "block": seed,
        "work": 4.0,
        "epochs": 4.0,
    }
    return PlannedTrial(**known | changes)


def grid(world_sizes: Iterable[int], batches: Iterable[int], seeds: int) -> list[PlannedTrial]:
    """One block a seed."""
    cells = [(world_size, batch) for world_size in world_sizes for batch in batches]
    return [trial(*cell, seed) for seed in range(seeds) for cell in cells]


def attempt(of: PlannedTrial, seconds: float | None = 10.0, **changes: Any) -> PastAttempt:
    known: dict[str, Any] = {
        "trial_id": of.trial_id,
        "configuration_id": of.configuration_id,
        "attempt": 1,
        "block": of.block,
        "status": "succeeded",
        "wall_time_s": seconds,
    }
    return PastAttempt(**known | changes)


def plan_event(
    trials: Iterable[PlannedTrial],
    *,
    past: Iterable[PastAttempt] = (),
    axis: BatchAxis = BatchAxis.PER_WORKER,
) -> SweepPlanned:
    trials, past = tuple(trials), tuple(past)
    done = {one.trial_id for one in past if not one.to_rerun}
    pending = {one.trial_id for one in trials if one.infeasible is None} - done
    return SweepPlanned(trials=trials, pending=frozenset(pending), past=past, batch_axis=axis)


def began(of: PlannedTrial, number: int = 1) -> TrialStarted:
    return TrialStarted(trial_id=of.trial_id, attempt=number)


def ended(of: PlannedTrial, again: bool = False, **changes: Any) -> TrialEnded:
    return TrialEnded(attempt=attempt(of, **changes), again=again)


def followed(events: Iterable[Event], clock: Clock | None = None) -> SweepOverview:
    """Where a sweep stands after these events."""
    tracker = Tracker(clock or Clock())
    tracker.apply(Connecting(sweep="digits", folder=Path("results/digits")))
    for event in events:
        tracker.apply(event)
    return tracker.overview()


def training(**changes: Any) -> Progress:
    known: dict[str, Any] = {
        "stage": "training",
        "at_s": 1000.0,
        "began_s": 998.0,
        "samples": 600,
        "budget": 1000,
        "optimizer_step": 60,
        "train_loss": 0.25,
        "samples_per_s": 4120.4,
    }
    return Progress(**known | changes)


def heard(of: PlannedTrial, progress: Progress | None) -> TrialProgressed:
    """One running trial said something, or nothing."""
    return TrialProgressed(progress={} if progress is None else {of.trial_id: progress})


def recorded(name: str) -> pd.DataFrame:
    """The trials of a sweep that was run, in their order; see tests/data/README.md."""
    return pd.read_csv(DATA / name, parse_dates=["started_at"])
