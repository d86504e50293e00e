"""From a folder, a file or a frame to one table of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddp_sweep.errors import ResultsError, TableError
from ddp_sweep.results import Results, ResultsFolder, mark_final

__all__ = ["Source", "open_source"]

_OURS = frozenset({"trial_id", "configuration_id", "attempt", "status"})
_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows to rank, and what else is known of where they come from."""

    runs: pd.DataFrame
    """One row a run: the final attempts, where the table holds attempts."""
    ours: bool
    """Whether it is a trials table of this project; else one run a row of another tool."""
    evals: pd.DataFrame | None
    steps: pd.DataFrame | None = None
    spec: dict[str, Any] | None
    name: str | None
    """The folder or file; None for a frame in memory."""
    problems: tuple[str, ...] = ()


def open_source(source: Path | str | Results | pd.DataFrame) -> Source:
    """Read what is to be ranked.

    Args:
        source: A results folder, a Parquet or CSV file, loaded results, or a frame with one row a
            run (the trials table, or that of another tool).

    Raises:
        ResultsError: There is no such folder, or no trial in it has ended.
        TableError: The file is neither Parquet nor CSV, cannot be read, or holds no rows.
    """
    if isinstance(source, pd.DataFrame):
        return _from_frame(source, None)
    if isinstance(source, Results):
        return _from_results(source)
    path = Path(source)
    if path.is_file():
        return _from_frame(_read_file(path), str(path))
    return _from_results(ResultsFolder(path).read())


def _from_results(results: Results) -> Source:
    if results.trials.empty:
        raise ResultsError(
            f"no trial in {results.folder.path} has ended yet; "
            "`ddp-sweep run` with the sweep file writes them there"
        )
    return Source(
        runs=results.trials[results.trials["final"]],
        ours=True,
        evals=None if results.evals.empty else results.evals,
        steps=None if results.steps.empty else results.steps,
        spec=results.spec,
        name=str(results.folder.path),
        problems=results.problems,
    )


def _from_frame(frame: pd.DataFrame, name: str | None) -> Source:
    if frame.empty:
        raise TableError(f"{name or 'the table'} holds no rows; give one row for each run")
    frame = frame.reset_index(drop=True)
    ours = set(frame.columns) >= _OURS
    if ours:
        frame = frame if "final" in frame else mark_final(frame)
        frame = frame[frame["final"].astype(bool)]
    return Source(runs=frame, ours=ours, evals=None, spec=None, name=name)


def _read_file(path: Path) -> pd.DataFrame:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(
            f"{path} is neither Parquet nor CSV; "
            "give a file that ends in .parquet or .csv, or a results folder"
        )
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
