"""Findings about runs that lack what others have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.metrics import available_metrics
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import count, metric_name

__all__ = ["runs_without_quality", "runs_without_time"]


def runs_without_time(standing: Standing) -> Iterator[Finding]:
    """Finished runs of which no time is known."""
    measured = standing.measured
    unknown = measured.finished & np.isnan(measured.time_s) & ~measured.untimed
    if unknown.any():
        yield Finding(
            kind="runs_without_time",
            severity=Severity.WARNING,
            message=(
                f"{count(int(unknown.sum()), 'run')} of {len(unknown):,} "
                f"{'has' if unknown.sum() == 1 else 'have'} no time: speedups come from the "
                "others alone. A run that failed should say so in a column status."
            ),
            evidence={"runs": int(unknown.sum())},
        )


def runs_without_quality(standing: Standing) -> Iterator[Finding]:
    """Timed runs of another tool without any quality, where others have some."""
    measured = standing.measured
    metrics = available_metrics(measured.runs)
    if measured.ours or not metrics:
        return
    bare = measured.runs[metrics].isna().all(axis=1).to_numpy(dtype=np.bool_)
    bare = bare & measured.finished & np.isfinite(measured.time_s)
    number = int(bare.sum())
    lacking = " or ".join(metric_name(metric) for metric in metrics[:3])
    if number:
        yield Finding(
            kind="runs_without_quality",
            severity=Severity.WARNING,
            message=(
                f"{count(number, 'run')} of {len(bare):,} {'has' if number == 1 else 'have'} a "
                f"time but no {lacking}: a run that broke off looks like this, and its time "
                "counts as a speed. Say which column tells how runs ended, --columns status=NAME, "
                "or rank only some rows, "
                "--where NAME=VALUE."
            ),
            evidence={"runs": number},
        )
