"""How many fresh seeds would most likely decide what these could not."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import chdtri, nctdtr, nctdtrinc, ndtri, stdtrit

from ddp_sweep.analysis.statistics.estimation import Differences, Floats

__all__ = ["LEAST_SEEDS", "POWER", "seeds_needed"]

POWER = 0.8
LEAST_SEEDS = 3
"""Fewer show nothing: with two the spread is hardly known."""
_UPPER = 0.6
"""A standard deviation is taken as large as it is in 60 % of samples that look like this one:
few runs underestimate it more often than not."""
_LARGEST = 10_000
_TABULATED = 2_000
"""Pairs from which on the normal distribution does."""


def seeds_needed(differences: Differences, width: float, sign: int | None, alpha: float) -> Floats:
    """Fresh seeds a side after which quality would be shown to hold, if none was lost.

    The least n of 80 % power of the one-sided t test with the true difference 0: the chance that
    a noncentral t of f(n) degrees of freedom and noncentrality margin / (sd / sqrt(n)) exceeds the
    critical value (J. Cohen, Statistical Power Analysis, 1988). The standard deviation is
    that of the runs so far x sqrt(df / chi2(.4, df)) (R. H. Browne, Statistics in Medicine 14,
    1995, on pilot samples).

    Args:
        differences: Of the runs so far, on the scale of the test.
        width: The margin on that scale.
        sign: +1 where higher is better, -1 where lower is; None where a change either way counts,
            which two one-sided tests must exclude.
        alpha: Level of the test on the fresh seeds.

    Returns:
        Shape [groups]; NaN where the loss observed exceeds the margin (more seeds would sooner
        show a loss), the spread is unknown, or more than 10,000 would be needed.
    """
    loss = np.abs(differences.difference) if sign is None else -sign * differences.difference
    freedom, per_run = differences.degrees_of_freedom, differences.freedom_per_run
    power = POWER if sign is not None else (1 + POWER) / 2
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        variance = differences.variance * freedom / chdtri(freedom, _UPPER)
        effect = width / np.sqrt(variance)
        # Never more than the t test needs; from there upwards to what it does need.
        start = np.ceil(((ndtri(1 - alpha) + ndtri(power)) / effect) ** 2)
    open_ = (loss <= width) & np.isfinite(effect) & (effect > 0) & (start <= _LARGEST)
    n: Floats = np.where(open_, np.maximum(start, LEAST_SEEDS), np.nan)
    tabulated = open_ & (per_run == 1)
    least = _least_effects(alpha, power)
    rows = np.searchsorted(-least, -effect[tabulated])
    n[tabulated] = np.where(rows < len(least), LEAST_SEEDS + rows, n[tabulated])
    rest = np.flatnonzero(open_ & (per_run != 1))
    while len(rest):
        reached = _power(n[rest], effect[rest], per_run[rest], alpha) >= power
        rest = rest[~reached]
        n[rest] += 1
    return n


@cache
def _least_effects(alpha: float, power: float) -> Floats:
    """For n = 3, 4 and so on the least margin / standard deviation of pairs that n can show."""
    n = np.arange(LEAST_SEEDS, _TABULATED + 1, dtype=np.float64)
    noncentrality = nctdtrinc(n - 1, 1 - power, stdtrit(n - 1, 1 - alpha))
    return np.asarray(noncentrality / np.sqrt(n), dtype=np.float64)


def _power(n: Floats, effect: Floats, freedom_per_run: Floats, alpha: float) -> Floats:
    freedom = freedom_per_run * (n - 1)
    missed = nctdtr(freedom, effect * np.sqrt(n), stdtrit(freedom, 1 - alpha))
    return np.asarray(1 - missed, dtype=np.float64)
