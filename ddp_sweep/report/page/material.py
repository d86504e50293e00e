"""Everything that the page is computed from: the ranking, and the runs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddp_sweep.analysis import RankedConfiguration, Ranking, RankingOptions, rank
from ddp_sweep.analysis.names import name_configurations
from ddp_sweep.analysis.tables.measurements import Measurements, measure
from ddp_sweep.analysis.tables.selection import Selection
from ddp_sweep.analysis.tables.sources import Source, open_source
from ddp_sweep.analysis.tables.table_files import read_table
from ddp_sweep.results import Results, ResultsFolder, mark_final

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Material", "gather"]

_ATTEMPT = ["trial_id", "attempt"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """A ranking with the runs it rests on; configurations are numbered as in ``measured``."""

    ranking: Ranking
    measured: Measurements
    entries: tuple[RankedConfiguration, ...]
    """What the ranking says of each configuration, by number."""
    attempts: pd.DataFrame
    """Every attempt at every trial, as recorded."""
    evals: pd.DataFrame
    """Evaluations of the runs, with the number of their ``configuration``; may be empty."""
    steps: pd.DataFrame
    """Optimizer steps of the runs, with the number of their ``configuration``; may be empty."""
    spec: dict[str, Any] | None
    spec_text: str | None
    """The resolved sweep file as it stands in the results folder."""
    name: str
    """Of the sweep, or of the table where it has none."""

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every recorded column of the runs that count, in the order of ``measured``."""
        counted = self.measured.runs
        if not self.measured.ours:
            return self.attempts.loc[counted.index]
        keys = list(counted[_ATTEMPT].itertuples(index=False, name=None))
        return self.attempts.set_index(_ATTEMPT, drop=False).loc[keys].reset_index(drop=True)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Numbers of the configurations from first to last rank."""
        number = {entry.name: position for position, entry in enumerate(self.entries)}
        return tuple(number[entry.name] for entry in self.ranking.configurations)


def gather(
    source: Path | str | Results | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    pair_by: str | None = None,
    **options: Any,  # noqa: ANN401 - the other ones of `rank`
) -> Material:
    """Rank, and keep what the charts and tables need beside the ranking.

    Args:
        source: A results folder, loaded results, or a table; see `ddp_sweep.rank`.
        columns: See `ddp_sweep.rank`.
        where: See `ddp_sweep.rank`.
        pair_by: See `ddp_sweep.rank`.
        options: The others of `ddp_sweep.rank`.

    Raises:
        ResultsError: The folder does not exist or holds no trials yet.
        TableError: The table lacks a column, or holds something that cannot be.
    """
    results = _results(source)
    given = source if results is None else results
    selection = Selection(columns=columns or {}, where=where or {}, pair_by=pair_by)
    ranking = rank(given, columns=columns, where=where, pair_by=pair_by, **options)
    opened = open_source(given, selection)
    measured = measure(opened, _options(opened, selection, options))
    by_name = {entry.name: entry for entry in ranking.configurations}
    entries = tuple(by_name[name] for name in name_configurations(measured.settings))
    if results is not None and not isinstance(source, Results):
        conditions = replace(ranking.conditions, source=str(source))
        ranking = replace(ranking, conditions=conditions)
    return Material(
        ranking=ranking,
        measured=measured,
        entries=entries,
        attempts=_attempts(given, opened, selection),
        evals=_of_runs(None if results is None else results.evals, measured),
        steps=_of_runs(None if results is None else results.steps, measured),
        spec=opened.spec,
        spec_text=None if results is None else _spec_text(results),
        name=_name(opened.spec, opened.name),
    )


def _options(opened: Source, selection: Selection, given: Mapping[str, Any]) -> RankingOptions:
    """What the ranking was asked for, under our names of the columns."""
    named = {
        name: selection.translated(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
    }
    return RankingOptions.from_spec_mapping(opened.spec or {}).overridden(**named)


def _attempts(
    given: Path | str | Results | pd.DataFrame, opened: Source, selection: Selection
) -> pd.DataFrame:
    """Every recorded column of what was ranked; of our own trials every attempt."""
    import pandas as pd

    if isinstance(given, Results):
        attempts = given.trials
    elif isinstance(given, pd.DataFrame):
        attempts = selection.renamed(given.reset_index(drop=True))
    else:
        attempts = selection.renamed(read_table(Path(given), list)[0].reset_index(drop=True))
    if not opened.ours:
        return attempts.loc[opened.runs.index]
    if "final" not in attempts:
        attempts = mark_final(attempts)
    return attempts[attempts["trial_id"].isin(opened.runs["trial_id"])]


def _results(source: Path | str | Results | pd.DataFrame) -> Results | None:
    """The tables of a folder, read once; None where a table alone is given."""
    if isinstance(source, Results):
        return source
    if isinstance(source, str | Path) and not Path(source).is_file():
        return ResultsFolder(Path(source)).read()
    return None


def _of_runs(rows: pd.DataFrame | None, measured: Measurements) -> pd.DataFrame:
    """Rows of the runs that count, each with the number of its configuration."""
    import pandas as pd

    if rows is None or rows.empty:
        return pd.DataFrame({"configuration": pd.Series(dtype="int64")})
    runs = measured.runs[_ATTEMPT].assign(configuration=measured.configuration)
    return rows.merge(runs, on=_ATTEMPT, how="inner")


def _spec_text(results: Results) -> str | None:
    file = results.folder.spec_file
    # What could not be read as a sweep file is no use to someone who wants to repeat it.
    return file.read_text(encoding="utf-8") if results.spec is not None else None


def _name(spec: dict[str, Any] | None, source: str | None) -> str:
    if spec is not None and spec.get("name"):
        return str(spec["name"])
    return "Results" if source is None else Path(source).stem
