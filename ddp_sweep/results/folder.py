"""Where everything lies in a results folder, and all that it holds."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddp_sweep.errors import ResultsError, ResultsWarning
from ddp_sweep.results.seeds import SeedAddition, SeedPurpose, seed_additions
from ddp_sweep.results.tables import (
    AttemptName,
    directions,
    first_line,
    mark_final,
    read_table,
    to_frame,
    visible_files,
)
from ddp_sweep.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Results",
    "ResultsFolder",
    "ResultsWarning",
    "load_results",
    "local_path",
    "sweep_name",
]

_ADDRESS = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+")
"""Of an object store; a path that was made of one has lost a slash. ``C:/`` is none."""

_TABLE_FILES = (".csv", ".parquet")
"""How a table is named; a folder of results hardly is."""


@dataclass(frozen=True, kw_only=True, repr=False)
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

    def __repr__(self) -> str:
        """The folder and the number of rows of each table."""
        rows = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in TABLES)
        return f"<Results of {self.folder.path}: rows: {rows}>"

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

    def checkpoints_of(self, trial_id: str) -> Path:
        """Checkpoints of one trial, a folder each."""
        return self.checkpoints / trial_id

    @property
    def logs(self) -> Path:
        """What the workers printed."""
        return self.path / "_logs"

    @property
    def quarantine(self) -> Path:
        """What lay in the folders of the tables and was no part of them."""
        return self.path / "_quarantine"

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

    def attempt_record(self, trial_id: str, attempt: int) -> Path:
        """What is known of an attempt from the moment that it is handed to the workers."""
        return self.attempts / f"{trial_id}-{attempt}.json"

    def attempts_without_row(self) -> tuple[AttemptName, ...]:
        """What was handed to the workers and has no end: it runs, or its run was killed."""
        named = filter(None, map(AttemptName.of, visible_files(self.attempts)))
        return tuple(
            one
            for one in named
            if not self.attempt_file("trials", one.trial_id, one.attempt).exists()
        )

    def read(self, tables: Collection[str] = tuple(TABLES)) -> Results:
        """Read the tables; what cannot be read is left out and named in ``problems``.

        Args:
            tables: Names of those to read; the others come empty.

        Raises:
            ResultsError: There is no such folder, nor a file where one is named.
        """
        if not self.path.exists() and self.path.suffix.lower() in _TABLE_FILES:
            beside = [file.name for file in self.path.parent.glob(f"*{self.path.suffix}")]
            near = difflib.get_close_matches(self.path.name, beside, n=1)
            hint = (
                f"did you mean {self.path.parent / near[0]}?"
                if near
                else "give its path from here"
            )
            raise ResultsError(f"there is no file {self.path}; {hint}")
        if not self.path.is_dir():
            raise ResultsError(
                f"no results folder at {self.path}; "
                "give the folder that `ddp-sweep run` wrote, results/<name> by default"
            )
        problems: list[str] = []
        spec = self._read_spec(problems.append)
        sweep = sweep_name(spec)
        read = {
            name: read_table(self.table(name), schema, problems.append, sweep=sweep)
            if name in tables
            else schema.empty_table()
            for name, schema in TABLES.items()
        }
        frames = {name: to_frame(table) for name, table in read.items()}
        additions = self._read_additions(problems.append)
        return Results(
            trials=mark_final(frames["trials"]),
            evals=frames["evals"],
            steps=frames["steps"],
            folder=self,
            spec=spec,
            declared_metrics=directions(read["trials"].schema),
            problems=tuple(problems),
            additions=additions,
        )

    def _read_spec(self, report: Callable[[str], None]) -> dict[str, Any] | None:
        spec = _read_yaml(self.spec_file, report)
        if spec is None or isinstance(spec, Mapping):
            return None if spec is None else dict(spec)
        report(f"{self.spec_file} was left out: it holds no mapping of settings")
        return None

    def _read_additions(self, report: Callable[[str], None]) -> tuple[SeedAddition, ...]:
        try:
            return seed_additions(_read_yaml(self.seeds_file, report))
        except ValueError as error:
            report(f"{self.seeds_file} was left out: {error}")
            return ()


def local_path(given: str | Path) -> Path:
    """A folder of this machine, for results.

    Raises:
        ResultsError: It is an address of something else.
    """
    address = _ADDRESS.match(str(given))
    if address is None:
        return Path(given)
    shown = f"{address['scheme']}://{str(given)[address.end() :]}"
    raise ResultsError(
        f"received the address {shown} for the results folder; allowed: a folder of this machine, "
        "or of a disk that it has mounted. Results are flushed and renamed there file by file. "
        f"Copy the folder to {shown} once it is written, with the tool of that store (aws s3 "
        "sync, gcloud storage rsync, rclone copy): its files never change"
    )


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
    results = ResultsFolder(local_path(path)).read()
    for problem in results.problems:
        warnings.warn(problem, ResultsWarning, stacklevel=2)
    return results


def sweep_name(spec: Mapping[str, Any] | None) -> str | None:
    """What a sweep file calls its sweep; None where that is not known."""
    name = None if spec is None else spec.get("name")
    return name if isinstance(name, str) else None


def _read_yaml(file: Path, report: Callable[[str], None]) -> Any:  # noqa: ANN401 - any YAML value
    """The contents of one of our YAML files; None where there is none that can be read."""
    if not file.exists():
        return None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        report(f"{file} was left out: {first_line(error)}")
        return None
