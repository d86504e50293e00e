"""How much faster, where some runs never arrived: ranks take the place of means.

A run that failed or missed the target is infinitely slow. Means are of no use then; the order of
the runs is, whatever the shape of their distribution.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers

__all__ = ["least_rank", "log_ratio_interval"]

_LARGEST_EXACT = 10_000
"""Pairs of runs above which the normal approximation of the test is as good as the test."""
_AT_ONCE = 5_000_000
"""Pairwise differences held in memory at a time."""


def log_ratio_interval(
    logs: Floats, groups: Integers, against: Integers, confidence: float | Floats, chosen: Booleans
) -> tuple[Floats, Floats]:
    """Interval of log(time of the group compared against / time of the group); shape [groups].

    The factors that the Mann-Whitney test does not reject: of all differences between a run of
    the one side and a run of the other, in order, the k-th from either end, where k - 1 is the
    largest value of the statistic that the one-sided test at (1 - confidence) / 2 still rejects
    (E. L. Lehmann, Nonparametrics, 1975, chapter 2.5; exact where nm is at most 10,000). A
    difference with a failure on one side is infinite; failures on both sides could be any
    difference and count against the interval at both ends.

    Args:
        logs: Logarithm of each time, infinite for a failure, NaN to leave it out; shape [runs].
        groups: The group of each run; shape [runs].
        against: The group that each one is compared against; shape [groups].
        confidence: Of the two-sided interval; one for all, or shape [groups].
        chosen: The groups to compute it for; shape [groups].

    Returns:
        Lower and upper end, infinite where unbounded, NaN where not chosen or no test with so few
        runs could reject anything.
    """
    count = len(against)
    confidence = np.broadcast_to(np.asarray(confidence, dtype=np.float64), count)
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    known = ~np.isnan(logs)
    order = np.flatnonzero(known)[np.argsort(groups[known], kind="stable")]
    sizes = np.bincount(groups[known], minlength=count)
    starts = np.cumsum(sizes) - sizes
    positions = np.flatnonzero(chosen & (sizes > 0) & (sizes[against] > 0))
    keys = np.stack([sizes[positions], sizes[against[positions]], confidence[positions]])
    for own, other, level in np.unique(keys, axis=1).T:
        n, m = int(own), int(other)
        rank = least_rank(n, m, (1 - float(level)) / 2)
        alike = positions[(keys == [[own], [other], [level]]).all(axis=0)]
        if rank == 0:
            continue
        for some in np.array_split(alike, 1 + len(alike) * n * m // _AT_ONCE):
            mine = logs[order[starts[some][:, None] + np.arange(n)]]
            theirs = logs[order[starts[against[some]][:, None] + np.arange(m)]]
            with np.errstate(invalid="ignore"):
                pairs = (theirs[:, None, :] - mine[:, :, None]).reshape(len(some), n * m)
            low[some] = _kth(np.where(np.isnan(pairs), -np.inf, pairs), rank)
            high[some] = -_kth(np.where(np.isnan(pairs), -np.inf, -pairs), rank)
    return low, high


@cache
def least_rank(n: int, m: int, alpha: float) -> int:
    """The k of the k-th smallest difference that bounds a one-sided interval; 0 for none.

    Args:
        n: Runs of the one side.
        m: Runs of the other.
        alpha: Level of the one-sided test.

    Examples:
        >>> least_rank(5, 5, 0.05), least_rank(2, 2, 0.05)
        (5, 0)
    """
    # Rounding must not cost the smallest samples their interval: 3 against 3 has p = .05 exactly.
    level = alpha + 1e-12
    if n * m > _LARGEST_EXACT:
        mean, sd = n * m / 2, np.sqrt(n * m * (n + m + 1) / 12)
        return max(0, int(np.floor(mean - 0.5 + ndtri(level) * sd)) + 1)
    return int((np.cumsum(_null_distribution(n, m)) <= level).sum())


def _null_distribution(n: int, m: int) -> npt.NDArray[np.float64]:
    """Chances of the Mann-Whitney statistic 0 .. nm if both sides are alike.

    By the largest of all values: it belongs to the n with chance n / (n + m), and then exceeds
    all m others; else it can be left out (H. B. Mann and D. R. Whitney, 1947, equation 3).
    """
    rows = [np.ones(1) for _ in range(m + 1)]
    for i in range(1, n + 1):
        row = [np.ones(1)]
        for j in range(1, m + 1):
            chances = np.zeros(i * j + 1)
            chances[j:] += i / (i + j) * rows[j]
            chances[: i * (j - 1) + 1] += j / (i + j) * row[j - 1]
            row.append(chances)
        rows = row
    return rows[m]


def _kth(values: Floats, rank: int) -> Floats:
    kth: Floats = np.partition(values, rank - 1, axis=1)[:, rank - 1]
    return kth
