"""Speedup, its interval, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ddp_sweep.analysis.statistics.estimation import (
    Booleans,
    Floats,
    Integers,
    Moments,
    Pairing,
    compare,
)
from ddp_sweep.analysis.statistics.missed_targets import log_ratio_interval
from ddp_sweep.analysis.tables.measurements import Measurements

__all__ = ["CONFIDENCE", "STARTS_NEEDED", "Speedups", "cost_ratios", "speedups"]

CONFIDENCE = 0.9
STARTS_NEEDED = 3
"""Starts of the worker processes below which an interval says nothing about a fresh start."""


@dataclass(frozen=True, kw_only=True)
class Speedups:
    """Every configuration against another one; shape [configurations], NaN is unknown.

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


def speedups(
    measured: Measurements, against: Integers | int, confidence: float | Floats = CONFIDENCE
) -> Speedups:
    """Time of the configuration compared against / time of each one.

    The ratio of geometric means, with a t interval on the log ratio, over runs of the same block
    where runs pair. Where a run failed or missed the target, on either side, its time is infinite:
    the ratio of medians, with the interval of the Mann-Whitney test; for a configuration with such
    runs never more than the ratio of the geometric means of its finished runs. Unknown where half
    of them or more failed.

    Args:
        measured: The runs.
        against: The configuration that all, or each one, are compared against.
        confidence: Of the two-sided interval; one for all, or shape [configurations].
    """
    groups, count = measured.configuration, measured.count
    against = np.broadcast_to(np.asarray(against, dtype=np.int64), count)
    estimate = _by_means(measured, against, confidence)
    infinite = _any_infinite(measured.time_s, groups, count)
    itself = against == np.arange(count)  # against itself nothing is estimated
    if infinite.any():
        ranked = _by_ranks(measured, against, confidence, infinite, estimate)
        use = infinite | infinite[against]
        estimate = _Estimate(
            *(np.where(use, *both) for both in zip(ranked, estimate, strict=True))
        )
    speedup = np.where(_any_untimed(measured), np.nan, estimate.ratio)
    speedup = np.where(itself & ~np.isnan(speedup), 1.0, speedup)
    unknown = np.isnan(speedup)
    low, high = (
        np.where(itself, speedup, np.where(unknown, np.nan, end))
        for end in (estimate.low, estimate.high)
    )
    world_size = measured.settings["world_size"].to_numpy(dtype=np.float64)
    scaling = speedup / (world_size / world_size[against])
    statistical = 1 / _ratios(measured.samples_needed, groups, against)
    usable = ~np.isnan(speedup) & (statistical > 0) & np.isfinite(statistical)
    statistical = np.where(usable, statistical, np.nan)
    return Speedups(
        speedup=speedup,
        low=low,
        high=high,
        scaling_efficiency=scaling,
        throughput_efficiency=np.where(np.isnan(statistical), scaling, scaling / statistical),
        statistical_efficiency=statistical,
        within_one_start=_within_one_start(measured, against),
    )


class _Estimate(NamedTuple):
    """Ratio of times and its interval; shape [configurations]."""

    ratio: Floats
    low: Floats
    high: Floats


def _by_means(measured: Measurements, against: Integers, confidence: float | Floats) -> _Estimate:
    """Ratio of the geometric means of finished runs, with the t interval on its logarithm."""
    finished = np.where(np.isfinite(measured.time_s), measured.time_s, np.nan)
    pairing = Pairing.of(measured.configuration, measured.time_pair, against)
    logs = compare(np.log(finished), measured.configuration, pairing)
    low, high = logs.interval(confidence)
    with np.errstate(over="ignore"):  # a t quantile of one degree of freedom knows no bounds
        return _Estimate(np.exp(-logs.difference), np.exp(-high), np.exp(-low))


def _by_ranks(
    measured: Measurements,
    against: Integers,
    confidence: float | Floats,
    infinite: Booleans,
    of_finished: _Estimate,
) -> _Estimate:
    """Ratio of medians, failures infinitely slow, with the interval of the Mann-Whitney test.

    The interval is that of a shift of the whole distribution and is widened to hold the ratio of
    medians where it does not. A failure makes no configuration look better: neither its ratio nor
    its lower end exceeds that of its finished runs.
    """
    groups = measured.configuration
    medians = 1 / _median_ratios(measured.time_s, groups, against)
    own = infinite & ~np.isnan(medians)
    ratio = np.where(own, np.fmin(medians, of_finished.ratio), medians)
    low, high = (
        np.where(np.isfinite(end), np.exp(end), np.nan)
        for end in log_ratio_interval(
            np.log(measured.time_s), groups, against, confidence, infinite | infinite[against]
        )
    )
    capped = np.where(own & ~np.isnan(low), np.fmin(low, of_finished.low), low)
    return _Estimate(ratio, np.minimum(capped, ratio), np.maximum(high, ratio))


def cost_ratios(measured: Measurements, against: Integers) -> Floats:
    """Cost of each configuration / cost of the one it is compared against."""
    return _ratios(measured.cost, measured.configuration, against)


def _ratios(values: Floats, groups: Integers, against: Integers) -> Floats:
    """Ratio of geometric means; of medians where a value on either side is infinite."""
    count = len(against)
    finite = np.where(np.isfinite(values), values, np.nan)
    means = Moments.of(np.log(finite), groups, count).mean
    infinite = _any_infinite(values, groups, count)
    medians = _median_ratios(values, groups, against)
    return np.where(infinite | infinite[against], medians, np.exp(means - means[against]))


def _any_infinite(values: Floats, groups: Integers, count: int) -> Booleans:
    return np.bincount(groups[np.isinf(values)], minlength=count) > 0


def _median_ratios(values: Floats, groups: Integers, against: Integers) -> Floats:
    """Medians over the median of the other group; NaN where either is infinite."""
    count = len(against)
    if not np.isinf(values).any():  # then nobody asks
        return np.full(count, np.nan)
    medians = pd.Series(values).groupby(groups).median().reindex(range(count)).to_numpy()
    medians = np.where(np.isfinite(medians), medians, np.nan)
    return np.asarray(medians / medians[against], dtype=np.float64)


def _any_untimed(measured: Measurements) -> Booleans:
    untimed = measured.configuration[measured.untimed]
    return np.bincount(untimed, minlength=measured.count) > 0


def _within_one_start(measured: Measurements, against: Integers) -> Booleans | None:
    if "gang_id" not in measured.runs:
        return None
    starts = measured.runs["gang_id"].where(np.isfinite(measured.time_s))
    distinct = starts.groupby(measured.configuration).nunique().reindex(range(measured.count))
    enough = distinct.to_numpy() >= STARTS_NEEDED
    within: Booleans = ~(enough & enough[against])
    return within
