"""Differences of means between configurations, each against one of them, with Student's t.

Everything is an array with one entry a configuration (here: a group of runs), so that a hundred
thousand of them, or the configurations of ten thousand sweeps, cost a few passes over the runs.
NaN is unknown throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

__all__ = [
    "Booleans",
    "Differences",
    "Floats",
    "Integers",
    "Moments",
    "Pairing",
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


@dataclass(frozen=True)
class Pairing:
    """Which runs share a key with a run of the group that theirs is compared against.

    A cell holds the runs of one group that share a key; they count as one, their mean.
    """

    against: Integers
    """The group that each one is compared against; shape [groups]."""
    cell: Integers
    """The cell of each run, -1 for a run without a key; shape [runs]."""
    group: Integers
    """The group of each cell; shape [cells]."""
    partner: Integers
    """The cell of the same key in the group compared against, -1 for none; shape [cells]."""

    @classmethod
    def of(cls, groups: Integers, keys: Integers, against: Integers) -> Pairing:
        """Find the partners.

        Args:
            groups: The group of each run; shape [runs].
            keys: The pair key of each run, -1 for none; shape [runs].
            against: The group that each one is compared against; shape [groups].
        """
        keyed = keys >= 0
        width = int(keys.max(initial=0)) + 1
        cells, position = np.unique(groups[keyed] * width + keys[keyed], return_inverse=True)
        cell = np.full(len(groups), -1, dtype=np.int64)
        cell[keyed] = position
        group, key = np.divmod(cells, width)
        wanted = against[group] * width + key
        found = np.minimum(np.searchsorted(cells, wanted), max(len(cells) - 1, 0))
        return cls(against, cell, group, np.where(cells[found] == wanted, found, -1))


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
    variance: Floats
    """Of the difference of one run and one run: of the pairs, or both groups' variances added."""
    freedom_per_run: Floats
    """Degrees of freedom that each further run a side adds: 1 for pairs, 1 to 2 else."""

    def interval(self, confidence: float | Floats) -> tuple[Floats, Floats]:
        """Two-sided t interval of the difference; NaN where the spread is unknown or zero.

        A spread of exactly zero means copied or rounded figures and is no measure of precision.

        Args:
            confidence: One for all, or shape [groups].
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
    values: Floats, groups: Integers, pairing: Pairing, least_sd: Floats | None = None
) -> Differences:
    """Compare every group with the one it is to be compared against, by pairs where it can be.

    Pairs are used where there are at least three that hold half of the smaller side, or two that
    hold all of it; else the groups are compared as independent samples of unequal variances
    (Welch 1947, Satterthwaite's degrees of freedom).

    Args:
        values: Shape [runs]; NaN is left out.
        groups: The group of each run; shape [runs].
        pairing: Who is compared with whom.
        least_sd: Lower bound of the standard deviations; shape [groups].
    """
    count = len(pairing.against)
    least_sd = np.zeros(count) if least_sd is None else least_sd
    single = Moments.of(values, groups, count)
    paired = _paired(values, pairing, least_sd)
    independent = _independent(single, pairing.against, least_sd)
    smaller = np.minimum(single.n, single.n[pairing.against])
    use = (paired.n >= 3) & (2 * paired.n >= smaller)
    use |= (paired.n == 2) & (paired.n == smaller)
    figures = [field.name for field in fields(Differences)]
    return Differences(
        **{
            name: np.where(use, getattr(paired, name), getattr(independent, name))
            for name in figures
        }
    )


def _paired(values: Floats, pairing: Pairing, least_sd: Floats) -> Differences:
    count, cells = len(pairing.against), len(pairing.group)
    usable = (pairing.cell >= 0) & ~np.isnan(values)
    cell = pairing.cell[usable]
    sizes = np.bincount(cell, minlength=cells)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        means = np.bincount(cell, weights=values[usable], minlength=cells) / sizes
    partners = np.where(pairing.partner >= 0, means[pairing.partner], np.nan)
    own = np.where(np.isnan(partners), np.nan, means)
    with np.errstate(over="ignore", invalid="ignore"):
        moments = Moments.of(own - partners, pairing.group, count)
    partners = np.where(np.isnan(own), np.nan, partners)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        variance = np.maximum(moments.sd, least_sd) ** 2
        error = np.sqrt(variance / moments.n)
    return Differences(
        n=moments.n,
        value=Moments.of(own, pairing.group, count).mean,
        against=Moments.of(partners, pairing.group, count).mean,
        difference=moments.mean,
        standard_error=error,
        degrees_of_freedom=np.maximum(moments.n - 1, 1),
        variance=variance,
        freedom_per_run=np.ones(count),
    )


def _independent(moments: Moments, against: Integers, least_sd: Floats) -> Differences:
    n, mean = moments.n, moments.mean
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        variance = np.maximum(moments.sd, least_sd) ** 2
        share = variance / n
        both = share + share[against]
        # Each share over the sum first: squares of tiny variances would vanish.
        freedom = 1 / (
            (share / both) ** 2 / (n - 1) + (share[against] / both) ** 2 / (n[against] - 1)
        )
        total = variance + variance[against]
        per_run = 1 / ((variance / total) ** 2 + (variance[against] / total) ** 2)
        difference = mean - mean[against]
    return Differences(
        n=np.minimum(n, n[against]),
        value=mean,
        against=mean[against],
        difference=difference,
        standard_error=np.sqrt(both),
        degrees_of_freedom=freedom,
        variance=total,
        freedom_per_run=per_run,
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
