"""Which columns are features, and of which kind each is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workloads.table.options import TableOptions, did_you_mean

__all__ = ["Columns", "choose_columns"]

_LOOKED_AT = 200
_DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4})([ T]\d{1,2}:\d.*)?", re.ASCII
)
"""Year, month, day in either order, and perhaps a time of day."""
_NEARLY_ALL = 0.9
_MANY = 50
_FEW = 10
_LARGE_SHARE = 0.1
"""Categories for each row from which a column of more than a few is taken for one of ids."""


@dataclass(frozen=True)
class Columns:
    """The features of a table by kind, in the order of the file.

    Attributes:
        numeric: Scaled numbers.
        categorical: Text, booleans and what the sweep file calls categorical.
        notes: What a user should look at.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All features."""
        return (*self.numeric, *self.categorical)


def choose_columns(frame: pd.DataFrame, options: TableOptions) -> Columns:
    """Tell features from other columns, and numbers from categories.

    Raises:
        WorkloadError: A column that is named does not exist, holds dates or something that is
            neither number nor text, or no feature is left.
    """
    _require_named(frame, options)
    chosen = _features(frame, options)
    if not chosen:
        raise WorkloadError("no column is left as a feature; see features and drop")
    numeric: list[str] = []
    categorical: list[str] = []
    notes: list[str] = []
    for name in chosen:
        column = frame[name]
        _refuse_dates(column)
        is_number = pd.api.types.is_numeric_dtype(column) and not _is_boolean(column)
        if is_number and name not in options.categorical:
            _refuse_infinite(column)
            numeric.append(name)
        else:
            _refuse_nested(column)
            if name not in (*options.categorical, *(options.features or ())):
                _refuse_dates_as_text(column)
            categorical.append(name)
            notes += _numbers_as_text(column) or _repeated_ids(column, len(frame))
    return Columns(tuple(numeric), tuple(categorical), tuple(notes))


def _require_named(frame: pd.DataFrame, options: TableOptions) -> None:
    for key, name in _named(options):
        if name not in frame.columns:
            near = did_you_mean(name, frame.columns)
            listed = ", ".join(frame.columns[:12]) + (", ..." if frame.shape[1] > 12 else "")
            raise WorkloadError(
                f"{key}: {options.path.name} has no column {name!r}{near}. Columns: {listed}"
            )


def _named(options: TableOptions) -> Iterator[tuple[str, str]]:
    yield "label", options.label
    if options.split.column is not None:
        yield "split.column", options.split.column
    for key, names in (
        ("features", options.features or ()),
        ("drop", options.drop),
        ("categorical", options.categorical),
    ):
        yield from ((key, name) for name in names)


def _features(frame: pd.DataFrame, options: TableOptions) -> list[str]:
    if options.features is not None:
        return list(options.features)
    # A model would learn from the column of the split which rows belong together.
    out = {options.label, options.split.column, *options.drop}
    return [name for name in frame.columns if name not in out]


def _is_boolean(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_bool_dtype(column)


def _refuse_dates(column: pd.Series[Any]) -> None:
    kinds = pd.api.types
    is_date = kinds.is_datetime64_any_dtype(column) or kinds.is_timedelta64_dtype(column)
    if is_date or kinds.infer_dtype(column, skipna=True) in ("date", "datetime", "time"):
        raise WorkloadError(f"column {column.name!r} holds dates, {_no_feature(column.name)}")


def _refuse_dates_as_text(column: pd.Series[Any]) -> None:
    """As a CSV file holds dates; each would become a category that no later row has."""
    texts = [value for value in column.dropna().unique()[:_LOOKED_AT] if isinstance(value, str)]
    if texts and all(_DATE.fullmatch(text.strip()) for text in texts):
        raise WorkloadError(
            f"column {column.name!r} holds dates as text, such as {texts[0]!r}, "
            f"{_no_feature(column.name)}. If they are names, list it under categorical"
        )


def _no_feature(name: object) -> str:
    return (
        f"which say nothing of rows to come as they stand: leave it out (drop: [{name}]), split "
        f"by it (split: {{by: time, column: {name}}}), or write what matters of it (hour, "
        "weekday, days since) as columns of numbers"
    )


def _repeated_ids(column: pd.Series[Any], rows: int) -> Sequence[str]:
    """A sentence where text or categories seem to name customers, cards, devices."""
    found = int(column.nunique())
    # What differs in nearly every row is warned of by itself.
    if found > _NEARLY_ALL * max(1, int(column.notna().sum())):
        return ()
    if found <= _MANY and not (found > _FEW and found > _LARGE_SHARE * rows):
        return ()
    return (
        f"column {column.name!r} has {found:,} categories in {rows:,} rows. If it names "
        "customers, cards or the like, a model learns them by heart: leave it out "
        f"(drop: [{column.name}]), or keep each on one side (split: {{by: group, column: "
        f"{column.name}}})",
    )


def _refuse_infinite(column: pd.Series[Any]) -> None:
    values = column.to_numpy(np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise WorkloadError(
            f"column {column.name!r} is infinite in {len(infinite)} rows (first: row "
            f"{infinite[0] + 1}); leave these cells empty, or drop the column"
        )


def _refuse_nested(column: pd.Series[Any]) -> None:
    filled = column.dropna()
    first = filled.iloc[0] if len(filled) else ""
    if not isinstance(first, str | bool | int | float | np.generic):
        raise WorkloadError(
            f"column {column.name!r} holds values of type {type(first).__name__}; allowed: "
            f"numbers, text and booleans. Convert it, or leave it out (drop: [{column.name}])"
        )


def _numbers_as_text(column: pd.Series[Any]) -> Sequence[str]:
    """A sentence where a column of text seems to be one of numbers with some odd cells."""
    filled = column.dropna()
    if pd.api.types.is_numeric_dtype(column) or len(filled) == 0:
        return ()
    numbers = pd.to_numeric(filled, errors="coerce").notna()
    if not 0.5 < numbers.mean() < 1:
        return ()
    odd = filled[~numbers].iloc[0]
    return (
        f"column {column.name!r} is taken as text because of cells such as {odd!r}, though "
        f"{int(100 * numbers.mean())} % of its cells are numbers; if {odd!r} means missing, leave "
        "those cells empty",
    )
