"""Speedup against independent references: scipy's tests, and MLPerf runs worked out elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from trials_frame import Cell, find, frame, mlperf, rows

from ddp_sweep.analysis import RankedConfiguration, rank
from ddp_sweep.analysis.statistics.estimation import fisher_more_failures

ONE = Cell(world_size=1, batch=64, seconds=10)
TWO = Cell(world_size=2, batch=64, seconds=6)


def times(records: list[dict[str, Any]], cell: Cell) -> np.ndarray:
    own = [record for record in records if record["configuration_id"] == cell.name]
    return np.array([record["train_time_s"] for record in sorted(own, key=lambda r: r["seed"])])


def figures(entry: RankedConfiguration) -> tuple[float | None, float | None, float | None]:
    return entry.speedup, entry.speedup_low, entry.speedup_high


def test_times_of_a_block_are_compared_with_each_other() -> None:
    records = rows([ONE, TWO])
    expected = stats.ttest_rel(np.log(times(records, ONE)), np.log(times(records, TWO)))
    interval = expected.confidence_interval(0.9)

    entry = find(rank(frame(records)), 2)

    ratio = stats.gmean(times(records, ONE)) / stats.gmean(times(records, TWO))
    assert figures(entry) == pytest.approx((ratio, np.exp(interval.low), np.exp(interval.high)))


def test_times_of_different_sessions_are_not() -> None:
    records = rows([ONE, TWO])
    for record in records:
        if record["configuration_id"] == TWO.name:
            record["session_id"] = "another"
    expected = stats.ttest_ind(
        np.log(times(records, ONE)), np.log(times(records, TWO)), equal_var=False
    ).confidence_interval(0.9)

    entry = find(rank(frame(records)), 2)

    assert figures(entry)[1:] == pytest.approx((np.exp(expected.low), np.exp(expected.high)))


def test_a_few_pairs_of_many_runs_are_not_taken_for_all() -> None:
    records = rows([ONE, TWO], seeds=8)
    for record in records:
        if record["configuration_id"] == TWO.name and record["seed"] >= 3:
            record["session_id"] = "another"
    expected = stats.ttest_ind(
        np.log(times(records, ONE)), np.log(times(records, TWO)), equal_var=False
    ).confidence_interval(0.9)

    entry = find(rank(frame(records)), 2)

    assert figures(entry)[1:] == pytest.approx((np.exp(expected.low), np.exp(expected.high)))


@pytest.mark.parametrize(
    ("world_size", "speedup", "low", "high", "throughput", "statistical"),
    [
        (32, 1.926, 1.866, 1.988, 0.947, 1.017),
        (64, 3.312, 3.213, 3.414, 0.800, 1.035),
        (128, 4.485, 4.332, 4.643, 0.716, 0.783),
    ],
)
def test_mlperf_rnnt(
    world_size: int,
    speedup: float,
    low: float,
    high: float,
    throughput: float,
    statistical: float,
) -> None:
    entry = find(rank(mlperf("I_rnnt_hpe_8_128"), baseline={"world_size": 16}), world_size)

    assert figures(entry) == pytest.approx((speedup, low, high), rel=0.001)
    assert entry.throughput_efficiency == pytest.approx(throughput, abs=0.001)
    assert entry.statistical_efficiency == pytest.approx(statistical, abs=0.001)


@pytest.mark.parametrize(
    ("world_size", "speedup", "low", "throughput", "statistical"),
    [
        (64, 6.37, 6.31, 0.796, 1),
        (1024, 50.7, 50.2, 0.678, 0.583),
        (4216, 90.1, 88.8, 0.420, 0.407),
    ],
)
def test_mlperf_resnet_where_a_run_of_the_baseline_missed_the_target(
    world_size: int, speedup: float, low: float, throughput: float, statistical: float
) -> None:
    ranking = rank(mlperf("C_resnet_nvidia_8_4216"))
    entry = find(ranking, world_size)

    assert entry.speedup == pytest.approx(speedup, rel=0.001)
    assert entry.speedup_low == pytest.approx(low, rel=0.001)
    assert entry.speedup_high is None
    assert entry.throughput_efficiency == pytest.approx(throughput, abs=0.001)
    assert entry.statistical_efficiency == pytest.approx(statistical, abs=0.001)
    assert ranking.baseline.n_not_converged == 1
    assert "failed_runs" in {finding.kind for finding in ranking.baseline.findings}


def test_one_run_has_no_interval() -> None:
    entry = find(rank(frame(rows([ONE, TWO], seeds=1))), 2)

    assert entry.speedup == pytest.approx(10 / 6, rel=0.2)
    assert (entry.speedup_low, entry.speedup_high) == (None, None)


def test_times_that_do_not_vary_at_all_have_no_interval() -> None:
    records = rows([ONE, TWO])
    for record in records:
        record["train_time_s"] = 10.0 / record["world_size"]

    assert figures(find(rank(frame(records)), 2)) == (pytest.approx(2), None, None)


@pytest.mark.parametrize("status", ["diverged", "out_of_memory", "timed_out"])
def test_failed_runs_count_as_infinitely_slow(status: str) -> None:
    records = rows([ONE, TWO])
    slow = sorted((r for r in records if r["world_size"] == 2), key=lambda r: r["train_time_s"])
    slow[0].update(status=status, train_time_s=None)  # the fastest one

    entry = find(rank(frame(records)), 2)

    finished = [record["train_time_s"] for record in slow[1:]]
    medians = np.median(times(records, ONE)) / np.median([np.inf, *finished])
    means = stats.gmean(times(records, ONE)) / stats.gmean(finished)
    assert entry.speedup == pytest.approx(min(medians, means))
    # One side's 5 of 25 ratios are 0, and 5 ratios lie beyond the end of an interval of 5 and 5.
    assert entry.speedup_low is None
    ratios = np.divide.outer(times(records, ONE), finished).ravel()
    assert entry.speedup_high == pytest.approx(sorted(ratios)[-5])
    assert entry.n_failed == 1


def test_a_failure_never_makes_a_configuration_look_faster() -> None:
    records = rows([ONE, TWO])
    for record in records:
        record["train_time_s"] = 10.0 if record["world_size"] == 1 else 3.0
    records[-3].update(train_time_s=8.0)
    records[-1].update(status="diverged", train_time_s=None)

    entry = find(rank(frame(records)), 2)

    # The median of 3, 3, 3, 8 and a failure is 3; the finished runs alone say less than 10 / 3.
    assert entry.speedup == pytest.approx(10 / stats.gmean([3, 3, 3, 8]))


def test_no_speedup_where_half_failed() -> None:
    records = rows([ONE, TWO], seeds=4)
    for record in records:
        if record["world_size"] == 2 and record["seed"] < 2:
            record.update(status="diverged", train_time_s=None)

    assert find(rank(frame(records)), 2).speedup is None


@pytest.mark.parametrize("status", ["worker_died", "node_lost", "interrupted"])
def test_lost_runs_only_reduce_their_number(status: str) -> None:
    records = rows([ONE, TWO])
    lost = [record for record in records if record["seed"] == 4]
    without = rank(frame([record for record in records if record["seed"] != 4]))
    for record in lost:
        record.update(status=status, train_time_s=None, accuracy=None)

    entry, expected = find(rank(frame(records)), 2), find(without, 2)

    assert figures(entry) == figures(expected)
    assert (entry.n_seeds, entry.n_failed) == (4, 0)


@pytest.mark.parametrize("claim", [{"oversubscribed": True}, {"placement": "packed"}])
def test_times_of_a_crowded_machine_give_no_speedup(claim: dict[str, object]) -> None:
    crowded = Cell(world_size=2, batch=64, columns=claim)
    ranking = rank(frame(rows([ONE, crowded])), margins={"accuracy": 0.05})

    entry = find(ranking, 2)

    assert (entry.speedup, entry.scaling_efficiency, entry.cost_ratio) == (None, None, None)
    assert ranking.recommendation.fastest is ranking.baseline


def test_budgets_that_differ_are_compared_for_the_same_number_of_samples() -> None:
    records = rows([ONE, TWO])
    plain = find(rank(frame(records)), 2)
    for record in records:
        if record["world_size"] == 2:
            record.update(samples=3 * record["samples"], train_time_s=3 * record["train_time_s"])

    assert figures(find(rank(frame(records)), 2)) == pytest.approx(figures(plain))


def test_without_a_target_nobody_knows_how_many_samples_were_needed() -> None:
    entry = find(rank(frame(rows([ONE, TWO]))), 2)

    assert entry.statistical_efficiency is None
    assert entry.throughput_efficiency == entry.scaling_efficiency
    assert entry.scaling_efficiency == pytest.approx(entry.speedup / 2)


@pytest.mark.parametrize(("starts", "within"), [(2, True), (3, False)])
def test_an_interval_over_few_starts_says_so(starts: int, within: bool) -> None:
    records = rows([ONE, TWO])
    for record in records:
        record["gang_id"] = f"gang{record['seed'] % starts}"

    ranking = rank(frame(records))

    assert find(ranking, 2).within_one_start is within
    assert ("within_one_start" in {f.kind for f in ranking.findings}) is within


@settings(max_examples=20)
@given(scale=st.floats(1e-3, 1e3), seeds=st.integers(1, 6))
def test_the_unit_of_time_does_not_matter(scale: float, seeds: int) -> None:
    records = rows([ONE, TWO, Cell(world_size=4, batch=32, seconds=4)], seeds=seeds)
    plain = rank(frame(records))
    for record in records:
        record["train_time_s"] *= scale

    for before, after in zip(
        plain.configurations, rank(frame(records)).configurations, strict=True
    ):
        assert after.configuration_id == before.configuration_id
        assert figures(after) == pytest.approx(figures(before))


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 4]), st.floats(0.1, 100), st.integers(1, 10**6)),
        min_size=1,
        max_size=20,
    )
)
def test_the_two_factors_multiply_to_the_scaling_efficiency(
    runs: list[tuple[int, float, int]],
) -> None:
    table = pd.DataFrame(runs, columns=["world_size", "time_to_target_s", "samples_to_target"])

    for entry in rank(table.assign(global_batch_size=64)).configurations:
        if entry.statistical_efficiency is not None:
            product = entry.throughput_efficiency * entry.statistical_efficiency
            assert product == pytest.approx(entry.scaling_efficiency, rel=1e-12)


@given(
    failed=st.integers(0, 12),
    finished=st.integers(0, 12),
    failed_there=st.integers(0, 12),
    finished_there=st.integers(0, 12),
)
def test_the_test_of_failures_is_fishers(
    failed: int, finished: int, failed_there: int, finished_there: int
) -> None:
    counts = [[failed, finished], [failed_there, finished_there]]
    expected = stats.fisher_exact(counts, alternative="greater").pvalue

    p_value = fisher_more_failures(
        failed, failed + finished, failed_there, failed_there + finished_there
    )

    assert p_value == pytest.approx(expected, abs=1e-12)
