"""Time, samples and quality at the evaluation that met the target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ddp_sweep.analysis.metrics import better_sign, metric_values
from ddp_sweep.analysis.tables.sources import Source
from ddp_sweep.errors import TableError
from ddp_sweep.schema import METRIC_PREFIX, QUALITY_COLUMNS

__all__ = ["has_target", "meet_target"]

_ATTEMPT = ["trial_id", "attempt"]


def has_target(source: Source, target: Mapping[str, float]) -> bool:
    """Whether times run to a target rather than over the same number of samples.

    A table of another tool has one where it has the column ``time_to_target_s``; ours has that
    column always, so without a sweep file beside it a single value decides.
    """
    runs = source.runs
    if not source.ours:
        return "time_to_target_s" in runs
    if target or source.spec is not None:
        return bool(target)
    return "time_to_target_s" in runs and bool(runs["time_to_target_s"].notna().any())


def meet_target(source: Source, target: Mapping[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs with their time and samples to the target, and their quality at that moment.

    Args:
        source: What is ranked; the evaluations of each run tell when it met the target.
        target: Least (or for losses largest) value of each metric; all at the same evaluation.

    Returns:
        Runs with the columns time_to_target_s and samples_to_target, null where the target was
        missed, and a frame of the same rows with the quality columns at the evaluation that met
        it. Without evaluations, the quality is that of the end of training.

    Raises:
        TableError: The target was not the one of the sweep, and there are no evaluations; or the
            table is of another tool.
    """
    runs = source.runs
    if not target:
        return runs, runs
    if not source.ours:
        raise TableError(
            "a target is found in the evaluations of each run, which this table does not have; "
            "give the time to the target as its column time_to_target_s, empty where it was missed"
        )
    if source.evals is None:
        if not runs["time_to_target_s"].notna().any():
            raise TableError(
                "no run has a time to the target, and the table holds no evaluations to find it "
                "in; rank the results folder, not its trials alone"
            )
        return runs, runs
    hits = _first_hits(source.evals, target, source.declared)
    at_hit = runs[_ATTEMPT].merge(hits, on=_ATTEMPT, how="left").set_index(runs.index)
    if source.spec is None or (source.spec.get("quality") or {}).get("target") != dict(target):
        runs = runs.assign(
            time_to_target_s=at_hit["train_time_s"], samples_to_target=at_hit["samples"]
        )
    return runs, at_hit.assign(eval_samples=runs["eval_samples"])


def _first_hits(
    evals: pd.DataFrame, target: Mapping[str, float], declared: Mapping[str, bool]
) -> pd.DataFrame:
    met = np.ones(len(evals), dtype=bool)
    for metric, least in target.items():
        sign = better_sign(metric, declared)
        if sign is None:
            raise TableError(f"target {metric}: whether more or less of it is better is not known")
        met &= sign * metric_values(evals, metric) >= sign * least
    quality = [
        name for name in evals if name in QUALITY_COLUMNS or str(name).startswith(METRIC_PREFIX)
    ]
    columns = [*_ATTEMPT, "samples", "train_time_s", *quality]
    return evals.loc[met, columns].sort_values("samples").drop_duplicates(_ATTEMPT)
