"""What the trials of a plan will take, predicted from what is already measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ddp_sweep.plan.trials import Estimate, Plan, Trial
from ddp_sweep.plan.waves import Wave

__all__ = ["MeasuredSpeed", "MeasuredTrial", "predict"]


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """What one worker did in a short try-out."""

    per_worker_batch_size: int
    training_s_per_sample: float
    evaluation_s_per_sample: float
    setup_s: float
    """Probes and warm-up of a trial: what is neither training nor evaluation."""


@dataclass(frozen=True, kw_only=True)
class MeasuredTrial:
    """Means over the finished trials of a configuration."""

    busy_s: float
    """Training and evaluation."""
    wall_s: float


def predict(
    plan: Plan,
    *,
    lengths: Callable[[Trial], tuple[int, int]],
    speeds: Callable[[Trial], Iterable[MeasuredSpeed]],
    measured: Mapping[str, MeasuredTrial],
    parallel: int | None = None,
    price_per_worker_hour: float | None = None,
    parts: Sequence[Wave] = (),
) -> Estimate:
    """Add up the trials of a plan: those of measured configurations, and others by their samples.

    Where only one worker's speed is known, N workers are taken to be N times as fast, which is
    the least that a trial can take.

    Args:
        plan: The trials.
        lengths: Samples in the training and in the validation set.
        speeds: What is known of one worker's speed, at any batch sizes; the nearest counts.
        measured: Finished trials by ``configuration_id``.
        parallel: Workers that can be faster than one, as a machine has so many cores; None for
            no limit.
        price_per_worker_hour: None where there is no price.
        parts: The same trials by waves, where several run at once; what slows them down beside
            each other is not known and left out.

    Returns:
        Unknown figures are None: a single trial that nothing is known of makes the sum unknown.
    """
    worker_s = 0.0
    walls_s: dict[str, float] = {}
    for trial in plan.trials:
        known = measured.get(trial.configuration_id)
        if known is None:
            known = _by_speed(trial, lengths, speeds(trial), parallel)
        if known is None:
            return Estimate(trials=len(plan.trials))
        worker_s += trial.world_size * known.busy_s
        walls_s[trial.trial_id] = known.wall_s
    hours = worker_s / 3600
    return Estimate(
        trials=len(plan.trials),
        worker_hours=hours,
        wall_s=_wall_s(walls_s, parts or (Wave(trials=plan.trials, side_by_side=1),)),
        cost=None if price_per_worker_hour is None else hours * price_per_worker_hour,
    )


def _wall_s(walls_s: Mapping[str, float], parts: Sequence[Wave]) -> float | None:
    """Time of waves one after another; None where it is not known how many trials run at once."""
    total_s = 0.0
    for wave in parts:
        if wave.side_by_side is None:
            return None
        each_s = [walls_s[trial.trial_id] for trial in wave.trials]
        total_s += max(sum(each_s) / wave.side_by_side, max(each_s, default=0.0))
    return total_s


def _by_speed(
    trial: Trial,
    lengths: Callable[[Trial], tuple[int, int]],
    speeds: Iterable[MeasuredSpeed],
    parallel: int | None,
) -> MeasuredTrial | None:
    speed = min(
        speeds,
        key=lambda one: abs(one.per_worker_batch_size - trial.per_worker_batch_size),
        default=None,
    )
    if speed is None:
        return None
    train, validation = lengths(trial)
    settings = trial.training
    samples = settings.samples or (settings.epochs or 0) * train
    work_s = samples * speed.training_s_per_sample
    work_s += settings.evaluations * validation * speed.evaluation_s_per_sample
    busy_s = work_s / min(trial.world_size, parallel or trial.world_size)
    return MeasuredTrial(busy_s=busy_s, wall_s=busy_s + speed.setup_s)
