"""Reads the immutable Parquet files of a table into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.schema import HIGHER_IS_BETTER, METRIC_PREFIX, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["directions", "first_line", "mark_final", "read_table", "to_frame"]


def read_table(folder: Path, schema: pa.Schema, report: Callable[[str], None]) -> pa.Table:
    """All files of a table; what cannot be read is left out and reported.

    Args:
        folder: Of the table; one that is not there holds no file.
        schema: Of the table.
        report: Is told one sentence for each file that was left out.
    """
    parts = [schema.empty_table()]
    for file in _visible_files(folder):
        try:
            parts.append(_read_file(file, schema))
        except (OSError, pa.ArrowException, ValueError) as error:
            report(f"{file} was left out: {first_line(error)}")
    return pa.concat_tables(_with_metrics_of_all(parts))


def mark_final(trials: pd.DataFrame) -> pd.DataFrame:
    """Add ``final``: true for the highest attempt of each trial."""
    highest = trials.groupby("trial_id", dropna=False)["attempt"].transform("max")
    return trials.assign(final=(trials["attempt"] == highest).astype(bool))


def _visible_files(folder: Path) -> Iterator[Path]:
    """Files in order of name; names beginning with ``_`` or ``.`` are still being written."""
    if folder.is_dir():
        yield from (
            file for file in sorted(folder.iterdir()) if not file.name.startswith(("_", "."))
        )


def _read_file(file: Path, schema: pa.Schema) -> pa.Table:
    """One file of a table; ValueError where it is none of ours."""
    if file.suffix != ".parquet":
        raise ValueError("it is no Parquet file")
    table = pq.read_table(file, partitioning=None)
    version = (table.schema.metadata or {}).get(b"ddp_sweep.schema_version")
    if version is None:
        raise ValueError("it was not written by ddp-sweep")
    if int(version) > SCHEMA_VERSION:
        raise ValueError(
            f"its schema version is {int(version)}, this ddp-sweep reads up to {SCHEMA_VERSION}; "
            "install a newer ddp-sweep"
        )
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"it lacks the columns {', '.join(missing)}")
    metrics = [field for field in table.schema if field.name.startswith(METRIC_PREFIX)]
    full = pa.schema([*schema, *(field.with_type(pa.float64()) for field in metrics)])
    return table.select(full.names).cast(full)


def _with_metrics_of_all(parts: Sequence[pa.Table]) -> list[pa.Table]:
    """The same tables with every declared metric; null where a table lacks it."""
    fields = {field.name: field for part in parts for field in part.schema}
    # The newest file speaks for the metadata of a column; concat_tables would keep the first.
    full = pa.schema(list(fields.values()))
    return [
        pa.table(
            {
                name: part[name] if name in part.column_names else pa.nulls(len(part), kind)
                for name, kind in zip(full.names, full.types, strict=True)
            },
            schema=full,
        )
        for part in parts
    ]


def directions(schema: pa.Schema) -> dict[str, bool]:
    """Whether higher is better in each declared metric that says so."""
    key = HIGHER_IS_BETTER.encode()
    return {
        field.name: field.metadata[key] == b"true"
        for field in schema
        if field.metadata and key in field.metadata
    }


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as a frame, integers and booleans with pandas' nullable types."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).split("\n", 1)[0] or type(error).__name__
