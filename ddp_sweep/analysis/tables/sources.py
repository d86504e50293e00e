"""From a folder, a file or a frame to one table of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Booleans
from ddp_sweep.analysis.tables.columns import (
    LIST_COLUMNS,
    TIME_COLUMNS,
    is_analysed,
    require_columns,
)
from ddp_sweep.analysis.tables.foreign_status import NO_EVIDENCE, our_status
from ddp_sweep.analysis.tables.mixtures import mixtures
from ddp_sweep.analysis.tables.selection import Selection
from ddp_sweep.analysis.tables.table_files import read_table
from ddp_sweep.analysis.wording import count
from ddp_sweep.errors import ResultsError, TableError
from ddp_sweep.results import Results, ResultsFolder, SeedAddition, mark_final
from ddp_sweep.schema import Status

__all__ = ["Source", "open_source"]

_OURS = frozenset({"trial_id", "configuration_id", "attempt", "status"})
_TELLS_APART = ("trial_id", "attempt", "seed")


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
    declared: Mapping[str, bool] = field(default_factory=dict)
    """Columns of the metrics that a workload declared; whether higher is better."""
    pairs: pd.Series[Any] | None = None
    """Values by which the runs of another tool pair, in the order of ``runs``."""
    findings: tuple[Finding, ...] = ()
    """What to know about the rows themselves."""
    additions: tuple[SeedAddition, ...] = ()
    """Which seeds were added, in order; empty where nobody knows."""


def open_source(
    source: Path | str | Results | pd.DataFrame, selection: Selection | None = None
) -> Source:
    """Read what is to be ranked.

    Args:
        source: A results folder, a Parquet or CSV file, loaded results, or a frame with one row a
            run (the trials table, or that of another tool).
        selection: Which columns and rows of it.

    Raises:
        ResultsError: There is no such folder, or no trial in it has ended.
        TableError: The file is neither Parquet nor CSV, cannot be read, or holds no rows; or there
            is nothing in it that is selected.
    """
    selection = selection or Selection()
    if isinstance(source, pd.DataFrame):
        names = [str(column) for column in source.columns]
        named = source.set_axis(names, axis="columns")
        return _from_frame(named[_read(names, selection)], names, None, selection)
    if isinstance(source, Results):
        return _from_results(source, selection)
    path = Path(source)
    if path.is_file():
        frame, names = read_table(path, lambda names: _read(names, selection))
        return _from_frame(frame, names, str(path), selection)
    folder = ResultsFolder(path)
    if path.is_dir() and not (folder.trials.is_dir() or folder.spec_file.is_file()):
        above = ResultsFolder(path.absolute().parent)
        hint = f"; did you mean {path.parent}?" if above.trials == path.absolute() else ""
        raise ResultsError(
            f"{path} is no results folder: it has neither trials/ nor {folder.spec_file.name}"
            f"{hint or '; give the folder that `ddp-sweep run` wrote, or a file'}"
        )
    return _from_results(folder.read(), selection)


def _from_results(results: Results, selection: Selection) -> Source:
    if results.trials.empty:
        left_out = "".join(f"\n{problem}" for problem in results.problems[:3])
        raise ResultsError(
            f"no trial in {results.folder.path} has ended yet; "
            f"`ddp-sweep run` with the sweep file writes them there{left_out}"
        )
    if selection.columns:
        raise TableError(
            "columns are named for tables of other tools; a results folder has our names already"
        )
    trials = results.trials[selection.needed(list(results.trials.columns))]
    final = trials[trials["final"]]
    return replace(
        _select(final, final, selection, str(results.folder.path)),
        evals=None if results.evals.empty else results.evals,
        steps=None if results.steps.empty else results.steps,
        spec=results.spec,
        problems=results.problems,
        declared=results.declared_metrics,
        additions=results.additions,
    )


def _read(names: list[str], selection: Selection) -> list[str]:
    """Columns that are read: of another tool all, for they may tell runs apart."""
    needed = selection.needed(names)
    return needed if set(names) >= _OURS else names


def _from_frame(
    frame: pd.DataFrame, received: Sequence[str], name: str | None, selection: Selection
) -> Source:
    frame = frame.reset_index(drop=True)
    runs = selection.renamed(frame)
    if not set(runs.columns) >= _OURS:
        require_columns(list(runs.columns), received)
    if runs.empty:
        raise TableError(f"{name or 'the table'} holds no rows; give one row for each run")
    if not set(runs.columns) >= _OURS:
        source = _without_lost(_select(frame, runs, selection, name), selection)
        finished = runs.loc[source.runs.index]
        if "status" in runs:
            finished = finished[source.runs["status"] == Status.SUCCEEDED]
        return replace(source, findings=(*source.findings, *mixtures(finished)))
    if "final" not in runs:
        runs = mark_final(runs)
    final = runs["final"].astype(bool)
    return _select(frame[final], runs[final], selection, name)


def _select(
    given: pd.DataFrame, runs: pd.DataFrame, selection: Selection, name: str | None
) -> Source:
    """The rows that meet the conditions, each once.

    Args:
        given: The table under its own names.
        runs: The same rows under ours.
        selection: What is taken from it.
        name: Where it comes from.
    """
    ours = set(runs.columns) >= _OURS
    findings: list[Finding] = []
    if selection.where:
        rows = selection.rows(given)
        findings.append(_selected(rows, selection))
        runs = runs[rows]
    pairs = selection.pairs(runs)
    if ours and pairs is not None:
        raise TableError(
            "pairing by a column is for tables of other tools; runs of a sweep pair by "
            "themselves, times by their block and quality by seed"
        )
    copies = _copies(runs)
    if copies.any():
        told_apart = any(column in runs for column in _TELLS_APART)
        findings.append(_copied(int(copies.sum()), left_out=told_apart))
        kept = ~copies | (not told_apart)
        runs, pairs = runs[kept], None if pairs is None else pairs[kept]
    return Source(
        runs=runs[[column for column in runs if is_analysed(str(column))]],
        ours=ours,
        evals=None,
        spec=None,
        name=name,
        pairs=pairs,
        findings=tuple(findings),
    )


def _without_lost(source: Source, selection: Selection) -> Source:
    """The runs of another tool that say something about their configuration.

    Raises:
        TableError: Nobody knows what a word for the end of a run means, or no run is left.
    """
    runs = source.runs
    if "status" not in runs:
        return source
    column = selection.columns.get("status", "status")
    status = our_status(runs["status"], column)
    lost = status.isin(NO_EVIDENCE)
    if not lost.any():
        return replace(source, runs=runs.assign(status=status))
    number = int(lost.sum())
    words = [f"{n:,} {word}" for word, n in runs["status"][lost].value_counts().items()]
    if lost.all():
        raise TableError(
            f"no run gave a measurement: column {column} says {', '.join(words)}; "
            "give a table with runs that finished"
        )
    finding = Finding(
        kind="left_out_runs",
        severity=Severity.WARNING,
        message=(
            f"{count(number, 'run')} of {len(runs):,} {'was' if number == 1 else 'were'} left "
            f"out, since {column} says {', '.join(words)}: such an end says nothing about a "
            "configuration. If its settings caused it, write failed there."
        ),
        evidence={"runs": number},
    )
    return replace(
        source,
        runs=runs.assign(status=status)[~lost],
        pairs=None if source.pairs is None else source.pairs[~lost],
        findings=(*source.findings, finding),
    )


def _selected(rows: Booleans, selection: Selection) -> Finding:
    chosen, total = int(rows.sum()), len(rows)
    return Finding(
        kind="selected_rows",
        severity=Severity.INFO,
        message=f"Only runs with {selection.in_words()} were ranked: {chosen:,} of {total:,}.",
        evidence={"chosen": chosen, "runs": total},
    )


def _copies(runs: pd.DataFrame) -> Booleans:
    """Rows that repeat an earlier one in everything that is analysed, lists aside."""
    columns = [name for name in runs if is_analysed(str(name)) and name not in LIST_COLUMNS]
    quick = [name for name in columns if name in (*TIME_COLUMNS, *_TELLS_APART)]
    alike = runs.duplicated(quick, keep=False).to_numpy(dtype=np.bool_)
    copies = np.zeros(len(runs), dtype=np.bool_)
    if alike.any():
        copies[alike] = runs.loc[alike, columns].duplicated().to_numpy(dtype=np.bool_)
    return copies


def _copied(number: int, *, left_out: bool) -> Finding:
    rows = f"{count(number, 'row')} {'repeats' if number == 1 else 'repeat'} an earlier one"
    if left_out:
        message = f"{rows} in every column, and {'was' if number == 1 else 'were'} left out."
    else:
        message = (
            f"{rows} in every column. No column tells runs apart (seed), so they count as runs of "
            "their own; if they are copies, the intervals are too narrow."
        )
    return Finding(
        kind="repeated_rows",
        severity=Severity.WARNING,
        message=message,
        evidence={"rows": number},
    )
