"""Tables of runs in files: Parquet and CSV."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.errors import TableError

__all__ = ["read_table"]

Choose = Callable[[list[str]], list[str]]
"""From the names of all columns to those that are read."""


def read_table(path: Path, choose: Choose) -> tuple[pd.DataFrame, list[str]]:
    """Read the columns of a file that are needed.

    Args:
        path: A Parquet or CSV file.
        choose: Which of its columns are read.

    Returns:
        The rows with those columns, and the names of all columns.

    Raises:
        TableError: It is of another kind, or cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(
            f"{path} is neither Parquet nor CSV; "
            "give a file that ends in .parquet or .csv, or a results folder"
        )
    try:
        names = reader.names(path)
        frame = reader.rows(path, choose(names))
    except (OSError, ValueError, csv.Error, pa.ArrowException, pd.errors.ParserWarning) as error:
        raise TableError(f"{path} cannot be read: {_first_line(error)}") from error
    return frame, names


def _parquet_names(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _parquet_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    # A file of its own even where a folder of its path looks like a partition, seed=1/.
    table = pq.read_table(path, columns=columns, partitioning=None)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_frame_type, self_destruct=True)
    return frame


def _frame_type(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Lists stay as Arrow has them: as Python objects they would cost ten times the memory."""
    if pa.types.is_int64(kind):
        return pd.Int64Dtype()
    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) else None


def _csv_names(path: Path) -> list[str]:
    # Not by pandas, which gives the second of two columns of one name a name of its own.
    with path.open(encoding="utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines), [])
    if not names:
        raise ValueError("it is empty")
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            raise ValueError(f"its columns are separated by {word}; save it with commas")
    return names


def _csv_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Rows longer than the heading are cut off, and their figures stand in wrong columns.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, index_col=False, low_memory=False, encoding="utf-8-sig")
    return frame[columns]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


@dataclass(frozen=True)
class _Reader:
    names: Callable[[Path], list[str]]
    rows: Callable[[Path, list[str]], pd.DataFrame]


_READERS = {
    ".parquet": _Reader(_parquet_names, _parquet_rows),
    ".csv": _Reader(_csv_names, _csv_rows),
}
