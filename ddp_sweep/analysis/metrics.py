"""Quality metrics: which direction is better, margins, values and their resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.errors import TableError
from ddp_sweep.schema import METRIC_PREFIX
from ddp_sweep.spec.metrics import METRICS, split_class

__all__ = [
    "COST_METRICS",
    "Margin",
    "available_metrics",
    "better_sign",
    "metric_values",
    "parse_margins",
    "resolution",
]

Floats = npt.NDArray[np.float64]

COST_METRICS = frozenset({"samples_to_target"})
"""A margin on one of these bounds what a result costs, not how good it is; lower is better."""

_BY_POSITIVE_CLASS = frozenset({"recall", "precision", "f1"})
_COUNTED_BY_CLASS = _BY_POSITIVE_CLASS | {"balanced_accuracy"}
_COUNTED = _COUNTED_BY_CLASS | {"accuracy", "mcc", "auroc", "average_precision"}
"""Metrics that move in steps of one validation sample."""
_LISTS = (list, tuple, np.ndarray)
"""What a cell of a list column may be; in a CSV file it is text, and of no use here."""
_RELATIVE = COST_METRICS | {
    name for name, metric in METRICS.items() if metric.allows_relative_margin
}


@dataclass(frozen=True)
class Margin:
    """The largest loss that still counts as none."""

    value: float
    """In the metric's unit, or as a fraction of the reference where ``relative``."""
    relative: bool
    asked: float | str
    """As the user wrote it."""

    @classmethod
    def parse(cls, metric: str, asked: float | str) -> Margin:
        """Read ``0.01`` or ``"2%"``.

        Raises:
            TableError: Not a number above 0, or relative on a metric that can be 0 or negative.
        """
        text = str(asked).strip()
        relative = text.endswith("%")
        try:
            value = float(text.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            value = math.nan
        if isinstance(asked, bool) or not (math.isfinite(value) and value > 0):
            raise TableError(
                f'margin of {metric}: {asked!r} is no number above 0; write 0.01, or "2%"'
            )
        if relative and metric not in _RELATIVE and not metric.startswith(METRIC_PREFIX):
            raise TableError(
                f"margin of {metric}: {asked!r} is relative, which only "
                f"{', '.join(sorted(_RELATIVE))} can have; "
                "write it in the metric's own unit, for example 0.01"
            )
        return cls(value, relative, asked)

    @property
    def width(self) -> float:
        """The margin on the scale of the test: log(1 + value) where relative."""
        return math.log1p(self.value) if self.relative else self.value


def better_sign(metric: str, declared: Mapping[str, bool] | None = None) -> int | None:
    """+1 where higher is better, -1 where lower is better, None where that is not known.

    Args:
        metric: A column, or a class of it.
        declared: Whether higher is better in the metrics that a workload declared.
    """
    if metric in COST_METRICS:
        return -1
    known = METRICS.get(split_class(metric)[0])
    higher_is_better = (declared or {}).get(metric) if known is None else known.higher_is_better
    if higher_is_better is None:
        return None
    return 1 if higher_is_better else -1


def available_metrics(frame: pd.DataFrame) -> list[str]:
    """Names of the scalar metrics that the runs hold at least one value of."""
    declared = sorted(str(name) for name in frame.columns if str(name).startswith(METRIC_PREFIX))
    return [name for name in (*METRICS, *declared) if name in frame and frame[name].notna().any()]


def metric_values(frame: pd.DataFrame, metric: str) -> Floats:
    """Values of a metric, NaN where a run has none; shape [runs].

    Args:
        frame: Runs with the quality columns of the trials table, or some of them.
        metric: A column, or ``recall[1]``: a class by its index or name.

    Raises:
        TableError: The column holds something else than numbers.
    """
    name, label = split_class(metric)
    if label is not None:
        return _class_values(frame, name, label)
    if metric not in frame:
        return np.full(len(frame), np.nan)
    try:
        values = frame[metric].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TableError(f"column {metric} holds something else than numbers: {error}") from error
    return np.where(np.isfinite(values), values, np.nan)


def resolution(frame: pd.DataFrame, metric: str) -> Floats:
    """The step that one validation sample makes in a metric; shape [runs].

    For accuracy 1 / samples. For recall 1 / samples of the positive class, which is also the order
    of the step of precision and f1; for their macro averages, and for balanced accuracy, the step
    of the smallest class. Losses and errors move by rounding only. NaN where it is not known.
    """
    name, _ = split_class(metric)
    if name not in _COUNTED:
        # A loss summed over float32 outputs is known to about 1e-7 of itself.
        step: Floats = np.finfo(np.float32).eps * np.abs(metric_values(frame, metric))
        return step
    if name in _COUNTED_BY_CLASS:
        steps = _class_steps(frame, metric)
        return np.where(np.isnan(steps), _sample_steps(frame), steps)
    return _sample_steps(frame)


def _sample_steps(frame: pd.DataFrame) -> Floats:
    samples = metric_values(frame, "eval_samples")
    return 1 / np.where(samples > 0, samples, np.nan)


def _class_steps(frame: pd.DataFrame, metric: str) -> Floats:
    if "confusion_matrix" not in frame:
        return np.full(len(frame), np.nan)
    recalls = metric_values(frame, "recall")
    pairs = zip(frame["confusion_matrix"], recalls, strict=True)
    return np.array([_class_step(matrix, recall, metric) for matrix, recall in pairs], dtype=float)


def _class_step(matrix: Any, recall: float, metric: str) -> float:  # noqa: ANN401 - a cell of a list column
    if not isinstance(matrix, _LISTS):
        return math.nan
    counts = np.array([np.asarray(row, dtype=np.float64) for row in matrix])
    totals = counts.sum(axis=1)
    if not totals.size or not (totals > 0).all():
        return math.nan
    if len(totals) == 2 and metric in _BY_POSITIVE_CLASS:
        # The table does not say which class is the positive one; the recorded recall does.
        positive = np.isclose(np.diag(counts) / totals, recall, rtol=0, atol=1e-9)
        return float(1 / totals[positive].min()) if positive.any() else float(1 / totals.min())
    step = 1 / totals.min()
    return float(step if split_class(metric)[1] else step / len(totals))


def _class_values(frame: pd.DataFrame, metric: str, label: str) -> Floats:
    column = f"per_class_{metric}"
    if column not in frame:
        return np.full(len(frame), np.nan)
    names = frame["class_names"] if "class_names" in frame else [None] * len(frame)
    cells = zip(frame[column], names, strict=True)
    return np.array([_class_value(values, named, label) for values, named in cells], dtype=float)


def _class_value(values: Any, names: Any, label: str) -> float:  # noqa: ANN401 - cells of list columns
    if not isinstance(values, _LISTS):
        return math.nan
    figures = list(values)
    known = [str(name) for name in names] if isinstance(names, _LISTS) else []
    if label in known:
        position = known.index(label)
    elif label.isdecimal():
        position = int(label)
    else:
        return math.nan
    value = figures[position] if position < len(figures) else None
    return math.nan if value is None else float(value)


def parse_margins(margins: Mapping[str, float | str]) -> dict[str, Margin]:
    """Read every margin; see `Margin.parse`."""
    return {metric: Margin.parse(metric, asked) for metric, asked in margins.items()}
