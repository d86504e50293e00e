"""From the label column to a task and the numbers a model is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ddp_sweep.errors import DataWarning, WorkloadError
from ddp_sweep.workload import Binary, Multiclass, Regression, Task
from ddp_sweep.workloads.table.options import Scalar, TableOptions

__all__ = ["Labels", "read_labels"]

_MOST_CLASSES_OF_NUMBERS = 20
_FEWEST_ROWS_OF_A_CLASS = 5


@dataclass(frozen=True)
class Labels:
    """The label column.

    Attributes:
        task: What is to be predicted.
        values: Class numbers (int64) or values (float64), shape [rows].
        notes: What was decided where the sweep file does not say.
    """

    task: Task
    values: NDArray[Any]
    notes: tuple[str, ...] = ()

    def warn(self) -> None:
        """Say what was decided."""
        for note in self.notes:
            warnings.warn(note, DataWarning, stacklevel=2)


def read_labels(frame: pd.DataFrame, options: TableOptions) -> Labels:
    """Find out the task, number the classes, and refuse labels nothing can be learned from.

    Raises:
        WorkloadError: Empty cells, one value only, a class of very few rows, a ``positive`` that
            is no class, or a task that does not fit the column.
    """
    column = frame[options.label]
    _refuse_empty(column)
    distinct = int(column.nunique())
    if distinct < 2:
        raise WorkloadError(
            f"label {options.label!r} is {column.iloc[0]!r} in all {len(column)} rows; there is "
            "nothing to learn"
        )
    task, note = options.task, None
    if task == "auto":
        task, note = _infer(column, distinct)
    if task == "regression":
        return _regression(column, note)
    # In the order of their values, so that classes 0 and 1 have these numbers.
    classes = _classes(column)
    names = tuple(map(_name, classes))
    kind: Task = Multiclass(len(names), names)
    if task == "binary":
        positive, more = _positive(column, classes, options.positive)
        kind, note = Binary(positive, names), note or more
    _refuse_rare(column, classes)
    numbers = {value: number for number, value in enumerate(classes)}
    values = np.array([numbers[value] for value in column.tolist()], dtype=np.int64)
    return Labels(kind, values, () if note is None else (note,))


def _refuse_empty(column: pd.Series[Any]) -> None:
    empty = np.flatnonzero(column.isna().to_numpy())
    if len(empty):
        raise WorkloadError(
            f"label {column.name!r} is empty in {len(empty)} of {len(column)} rows (first: row "
            f"{empty[0] + 1}); remove these rows or fill them in"
        )


def _infer(column: pd.Series[Any], distinct: int) -> tuple[str, str | None]:
    if distinct == 2:
        return "binary", None
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        whole = bool((column == column.round()).all())
        task = "multiclass" if whole and distinct <= _MOST_CLASSES_OF_NUMBERS else "regression"
        note = (
            f"label {column.name!r} holds {distinct} different numbers and was taken as a "
            f"{task} task; set task: to say so, or to say otherwise"
        )
        return task, note
    return "multiclass", None


def _regression(column: pd.Series[Any], note: str | None) -> Labels:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        wrong = column.iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise WorkloadError(
            f"label {column.name!r}: a regression needs finite numbers, received {wrong!r}"
        )
    return Labels(Regression(), values, () if note is None else (note,))


def _classes(column: pd.Series[Any]) -> list[Any]:
    values = column.drop_duplicates().tolist()
    try:
        return sorted(values)
    except TypeError:  # numbers and text in one column
        return sorted(values, key=str)


def _positive(
    column: pd.Series[Any], classes: Sequence[Any], positive: Scalar | None
) -> tuple[int, str | None]:
    """Number of the positive class, and what was decided about it."""
    if len(classes) != 2:
        raise WorkloadError(
            f"label {column.name!r} has {len(classes)} classes; task: binary needs two"
        )
    if positive is not None:
        matches = [c for c in classes if c == positive or _name(c) == _name(positive)]
        if not matches:
            allowed = " or ".join(map(_name, classes))
            raise WorkloadError(
                f"positive: received {positive!r}; label {column.name!r} is {allowed}"
            )
        chosen, note = matches[0], None
    elif list(classes) == [0, 1]:  # numbers or booleans
        chosen, note = classes[1], None
    else:
        counts = column.value_counts()
        chosen = min(reversed(classes), key=lambda value: int(counts[value]))
        note = (
            f"label {column.name!r}: {_name(chosen)} was taken as the positive class, being the "
            f"rarer one ({int(counts[chosen])} of {len(column)} rows); recall and precision are "
            "its own. Set positive: to say so, or to choose the other"
        )
    return classes.index(chosen), note


def _refuse_rare(column: pd.Series[Any], classes: Sequence[Any]) -> None:
    counts = column.value_counts()
    rare = [value for value in classes if counts[value] < _FEWEST_ROWS_OF_A_CLASS]
    if rare:
        raise WorkloadError(
            f"label {column.name!r}: class {_name(rare[0])} has {int(counts[rare[0]])} rows; at "
            f"least {_FEWEST_ROWS_OF_A_CLASS} are needed to train on some and validate on others. "
            "Remove these rows, or merge the class with another"
        )


def _name(value: Any) -> str:  # noqa: ANN401 - any cell of a table
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
