"""Losses of runs that make the same batches on other numbers of workers, step by step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddp_sweep.analysis.diagnosis.subject import Subject
from ddp_sweep.analysis.statistics.estimation import Floats

__all__ = ["trace_gaps"]

_STEPS = 10
_TOLERANCE = 1e-3
"""Relative difference of losses over the first steps; float32 gives less than 1e-6."""
_PRECISIONS = ("float32", "float64")
"""Rounding of a lower one alone parts losses by more than that within a few steps."""
_BLOWN_UP = 0.5
"""Rise above the first loss, as a share of it. A training that blows up multiplies rounding errors
as well; batches that are harder than the first by chance are not by as much."""


def trace_gaps(subject: Subject) -> dict[int, tuple[float, int]]:
    """Relative difference of loss, and the step of it, from the twin run of fewest workers."""
    if subject.steps is None or not subject.measured.ours:
        return {}
    losses = _first_losses(subject)
    gaps: dict[int, tuple[float, int]] = {}
    for _, group in losses.groupby("twin", sort=False):
        fewest = group["world_size"].min()
        first = group[group["world_size"] == fewest]
        base = first[first["trial_id"] == first["trial_id"].iloc[0]]
        base = _before_it_blows_up(base.set_index("optimizer_step")["train_loss"])
        for position, other in group[group["world_size"] > fewest].groupby("configuration"):
            against = np.asarray(base.reindex(other["optimizer_step"]), dtype=np.float64)
            gap = _relative(other["train_loss"].to_numpy(), against)
            if not np.isnan(gap).all() and np.nanmax(gap) > _TOLERANCE:
                at = int(np.nanargmax(gap))
                gaps[int(str(position))] = (
                    float(gap[at]),
                    int(other["optimizer_step"].iloc[at]),
                )
    return gaps


def _before_it_blows_up(losses: pd.Series[float]) -> pd.Series[float]:
    """The losses, in order of the steps, up to the first that is far above where they began."""
    losses = losses.sort_index()
    first = losses.iloc[0]
    return losses[(losses <= first + _BLOWN_UP * abs(first)).cummin()]


def _relative(values: Floats, against: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.abs(values - against) / np.abs(against)
    return np.where(np.isfinite(found), found, np.nan)


def _first_losses(subject: Subject) -> pd.DataFrame:
    """Losses of the first steps of runs whose traces can be compared, with a key for twins."""
    runs = subject.measured.runs
    same = ["global_batch_size", "learning_rate", "compute_precision", "parameters", "seed"]
    same = [name for name in (*same, "code_version", "sweep") if name in runs]
    usable = subject.measured.finished & (subject.text("traces_comparable") == "True")
    usable &= np.isin(subject.text("compute_precision"), _PRECISIONS)
    keys = runs[["trial_id", "attempt"]].assign(
        configuration=subject.measured.configuration,
        twin=runs.groupby(same, dropna=False, sort=False).ngroup(),
    )[usable]
    assert subject.steps is not None
    steps = subject.steps
    early = steps[(steps["rank"] == 0) & (steps["optimizer_step"] <= _STEPS)]
    columns = ["trial_id", "attempt", "world_size", "optimizer_step", "train_loss"]
    return early[columns].merge(keys, on=["trial_id", "attempt"])
