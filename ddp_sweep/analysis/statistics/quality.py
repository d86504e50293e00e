"""Whether quality held: one-sided tests against a margin, and absolute floors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from ddp_sweep.analysis.metrics import (
    Margin,
    available_metrics,
    better_sign,
    metric_values,
    resolution,
)
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import (
    Booleans,
    Differences,
    Floats,
    Integers,
    Moments,
    Pairing,
    compare,
)
from ddp_sweep.analysis.statistics.loss_tests import (
    Demands,
    FloorResults,
    LossTests,
    MetricResults,
    decided,
)
from ddp_sweep.analysis.statistics.population import SamplingError, ValidationSample
from ddp_sweep.analysis.statistics.seeds_needed import LEAST_SEEDS, seeds_needed
from ddp_sweep.analysis.tables.measurements import Measurements

__all__ = ["ALPHA", "LEAST_SEEDS", "judge_losses"]

ALPHA = 0.05


def judge_losses(
    measured: Measurements,
    reference: Integers,
    demands: Demands,
    *,
    alpha: float = ALPHA,
    next_alpha: float = ALPHA / 2,
) -> LossTests:
    """Test every metric that the runs hold, or that has a margin, and every floor.

    Args:
        measured: The runs.
        reference: The quality reference of each configuration; shape [configurations].
        demands: Margins and floors.
        alpha: Level of the one-sided tests.
        next_alpha: Level at which fresh seeds would be judged.
    """
    names = dict.fromkeys([*demands.margins, *available_metrics(measured.quality)])
    comparison = _Comparison(
        measured,
        reference,
        Pairing.of(measured.configuration, measured.quality_pair, reference),
        ValidationSample(measured, reference),
        alpha,
        next_alpha,
    )
    return LossTests(
        metrics={name: comparison.of(name, demands.margins.get(name)) for name in names},
        floors={
            name: _check_floor(measured, name, floor, alpha)
            for name, floor in demands.floors.items()
        },
    )


@dataclass(frozen=True)
class _Comparison:
    """Who is compared with whom, and how strictly."""

    measured: Measurements
    reference: Integers
    pairing: Pairing
    validation: ValidationSample
    alpha: float
    next_alpha: float

    def of(self, name: str, margin: Margin | None) -> MetricResults:
        """One metric of every configuration."""
        measured, reference = self.measured, self.reference
        relative = margin is not None and margin.relative
        values = np.where(measured.finished, metric_values(measured.quality, name), np.nan)
        sign = better_sign(name, measured.declared)
        differences = compare(
            _log(values) if relative else values,
            measured.configuration,
            self.pairing,
            _least_sd(measured, name, reference, relative=relative),
        )
        low, high = differences.interval(1 - 2 * self.alpha)
        missing = _missing(measured, values)
        missing |= missing[reference]
        error = self.validation.error(name) if margin is not None or name == "accuracy" else None
        wide_low, wide_high = _with_sampling_error(differences, error, 1 - 2 * self.alpha)
        itself = reference == np.arange(measured.count)
        usable = (differences.n >= LEAST_SEEDS) & ~missing
        p_value = needed = np.full(measured.count, np.nan)
        verdict, beyond = np.full(measured.count, "", dtype="<U16"), np.zeros_like(usable)
        if margin is not None:
            p_value = _p_value(differences, margin.width, sign)
            passes, fails = _decide(low, high, margin.width, sign)
            verdict = decided(passes & usable, fails & usable)
            verdict[itself & ~np.isnan(differences.value)] = Verdict.NON_INFERIOR.value
            beyond = _decide(wide_low, wide_high, margin.width, sign)[0] & usable
            needed = seeds_needed(differences, margin.width, sign, self.next_alpha)
            needed = np.where(missing, np.nan, needed)  # more seeds do not fill a gap
        figures = [low, high, wide_low, wide_high, p_value, needed]
        # Against itself nothing is estimated.
        low, high, wide_low, wide_high, p_value, needed = (
            np.where(itself, np.nan, figure) for figure in figures
        )
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
            population_low=back(wide_low) - shift,
            population_high=back(wide_high) - shift,
            p_value=p_value,
            end_value=_means(measured, np.where(measured.finished, ends, np.nan)).mean,
            missing=missing,
            verdict=verdict,
            holds_beyond=beyond,
            seeds_needed=needed,
        )


def _with_sampling_error(
    differences: Differences, error: SamplingError | None, confidence: float
) -> tuple[Floats, Floats]:
    """The interval for data like the validation set: both variances, Satterthwaite's freedom.

    Never narrower than that of the seeds alone, which the larger freedom could make it.
    """
    unknown = np.full(len(differences.n), np.nan)
    if error is None:
        return unknown, unknown
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        seeds = differences.standard_error**2
        total = seeds + error.variance
        freedom = 1 / (
            (seeds / total) ** 2 / differences.degrees_of_freedom
            + (error.variance / total) ** 2 / error.degrees_of_freedom
        )
        wide = replace(differences, standard_error=np.sqrt(total), degrees_of_freedom=freedom)
    (low, high), (least_low, least_high) = (
        found.interval(confidence) for found in (wide, differences)
    )
    return np.minimum(low, least_low), np.maximum(high, least_high)


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


def _check_floor(measured: Measurements, name: str, floor: float, alpha: float) -> FloorResults:
    """The mean of a metric over seeds against the least acceptable value.

    The lower one-sided bound at or above the floor passes, the upper one below it fails, all else
    is not yet known.
    """
    values = np.where(measured.finished, metric_values(measured.quality, name), np.nan)
    moments = _means(measured, values)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sd = np.maximum(
            moments.sd, _by_configuration(measured, resolution(measured.quality, name)) / 2
        )
        half = (
            stdtrit(moments.n - 1, 1 - alpha) * np.where(sd > 0, sd, np.nan) / np.sqrt(moments.n)
        )
    usable = (moments.n >= LEAST_SEEDS) & ~_missing(measured, values)
    low, high = moments.mean - half, moments.mean + half
    return FloorResults(
        floor=floor,
        value=moments.mean,
        low=low,
        high=high,
        verdict=decided(usable & (low >= floor), usable & (high < floor)),
    )


def _least_sd(measured: Measurements, name: str, reference: Integers, *, relative: bool) -> Floats:
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


def _log(values: Floats) -> Floats:
    return np.log(np.where(values > 0, values, np.nan))
