"""Which rows are for training and which for validation; the same in every trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload import Multiclass, Regression, class_names
from ddp_sweep.workloads.table.labels import Labels
from ddp_sweep.workloads.table.options import Split

__all__ = ["first_moment", "split_rows"]

Rows = NDArray[np.int64]


def split_rows(frame: pd.DataFrame, labels: Labels, split: Split) -> tuple[Rows, Rows]:
    """Row numbers for training and for validation, each in the order of the table.

    Raises:
        WorkloadError: The column of the split has empty cells or too few values, or a class is on
            one side only.
    """
    if split.by == "random":
        train, validation = _at_random(labels, split)
    elif split.by == "time":
        train, validation = _by_time(frame[split.column or ""], split)
    else:
        train, validation = _by_group(frame[split.column or ""], split)
    _require_classes(labels, train, validation, split)
    return np.sort(train), np.sort(validation)


def _at_random(labels: Labels, split: Split) -> tuple[Rows, Rows]:
    rows = np.arange(len(labels.values))
    classes = None if isinstance(labels.task, Regression) else labels.values
    size = max(1, round(split.validation * len(rows)))
    if isinstance(labels.task, Multiclass):
        size = max(size, labels.task.num_classes)
    train, validation = train_test_split(
        rows, test_size=size, stratify=classes, random_state=split.seed
    )
    return train, validation


def _by_time(column: pd.Series[Any], split: Split) -> tuple[Rows, Rows]:
    """The latest rows for validation; rows of one moment stay together."""
    times = _times(column)
    moment = np.sort(times)[-max(1, round(split.validation * len(times)))]
    validation = times >= moment
    if validation.all():
        raise WorkloadError(
            f"split: column {column.name!r} has one value in more than "
            f"{1 - split.validation:.0%} of the rows, so nothing would be left to train on"
        )
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def first_moment(column: pd.Series[Any], rows: Rows) -> str:
    """The earliest time among some rows, as it stands in the table."""
    first = rows[int(np.argmin(_times(column)[rows]))]
    return str(column.iloc[first])


def _times(column: pd.Series[Any]) -> NDArray[Any]:
    _refuse_empty(column)
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column.to_numpy()
    try:
        return pd.to_datetime(column, utc=True).to_numpy()
    except (ValueError, TypeError) as error:
        raise WorkloadError(
            f"split: column {column.name!r} is neither a number nor a date everywhere: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _by_group(column: pd.Series[Any], split: Split) -> tuple[Rows, Rows]:
    _refuse_empty(column)
    groups = pd.factorize(column)[0]
    if groups.max() < 1:
        raise WorkloadError(f"split: column {column.name!r} holds one group only")
    share = GroupShuffleSplit(n_splits=1, test_size=split.validation, random_state=split.seed)
    train, validation = next(share.split(groups, groups=groups))
    return train, validation


def _refuse_empty(column: pd.Series[Any]) -> None:
    empty = int(column.isna().sum())
    if empty:
        raise WorkloadError(
            f"split: column {column.name!r} is empty in {empty} rows, which belong to neither "
            "side; fill them in or remove the rows"
        )


def _require_classes(labels: Labels, train: Rows, validation: Rows, split: Split) -> None:
    names = class_names(labels.task) or []
    for side, rows in (("training", train), ("validation", validation)):
        present = set(np.unique(labels.values[rows]).tolist())
        missing = [name for number, name in enumerate(names) if number not in present]
        if missing:
            raise WorkloadError(
                f"split by {split.by}: class {missing[0]} has no row in the {side} set, which has "
                f"{len(rows)} rows; choose another share (split.validation), another seed, or "
                "another split"
            )
