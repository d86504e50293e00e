"""Words for what goes on in a sweep: how trials end, times, what runs now."""

from __future__ import annotations

import math
import re

from ddp_sweep.live.trials import PlannedTrial, Progress
from ddp_sweep.schema import Status

__all__ = [
    "STATUS_WORDS",
    "WAITING",
    "cause",
    "clock_text",
    "duration_text",
    "guilty_rank",
    "progress_text",
]

WAITING = "waiting for "
"""Begins the stage of a trial whose workers lack nodes; the rest says which, and until when."""

_RANK = re.compile(r"rank (\d+):")

STATUS_WORDS = {
    Status.SUCCEEDED: "succeeded",
    Status.OUT_OF_MEMORY: "out of memory",
    Status.DIVERGED: "diverged",
    Status.WORKER_DIED: "lost a worker",
    Status.NODE_LOST: "lost a node",
    Status.TIMED_OUT: "timed out",
    Status.INFEASIBLE: "not feasible",
    Status.WORKLOAD_ERROR: "error in the workload",
    Status.INTERRUPTED: "interrupted",
}


def cause(detail: str | None) -> str | None:
    r"""The line of a status detail that says what went wrong.

    Of an error that is the last one; those before say where.

    >>> cause("rank 1:\n  file.py, line 3\nValueError: too much")
    'ValueError: too much'
    """
    lines = (detail or "").strip().splitlines()
    return lines[-1].strip() if lines else None


def guilty_rank(detail: str | None) -> int | None:
    """The rank that a status detail blames; None where it blames none.

    >>> guilty_rank("rank 1: the worker process died")
    1
    """
    found = _RANK.match(detail or "")
    return int(found[1]) if found else None


def duration_text(seconds: float) -> str:
    """A time in the unit a person would use.

    Examples:
        >>> duration_text(42), duration_text(90), duration_text(5400)
        ('42 s', '1.5 min', '1.5 h')
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


def clock_text(seconds: float) -> str:
    """A time that is seen to run, to the second.

    >>> clock_text(9), clock_text(75), clock_text(7384)
    ('0:09', '1:15', '2:03:04')
    """
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_text(trial: PlannedTrial, progress: Progress | None) -> str:
    """Where a running trial is: ``training, epoch 2.4 of 4, loss 0.231, 4,120 samples/s``."""
    if progress is None:
        return "beginning"
    parts = [progress.stage]
    fraction = progress.fraction
    if fraction is not None and trial.epochs is not None:
        parts.append(f"epoch {fraction * trial.epochs:.1f} of {trial.epochs:g}")
    elif fraction is not None:
        parts.append(f"{progress.samples:,} of {progress.budget:,} samples")
    if progress.train_loss is not None:
        loss = progress.train_loss
        parts.append(f"loss {loss:.3g}" if math.isfinite(loss) else "loss is no number")
    if progress.samples_per_s is not None:
        parts.append(f"{progress.samples_per_s:,.0f} samples/s")
    return ", ".join(parts)
