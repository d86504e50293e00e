"""Differences of means between every configuration and one of them, with Student's t.

Everything is an array with one entry a configuration, so that a hundred thousand of them cost a
few passes over the runs. NaN is unknown throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

__all__ = [
    "Booleans",
    "Differences",
    "Floats",
    "Integers",
    "Moments",
    "compare",
    "fisher_more_failures",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """Count, mean and standard deviation (n - 1) of each group; shape [groups]."""

    n: Floats
    mean: Floats
    sd: Floats
    """NaN for a group of fewer than two: one value has no spread."""

    @classmethod
    def of(cls, values: Floats, groups: Integers, count: int) -> Moments:
        """Moments of the values that are not NaN.

        Args:
            values: Shape [runs].
            groups: The group of each run, 0 to count - 1; shape [runs].
            count: Number of groups.
        """
        known = ~np.isnan(values)
        values, groups = values[known], groups[known]
        n = np.bincount(groups, minlength=count).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = np.bincount(groups, weights=values, minlength=count) / n
            squares = np.bincount(groups, weights=(values - mean[groups]) ** 2, minlength=count)
            sd = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
        return cls(n, mean, sd)


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Mean of each group minus mean of the group compared against; shape [groups]."""

    n: Floats
    """Pairs, or the runs of the smaller side."""
    value: Floats
    """Mean of the group, over its pairs where paired."""
    against: Floats
    """Mean of the group compared against, over the same pairs."""
    difference: Floats
    standard_error: Floats
    degrees_of_freedom: Floats

    def interval(self, confidence: float | Floats) -> tuple[Floats, Floats]:
        """Two-sided t interval of the difference; NaN where the spread is unknown or zero.

        A spread of exactly zero means copied or rounded figures and is no measure of precision.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.where(self.standard_error > 0, self.standard_error, np.nan)
            half = stdtrit(self.degrees_of_freedom, (1 + np.asarray(confidence)) / 2) * error
        return self.difference - half, self.difference + half

    def p_not_above(self, bound: float) -> Floats:
        """One-sided p value of the hypothesis that the difference is ``bound`` or smaller."""
        return self._p(bound - self.difference)

    def p_not_below(self, bound: float) -> Floats:
        """One-sided p value of the hypothesis that the difference is ``bound`` or larger."""
        return self._p(self.difference - bound)

    def _p(self, distance: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            error = np.where(self.standard_error > 0, self.standard_error, np.nan)
            p: Floats = stdtr(self.degrees_of_freedom, distance / error)
        return p


def compare(
    values: Floats,
    groups: Integers,
    pairs: Integers,
    *,
    against: int,
    count: int,
    least_sd: Floats | None = None,
) -> Differences:
    """Compare every group with the group ``against``, by pairs where there are enough.

    Runs pair where they share a pair key. Pairs are used where there are at least three that hold
    half of the smaller side, or two that hold all of it; else the groups are compared as
    independent samples of unequal variances (Welch 1947, Satterthwaite's degrees of freedom).

    Args:
        values: Shape [runs]; NaN is left out.
        groups: The group of each run; shape [runs].
        pairs: The pair key of each run, -1 for none; shape [runs].
        against: The group to compare against.
        count: Number of groups.
        least_sd: Lower bound of the standard deviations; shape [groups].
    """
    least_sd = np.zeros(count) if least_sd is None else least_sd
    single = Moments.of(values, groups, count)
    paired = _paired(values, groups, pairs, against, count, least_sd)
    independent = _independent(single, against, least_sd)
    smaller = np.minimum(single.n, single.n[against])
    enough = (paired.n >= 3) & (2 * paired.n >= smaller)
    use = enough | ((paired.n == 2) & (paired.n == smaller))

    def pick(name: str) -> Floats:
        chosen: Floats = np.where(use, getattr(paired, name), getattr(independent, name))
        return chosen

    return Differences(
        n=pick("n"),
        value=pick("value"),
        against=pick("against"),
        difference=pick("difference"),
        standard_error=pick("standard_error"),
        degrees_of_freedom=pick("degrees_of_freedom"),
    )


def _paired(
    values: Floats,
    groups: Integers,
    pairs: Integers,
    against: int,
    count: int,
    least_sd: Floats,
) -> Differences:
    keyed = (pairs >= 0) & ~np.isnan(values)
    values, groups, pairs = values[keyed], groups[keyed], pairs[keyed]
    keys = int(pairs.max(initial=-1)) + 1
    # Runs of one group that share a key count as one: their mean.
    cells, position = np.unique(groups * keys + pairs, return_inverse=True)
    cell_values = np.bincount(position, weights=values) / np.bincount(position)
    cell_groups, cell_pairs = np.divmod(cells, max(keys, 1))
    partner = np.full(max(keys, 1), np.nan)
    of_reference = cell_groups == against
    partner[cell_pairs[of_reference]] = cell_values[of_reference]
    partners = partner[cell_pairs]
    moments = Moments.of(cell_values - partners, cell_groups, count)
    own = Moments.of(np.where(np.isnan(partners), np.nan, cell_values), cell_groups, count)
    other = Moments.of(partners, cell_groups, count)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.maximum(moments.sd, least_sd) / np.sqrt(moments.n)
    return Differences(
        n=moments.n,
        value=own.mean,
        against=other.mean,
        difference=moments.mean,
        standard_error=error,
        degrees_of_freedom=np.maximum(moments.n - 1, 1),
    )


def _independent(moments: Moments, against: int, least_sd: Floats) -> Differences:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        share = np.maximum(moments.sd, least_sd) ** 2 / moments.n
        variance = share + share[against]
        freedom = variance**2 / (
            share**2 / (moments.n - 1) + share[against] ** 2 / (moments.n[against] - 1)
        )
    return Differences(
        n=np.minimum(moments.n, moments.n[against]),
        value=moments.mean,
        against=np.full_like(moments.mean, moments.mean[against]),
        difference=moments.mean - moments.mean[against],
        standard_error=np.sqrt(variance),
        degrees_of_freedom=freedom,
    )


def fisher_more_failures(failed: int, runs: int, failed_against: int, runs_against: int) -> float:
    """One-sided p value of Fisher's exact test that failures are no more frequent here.

    The chance of ``failed`` or more failures among ``runs`` of all runs, given how many failed in
    total (R. A. Fisher, Statistical Methods for Research Workers, section 21.02).

    Examples:
        >>> round(fisher_more_failures(4, 5, 0, 5), 4)
        0.0238
    """
    from math import comb

    total = failed + failed_against
    most = min(total, runs)
    ways = sum(comb(runs, k) * comb(runs_against, total - k) for k in range(failed, most + 1))
    return ways / comb(runs + runs_against, total)
