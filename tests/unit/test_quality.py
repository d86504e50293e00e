"""Quality verdicts against scipy's tests and values worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from trials_frame import Cell, find, frame, mlperf, rows

from ddp_sweep.analysis import Evidence, MetricComparison, RankedConfiguration, Verdict, rank
from ddp_sweep.analysis.metrics import metric_values, resolution
from ddp_sweep.errors import TableError
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import table_schema

ONE = Cell(world_size=1, batch=64, seconds=10)
MARGINS = {"accuracy": 0.01}


def judged(
    level: float = 0.95,
    *,
    seeds: int = 5,
    margins: dict[str, Any] | None = None,
    floors: dict[str, float] | None = None,
    **changes: Any,
) -> RankedConfiguration:
    """Two workers of that true accuracy, with columns changed, against one worker."""
    two = Cell(world_size=2, batch=64, seconds=6, accuracy=level)
    records = rows([ONE, two], seeds)
    for record in records:
        if record["world_size"] == 2:
            record.update({key: change(record) for key, change in changes.items()})
    return find(rank(frame(records), margins=margins or MARGINS, floors=floors), 2)


def values(records: list[dict[str, Any]], world_size: int, metric: str = "accuracy") -> np.ndarray:
    own = [record for record in records if record["world_size"] == world_size]
    return np.array([record[metric] for record in sorted(own, key=lambda r: r["seed"])])


def test_pairs_of_seeds_are_tested_as_by_scipy() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64, accuracy=0.945, spread=0.01)])
    first, second = values(records, 2), values(records, 1)
    expected = stats.ttest_rel(first + 0.01, second, alternative="greater")
    interval = stats.ttest_rel(first, second).confidence_interval(0.9)

    found = find(rank(frame(records), margins=MARGINS), 2).metrics["accuracy"]

    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert (found.value, found.reference) == pytest.approx((first.mean(), second.mean()))


def test_runs_of_another_tool_are_tested_as_independent() -> None:
    noise = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "world_size": [1] * 6 + [4] * 5,
            "global_batch_size": 64,
            "train_time_s": noise.uniform(9, 11, 11),
            "seed": [*range(6), *range(5)],
            "accuracy": noise.normal(0.9, 0.004, 11),
        }
    )
    first, second = table["accuracy"][6:], table["accuracy"][:6]
    expected = stats.ttest_ind(first + 0.01, second, equal_var=False, alternative="greater")

    found = find(rank(table, margins=MARGINS), 4).metrics["accuracy"]

    assert found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("accuracy", "verdict", "words"),
    [
        (0.95, Verdict.NON_INFERIOR, "quality held"),
        (0.97, Verdict.NON_INFERIOR, "quality held"),
        (0.94, Verdict.INCONCLUSIVE, "not yet known"),
        (0.90, Verdict.INFERIOR, "quality lost"),
    ],
)
def test_outcomes(accuracy: float, verdict: Verdict, words: str) -> None:
    entry = judged(accuracy)

    assert entry.verdict is verdict
    assert entry.reason.startswith(words)
    assert entry.metrics["accuracy"].verdict is verdict
    decided = verdict is not Verdict.INCONCLUSIVE
    assert entry.evidence is (Evidence.SEEDS if decided else Evidence.NONE)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(1.0, Verdict.NON_INFERIOR), (0.8, Verdict.NON_INFERIOR), (1.1, Verdict.INFERIOR)],
)
@pytest.mark.parametrize("margin", [0.003, "2%"])
def test_of_a_loss_less_is_better(change: float, verdict: Verdict, margin: float | str) -> None:
    entry = judged(
        margins={"val_loss": margin}, val_loss=lambda r: change * 0.15 * (1 + r["seed"] / 1e4)
    )

    assert entry.verdict is verdict


def test_a_relative_margin_is_tested_on_logarithms() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    noise = np.random.default_rng(5)
    for record in records:
        record["perplexity"] = float(20 * np.exp(noise.normal(0, 0.01)))
    first, second = values(records, 2, "perplexity"), values(records, 1, "perplexity")
    expected = stats.ttest_rel(np.log(first) - np.log(1.02), np.log(second), alternative="less")

    found = find(rank(frame(records), margins={"perplexity": "2%"}), 2).metrics["perplexity"]

    assert found.p_value == pytest.approx(expected.pvalue)
    ratio = stats.gmean(first) / stats.gmean(second)
    assert found.difference == pytest.approx(ratio - 1)
    assert found.value / found.reference == pytest.approx(ratio)
    assert found.margin == "2%"


@pytest.mark.parametrize("margin", ["2%", 0, -0.1, "much", True, float("nan")])
def test_margins_that_mean_nothing_are_refused(margin: Any) -> None:
    with pytest.raises(TableError, match="margin of accuracy"):
        judged(margins={"accuracy": margin})


def test_every_metric_must_hold() -> None:
    entry = judged(0.90, margins={"accuracy": 0.01, "val_loss": 0.1})

    assert entry.metrics["val_loss"].verdict is Verdict.NON_INFERIOR
    assert entry.verdict is Verdict.INFERIOR


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"seeds": 2}, "2 seeds to compare, at least 3 are needed"),
        ({"margins": {"auroc": 0.01}}, "auroc was not measured"),
        ({"accuracy": lambda r: r["accuracy"] if r["seed"] else None}, "accuracy is missing in"),
    ],
)
def test_what_is_missing_is_said(options: dict[str, Any], why: str) -> None:
    entry = judged(**options)

    assert entry.verdict is Verdict.INCONCLUSIVE
    assert why in entry.reason


def test_without_margins_differences_are_shown_and_nothing_is_decided() -> None:
    entry = find(rank(frame(rows([ONE, Cell(world_size=2, batch=64)]))), 2)

    assert entry.verdict is Verdict.INCONCLUSIVE
    assert "no margins were set (quality.margins in the sweep file, or --margin" in entry.reason
    found = entry.metrics["accuracy"]
    assert isinstance(found, MetricComparison)
    assert found.difference is not None
    assert (found.margin, found.p_value, found.verdict) == (None, None, None)


def test_a_metric_of_unknown_direction_must_not_change_either_way() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    noise = np.random.default_rng(1)
    for record in records:
        record["metric_x"] = 1.0 + noise.normal(0, 1e-3) + 0.1 * (record["world_size"] - 1)
    table = frame(records, metrics=("x",))

    wide = find(rank(table, margins={"metric_x": 0.2}), 2)
    narrow = find(rank(table, margins={"metric_x": 0.05}), 2)

    assert wide.verdict is Verdict.NON_INFERIOR
    assert narrow.verdict is Verdict.INCONCLUSIVE
    assert "whether higher or lower is better is not known" in narrow.reason
    assert "too uncertain" not in narrow.reason


def test_more_seeds_are_not_advised_where_runs_lack_the_metric() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    for record in records:  # equal on the whole, and far apart seed by seed
        turned = (record["seed"] + record["world_size"]) % 2
        record["accuracy"] = 0.92 if turned else 0.88

    def needed() -> int | None:
        return find(rank(frame(records), margins={"accuracy": 0.03}), 2).seeds_needed

    assert needed() is not None
    records[-1]["accuracy"] = None
    assert needed() is None


@pytest.mark.parametrize(
    ("higher_is_better", "verdict"), [(False, Verdict.NON_INFERIOR), (True, Verdict.INFERIOR)]
)
def test_the_direction_of_a_declared_metric_comes_from_the_results_folder(
    tmp_path: Path, higher_is_better: bool, verdict: Verdict
) -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    noise = np.random.default_rng(1)
    for record in records:
        record["metric_x"] = 2.0 + noise.normal(0, 1e-3) - 0.5 * (record["world_size"] - 1)
    schema = table_schema("trials", {"metric_x": higher_is_better})
    columns = {name: [record.get(name) for record in records] for name in schema.names}
    folder = ResultsFolder(tmp_path)
    folder.trials.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=schema), folder.trials / "all-1.parquet")

    assert find(rank(tmp_path, margins={"metric_x": 0.1}), 2).verdict is verdict


def test_a_spread_below_half_a_sample_is_not_believed() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    for record in records:
        record["accuracy"] = 0.95  # no spread at all
    half_a_sample = 0.5 / 360

    found = find(rank(frame(records), margins=MARGINS), 2).metrics["accuracy"]

    half = stats.t.ppf(0.95, df=4) * half_a_sample / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((-half, half))
    assert found.p_value == pytest.approx(stats.t.sf(0.01 * np.sqrt(5) / half_a_sample, df=4))


def test_equal_values_on_an_unknown_number_of_samples_prove_nothing() -> None:
    table = pd.DataFrame(
        {"world_size": [1] * 5 + [2] * 5, "global_batch_size": 64, "accuracy": 0.9}
    ).assign(train_time_s=[10.0, 11, 12, 10, 11, 5, 6, 7, 5, 6])

    entry = find(rank(table, margins=MARGINS), 2)

    assert entry.verdict is Verdict.INCONCLUSIVE
    assert "on how many samples is not recorded" in entry.reason


BINARY = [[300, 18], [12, 30]]
"""Recall of class 1: 30 / 42."""
THREE = [[50, 0, 0], [0, 90, 10], [0, 5, 20]]


@pytest.mark.parametrize(
    ("metric", "columns", "step"),
    [
        ("accuracy", {"eval_samples": 360}, 1 / 360),
        ("recall", {"recall": 30 / 42, "confusion_matrix": BINARY}, 1 / 42),
        ("recall", {"recall": 300 / 318, "confusion_matrix": BINARY}, 1 / 318),
        ("recall", {"recall": 0.9, "confusion_matrix": THREE}, 1 / 25 / 3),
        ("recall[1]", {"confusion_matrix": BINARY}, 1 / 42),
        ("balanced_accuracy", {"confusion_matrix": THREE}, 1 / 25 / 3),
        ("recall", {"recall": 0.7, "eval_samples": 360}, 1 / 360),
        ("val_loss", {"val_loss": 2.0}, 2 * 2**-23),
        ("accuracy", {}, float("nan")),
    ],
)
def test_the_step_of_one_sample(metric: str, columns: dict[str, Any], step: float) -> None:
    runs = pd.DataFrame({name: [value] for name, value in columns.items()} or {"x": [1]})

    assert resolution(runs, metric) == pytest.approx([step], nan_ok=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("recall[1]", 0.6), ("recall[fraud]", 0.6), ("recall[0]", 0.9), ("recall[7]", float("nan"))],
)
def test_values_of_one_class(name: str, value: float) -> None:
    runs = pd.DataFrame({"per_class_recall": [[0.9, 0.6]], "class_names": [["honest", "fraud"]]})

    assert metric_values(runs, name) == pytest.approx([value], nan_ok=True)


@pytest.mark.parametrize(
    ("recall", "verdict"),
    [(0.9, Verdict.NON_INFERIOR), (0.805, Verdict.INCONCLUSIVE), (0.7, Verdict.INFERIOR)],
)
def test_no_verdict_buys_a_floor_off(recall: float, verdict: Verdict) -> None:
    def recalls(record: dict[str, Any]) -> list[float]:
        return [0.99, recall + 0.01 * (record["seed"] - 2)]

    entry = judged(floors={"recall[1]": 0.8}, per_class_recall=recalls)

    spread = np.std([-0.02, -0.01, 0, 0.01, 0.02], ddof=1)
    half = stats.t.ppf(0.95, df=4) * spread / np.sqrt(5)
    found = entry.floors["recall[1]"]
    assert (found.low, found.high) == pytest.approx((recall - half, recall + half))
    assert entry.metrics["accuracy"].verdict is Verdict.NON_INFERIOR
    assert (entry.verdict, found.verdict) == (verdict, verdict)


@pytest.mark.parametrize(
    ("failed", "verdict"),
    [
        (0, Verdict.NON_INFERIOR),
        (1, Verdict.INCONCLUSIVE),
        (3, Verdict.INCONCLUSIVE),  # p = .083
        (4, Verdict.INFERIOR),  # p = .024
        (5, Verdict.FAILED),
    ],
)
def test_failures_weigh_against_a_configuration(failed: int, verdict: Verdict) -> None:
    entry = judged(
        status=lambda r: "diverged" if r["seed"] < failed else "succeeded",
        accuracy=lambda r: None if r["seed"] < failed else r["accuracy"],
    )

    assert entry.verdict is verdict
    assert entry.n_failed == failed


@pytest.mark.parametrize(("status", "seeds"), [("infeasible", 5), ("workload_error", 1)])
def test_what_could_not_run_is_failed(status: str, seeds: int) -> None:
    entry = judged(
        status=lambda r: status if r["seed"] < seeds else "succeeded",
        status_detail=lambda r: (
            "Traceback\nValueError: no such file" if r["seed"] < seeds else None
        ),
    )

    assert entry.verdict is Verdict.FAILED
    assert "ValueError: no such file" in entry.reason


def test_what_ran_before_the_cluster_became_smaller_counts_without_the_rest() -> None:
    """A sweep that goes on with fewer workers records the trials that no longer fit."""
    smaller = judged(status=lambda r: "infeasible" if r["seed"] == 0 else "succeeded")
    lost = judged(status=lambda r: "interrupted" if r["seed"] == 0 else "succeeded")

    assert (smaller.verdict, smaller.n_seeds, smaller.metrics) == (
        lost.verdict,
        lost.n_seeds,
        lost.metrics,
    )
    assert smaller.n_seeds == 4
    assert smaller.n_failed == 0


@pytest.mark.parametrize(
    ("world_size", "verdict", "ratio", "low", "high"),
    [
        (32, Verdict.NON_INFERIOR, 0.983, 0.953, 1.015),
        (64, Verdict.NON_INFERIOR, 0.966, 0.937, 0.996),
    ],
)
def test_mlperf_samples_needed_within_ten_percent(
    world_size: int, verdict: Verdict, ratio: float, low: float, high: float
) -> None:
    ranking = rank(
        mlperf("I_rnnt_hpe_8_128"),
        baseline={"world_size": 16},
        margins={"samples_to_target": "10%"},
    )

    entry = find(ranking, world_size)
    found = entry.metrics["samples_to_target"]
    shown = (1 + found.difference, 1 + found.low, 1 + found.high)
    assert entry.verdict is verdict
    assert shown == pytest.approx((ratio, low, high), abs=0.001)


def test_mlperf_more_samples_are_a_cost_and_not_a_loss_of_quality() -> None:
    ranking = rank(mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"})

    lower_ends = {
        entry.world_size: 1 + entry.metrics["samples_to_target"].low
        for entry in ranking.configurations
        if entry.verdict is Verdict.INFERIOR
    }
    assert lower_ends == pytest.approx({16: 1.155, 32: 1.141, 64: 1.123, 128: 1.487}, abs=0.001)
    assert find(ranking, 128).speedup == pytest.approx(5.74, abs=0.01)
    assert "quality lost" not in find(ranking, 128).reason
