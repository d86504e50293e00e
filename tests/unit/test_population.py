"""The sampling error of the validation set, against sums over single samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from trials_frame import Cell, find, frame, rows

from ddp_sweep.analysis import MetricComparison, RankedConfiguration, Verdict, rank

ONE = Cell(world_size=1, batch=64, seconds=10)
TWO = Cell(world_size=2, batch=64, seconds=6)
SAMPLES = 500


def with_bits(
    seeds: int = 4, *, easy: float = 0.9, spread: float = 0.3
) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
    """Trials whose runs got single samples right, and these; [seeds, samples] by world size."""
    noise = np.random.default_rng(11)
    chance = np.clip(noise.normal(easy, spread, SAMPLES), 0.02, 0.98)
    right = {size: noise.random((seeds, SAMPLES)) < chance for size in (1, 2)}
    records = rows([ONE, TWO], seeds)
    for record in records:
        own = right[record["world_size"]][record["seed"]]
        record.update(
            accuracy=own.mean(),
            eval_samples=SAMPLES,
            expected_eval_samples=SAMPLES,
            correct_bits=np.packbits(own).tobytes(),
        )
    return records, right


def accuracy(records: list[dict[str, Any]], margin: float = 0.05) -> MetricComparison:
    return judged(records, margin).metrics["accuracy"]


def judged(records: list[dict[str, Any]], margin: float) -> RankedConfiguration:
    return find(rank(frame(records), margins={"accuracy": margin}), 2)


def wider(difference: float, parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Interval of variances that add up, each with its degrees of freedom."""
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts)
    half = stats.t.ppf(0.95, freedom) * np.sqrt(total)
    return difference - half, difference + half


def test_the_variance_over_the_samples_is_added_to_that_over_the_seeds() -> None:
    records, right = with_bits()
    by_seed = right[2].mean(axis=1) - right[1].mean(axis=1)
    by_sample = right[2].mean(axis=0) - right[1].mean(axis=0)
    parts = [
        (by_seed.var(ddof=1) / 4, 3.0),
        (by_sample.var(ddof=1) / SAMPLES, SAMPLES - 1.0),
    ]

    found = accuracy(records)

    low, high = wider(by_seed.mean(), parts)
    assert found.population_low == pytest.approx(min(low, found.low))
    assert found.population_high == pytest.approx(max(high, found.high))


def test_it_is_never_narrower_than_on_the_validation_set_alone() -> None:
    records, _ = with_bits(seeds=3, spread=0.0)
    for record in records:  # the same samples are right for everyone: only the seeds differ
        size, seed = record["world_size"], record["seed"]
        own = np.arange(SAMPLES) < SAMPLES * (0.9 - 0.02 * seed * (size - 1.5))
        record.update(accuracy=own.mean(), correct_bits=np.packbits(own).tobytes())

    found = accuracy(records)

    assert found.population_low <= found.low
    assert found.population_high >= found.high


@pytest.mark.parametrize(
    "change",
    [
        {"correct_bits": None},
        {"eval_samples": None},
        {"eval_samples": 900},
        {"correct_bits": b"\xff"},
    ],
)
def test_it_is_unknown_where_a_run_does_not_tell(change: dict[str, Any]) -> None:
    records, _ = with_bits()
    records[1].update(change)

    found = accuracy(records)

    assert (found.population_low, found.population_high) == (None, None)
    assert found.low is not None


def test_runs_that_failed_need_no_bits() -> None:
    records, _ = with_bits(seeds=5)
    expected = accuracy([r for r in records if r["seed"] != 2])
    for record in records:
        if record["seed"] == 2:
            record.update(status="interrupted", correct_bits=None, accuracy=None)

    assert accuracy(records) == expected


def test_a_reason_says_how_far_a_verdict_reaches() -> None:
    records, _ = with_bits(seeds=8, spread=0.05)
    margins = [entry.metrics["accuracy"] for entry in [judged(records, 0.05)]]
    wide, narrow = -margins[0].population_low * 1.05, -margins[0].low * 1.05
    without = [record | {"correct_bits": None} for record in records]

    assert narrow < -margins[0].population_low
    beyond, here, unknown = judged(records, wide), judged(records, narrow), judged(without, narrow)
    assert {entry.verdict for entry in (beyond, here, unknown)} == {Verdict.NON_INFERIOR}
    assert beyond.reason.endswith("also for other data like this validation set")
    assert here.reason.endswith("on this validation set, too small to tell for other data")
    assert unknown.reason.endswith("on this validation set")


CONFUSION = {1: [[440, 10], [10, 40]], 2: [[430, 20], [12, 38]]}


def with_recall() -> list[dict[str, Any]]:
    records = rows([ONE, TWO])
    for record in records:
        matrix = np.array(CONFUSION[record["world_size"]])
        matrix[1] += [record["seed"] - 2, 2 - record["seed"]]
        recalls = np.diag(matrix) / matrix.sum(axis=1)
        record.update(
            eval_samples=500,
            expected_eval_samples=500,
            confusion_matrix=matrix.tolist(),
            per_class_recall=recalls.tolist(),
            recall=recalls[1],
            balanced_accuracy=recalls.mean(),
        )
    return records


def recall_interval(records: list[dict[str, Any]], classes: list[int]) -> tuple[float, float]:
    """Independent samples of each class on both sides."""
    values = {
        size: np.array([r["per_class_recall"] for r in records if r["world_size"] == size])
        for size in (1, 2)
    }
    totals = np.array([450, 50])
    variance = sum(
        values[size][:, k].mean() * (1 - values[size][:, k].mean()) / (totals[k] - 1)
        for size in (1, 2)
        for k in classes
    )
    differences = (values[2] - values[1])[:, classes].mean(axis=1)
    step = 1 / 50 / len(classes)
    seeds = max(differences.var(ddof=1), (step / 2) ** 2) / 5
    sampling = variance / len(classes) ** 2
    return wider(differences.mean(), [(seeds, 4.0), (sampling, float(totals[classes].min() - 1))])


@pytest.mark.parametrize(
    ("metric", "classes"), [("recall", [1]), ("recall[1]", [1]), ("balanced_accuracy", [0, 1])]
)
def test_recalls_rest_on_the_samples_of_their_classes(metric: str, classes: list[int]) -> None:
    records = with_recall()

    found = find(rank(frame(records), margins={metric: 0.1}), 2).metrics[metric]

    expected = recall_interval(records, classes)
    assert (found.population_low, found.population_high) == pytest.approx(expected)


def test_samples_that_both_sides_treat_alike_bound_the_error_of_a_recall() -> None:
    records = with_recall()
    for record in records:  # 4 of 500 samples are treated differently, whatever their class
        right = np.arange(500) < 478 - 4 * (record["world_size"] - 1)
        record.update(correct_bits=np.packbits(right).tobytes(), accuracy=right.mean())
    plain = [record | {"correct_bits": None} for record in records]

    with_bits, without = (
        find(rank(frame(table), margins={"recall": 0.1}), 2).metrics["recall"]
        for table in (records, plain)
    )

    seeds = max(0.0, (0.02 / 2) ** 2) / 5
    expected = wider(with_bits.difference, [(seeds, 4.0), (4 / 50**2, 49.0)])
    assert (with_bits.population_low, with_bits.population_high) == pytest.approx(expected)
    assert without.population_low < with_bits.population_low


def test_other_validation_sets_are_not_compared_sample_by_sample() -> None:
    records, _ = with_bits()
    for record in records:
        if record["world_size"] == 2:
            record.update(eval_samples=496, correct_bits=record["correct_bits"][:62])

    assert accuracy(records).population_low is None


@pytest.mark.parametrize("sweeps", [1, 3])
def test_large_sets_are_worked_through_in_parts(
    sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = with_bits()
    cells = [replace(TWO, world_size=size) for size in range(3, 3 + sweeps)]
    others = [
        record | {key: twin[key] for key in ("accuracy", "eval_samples", "correct_bits")}
        for cell in cells
        for record, twin in zip(rows([cell], 4), records[1::2], strict=True)
    ]
    whole = rank(frame(records + others), margins={"accuracy": 0.05}).to_json()
    monkeypatch.setattr("ddp_sweep.analysis.statistics.population._BYTES_AT_ONCE", 1)

    assert rank(frame(records + others), margins={"accuracy": 0.05}).to_json() == whole
