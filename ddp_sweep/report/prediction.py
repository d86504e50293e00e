"""What a plan will take, from finished trials and from try-outs, and what that rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ddp_sweep.errors import ResultsError
from ddp_sweep.plan import Plan, Trial, Wave
from ddp_sweep.plan.estimate import MeasuredTrial, predict
from ddp_sweep.report.durations import duration
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.training.tried import SpeedMemory

__all__ = ["finished_trials", "prediction_text", "with_prediction"]


def finished_trials(folder: Path) -> dict[str, MeasuredTrial]:
    """Means over the finished trials of each configuration in a results folder, if it is one."""
    try:
        trials = ResultsFolder(folder).read(("trials",)).trials
    except ResultsError:
        return {}
    done = trials[trials["status"] == Status.SUCCEEDED]
    columns = ["train_time_s", "eval_time_s", "wall_time_s"]
    means = done.groupby("configuration_id")[columns].mean().dropna()
    return {
        str(identity): MeasuredTrial(busy_s=float(train + evaluation), wall_s=float(wall))
        for identity, train, evaluation, wall in means.itertuples(name=None)
    }


def with_prediction(
    plan: Plan,
    *,
    finished: Mapping[str, MeasuredTrial],
    memory: SpeedMemory,
    lengths: Callable[[Trial], tuple[int, int]],
    parallel: int | None,
    price_per_worker_hour: float | None,
    parts: Sequence[Wave] = (),
) -> Plan:
    """The plan with an estimate, unknown where neither trials nor a try-out tell.

    Args:
        plan: The trials.
        finished: By ``configuration_id``.
        memory: Speeds of try-outs.
        lengths: Samples in the training and in the validation set of a trial.
        parallel: Workers that can be faster than one on this machine; None for no limit.
        price_per_worker_hour: None where there is no price.
        parts: The trials by waves, where several run at once.
    """
    estimate = predict(
        plan,
        lengths=lengths,
        speeds=memory.recall,
        measured=finished,
        parallel=parallel,
        price_per_worker_hour=price_per_worker_hour,
        parts=parts,
    )
    return replace(plan, estimate=estimate)


def prediction_text(
    plan: Plan,
    finished: Mapping[str, MeasuredTrial],
    sweep_file: str,
    *,
    side_by_side: bool = False,
) -> str:
    """One or two sentences: the prediction and what it rests on, or how to get one."""
    estimate = plan.estimate
    if estimate.worker_hours is None:
        return (
            "Expected time and cost: not known yet; a prediction needs what this measures: "
            f"ddp-sweep try {sweep_file}"
        )
    configurations = {trial.configuration_id for trial in plan.trials}
    measured = len(configurations & set(finished))
    if measured == len(configurations):
        basis = "from finished trials of this sweep"
    else:
        basis = (
            "from one worker's speed in `ddp-sweep try` on this machine, as if N workers were N "
            "times as fast; it may take longer"
        )
        if measured:
            basis = f"from finished trials for {measured} configurations, else {basis}"
    cost = "" if estimate.cost is None else f", at a cost of {estimate.cost:.3g}"
    return (
        f"Predicted: {_wall(estimate.wall_s, side_by_side)}"
        f"{estimate.worker_hours:.2g} worker-hours{cost}; {basis}."
    )


def _wall(wall_s: float | None, side_by_side: bool) -> str:
    if wall_s is None:  # how many run side by side depends on the cluster
        return ""
    how = "side by side" if side_by_side else "one after another"
    return f"{duration(wall_s)} for the trials {how}, "
