"""A results folder: where everything lies in it, and its tables as pandas frames."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.errors import ResultsError
from ddp_sweep.schema import HIGHER_IS_BETTER, METRIC_PREFIX, SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Results",
    "ResultsFolder",
    "ResultsWarning",
    "SeedAddition",
    "SeedPurpose",
    "load_results",
    "mark_final",
]


class SeedPurpose(StrEnum):
    """Why seeds came into a results folder."""

    SWEEP = "sweep"
    """The seeds of the sweep file."""
    MORE_SEEDS = "more_seeds"
    """Asked for after a look at the results."""
    CONFIRMATION = "confirmation"
    """To measure the winner and the quality reference anew, on runs that did not choose them."""


@dataclass(frozen=True, kw_only=True)
class SeedAddition:
    """Seeds that one session of a sweep added; a session that only goes on adds none."""

    purpose: SeedPurpose
    seeds: tuple[int, ...]
    configuration_ids: tuple[str, ...] | None = None
    """The configurations that run with them; None for every one of the sweep."""
    session_id: str | None = None


class ResultsWarning(UserWarning):
    """A file in a results folder was left out; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The tables of one results folder."""

    trials: pd.DataFrame
    """One row an attempt at a trial; ``final`` is true for the highest attempt of a trial."""
    evals: pd.DataFrame
    """One row an evaluation."""
    steps: pd.DataFrame
    """One row a rank and recorded interval of optimizer steps."""
    folder: ResultsFolder
    spec: dict[str, Any] | None
    """The resolved sweep file, or None where the folder has none that can be read."""
    declared_metrics: Mapping[str, bool] = field(default_factory=dict)
    """Columns of the metrics that the workload declared; whether higher is better."""
    problems: tuple[str, ...] = ()
    """One sentence for each file that was left out."""
    additions: tuple[SeedAddition, ...] = ()
    """Which seeds were added, in order; empty where the folder does not say."""

    @property
    def added(self) -> tuple[SeedAddition, ...]:
        """The additions beside the seeds of the sweep file, as a plan takes them."""
        return tuple(one for one in self.additions if one.purpose is not SeedPurpose.SWEEP)


@dataclass(frozen=True)
class ResultsFolder:
    """Every path of a results folder; nothing else in the project builds one."""

    path: Path

    @property
    def trials(self) -> Path:
        """One Parquet file for each attempt at a trial."""
        return self.path / "trials"

    @property
    def evals(self) -> Path:
        """One Parquet file for each attempt, one row an evaluation."""
        return self.path / "evals"

    @property
    def steps(self) -> Path:
        """One Parquet file for each attempt, one row a rank and recorded interval."""
        return self.path / "steps"

    @property
    def spec_file(self) -> Path:
        """The resolved sweep file."""
        return self.path / "_sweep.yaml"

    @property
    def seeds_file(self) -> Path:
        """Which seeds were added to the sweep, and when: a list in YAML, one entry an addition."""
        return self.path / "_seeds.yaml"

    @property
    def plan_file(self) -> Path:
        """The trials of the sweep as the last run planned them."""
        return self.path / "_plan.json"

    @property
    def progress_file(self) -> Path:
        """What the last run was doing when it last said so."""
        return self.path / "_progress.json"

    @property
    def lock_file(self) -> Path:
        """Held by the run that writes to the folder."""
        return self.path / "_lock"

    @property
    def attempts(self) -> Path:
        """What was dispatched, also where no result came back."""
        return self.path / "_attempts"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trials that are under way."""
        return self.path / "_checkpoints"

    @property
    def logs(self) -> Path:
        """What the workers printed."""
        return self.path / "_logs"

    @property
    def winner_file(self) -> Path:
        """Settings of the recommended configuration."""
        return self.path / "_winner.yaml"

    def table(self, table: str) -> Path:
        """Folder of a table.

        Raises:
            KeyError: There is no such table.
        """
        return {"trials": self.trials, "evals": self.evals, "steps": self.steps}[table]

    def attempt_file(self, table: str, trial_id: str, attempt: int) -> Path:
        """The one file that an attempt at a trial writes to a table."""
        return self.table(table) / f"{trial_id}-{attempt}.parquet"

    def read(self, tables: Collection[str] = tuple(TABLES)) -> Results:
        """Read the tables; what cannot be read is left out and named in ``problems``.

        Args:
            tables: Names of those to read; the others come empty.

        Raises:
            ResultsError: There is no such folder.
        """
        if not self.path.is_dir():
            raise ResultsError(
                f"no results folder at {self.path}; "
                "give the folder that `ddp-sweep run` wrote, results/<name> by default"
            )
        problems: list[str] = []
        read = {
            name: self._read_table(name, problems.append)
            if name in tables
            else schema.empty_table()
            for name, schema in TABLES.items()
        }
        frames = {name: _to_frame(table) for name, table in read.items()}
        spec = self._read_spec(problems.append)
        additions = self._read_additions(problems.append)
        return Results(
            trials=mark_final(frames["trials"]),
            evals=frames["evals"],
            steps=frames["steps"],
            folder=self,
            spec=spec,
            declared_metrics=_directions(read["trials"].schema),
            problems=tuple(problems),
            additions=additions,
        )

    def _read_table(self, table: str, report: Callable[[str], None]) -> pa.Table:
        parts = [TABLES[table].empty_table()]
        for file in _visible_files(self.table(table)):
            try:
                parts.append(_read_file(file, TABLES[table]))
            except (OSError, pa.ArrowException, ValueError) as error:
                report(f"{file} was left out: {_first_line(error)}")
        return pa.concat_tables(_with_metrics_of_all(parts))

    def _read_spec(self, report: Callable[[str], None]) -> dict[str, Any] | None:
        spec = _read_yaml(self.spec_file, report)
        if spec is None or isinstance(spec, Mapping):
            return None if spec is None else dict(spec)
        report(f"{self.spec_file} was left out: it holds no mapping of settings")
        return None

    def _read_additions(self, report: Callable[[str], None]) -> tuple[SeedAddition, ...]:
        entries = _read_yaml(self.seeds_file, report)
        try:
            return tuple(map(_addition, entries or ()))
        except (AttributeError, KeyError, TypeError, ValueError):
            report(f"{self.seeds_file} was left out: it holds no list of added seeds")
            return ()


def load_results(path: str | Path) -> Results:
    """Read a results folder, also while a sweep is writing to it.

    Integer and boolean columns have pandas' nullable types, floats are float64 with NaN for null,
    times are UTC. A folder without trials gives empty frames with all columns. A file that is not
    one of ours, or cannot be read, is left out with a `ResultsWarning` that names it.

    Args:
        path: The folder that ``ddp-sweep run`` wrote.

    Raises:
        ResultsError: There is no such folder.
    """
    results = ResultsFolder(Path(path)).read()
    for problem in results.problems:
        warnings.warn(problem, ResultsWarning, stacklevel=2)
    return results


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


def _directions(schema: pa.Schema) -> dict[str, bool]:
    """Whether higher is better in each declared metric that says so."""
    key = HIGHER_IS_BETTER.encode()
    return {
        field.name: field.metadata[key] == b"true"
        for field in schema
        if field.metadata and key in field.metadata
    }


def _to_frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__


def _read_yaml(file: Path, report: Callable[[str], None]) -> Any:  # noqa: ANN401 - any YAML value
    """The contents of one of our YAML files; None where there is none that can be read."""
    if not file.exists():
        return None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        report(f"{file} was left out: {_first_line(error)}")
        return None


def _addition(entry: Mapping[str, Any]) -> SeedAddition:
    configurations = entry.get("configuration_ids")
    return SeedAddition(
        purpose=SeedPurpose(entry["purpose"]),
        seeds=tuple(int(seed) for seed in entry["seeds"]),
        configuration_ids=None if configurations is None else tuple(map(str, configurations)),
        session_id=entry.get("session_id"),
    )
