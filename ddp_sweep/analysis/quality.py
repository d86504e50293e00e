"""Whether quality held: one-sided tests against a margin, and absolute floors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from ddp_sweep.analysis.estimation import Booleans, Differences, Floats, Moments, compare
from ddp_sweep.analysis.measurements import Measurements
from ddp_sweep.analysis.metrics import (
    Margin,
    available_metrics,
    better_sign,
    metric_values,
    resolution,
)
from ddp_sweep.analysis.outcome import Verdict

__all__ = [
    "ALPHA",
    "LEAST_SEEDS",
    "FloorResults",
    "MetricResults",
    "check_floors",
    "compare_metrics",
]

ALPHA = 0.05
CONFIDENCE = 1 - 2 * ALPHA
"""The two-sided interval whose ends are the one-sided bounds of the tests."""
LEAST_SEEDS = 3

Verdicts = npt.NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class MetricResults:
    """One metric of every configuration against the reference; shape [configurations]."""

    margin: Margin | None
    sign: int | None
    """+1 where higher is better, -1 where lower is; None where that is not known."""
    n: Floats
    """Pairs of seeds, or runs of the smaller side."""
    reference: Floats
    value: Floats
    difference: Floats
    """Value - reference; value / reference - 1 with a relative margin."""
    low: Floats
    high: Floats
    p_value: Floats
    """NaN without a margin."""
    end_value: Floats
    missing: Booleans
    """Some finished run, of the configuration or the reference, has no value."""
    verdict: Verdicts
    """Empty without a margin."""


@dataclass(frozen=True, kw_only=True)
class FloorResults:
    """One floor on every configuration; shape [configurations]."""

    floor: float
    value: Floats
    low: Floats
    """One-sided 95 % bounds of the mean over seeds."""
    high: Floats
    verdict: Verdicts


def compare_metrics(
    measured: Measurements, reference: int, margins: Mapping[str, Margin]
) -> dict[str, MetricResults]:
    """Every metric that the runs hold, or that has a margin, against the reference.

    Args:
        measured: The runs.
        reference: Number of the quality reference.
        margins: The largest loss that counts as none, by metric.
    """
    names = dict.fromkeys([*margins, *available_metrics(measured.quality)])
    return {name: _compare(measured, reference, name, margins.get(name)) for name in names}


def check_floors(measured: Measurements, floors: Mapping[str, float]) -> dict[str, FloorResults]:
    """The mean of a metric over seeds against the least acceptable value.

    The lower one-sided 95 % bound at or above the floor passes, the upper one below it fails, all
    else is not yet known.
    """
    return {name: _check_floor(measured, name, floor) for name, floor in floors.items()}


def _compare(
    measured: Measurements, reference: int, name: str, margin: Margin | None
) -> MetricResults:
    relative = margin is not None and margin.relative
    values = np.where(measured.finished, metric_values(measured.quality, name), np.nan)
    sign = better_sign(name, measured.declared)
    differences = compare(
        _log(values) if relative else values,
        measured.configuration,
        measured.quality_pair,
        against=reference,
        count=measured.count,
        least_sd=_least_sd(measured, name, reference, relative=relative),
    )
    low, high = differences.interval(CONFIDENCE)
    p_value = np.full(measured.count, np.nan)
    verdict = np.full(measured.count, "", dtype="<U16")
    missing = _missing(measured, values)
    missing |= missing[reference]
    if margin is not None:
        p_value = _p_value(differences, margin.width, sign)
        usable = (differences.n >= LEAST_SEEDS) & ~missing
        passes, fails = _decide(low, high, margin.width, sign)
        verdict = _verdicts(passes & usable, fails & usable)
        if not np.isnan(differences.value[reference]):
            verdict[reference] = Verdict.NON_INFERIOR.value
    for figure in (low, high, p_value):
        figure[reference] = np.nan  # against itself nothing is estimated
    back = np.exp if relative else np.asarray
    shift = 1.0 if relative else 0.0
    ends = metric_values(measured.runs, name)
    return MetricResults(
        margin=margin,
        sign=sign,
        n=differences.n,
        reference=back(differences.against),
        value=back(differences.value),
        difference=back(differences.difference) - shift,
        low=back(low) - shift,
        high=back(high) - shift,
        p_value=p_value,
        end_value=_means(measured, np.where(measured.finished, ends, np.nan)).mean,
        missing=missing,
        verdict=verdict,
    )


def _decide(
    low: Floats, high: Floats, width: float, sign: int | None
) -> tuple[Booleans, Booleans]:
    """Where the interval shows a loss below the margin, and where one above it.

    Where nobody knows which direction is better, a change in either could be a loss.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        not_lower, lower = low > -width, high < -width
        not_higher, higher = high < width, low > width
    if sign is None:
        return not_lower & not_higher, np.zeros_like(lower)
    return (not_lower, lower) if sign > 0 else (not_higher, higher)


def _p_value(differences: Differences, width: float, sign: int | None) -> Floats:
    """Of the hypothesis that the loss is the margin or more."""
    if sign is None:
        return np.maximum(differences.p_not_above(-width), differences.p_not_below(width))
    return differences.p_not_above(-width) if sign > 0 else differences.p_not_below(width)


def _check_floor(measured: Measurements, name: str, floor: float) -> FloorResults:
    values = np.where(measured.finished, metric_values(measured.quality, name), np.nan)
    moments = _means(measured, values)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sd = np.maximum(
            moments.sd, _by_configuration(measured, resolution(measured.quality, name)) / 2
        )
        half = (
            stdtrit(moments.n - 1, 1 - ALPHA) * np.where(sd > 0, sd, np.nan) / np.sqrt(moments.n)
        )
    usable = (moments.n >= LEAST_SEEDS) & ~_missing(measured, values)
    low, high = moments.mean - half, moments.mean + half
    return FloorResults(
        floor=floor,
        value=moments.mean,
        low=low,
        high=high,
        verdict=_verdicts(usable & (low >= floor), usable & (high < floor)),
    )


def _least_sd(measured: Measurements, name: str, reference: int, *, relative: bool) -> Floats:
    """Half the step of one sample: a smaller spread is luck, not precision."""
    steps = resolution(measured.quality, name)
    if relative:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            steps = steps / metric_values(measured.quality, name)
    step = _by_configuration(measured, steps)
    least: Floats = np.maximum(step, step[reference]) / 2
    return least


def _by_configuration(measured: Measurements, steps: Floats) -> Floats:
    """The largest step among the finished runs of a configuration; 0 where none is known."""
    known = measured.finished & np.isfinite(steps)
    largest = np.zeros(measured.count)
    np.maximum.at(largest, measured.configuration[known], steps[known])
    return largest


def _missing(measured: Measurements, values: Floats) -> Booleans:
    gone = measured.configuration[measured.finished & np.isnan(values)]
    return np.bincount(gone, minlength=measured.count) > 0


def _means(measured: Measurements, values: Floats) -> Moments:
    return Moments.of(values, measured.configuration, measured.count)


def _verdicts(passes: Booleans, fails: Booleans) -> Verdicts:
    choices = [Verdict.NON_INFERIOR.value, Verdict.INFERIOR.value]
    return np.select([passes, fails], choices, Verdict.INCONCLUSIVE.value)


def _log(values: Floats) -> Floats:
    return np.log(np.where(values > 0, values, np.nan))
