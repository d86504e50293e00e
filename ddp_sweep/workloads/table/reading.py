"""From a file to a frame."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from ddp_sweep.errors import WorkloadError

__all__ = ["read_table"]

_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def read_table(path: Path, separator: str) -> pd.DataFrame:
    """Read a CSV or Parquet file, or a folder of Parquet files, whole.

    Raises:
        WorkloadError: There is no such file, or it cannot be read as a table.
    """
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*") if p.name.endswith(_PARQUET + _TEXT))
        there = f"; tables in that folder: {', '.join(beside[:5])}" if beside else ""
        raise WorkloadError(
            f"path: there is no file {path}{there}. A relative path starts from the sweep file's "
            "folder"
        )
    is_parquet = path.is_dir() or path.name.lower().endswith(_PARQUET)
    if not is_parquet and not path.name.lower().endswith(_TEXT):
        raise WorkloadError(
            f"path: {path.name} is neither CSV nor Parquet by its name; allowed: "
            f"{', '.join(_PARQUET + _TEXT)}"
        )
    try:
        frame = pd.read_parquet(path) if is_parquet else _read_text(path, separator)
    except (OSError, ValueError, ArrowException) as error:  # ParserError is a ValueError
        reason = str(error).strip().split("\n", 1)[0]
        raise WorkloadError(f"path: {path} cannot be read: {reason}") from error
    return _checked(frame.reset_index(drop=True), path, separator)


def _read_text(path: Path, separator: str) -> pd.DataFrame:
    if ".tsv" in path.name.lower() and separator == ",":
        separator = "\t"
    return pd.read_csv(path, sep=separator, low_memory=False)


def _checked(frame: pd.DataFrame, path: Path, separator: str) -> pd.DataFrame:
    frame.columns = frame.columns.map(str)
    if frame.shape[1] < 2:
        only = frame.columns[0] if len(frame.columns) else ""
        other = next((s for s in (";", "\t", "|") if s in only), None)
        hint = f"; set separator: {other!r}, which it seems to have" if other else ""
        raise WorkloadError(
            f"path: {path.name} has {frame.shape[1]} column with {separator!r} as separator; a "
            f"label and at least one feature are needed{hint}"
        )
    if len(frame) < 10:
        raise WorkloadError(f"path: {path.name} has {len(frame)} rows; at least 10 are needed")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise WorkloadError(f"path: {path.name} has two columns named {twice[0]!r}")
    return frame
