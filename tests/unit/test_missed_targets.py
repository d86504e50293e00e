"""Intervals where runs failed, against the Mann-Whitney test itself and against enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ddp_sweep.analysis.statistics.missed_targets import least_rank, log_ratio_interval

LEVEL = 0.05


def p_shifted_up(other: list[float], own: list[float]) -> float:
    """Chance, if both sides are alike, of ``other`` exceeding ``own`` as often as here or more."""
    pooled = np.array([*other, *own])
    sizes = range(len(pooled))

    def wins(chosen: tuple[int, ...]) -> float:
        rest = [k for k in sizes if k not in chosen]
        pairs = [(pooled[i], pooled[j]) for i in chosen for j in rest]
        return sum((a > b) + 0.5 * (a == b) for a, b in pairs)

    observed = wins(tuple(range(len(other))))
    found = [wins(chosen) for chosen in combinations(sizes, len(other))]
    return float(np.mean([count >= observed for count in found]))


def interval(own: list[float], other: list[float], confidence: float = 0.9) -> tuple[float, float]:
    low, high = log_ratio_interval(
        np.array([*own, *other]),
        np.repeat([0, 1], [len(own), len(other)]),
        np.array([1, 1]),
        confidence,
        np.array([True, False]),
    )
    assert np.isnan([low[1], high[1]]).all()
    return float(low[0]), float(high[0])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    finished=st.integers(1, 4),
    finished_other=st.integers(1, 4),
    failed=st.sampled_from([(0, 0), (1, 0), (0, 1), (2, 0), (0, 2)]),
)
def test_the_interval_holds_exactly_the_shifts_that_the_test_does_not_reject(
    seed: int, finished: int, finished_other: int, failed: tuple[int, int]
) -> None:
    noise = np.random.default_rng(seed)
    own = [*noise.normal(size=finished), *[np.inf] * failed[0]]
    other = [*noise.normal(size=finished_other), *[np.inf] * failed[1]]
    low, high = interval(own, other)

    # Between two neighbouring differences nothing changes, so that trying one shift in each gap,
    # and one beyond either end, tries all.
    edges = np.sort(np.subtract.outer(other[:finished_other], own[:finished]).ravel())
    for shift in [edges[0] - 1, *(edges[1:] + edges[:-1]) / 2, edges[-1] + 1]:
        moved = [value - shift for value in other]
        rejected = p_shifted_up(moved, own) <= LEVEL or p_shifted_up(own, moved) <= LEVEL
        inside = bool(np.isnan(low) or low < shift < high)
        assert inside is not rejected


def test_failures_on_both_sides_widen_the_interval_at_both_ends() -> None:
    own, other = [1.0, 1.1, 1.2, 1.3, 1.4, np.inf], [2.0, 2.1, 2.2, 2.3, 2.4, np.inf]

    low, high = interval(own, other)

    bounds = [
        interval([*own[:-1], value], [*other[:-1], against])
        for value, against in ((1e3, 1e6), (1e6, 1e3))
    ]
    assert low <= min(bound[0] for bound in bounds)
    assert high >= max(bound[1] for bound in bounds)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 4), (4, 2), (5, 5), (2, 6), (6, 3)])
def test_the_rank_is_the_one_of_the_exact_distribution(n: int, m: int) -> None:
    statistics = [
        sum(i > j for i in chosen for j in set(range(n + m)) - set(chosen))
        for chosen in combinations(range(n + m), n)
    ]
    shares = [np.mean(np.array(statistics) <= u) for u in range(n * m + 1)]

    assert least_rank(n, m, LEVEL) == sum(share <= LEVEL + 1e-9 for share in shares)


def test_the_distribution_is_that_of_scipy() -> None:
    own, other = np.arange(9.0), np.arange(7.0) + 4.5
    p_value = stats.mannwhitneyu(own, other, alternative="less", method="exact").pvalue
    statistic = int(stats.mannwhitneyu(own, other).statistic)

    assert least_rank(9, 7, p_value) == statistic + 1
    assert least_rank(9, 7, p_value - 1e-6) == statistic


def test_many_runs_go_over_into_the_normal_approximation_smoothly() -> None:
    exact, approximate = least_rank(100, 100, LEVEL), least_rank(100, 101, LEVEL)

    assert 0 < approximate - exact < 100


def test_too_few_runs_give_no_interval() -> None:
    assert np.isnan(interval([1.0, 2.0], [3.0, np.inf])).all()
