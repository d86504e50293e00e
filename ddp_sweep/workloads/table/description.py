"""How a table was read, in words: which columns were used for what, and what is on which side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ddp_sweep.workload import Binary, Multiclass, class_names
from ddp_sweep.workloads.table.columns import Columns
from ddp_sweep.workloads.table.labels import Labels
from ddp_sweep.workloads.table.options import TableOptions
from ddp_sweep.workloads.table.splitting import first_moment

__all__ = ["describe_table"]

_MOST = 12
"""Columns or classes that are named one by one."""

Rows = NDArray[np.int64]


def describe_table(
    frame: pd.DataFrame,
    options: TableOptions,
    columns: Columns,
    labels: Labels,
    sides: tuple[Rows, Rows],
) -> dict[str, str]:
    """What stands beside each label on the page of ``try``.

    Args:
        frame: The table.
        options: What was asked for.
        columns: The features.
        labels: The label column as it was read.
        sides: Row numbers for training and for validation.
    """
    numbers = (f"{name}{_missing(frame, name)}" for name in columns.numeric)
    categories = (
        f"{name} {frame[name].nunique()}{_missing(frame, name)}" for name in columns.categorical
    )
    return {
        "numbers": _listed(numbers),
        "categories": _listed(categories),
        "left out": _listed(_left_out(frame, options, columns)),
        "split": _split(frame, options, sides),
        "label": _label(options, labels, sides),
    }


def _missing(frame: pd.DataFrame, name: str) -> str:
    missing = int(frame[name].isna().sum())
    return f" ({missing:,} missing)" if missing else ""


def _left_out(frame: pd.DataFrame, options: TableOptions, columns: Columns) -> Iterator[str]:
    for name in frame.columns:
        if name == options.label or name in columns.names:
            continue
        decides = name == options.split.column and name not in options.drop
        yield f"{name} (decides the split)" if decides else str(name)


def _split(frame: pd.DataFrame, options: TableOptions, sides: tuple[Rows, Rows]) -> str:
    train, validation = sides
    split = options.split
    rows = f"{len(train):,} rows to train on, {len(validation):,} to validate"
    if split.column is None:
        return f"random: {rows}"
    column = frame[split.column]
    if split.by == "time":
        return (
            f"by time, validation from {split.column} {first_moment(column, validation)}: {rows}"
        )
    groups = [column.iloc[side].nunique() for side in sides]
    return f"by {split.column}, {groups[0]:,} groups and {groups[1]:,} others: {rows}"


def _label(options: TableOptions, labels: Labels, sides: tuple[Rows, Rows]) -> str:
    train, validation = (labels.values[side] for side in sides)
    names = class_names(labels.task) or []
    if isinstance(labels.task, Binary):
        positive = labels.task.positive
        found, held_out = (int((side == positive).sum()) for side in (train, validation))
        return (
            f"{options.label}: {names[positive]} in {found:,} of {len(train):,} training rows, in "
            f"{held_out:,} of {len(validation):,} validation rows"
        )
    if isinstance(labels.task, Multiclass):
        counts = [np.bincount(side, minlength=len(names)) for side in (train, validation)]
        each = (f"{name} {a:,} + {b:,}" for name, a, b in zip(names, *counts, strict=True))
        return f"{options.label}, training + validation rows: {_listed(each)}"
    return f"{options.label}: {train.min():g} to {train.max():g}, mean {train.mean():.4g}"


def _listed(parts: Iterable[str]) -> str:
    found = list(parts)
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return (", ".join(found[:_MOST]) or "none") + more
