"""Tests for disturbed times whose rate of false alarms is known: outliers, drift, a first block.

All take logarithms of times. Runs of a block share the state of the machine, so a block is one
observation of it, however many runs it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers

__all__ = ["BlockChange", "block_changes", "modified_z_scores", "outlying", "slope"]

_ALPHA = 0.01
"""Share of undisturbed sweeps in which each of the tests may find something."""
_LEAST_BLOCKS = 4
_NOTABLE_CHANGE = 0.03
_LEAST_RUNS = 5
_OUTLYING = 3.5
_OUTLYING_BY = 0.05
_MAD_EFFICIENCY = 0.37
"""Degrees of freedom of a standard deviation from a MAD, as a share of those of the usual one."""
_SHRINKAGE = 1.3
"""The MAD of n values from their own median is 1 - 1.3 / n of that from the true one."""
_MEDIAN_VARIANCE = 1.4
"""Of the median of m values, times m and by their variance: a run far off is that far from the
median of the others, which has a spread of its own."""


@dataclass(frozen=True)
class BlockChange:
    """How times changed from block to block."""

    sign: str
    """``first_block`` or ``drift``."""
    change: float
    """Of the logarithm: of the first block against the others, or from first to last."""
    p_value: float


def block_changes(residual: Floats, block: Floats) -> list[BlockChange]:
    """What is clear and large enough to be told; a slow first block is no drift.

    Args:
        residual: Log time of each run less the mean of its configuration; shape [runs].
        block: The block of each run.
    """
    blocks, which = np.unique(block, return_inverse=True)
    means = np.bincount(which, weights=residual) / np.bincount(which)
    if len(blocks) < _LEAST_BLOCKS:
        return []
    found = []
    slower, either_way = slope((blocks == blocks[0]).astype(np.float64), means)
    if slower > _NOTABLE_CHANGE and either_way / 2 < _ALPHA:
        found.append(BlockChange("first_block", slower, either_way / 2))
        blocks, means = blocks[1:], means[1:]
    if len(blocks) >= _LEAST_BLOCKS:
        each, p_value = slope(blocks, means)
        change = each * float(blocks[-1] - blocks[0])
        if abs(change) > _NOTABLE_CHANGE and p_value < _ALPHA:
            found.append(BlockChange("drift", change, p_value))
    return found


def slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of a line by least squares, and the p-value of a two-sided t-test that it is 0.

    With x of 0 and 1 alone this is the t-test of two means.
    """
    degrees = len(x) - 2
    centred = x - x.mean()
    each = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - each * centred
    error = float(np.sqrt(rest @ rest / degrees / (centred @ centred)))
    if error == 0:
        return each, 0.0 if each else 1.0
    return each, float(2 * stdtr(degrees, -abs(each) / error))


def outlying(logs: Floats, groups: Integers) -> tuple[Booleans, Floats]:
    """Runs far from their configuration's median, and by what share of it.

    The spread is that of all configurations together: five runs alone say too little about it.
    The cut allows for the number of runs looked at, and for how little so many runs tell of
    their spread.

    Args:
        logs: Log time of each run, NaN where there is none; shape [runs].
        groups: The configuration of each run.
    """
    known = np.flatnonzero(~np.isnan(logs))
    sizes = np.bincount(groups[known], minlength=1)
    rows = known[sizes[groups[known]] >= _LEAST_RUNS]
    far, by = np.zeros(len(logs), dtype=np.bool_), np.zeros(len(logs))
    if not len(rows):
        return far, by
    medians = pd.Series(logs[rows]).groupby(groups[rows]).transform("median")
    gaps = logs[rows] - medians.to_numpy(dtype=np.float64)
    by[rows] = np.expm1(gaps)
    n = sizes[groups[rows]]
    scores = modified_z_scores(gaps, shrinkage=1 - _SHRINKAGE / n)
    scores = scores / np.sqrt(1 + _MEDIAN_VARIANCE / (n - 1))
    degrees = _MAD_EFFICIENCY * (len(rows) - len(np.unique(groups[rows])))
    cut = max(_OUTLYING, -float(stdtrit(degrees, _ALPHA / 2 / len(rows))))
    far[rows] = (np.abs(scores) > cut) & (np.abs(by[rows]) > _OUTLYING_BY)
    return far, by


def modified_z_scores(gaps: Floats, shrinkage: Floats | float = 1.0) -> Floats:
    """0.6745 x gap / MAD; infinite off the median where the MAD is 0.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): above 3.5 is an outlier.

    Args:
        gaps: Each value less the median of its group; shape [values].
        shrinkage: What share of the true MAD the gaps of each group have.
    """
    spread = float(np.median(np.abs(gaps) / shrinkage))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = 0.6745 * gaps / spread
    return np.where(gaps == 0, 0.0, scores)
