"""From measurements to a ranking: the one way through the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ddp_sweep.analysis.diagnosis import diagnose, diagnose_configurations
from ddp_sweep.analysis.lazy_sequence import LazySequence
from ddp_sweep.analysis.names import name_configurations
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import (
    Conditions,
    RankedConfiguration,
    Ranking,
    Recommendation,
)
from ddp_sweep.analysis.settings import ready_to_paste
from ddp_sweep.analysis.tables.measurements import Measurements, measure
from ddp_sweep.analysis.tables.selection import Selection
from ddp_sweep.analysis.tables.sources import Source, open_source
from ddp_sweep.analysis.verdicts.assessment import assess
from ddp_sweep.analysis.verdicts.entries import EntryBuilder
from ddp_sweep.analysis.verdicts.recommendation import Choice, choose
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.errors import ColumnError
from ddp_sweep.results import Results

__all__ = ["rank"]


def rank(
    source: Path | str | Results | pd.DataFrame,
    *,
    baseline: Mapping[str, Any] | None = None,
    margins: Mapping[str, float | str] | None = None,
    floors: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    reference_batch_size: float | None = None,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    pair_by: str | None = None,
) -> Ranking:
    """Rank configurations by speed, with what is known of their quality. Writes nothing.

    Where an argument is not given, the sweep file in the results folder decides.

    Args:
        source: A results folder, loaded results, or a table (Parquet, CSV, frame) with one row a
            run: our trials, or any with ``world_size``, a batch size and a time or throughput.
        baseline: Settings of the configuration to compare with, ``{"world_size": 1}``.
        margins: The largest loss of a metric that counts as none: 0.01, for losses also "2%".
        floors: The least acceptable value of a metric, ``{"recall[1]": 0.8}``.
        target: The quality that ends the clock, ``{"accuracy": 0.95}``.
        reference_batch_size: Global batch nearest to which the quality reference is chosen.
        columns: Our names and those a table of another tool has in their place,
            ``{"world_size": "config/gpus", "train_time_s": "_runtime", "accuracy": "val/acc"}``.
            The other arguments may name columns either way.
        where: Only rows with these values are ranked, ``{"state": "finished"}``; a list of values
            allows each of them.
        pair_by: Column whose equal values mark runs of a table of another tool that belong
            together, such as ``"seed"``: configurations are then compared run by run. Without it
            runs of other tools are compared as independent.

    Raises:
        ResultsError: The folder does not exist or holds no trials yet.
        TableError: The table lacks a column, or holds something that cannot be; or an argument
            names something that does not exist.
    """
    selection = Selection(columns=columns or {}, where=where or {}, pair_by=pair_by)
    opened = open_source(source, selection)
    options = RankingOptions.from_spec_mapping(opened.spec or {}).overridden(
        baseline=selection.translated(baseline),
        margins=selection.translated(margins),
        floors=selection.translated(floors),
        target=selection.translated(target),
        reference_batch_size=reference_batch_size,
    )
    options.check()
    # A ratio of times too far apart for a float is unknown: infinity and NaN become None.
    try:
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            ranking = _rank(opened, options)
    except ColumnError as error:
        raise selection.in_their_words(error) from error
    asked = {
        "baseline": baseline,
        "margins": margins,
        "target": target,
        "columns": columns,
        "where": where,
        "pair_by": pair_by,
    }
    given = {name: value for name, value in asked.items() if value}
    return replace(ranking, conditions=replace(ranking.conditions, asked=given))


def _rank(opened: Source, options: RankingOptions) -> Ranking:
    measured = measure(opened, options)
    standing = Standing(
        assessment=assess(measured, options, additions=opened.additions),
        names=name_configurations(measured.settings),
        target=", ".join(f"{name} {value:g}" for name, value in options.target.items()),
    )
    choice = choose(standing)
    diagnosed = diagnose_configurations(standing, opened, options)
    entries = LazySequence(measured.count, EntryBuilder(standing, choice, diagnosed))
    return Ranking(
        baseline=entries[standing.baseline],
        reference=entries[standing.reference],
        configurations=LazySequence(measured.count, lambda place: entries[standing.order[place]]),
        findings=diagnose(standing, choice.fastest, opened, options),
        recommendation=_recommendation(choice, entries),
        conditions=_conditions(options, opened, measured),
    )


def _recommendation(choice: Choice, entries: Sequence[RankedConfiguration]) -> Recommendation:
    fastest = None if choice.fastest is None else entries[choice.fastest]
    return Recommendation(
        status=choice.status,
        fastest=fastest,
        cheapest=None if choice.cheapest is None else entries[choice.cheapest],
        pareto=tuple(entries[position] for position in choice.pareto),
        tied_with=tuple(entries[position] for position in choice.tied_with),
        reason=choice.reason,
        settings=None if fastest is None else ready_to_paste(fastest),
        advised=None if choice.advised is None else entries[choice.advised],
        next_candidate=None if choice.next_candidate is None else entries[choice.next_candidate],
    )


def _conditions(options: RankingOptions, source: Source, measured: Measurements) -> Conditions:
    return Conditions(
        target=dict(options.target),
        to_target=measured.to_target,
        margins=dict(options.margins),
        floors=dict(options.floors),
        source=source.name,
    )
