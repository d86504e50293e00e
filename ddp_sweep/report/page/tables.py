"""The tables of the page: every configuration, and every trial."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ddp_sweep.analysis import MetricComparison, RankedConfiguration, Ranking
from ddp_sweep.analysis.metrics import Margin, available_metrics
from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.wording import difference_text, metric_name, ratio
from ddp_sweep.report.page.emphasis import Outcome, outcome
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.view import RankingView, RowView, view_ranking
from ddp_sweep.schema import METRIC_PREFIX

__all__ = ["Cell", "Column", "DataTable", "Row", "configuration_table", "figure", "trial_table"]

_ROWS_OF_A_VIEW = 20
_MOST_METRICS = 5
_SAID = (Outcome.HELD, Outcome.WITHIN)
"""Outcomes whose reason is in the other columns already."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Heading of a column."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """What is shown, and what it is sorted by where that is a number; None is unknown."""

    text: str
    number: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """The first cell names the row."""

    cells: tuple[Cell, ...]
    tone: str = "plain"
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """A table as the page shows it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def figure(value: float | None) -> str:
    """A number of any size in about four digits; empty where it is unknown.

    Examples:
        >>> figure(12.3456), figure(1234567.8), figure(0.000123), figure(3.0), figure(None)
        ('12.35', '1,234,568', '0.000123', '3', '')
    """
    if value is None or not math.isfinite(value):
        return ""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _number(value: object) -> Cell:
    known = None if pd.isna(value) else float(value)  # type: ignore[arg-type, call-overload]
    return Cell(figure(known), known)


def configuration_table(material: Material, view: RankingView) -> DataTable:
    """Every configuration in order of rank, with the figures of the terminal's table."""
    ranking = material.ranking
    metrics = [f"{metric.name} ({metric.margin})" for metric in view.metric_columns]
    extra = [found for found in _EXTRA if any(found.cell(e) for e in ranking.configurations)]
    titles = [
        Column(title="rank", numeric=True),
        Column(title="configuration"),
        Column(title="outcome"),
        Column(title="speedup [90 % interval]", numeric=True),
        Column(title="scaling efficiency", numeric=True),
        *(Column(title=title, numeric=True) for title in metrics),
        *(Column(title=found.title, numeric=found.numeric) for found in extra),
    ]
    pairs = zip(ranking.configurations, _row_views(ranking), strict=True)
    rows = [
        _configuration_row(rank, entry, shown, extra)
        for rank, (entry, shown) in enumerate(pairs, start=1)
    ]
    return DataTable(caption=view.heading, columns=tuple(titles), rows=tuple(rows))


def _row_views(ranking: Ranking) -> Iterator[RowView]:
    """Rows of all configurations; a view holds as many as fit on a terminal."""
    entries = ranking.configurations
    for start in range(0, len(entries), _ROWS_OF_A_VIEW):
        part = replace(ranking, configurations=entries[start : start + _ROWS_OF_A_VIEW])
        yield from view_ranking(part).rows


def _configuration_row(
    rank: int, entry: RankedConfiguration, shown: RowView, extra: Sequence[_Extra]
) -> Row:
    differences = [*entry.metrics.values()]
    judged = [found for found in differences if found.margin is not None] or differences
    return Row(
        cells=(
            Cell(str(rank), float(rank)),
            Cell(entry.name),
            Cell(_outcome_text(entry, shown)),
            Cell(_whole_interval(shown.speedup), entry.speedup),
            Cell(_whole_interval(shown.efficiency), entry.scaling_efficiency),
            *(
                Cell(_whole_interval(text), found.difference)
                for text, found in zip(shown.metrics, judged, strict=False)
            ),
            *(found.full(entry) for found in extra),
        ),
        tone=shown.tone.value,
        strong=shown.recommended,
    )


def _outcome_text(entry: RankedConfiguration, shown: RowView) -> str:
    """As on the terminal, with the reason; of a baseline what became of it as well."""
    found = outcome(entry)
    if found in _SAID:
        return shown.outcome
    text = shown.outcome if found in shown.outcome else f"{shown.outcome}, {found}"
    why = entry.reason.removeprefix("the speed baseline; ").partition(": ")[2]
    if why.startswith("no margins were set"):
        why = "no margin set"  # the whole sentence stands above, once
    return f"{text}: {why}" if why else text


def _whole_interval(text: str) -> str:
    """The text with room for a line break only before its interval."""
    start, bracket, interval = text.partition(" [")
    return start.replace(" ", "\u00a0") + bracket + interval.replace(" ", "\u00a0")


@dataclass(frozen=True)
class _Extra(ABC):
    """A column that is only there where something is known to fill it."""

    title: str
    numeric: bool = True

    def cell(self, entry: RankedConfiguration) -> str:
        return self.full(entry).text

    @abstractmethod
    def full(self, entry: RankedConfiguration) -> Cell:
        """The cell with the value that it sorts by."""


class _Cost(_Extra):
    def full(self, entry: RankedConfiguration) -> Cell:
        cost = entry.cost_ratio
        return Cell("" if cost is None else f"{ratio(cost)}x", cost)


class _Runs(_Extra):
    def full(self, entry: RankedConfiguration) -> Cell:
        text = f"{entry.n_seeds}"
        if entry.n_failed:
            text += f" ({entry.n_failed} failed)"
        if entry.n_not_converged:
            text += f" ({entry.n_not_converged} missed the target)"
        return Cell(text, float(entry.n_seeds))


class _SeedsNeeded(_Extra):
    def full(self, entry: RankedConfiguration) -> Cell:
        return _number(entry.seeds_needed)


class _Population(_Extra):
    def full(self, entry: RankedConfiguration) -> Cell:
        parts = [
            f"{metric_name(name)} {_population(name, found)}"
            for name, found in entry.metrics.items()
            if found.margin is not None and found.population_low is not None
        ]
        return Cell("; ".join(parts))


def _population(name: str, found: MetricComparison) -> str:
    margin = Margin.parse(name, found.margin if found.margin is not None else 0.01)
    return difference_text(found.difference, found.population_low, found.population_high, margin)


_EXTRA = (
    _Population("with the sampling error of the validation set", numeric=False),
    _Cost("cost, baseline = 1"),
    _Runs("runs"),
    _SeedsNeeded("seeds needed to decide"),
)


def trial_table(material: Material) -> DataTable:
    """Every attempt at every trial, in the order they were made."""
    attempts = _with_configuration(material)
    columns = [found for found in _trial_columns(material) if _has_values(attempts, found[0])]
    names = [material.entries[number].name for number in attempts["_configuration"]]
    rows = []
    for place, (name, ended) in enumerate(zip(names, attempts["_ended"], strict=True)):
        row = attempts.iloc[place]
        cells = [
            Cell(name),
            Cell(ended),
            *(_cell(row[source], scale) for source, _, scale in columns),
        ]
        detail = row.get("status_detail")
        cells.append(Cell("" if pd.isna(detail) else str(detail).strip()))
        rows.append(Row(cells=tuple(cells), tone="plain" if ended == "finished" else "lost"))
    has_detail = any(row.cells[-1].text for row in rows)
    if not has_detail:
        rows = [replace(row, cells=row.cells[:-1]) for row in rows]
    titles = [Column(title="configuration"), Column(title="ended")]
    titles += [Column(title=title, numeric=True) for _, title, _ in columns]
    titles += [Column(title="detail")] if has_detail else []
    return DataTable(caption="Every trial", columns=tuple(titles), rows=tuple(rows))


def _trial_columns(material: Material) -> list[tuple[str, str, float]]:
    """Column, its heading with the unit, and by what it is divided."""
    reference = material.ranking.reference.metrics
    judged = [name for name, found in reference.items() if found.margin is not None]
    available = available_metrics(material.measured.runs)
    chosen = dict.fromkeys([*(n for n in judged if n in available), *available])
    metrics = [name for name in chosen if name != "best_epoch"][:_MOST_METRICS]
    return [
        ("seed", "seed", 1),
        ("attempt", "attempt", 1),
        ("train_time_s", "training, s", 1),
        ("time_to_target_s", "to the target, s", 1),
        ("samples_to_target", "samples to the target", 1),
        ("throughput_samples_per_s", "samples/s", 1),
        *((name, metric_name(name.removeprefix(METRIC_PREFIX)), 1) for name in metrics),
        ("peak_memory_bytes", "peak memory, MB", 1e6),
        ("worker_hours", "worker-hours", 1),
        ("cost", "cost", 1),
        ("other_load", "other load, share of cores", 1),
    ]


def _with_configuration(material: Material) -> pd.DataFrame:
    """The attempts with the number of their configuration and how they ended."""
    measured, attempts = material.measured, material.attempts
    ends = np.where(measured.ending == Ending.MISSED, "missed the target", "")
    if measured.ours:
        numbers = pd.Series(measured.configuration, index=measured.runs["trial_id"])
        missed = pd.Series(ends, index=measured.runs["trial_id"])
        keys = attempts["trial_id"]
        order = attempts[["started_at", "finished_at"]].min(axis=1)
        attempts = attempts.assign(_started=order)
    else:
        numbers = pd.Series(measured.configuration, index=measured.runs.index)
        missed = pd.Series(ends, index=measured.runs.index)
        keys = pd.Series(attempts.index, index=attempts.index)
    statuses = attempts["status"] if "status" in attempts else pd.Series("succeeded", keys.index)
    final = attempts["final"].astype(bool) if "final" in attempts else True
    ended = statuses.astype(str).str.replace("_", " ").replace("succeeded", "finished")
    ended = ended.mask((keys.map(missed) != "") & final, "missed the target")
    found = attempts.assign(_configuration=keys.map(numbers), _ended=ended)
    return found.sort_values("_started", kind="stable") if "_started" in found else found


def _has_values(frame: pd.DataFrame, column: str) -> bool:
    if column == "attempt" and column in frame:
        return bool((frame[column] > 1).any())
    return column in frame and bool(frame[column].notna().any())


def _cell(value: object, divisor: float) -> Cell:
    if pd.isna(value):  # type: ignore[call-overload]
        return Cell("")
    return _number(float(value) / divisor)  # type: ignore[arg-type]
