"""How runs of other tools ended: their words for it, read as ours.

The words are those of Weights and Biases, MLflow, Ray Tune, Optuna and Slurm.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from ddp_sweep.errors import TableError
from ddp_sweep.schema import Status

__all__ = ["FAILED", "NO_EVIDENCE", "our_status"]

FAILED = "failed"
"""The run itself ended with an error, of which no more is known."""

_OUR_WORDS: dict[str, str] = {
    **{status.value: status.value for status in Status},
    **dict.fromkeys(
        ("finished", "completed", "complete", "success", "terminated"), Status.SUCCEEDED.value
    ),
    **dict.fromkeys(("failed", "fail", "error", "errored"), FAILED),
    "oom": Status.OUT_OF_MEMORY.value,
    "timeout": Status.TIMED_OUT.value,
    "crashed": Status.WORKER_DIED.value,
    "node_fail": Status.NODE_LOST.value,
    **dict.fromkeys(
        (
            *("killed", "running", "preempted", "preempting", "cancelled", "canceled"),
            *("stopped", "paused", "pruned", "pending", "queued", "scheduled", "waiting"),
        ),
        Status.INTERRUPTED.value,
    ),
}
NO_EVIDENCE = (Status.WORKER_DIED.value, Status.NODE_LOST.value, Status.INTERRUPTED.value)
"""Ends that say nothing about the configuration."""


def our_status(given: pd.Series[Any], column: str) -> pd.Series[Any]:
    """A column of ends in our words, whatever their case.

    Args:
        given: How each run ended, as another tool says it.
        column: What the table calls the column.

    Raises:
        TableError: A word is none of those known.
    """
    found = given.astype("object").map(_our_word)
    if found.isna().any():
        unknown = sorted({_shown(value) for value in given[found.isna()]})
        raise TableError(
            f"column {column} holds {', '.join(unknown)}; allowed: {', '.join(_OUR_WORDS)}. "
            f'Rank only the rows that gave a measurement: --where "{column}=VALUE"'
        )
    return found


def _our_word(value: Hashable) -> str | None:
    word = str(value).strip().lower().replace(" ", "_").replace("-", "_")
    return _OUR_WORDS.get(word)


def _shown(value: Any) -> str:  # noqa: ANN401 - a cell of a column
    return "empty cells" if pd.isna(value) else str(value)
