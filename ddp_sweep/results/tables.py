"""Reads the immutable Parquet files of a table into one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.schema import HIGHER_IS_BETTER, METRIC_PREFIX, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AttemptName",
    "Unusable",
    "directions",
    "first_line",
    "lacking",
    "mark_final",
    "read_table",
    "sort_files",
    "to_frame",
    "visible_files",
]

_NEVER_NULL = (
    *("trial_id", "attempt", "status", "configuration_id"),
    *("world_size", "global_batch_size", "seed"),
)
"""Columns without which a row says nothing: what it is of, and how it ended."""

_NAME = re.compile(r"^(?P<trial>.+)-(?P<attempt>[1-9]\d*)\.(?P<kind>parquet|json)$")


@dataclass(frozen=True)
class AttemptName:
    """Which attempt at which trial the name of a file stands for."""

    trial_id: str
    attempt: int

    @classmethod
    def of(cls, file: Path) -> AttemptName | None:
        """None where a file bears no such name."""
        found = _NAME.match(file.name)
        return None if found is None else cls(found["trial"], int(found["attempt"]))


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """A file in the folder of a table that is left out."""

    file: Path
    reason: str
    damaged: bool = False
    """Whether it may once have been one of ours."""
    stays: bool = False
    """Whether its rows may yet be had: it is not to be moved."""

    def __str__(self) -> str:
        return f"{self.file} was left out: {self.reason}"


class _UnusableError(ValueError):
    """Why a file is left out, and the fields of :class:`Unusable`."""

    def __init__(self, reason: str, *, damaged: bool = False, stays: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged
        self.stays = stays


def read_table(
    folder: Path, schema: pa.Schema, report: Callable[[str], None], *, sweep: str | None = None
) -> pa.Table:
    """All files of a table; what cannot be read is left out and reported.

    Args:
        folder: Of the table; one that is not there holds no file.
        schema: Of the table.
        report: Is told one sentence for each file that was left out.
        sweep: Name of the sweep, where it is known; rows of others are left out.
    """
    tables, unusable = sort_files(folder, schema, sweep=sweep)
    for one in unusable:
        report(str(one))
    return pa.concat_tables(_with_metrics_of_all([schema.empty_table(), *tables]))


def sort_files(
    folder: Path, schema: pa.Schema, *, sweep: str | None = None
) -> tuple[list[pa.Table], list[Unusable]]:
    """The files of a table that can be used, and those that cannot, in order of name.

    A file that repeats an attempt which another is named for is a copy, and left out.
    """
    usable: dict[Path, pa.Table] = {}
    unusable: list[Unusable] = []
    for file in visible_files(folder):
        try:
            usable[file] = _read_file(file, schema, sweep)
        except _UnusableError as error:
            unusable.append(
                Unusable(file=file, reason=str(error), damaged=error.damaged, stays=error.stays)
            )
    for copy, original in _copies(usable):
        del usable[copy]
        unusable.append(Unusable(file=copy, reason=f"it is a copy of {original.name}"))
    return list(usable.values()), unusable


def lacking(table: pa.Table) -> list[str]:
    """Columns that tell what a row is of and how it ended, and are null in one."""
    return [name for name in _NEVER_NULL if name in table.column_names and table[name].null_count]


def mark_final(trials: pd.DataFrame) -> pd.DataFrame:
    """Add ``final``: true for the highest attempt of each trial."""
    highest = trials.groupby("trial_id", dropna=False)["attempt"].transform("max")
    return trials.assign(final=(trials["attempt"] == highest).astype(bool))


def visible_files(folder: Path) -> Iterator[Path]:
    """Files in order of name; names beginning with ``_`` or ``.`` are still being written."""
    if folder.is_dir():
        yield from (
            file for file in sorted(folder.iterdir()) if not file.name.startswith(("_", "."))
        )


def _read_file(file: Path, schema: pa.Schema, sweep: str | None) -> pa.Table:
    """One file of a table; an error where it is none of ours."""
    if file.suffix != ".parquet" or file.is_dir():
        raise _UnusableError("it is no Parquet file")
    table = _parquet(file)
    version = (table.schema.metadata or {}).get(b"ddp_sweep.schema_version")
    if version is None or not version.isdigit():
        raise _UnusableError("it was not written by ddp-sweep")
    if int(version) > SCHEMA_VERSION:
        raise _UnusableError(
            f"its schema version is {int(version)}, this ddp-sweep reads up to {SCHEMA_VERSION}; "
            "install a newer ddp-sweep",
            stays=True,
        )
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise _UnusableError(f"it lacks the columns {', '.join(missing)}")
    if sweep is not None and "sweep" in schema.names:
        others = set(table["sweep"].to_pylist()) - {sweep, None}
        if others:
            raise _UnusableError(f"it is of another sweep, {', '.join(sorted(others))}")
    metrics = [field for field in table.schema if field.name.startswith(METRIC_PREFIX)]
    full = pa.schema([*schema, *(field.with_type(pa.float64()) for field in metrics)])
    try:
        found = table.select(full.names).cast(full)
    except (pa.ArrowException, ValueError) as error:
        raise _UnusableError(f"its columns are of other types: {first_line(error)}") from error
    if missing := lacking(found):
        raise _UnusableError(f"it has rows without {', '.join(missing)}")
    return found


def _parquet(file: Path) -> pa.Table:
    try:
        if file.stat().st_size == 0:
            raise _UnusableError("it is empty", damaged=True)
        return pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        # Arrow's own errors have no number; those of the system say nothing about the contents.
        of_system = isinstance(error, OSError) and error.errno is not None
        if of_system and isinstance(error, FileNotFoundError):
            raise _UnusableError("it has gone meanwhile", stays=True) from error
        raise _UnusableError(
            f"it cannot be read: {first_line(error)}", damaged=not of_system, stays=of_system
        ) from error


def _copies(tables: dict[Path, pa.Table]) -> Iterable[tuple[Path, Path]]:
    """Files whose rows stand in another as well, with that other; the one of its name is kept."""
    attempts = {file: _attempts(file, table) for file, table in tables.items()}
    named = {
        attempt: file
        for file, found in attempts.items()
        for attempt in found
        if attempt == AttemptName.of(file)
    }
    kept = dict(named)
    for file, found in attempts.items():
        original = next((kept[one] for one in found if kept.get(one, file) != file), None)
        if original is not None:
            yield file, original
        else:
            kept |= dict.fromkeys(found, file)


def _attempts(file: Path, table: pa.Table) -> set[AttemptName]:
    """Which attempts a table has rows of."""
    if table.num_rows == 0:
        return set()
    first = AttemptName(table["trial_id"][0].as_py(), table["attempt"][0].as_py())
    if AttemptName.of(file) == first:  # as we write them: one attempt a file
        return {first}
    keys = table.select(["trial_id", "attempt"]).combine_chunks()
    distinct = keys.group_by(["trial_id", "attempt"]).aggregate([]).to_pydict()
    return set(map(AttemptName, distinct["trial_id"], distinct["attempt"]))


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
