"""Trials as they are followed while a sweep runs: what is to come, what has been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ddp_sweep.plan import InfeasibleTrial, Plan, Trial
from ddp_sweep.schema import is_to_rerun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BatchAxis", "PastAttempt", "PlannedTrial", "Progress", "past_attempts", "planned"]


class BatchAxis(StrEnum):
    """Which batch size a sweep file lists."""

    GLOBAL = "global_batch_size"
    PER_WORKER = "per_worker_batch_size"


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of the plan, as far as following it needs."""

    trial_id: str
    configuration_id: str
    world_size: int
    per_worker_batch_size: int | None
    """None where the batch cannot be shared out evenly."""
    global_batch_size: int
    accumulation_steps: int | None
    seed: int
    block: int
    work: float
    """Epochs or samples to train, whichever the sweep file counts in."""
    epochs: float | None
    distinction: str = ""
    """Settings in which configurations of the same sizes differ: ``optimizer adamw``."""
    infeasible: str | None = None
    """Why it cannot run, where that is so."""

    @property
    def sizes(self) -> str:
        """Workers and batch in words: ``2 workers x 64``."""
        workers = "1 worker" if self.world_size == 1 else f"{self.world_size} workers"
        if self.per_worker_batch_size is None:
            return f"{workers}, global batch {self.global_batch_size}"
        batch = f"{self.per_worker_batch_size}"
        if self.accumulation_steps not in (None, 1):
            batch += f" x {self.accumulation_steps} steps"
        return f"{workers} x {batch}"

    @property
    def name(self) -> str:
        """The configuration in words, unlike that of any other one of the sweep."""
        return f"{self.sizes}, {self.distinction}" if self.distinction else self.sizes


@dataclass(frozen=True, kw_only=True)
class PastAttempt:
    """One attempt at a trial that has ended."""

    trial_id: str
    configuration_id: str
    attempt: int
    block: int
    status: str
    status_detail: str | None = None
    session_id: str | None = None
    """Of an earlier run; None of the run that goes on."""
    started_s: float | None = None
    """When its workers began with it, in seconds since 1970."""
    wall_time_s: float | None = None
    startup_s: float | None = None
    """Time to start the workers right before it; None where they were there already."""
    began: bool = True
    """False where there never were workers to run it."""

    @property
    def to_rerun(self) -> bool:
        """Whether another run would try the trial again."""
        return is_to_rerun(self.status, self.status_detail, began=self.began)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the workers are with a trial; None is not yet known."""

    stage: str
    """``starting workers``, ``building``, ``warming up``, ``training`` or ``evaluating``; or
    ``waiting for`` what the cluster lacks."""
    at_s: float
    """When they said so, in seconds since 1970."""
    began_s: float | None = None
    """When the workers were given the trial, in seconds since 1970."""
    samples: int | None = None
    budget: int | None = None
    """Samples of the whole trial."""
    optimizer_step: int | None = None
    train_loss: float | None = None
    """Of the last stretch of steps; it may be no number."""
    samples_per_s: float | None = None
    """Mean since the training began, evaluations left out."""

    @property
    def fraction(self) -> float | None:
        """Share of the samples that the trial has been trained on."""
        return self.samples / self.budget if self.samples is not None and self.budget else None


def planned(plan: Plan) -> tuple[PlannedTrial, ...]:
    """The trials of a plan in their order, then those that cannot run."""
    everything: list[Trial | InfeasibleTrial] = [*plan.trials, *plan.infeasible]
    varying = _varying(everything)
    return tuple(_planned(trial, varying) for trial in everything)


def _planned(trial: Trial | InfeasibleTrial, varying: Sequence[str]) -> PlannedTrial:
    epochs, samples = trial.training.epochs, trial.training.samples
    return PlannedTrial(
        trial_id=trial.trial_id,
        configuration_id=trial.configuration_id,
        world_size=trial.world_size,
        per_worker_batch_size=trial.per_worker_batch_size,
        global_batch_size=trial.global_batch_size,
        accumulation_steps=trial.accumulation_steps,
        seed=trial.seed,
        block=trial.block if isinstance(trial, Trial) else 0,
        work=float(samples if samples is not None else epochs or 1),
        epochs=None if epochs is None else float(epochs),
        distinction=", ".join(f"{_leaf(key)} {trial.parameters.get(key)}" for key in varying),
        infeasible=trial.reason if isinstance(trial, InfeasibleTrial) else None,
    )


def _varying(trials: Sequence[Trial | InfeasibleTrial]) -> list[str]:
    """Settings beside the sizes that take more than one value; the steps stand in the sizes."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for key, value in trial.parameters.items():
            values.setdefault(key, set()).add(repr(value))
    return [key for key, seen in values.items() if len(seen) > 1 and key != "accumulation_steps"]


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def past_attempts(trials: pd.DataFrame) -> tuple[PastAttempt, ...]:
    """Every attempt of a trials table, in the order of their start."""
    columns = [
        *("trial_id", "configuration_id", "attempt", "block", "status", "status_detail"),
        *("session_id", "started_at", "wall_time_s", "startup_time_s"),
    ]
    rows = trials[columns].astype(object)
    rows = rows.where(rows.notna(), None)
    found = [_past(dict(zip(columns, row, strict=True))) for row in rows.itertuples(index=False)]
    return tuple(sorted(found, key=lambda one: (one.started_s or -math.inf, one.attempt)))


def _past(row: dict[str, Any]) -> PastAttempt:
    return PastAttempt(
        trial_id=str(row["trial_id"]),
        configuration_id=str(row["configuration_id"]),
        attempt=int(row["attempt"]),
        block=int(row["block"] or 0),
        status=str(row["status"]),
        status_detail=row["status_detail"],
        session_id=row["session_id"],
        started_s=None if row["started_at"] is None else row["started_at"].timestamp(),
        wall_time_s=row["wall_time_s"],
        startup_s=row["startup_time_s"],
        began=row["started_at"] is not None,
    )
