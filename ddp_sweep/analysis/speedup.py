"""Speedup, its interval, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddp_sweep.analysis.estimation import Booleans, Floats, Integers, Moments, compare
from ddp_sweep.analysis.measurements import Measurements

__all__ = ["CONFIDENCE", "STARTS_NEEDED", "Speedups", "cost_ratios", "speedups"]

CONFIDENCE = 0.9
STARTS_NEEDED = 3
"""Starts of the worker processes below which an interval says nothing about a fresh start."""


@dataclass(frozen=True, kw_only=True)
class Speedups:
    """Every configuration against one of them; shape [configurations], NaN is unknown.

    ``throughput_efficiency * statistical_efficiency == scaling_efficiency`` by construction.
    """

    speedup: Floats
    low: Floats
    high: Floats
    scaling_efficiency: Floats
    throughput_efficiency: Floats
    statistical_efficiency: Floats
    """NaN without a target: then nobody measured how many samples were needed."""
    within_one_start: Booleans | None
    """None where starts were not recorded."""


def speedups(measured: Measurements, against: int, confidence: float = CONFIDENCE) -> Speedups:
    """Time of one configuration / time of every other.

    The ratio of geometric means, with a t interval on the log ratio, over runs of the same block
    where runs pair. Where a run failed or missed the target, on either side, its time is infinite:
    the ratio of medians, without interval; for a configuration with such runs never more than the
    ratio of the geometric means of its finished runs. Unknown where half of them or more failed.

    Args:
        measured: The runs.
        against: Number of the configuration compared against.
        confidence: Of the two-sided interval.
    """
    count = measured.count
    finished = np.where(np.isfinite(measured.time_s), measured.time_s, np.nan)
    logs = compare(
        np.log(finished),
        measured.configuration,
        measured.time_pair,
        against=against,
        count=count,
    )
    low, high = logs.interval(confidence)
    infinite = _any_infinite(measured.time_s, measured.configuration, count)
    with_failures = infinite | infinite[against]
    ratio = np.exp(-logs.difference)
    medians = 1 / _median_ratios(measured.time_s, measured.configuration, count, against)
    capped = np.where(infinite & ~np.isnan(medians), np.fmin(medians, ratio), medians)
    speedup = np.where(with_failures, capped, ratio)
    speedup = np.where(_any_untimed(measured), np.nan, speedup)
    unknown = with_failures | np.isnan(speedup)
    ends = [np.where(unknown, np.nan, np.exp(-end)) for end in (high, low)]
    for figure in (speedup, *ends):  # against itself nothing is estimated
        figure[against] = figure[against] if np.isnan(speedup[against]) else 1.0
    world_size = measured.settings["world_size"].to_numpy(dtype=np.float64)
    scaling = speedup / (world_size / world_size[against])
    statistical = 1 / _ratios(measured.samples_needed, measured.configuration, count, against)
    statistical = np.where(np.isnan(speedup), np.nan, statistical)
    return Speedups(
        speedup=speedup,
        low=ends[0],
        high=ends[1],
        scaling_efficiency=scaling,
        throughput_efficiency=np.where(np.isnan(statistical), scaling, scaling / statistical),
        statistical_efficiency=statistical,
        within_one_start=_within_one_start(measured, against),
    )


def cost_ratios(measured: Measurements, against: int) -> Floats:
    """Cost of every configuration / cost of one of them; shape [configurations]."""
    return _ratios(measured.cost, measured.configuration, measured.count, against)


def _ratios(values: Floats, groups: Integers, count: int, against: int) -> Floats:
    """Ratio of geometric means; of medians where a value on either side is infinite."""
    finite = np.where(np.isfinite(values), values, np.nan)
    logs = Moments.of(np.log(finite), groups, count)
    infinite = _any_infinite(values, groups, count)
    medians = _median_ratios(values, groups, count, against)
    return np.where(infinite | infinite[against], medians, np.exp(logs.mean - logs.mean[against]))


def _any_infinite(values: Floats, groups: Integers, count: int) -> Booleans:
    return np.bincount(groups[np.isinf(values)], minlength=count) > 0


def _median_ratios(values: Floats, groups: Integers, count: int, against: int) -> Floats:
    """Medians over the median of one group; NaN where either is infinite."""
    medians = pd.Series(values).groupby(groups).median().reindex(range(count)).to_numpy()
    medians = np.where(np.isfinite(medians), medians, np.nan)
    return np.asarray(medians / medians[against], dtype=np.float64)


def _any_untimed(measured: Measurements) -> Booleans:
    untimed = measured.configuration[measured.untimed]
    return np.bincount(untimed, minlength=measured.count) > 0


def _within_one_start(measured: Measurements, against: int) -> Booleans | None:
    if "gang_id" not in measured.runs:
        return None
    starts = measured.runs["gang_id"].where(np.isfinite(measured.time_s))
    distinct = starts.groupby(measured.configuration).nunique().reindex(range(measured.count))
    enough = distinct.to_numpy() >= STARTS_NEEDED
    within: Booleans = ~(enough & enough[against])
    return within
