"""What a run tells of its progress: from the cluster's own terms to those of the views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ddp_sweep.cluster.lane.schedule import Assignment
from ddp_sweep.cluster.lane.tuning import Ended
from ddp_sweep.live import BatchAxis, Observer, PastAttempt, SweepPlanned
from ddp_sweep.live.lines import PlainLines, Silence
from ddp_sweep.live.trials import past_attempts, planned
from ddp_sweep.live.wording import STATUS_WORDS
from ddp_sweep.plan import Plan, Trial, waves
from ddp_sweep.spec import SweepSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "attempt_of", "observer_for", "plan_of", "summary"]

Progress = Literal["auto", "plain", "none"]
"""auto and plain: a line each; none: silence."""


def observer_for(progress: Progress) -> Observer:
    """What shows the progress of a run that brings no observer of its own."""
    return Silence() if progress == "none" else PlainLines()


def plan_of(
    spec: SweepSpec,
    plan: Plan,
    pending: Sequence[Trial],
    past: pd.DataFrame,
    capacity: int | None = None,
) -> SweepPlanned:
    """What is to run.

    Args:
        spec: The sweep file.
        plan: All of the sweep.
        pending: The trials to run now.
        past: Trials table of the results folder.
        capacity: Workers that can run at once; None where that is not known.
    """
    parts = waves(pending, spec.resources.placement, capacity)
    by_worker = spec.sweep.per_worker_batch_size is not None
    return SweepPlanned(
        trials=planned(plan),
        pending=frozenset(trial.trial_id for trial in pending),
        past=past_attempts(past),
        batch_axis=BatchAxis.PER_WORKER if by_worker else BatchAxis.GLOBAL,
        side_by_side={one.world_size: one.side_by_side or 1 for one in parts}
        if spec.resources.placement == "packed"
        else {},
    )


def attempt_of(assignment: Assignment, ended: Ended, now: datetime) -> PastAttempt:
    """An attempt that has just ended."""
    trial = assignment.trial
    began_s = None if ended.wall_time_s is None else now.timestamp() - ended.wall_time_s
    return PastAttempt(
        trial_id=trial.trial_id,
        configuration_id=trial.configuration_id,
        attempt=assignment.attempt,
        block=trial.block,
        status=ended.status,
        status_detail=ended.status_detail,
        session_id=None,
        started_s=began_s,
        wall_time_s=ended.wall_time_s,
        startup_s=ended.startup_time_s,
        began=ended.began,
    )


def summary(statuses: Sequence[str], planned: int) -> str:
    """How far a sweep is, in a sentence.

    >>> summary(["succeeded", "succeeded", "diverged"], 4)
    '3 of 4 trials have a result: 2 succeeded, 1 diverged'
    """
    counts = Counter(statuses)
    listed = ", ".join(
        f"{counts[one]} {word}" for one, word in STATUS_WORDS.items() if counts[one]
    )
    done = f"{len(statuses)} of {planned} trials have a result"
    return f"{done}: {listed}" if listed else done
