"""Runs in one form, whoever measured them: which configuration, how each ended, time and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.tables.columns import (
    SETTINGS,
    TIME_COLUMNS,
    fill_batch_sizes,
    fill_nodes,
    numbers,
    texts,
)
from ddp_sweep.analysis.tables.foreign_status import FAILED
from ddp_sweep.analysis.tables.sources import Source
from ddp_sweep.analysis.tables.target import has_target, meet_target
from ddp_sweep.errors import ColumnError, TableError
from ddp_sweep.schema import Status
from ddp_sweep.spec.metrics import METRICS

__all__ = ["Ending", "Measurements", "measure"]

_RUN_ORDER = ("seed", "sweep", "session_id", "block", "trial_id", "attempt")


class Ending(StrEnum):
    """What the end of a run says about its configuration."""

    FINISHED = "finished"
    MISSED = "missed"
    """Ended without meeting the target."""
    FAILED = "failed"
    """A failure of the configuration: diverged, out of memory, out of time; in a table of another
    tool an error of any kind."""
    BROKEN = "broken"
    """Could not start, or raised: there is no measurement to be had."""
    LOST = "lost"
    """Nobody's fault: only reduces the number of runs."""


_ENDINGS: dict[str, Ending] = {
    Status.SUCCEEDED: Ending.FINISHED,
    Status.OUT_OF_MEMORY: Ending.FAILED,
    Status.DIVERGED: Ending.FAILED,
    Status.TIMED_OUT: Ending.FAILED,
    Status.INFEASIBLE: Ending.BROKEN,
    Status.WORKLOAD_ERROR: Ending.BROKEN,
    Status.WORKER_DIED: Ending.LOST,
    Status.NODE_LOST: Ending.LOST,
    Status.INTERRUPTED: Ending.LOST,
    FAILED: Ending.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """One row a run and one a configuration; configurations are numbered from 0.

    Arrays have one entry a run unless they say otherwise.
    """

    runs: pd.DataFrame
    """The runs, in an order that depends on their content alone; quality at the end."""
    quality: pd.DataFrame
    """The same rows, with quality at the evaluation that met the target, where one is set."""
    settings: pd.DataFrame
    """The settings of each configuration, by number, in the order that breaks ties."""
    configuration: Integers
    ending: npt.NDArray[np.str_]
    time_s: Floats
    """To the target, or a sample. Infinite for a failure; NaN for a run that was lost or whose
    time says nothing about speed."""
    samples_needed: Floats
    """To the target, infinite for a failure; NaN without a target."""
    cost: Floats
    """In money where there is a price, else in worker-hours; infinite for a failure."""
    time_pair: Integers
    """Key by which times pair, -1 for none."""
    quality_pair: Integers
    """Key by which qualities pair, -1 for none."""
    untimed: Booleans
    """More workers than cores, or other trials beside it: no speedup follows from its time."""
    to_target: bool
    ours: bool
    declared: Mapping[str, bool] = field(default_factory=dict)
    """Columns of the metrics that a workload declared; whether higher is better."""

    @property
    def count(self) -> int:
        """Number of configurations."""
        return len(self.settings)

    @property
    def finished(self) -> Booleans:
        """Runs that gave the whole measurement."""
        finished: Booleans = self.ending == Ending.FINISHED.value
        return finished

    def tally(self, *endings: Ending) -> Integers:
        """Runs of each configuration that ended so; shape [configurations]."""
        chosen = np.isin(self.ending, [ending.value for ending in endings])
        return np.bincount(self.configuration[chosen], minlength=self.count)


def measure(source: Source, options: RankingOptions) -> Measurements:
    """Bring runs into the form that every comparison works on.

    Raises:
        TableError: A column is missing or holds something that cannot be.
    """
    _check(source.runs, ours=source.ours)
    to_target = has_target(source, options.target)
    runs, quality = meet_target(source, options.target)
    pairs = None if source.pairs is None else _by_value(source.pairs)
    at_the_end = quality is runs
    runs = fill_nodes(fill_batch_sizes(runs))
    configuration, settings = _configurations(runs, ours=source.ours)
    order = _content_order(runs, configuration)
    runs = runs.iloc[order]
    quality = runs if at_the_end else quality.iloc[order]
    configuration = configuration[order]
    if pairs is None:
        time_pair = _pair_keys(runs, ("session_id", "block"), ours=source.ours)
        quality_pair = _pair_keys(runs, ("sweep", "seed"), ours=source.ours)
    else:
        time_pair = quality_pair = _shared(pairs[order], configuration)
    ending = _endings(runs, configuration, ours=source.ours, to_target=to_target)
    untimed = (texts(runs, "oversubscribed") == "True") | (texts(runs, "placement") == "packed")
    time_s = _outcome(_times(runs, to_target), ending, untimed)
    return Measurements(
        runs=runs,
        quality=quality,
        settings=settings,
        configuration=configuration,
        ending=ending,
        time_s=time_s,
        samples_needed=_outcome(_samples_needed(runs, to_target), ending),
        cost=_outcome(_costs(runs, to_target), ending, untimed),
        time_pair=time_pair,
        quality_pair=quality_pair,
        untimed=untimed,
        to_target=to_target,
        ours=source.ours,
        declared=source.declared,
    )


def _check(runs: pd.DataFrame, *, ours: bool) -> None:
    if np.isnan(numbers(runs, "world_size", above=0, whole=True)).any():
        raise ColumnError("world_size", " has rows without a value; every run needs one")
    for column in ("per_worker_batch_size", "global_batch_size", "num_nodes"):
        numbers(runs, column, above=0, whole=True)
    if ours:  # our own failed runs may have ended before the first sample
        return
    if "status" in runs:  # and so may others
        runs = runs[runs["status"] == Status.SUCCEEDED]
    for column in (*TIME_COLUMNS, "samples", "samples_to_target"):
        numbers(runs, column, above=0)
    for column in ("cost", "worker_hours"):
        numbers(runs, column, least=0)
    for name, metric in METRICS.items():
        numbers(runs, name, least=metric.low, most=metric.high)


def _configurations(runs: pd.DataFrame, *, ours: bool) -> tuple[Integers, pd.DataFrame]:
    """Number the configurations in the order of their settings."""
    present = [name for name in SETTINGS if name in runs]
    keys = ["configuration_id", "num_nodes"] if ours else present
    groups = runs[present].groupby(keys, dropna=False, sort=False)
    codes = groups.ngroup().to_numpy()
    settings = runs[present].groupby(codes).first()
    order = settings.sort_values(present).index.to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], settings.loc[order].reset_index(drop=True)


def _content_order(runs: pd.DataFrame, configuration: Integers) -> Integers:
    """An order that no permutation of the rows changes, so that neither do rounding errors.

    By columns one after the other, until no two runs of a configuration are alike in all of them.
    """
    keys: list[npt.NDArray[Any]] = [configuration]
    numeric = runs.select_dtypes("number").columns
    for column in dict.fromkeys([*(name for name in _RUN_ORDER if name in runs), *numeric]):
        codes, _ = pd.factorize(runs[column], sort=True)
        keys.append(codes)
        order = np.lexsort(keys[::-1])
        neighbours = [key[order[1:]] == key[order[:-1]] for key in keys]
        if not np.logical_and.reduce(neighbours).any():
            break
    return order


def _endings(
    runs: pd.DataFrame, configuration: Integers, *, ours: bool, to_target: bool
) -> npt.NDArray[np.str_]:
    if ours or "status" in runs:
        status = runs["status"].astype("object")
        ending = status.map(_ENDINGS)
        if ending.isna().any():
            received = sorted({str(value) for value in status[ending.isna()]})
            raise TableError(
                f"column status holds {', '.join(received)}; allowed: {', '.join(Status)}. "
                "Leave the column out, and the rows that gave no measurement"
            )
        endings = ending.to_numpy(dtype=np.str_)
        # It fitted once, and does not on the cluster that the sweep went on with.
        ran = np.isin(configuration, configuration[status == Status.SUCCEEDED])
        endings[ran & (status == Status.INFEASIBLE)] = Ending.LOST.value
    else:
        endings = np.full(len(runs), Ending.FINISHED.value)
    missed = np.isnan(numbers(runs, "time_to_target_s")) & to_target
    if not ours and "samples_to_target" in runs:
        missed |= np.isnan(numbers(runs, "samples_to_target"))
    return np.where(missed & (endings == Ending.FINISHED), Ending.MISSED.value, endings)


def _times(runs: pd.DataFrame, to_target: bool) -> Floats:
    if to_target:
        return numbers(runs, "time_to_target_s")
    if "train_time_s" not in runs:
        with np.errstate(over="ignore", divide="ignore"):
            return 1 / numbers(runs, "throughput_samples_per_s")
    time_s, samples = numbers(runs, "train_time_s"), numbers(runs, "samples")
    # Where budgets differ, the time for the same number of samples is what can be compared.
    counted = np.where(samples > 0, samples, np.nan)
    return time_s if np.isnan(samples[~np.isnan(time_s)]).any() else time_s / counted


def _samples_needed(runs: pd.DataFrame, to_target: bool) -> Floats:
    has_count = "samples_to_target" in runs and to_target
    return numbers(runs, "samples_to_target") if has_count else np.full(len(runs), np.nan)


def _costs(runs: pd.DataFrame, to_target: bool) -> Floats:
    """Price or worker-hours of each run; of the training alone where a target ends the clock."""
    with np.errstate(over="ignore"):
        worker_hours = numbers(runs, "world_size") * _times(runs, to_target) / 3600
    if to_target:
        return worker_hours
    for column in ("cost", "worker_hours"):
        values = numbers(runs, column)
        if not np.isnan(values[~np.isnan(worker_hours)]).any():
            return values
    return worker_hours


def _outcome(
    values: Floats, ending: npt.NDArray[np.str_], unusable: Booleans | None = None
) -> Floats:
    """The values of finished runs, infinity for a failure, NaN for what says nothing."""
    failed = np.isin(ending, [Ending.MISSED.value, Ending.FAILED.value])
    known = np.where((values > 0) & np.isfinite(values), values, np.nan)
    outcome = np.where(ending == Ending.FINISHED, known, np.where(failed, np.inf, np.nan))
    return outcome if unusable is None else np.where(unusable, np.nan, outcome)


def _pair_keys(runs: pd.DataFrame, columns: tuple[str, str], *, ours: bool) -> Integers:
    """One number for each pair of values; runs of other tools share nothing that is known of."""
    if not ours:
        return np.full(len(runs), -1, dtype=np.int64)
    keyed = runs[list(columns)].notna().all(axis=1).to_numpy()
    keys = runs.groupby(list(columns), sort=False, dropna=False).ngroup()
    return np.where(keyed, keys.to_numpy(dtype=np.int64), -1)


def _by_value(values: pd.Series[Any]) -> Integers:
    """The same number for equal values, -1 for null."""
    codes, _ = pd.factorize(values)
    return np.asarray(codes, dtype=np.int64)


def _shared(pairs: Integers, configuration: Integers) -> Integers:
    """Pair keys, refused where no two configurations share one."""
    known = pairs >= 0
    cells = np.unique(np.stack([pairs[known], configuration[known]]), axis=1)
    if cells.size and np.bincount(cells[0]).max() < 2 <= configuration.max() + 1:
        raise TableError(
            "pairing by a column: none of its values occurs in two configurations, so no runs "
            "pair; name another column, or leave it out"
        )
    return pairs
