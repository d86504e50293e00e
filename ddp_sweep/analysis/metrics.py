"""Quality metrics: which direction is better, margins, values and their resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.analysis.tables.list_columns import ConfusionMatrices, Lists
from ddp_sweep.errors import ColumnError, TableError
from ddp_sweep.schema import METRIC_PREFIX
from ddp_sweep.spec.metrics import METRICS, split_class

__all__ = [
    "COST_METRICS",
    "Margin",
    "available_metrics",
    "better_sign",
    "class_totals",
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
        ColumnError: The column holds something else than numbers.
    """
    name, label = split_class(metric)
    if label is not None:
        return _class_values(frame, name, label)
    if metric not in frame:
        return np.full(len(frame), np.nan)
    try:
        values = frame[metric].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ColumnError(metric, f" holds something else than numbers: {error}") from error
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
    unknown = np.full(len(frame), np.nan)
    if "confusion_matrix" not in frame:
        return unknown
    matrices = ConfusionMatrices.of(frame["confusion_matrix"])
    if matrices is None:
        return unknown
    if metric in _BY_POSITIVE_CLASS:
        step = 1 / matrices.smallest_class(metric_values(frame, "recall"))
        return np.where(matrices.classes == 2, step, step / np.fmax(matrices.classes, 1))
    step = 1 / matrices.smallest_class()
    one_class = split_class(metric)[1] is not None
    return step if one_class else step / np.fmax(matrices.classes, 1)


def class_totals(row: pd.Series[Any], metric: str, label: str | None) -> Floats | None:
    """Validation samples of each class whose recall a metric averages; shape [classes].

    One class for ``recall[1]`` and for the recall of a binary task, all of them for macro recall
    and balanced accuracy. None where the run does not tell.

    Args:
        row: A run with the quality columns.
        metric: ``recall`` or ``balanced_accuracy``.
        label: A class by its index or name.
    """
    counts = _confusion(row.get("confusion_matrix"))
    if counts is None:
        return None
    totals: Floats = counts.sum(axis=1)
    if label is not None:
        position = _class_position(label, row.get("class_names"))
        if position is None or position >= len(totals):
            return None
        return totals[[position]]
    if len(totals) > 2 or metric != "recall":
        return totals
    positive = _positive(counts, float(row.get("recall", math.nan)))
    return totals[positive][:1] if positive.any() else None


def _confusion(cell: Any) -> Floats | None:  # noqa: ANN401 - a cell of a list column
    """A confusion matrix, rows = truth; None where it is missing or a class has no samples."""
    if not isinstance(cell, _LISTS):
        return None
    counts = np.array([np.asarray(row, dtype=np.float64) for row in cell])
    return counts if counts.size and (counts.sum(axis=1) > 0).all() else None


def _positive(counts: Floats, recall: float) -> npt.NDArray[np.bool_]:
    """Which of two classes is the positive one: the table does not say, the recall does."""
    recalls = np.diag(counts) / counts.sum(axis=1)
    positive: npt.NDArray[np.bool_] = np.abs(recalls - recall) <= 1e-9
    return positive


def _class_values(frame: pd.DataFrame, metric: str, label: str) -> Floats:
    column = f"per_class_{metric}"
    values = Lists.of(frame[column]) if column in frame else None
    if values is None:
        return np.full(len(frame), np.nan)
    names = Lists.of(frame["class_names"]) if "class_names" in frame else None
    index = int(label) if label.isdecimal() else -1
    position = np.full(len(frame), -1) if names is None else names.find(label)
    return values.pick(np.where(position < 0, index, position))


def _class_position(label: str, names: Any) -> int | None:  # noqa: ANN401 - a cell of a list column
    known = [str(name) for name in names] if isinstance(names, _LISTS) else []
    if label in known:
        return known.index(label)
    return int(label) if label.isdecimal() else None


def parse_margins(margins: Mapping[str, float | str]) -> dict[str, Margin]:
    """Read every margin; see `Margin.parse`."""
    return {metric: Margin.parse(metric, asked) for metric, asked in margins.items()}
