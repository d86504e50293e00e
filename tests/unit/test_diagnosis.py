"""Findings on tables whose figures are given: what raises them, and with which evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sweep_of_trials import all_kinds, finding
from trials_frame import Cell, find, frame, rows, table

from ddp_sweep.analysis import Finding, Ranking, Severity, rank
from ddp_sweep.analysis.diagnosis.disturbances import (
    block_changes,
    modified_z_scores,
    outlying,
    slope,
)
from ddp_sweep.analysis.diagnosis.training import LossCourse
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import EVALS, REPLICAS_DIFFER, STEPS

MARGINS = {"accuracy": 0.01}
ONE = Cell(world_size=1, batch=64, seconds=10)
TWO = Cell(world_size=2, batch=32, seconds=5.5)


def ranked(*cells: Cell, seeds: int = 5, **options: Any) -> Ranking:
    return rank(frame(rows(cells, seeds)), **{"margins": MARGINS, **options})


def with_columns(cell: Cell, **columns: Any) -> Cell:
    return replace(cell, columns={**cell.columns, **columns})


def in_folder(
    path: Path,
    records: list[dict[str, Any]],
    evals: Mapping[str, list[dict[str, Any]]] | None = None,
    steps: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """A results folder; evaluations and steps by trial."""
    folder = ResultsFolder(path)
    for name in ("trials", "evals", "steps"):
        folder.table(name).mkdir(parents=True)
    for record in records:
        trial = record["trial_id"]
        pq.write_table(table([record]), folder.attempt_file("trials", trial, 1))
        for name, schema, found in (("evals", EVALS, evals), ("steps", STEPS, steps)):
            own = [record | one for one in (found or {}).get(trial, [])]
            columns = {column: [one.get(column) for one in own] for column in schema.names}
            pq.write_table(pa.table(columns, schema=schema), folder.attempt_file(name, trial, 1))
    return path


# Integrity


@pytest.mark.parametrize(
    ("kind", "clean", "faulty"),
    [
        ("data_leakage", {"train_val_overlap": 0}, {"train_val_overlap": 12}),
        ("repeated_samples", {"duplicate_samples": 0}, {"duplicate_samples": 3}),
        ("unsynchronized_replicas", {"replica_divergence": 0.0}, {"replica_divergence": 0.25}),
        ("wrong_gradient_averaging", {"gradient_error": 1e-7}, {"gradient_error": 1.0}),
        ("unequal_work", {"batch_imbalance": 1.01}, {"batch_imbalance": 1.5}),
        ("unequal_work", {"straggler_ratio": 1.05}, {"straggler_ratio": 1.4}),
    ],
)
def test_a_fault_of_the_training_is_found_and_brings_nothing_else(
    kind: str, clean: dict[str, Any], faulty: dict[str, Any]
) -> None:
    before = all_kinds(ranked(ONE, with_columns(TWO, **clean)))
    after = all_kinds(ranked(ONE, with_columns(TWO, **faulty)))

    assert kind not in before
    assert after == before | {kind}


@pytest.mark.parametrize(("tokens", "severity"), [(None, Severity.INFO), (9e3, Severity.WARNING)])
def test_what_losses_weigh_is_work_only_where_it_counts_tokens(
    tmp_path: Path, tokens: float | None, severity: Severity
) -> None:
    cell = with_columns(TWO, batch_imbalance=1.2, throughput_tokens_per_s=tokens)

    entry = find(rank(in_folder(tmp_path, rows([ONE, cell]))), 2)

    found = finding(entry, "unequal_work")
    assert found.severity is severity
    assert ("tokens has 1.20x as many" in found.message) is (tokens is not None)
    assert ("weight is no measure of work" in found.message) is (tokens is None)


@pytest.mark.parametrize(
    ("world_size", "times", "found_to_be"),
    # The median of two is their mean, that of four with one slow worker the time of the others.
    [(2, 3.0, 3.0), (2, 1.47, 1.47), (2, 1.15, None), (4, 1.5, 1.5)],
)
def test_a_slow_worker_is_measured_by_the_others(
    world_size: int, times: float, found_to_be: float | None
) -> None:
    own = np.r_[np.ones(world_size - 1), times]
    cell = Cell(
        world_size=world_size,
        batch=64 // world_size,
        seconds=5,
        columns={"straggler_ratio": own.max() / np.median(own)},
    )

    entry = find(ranked(ONE, cell), world_size)

    lead = [f.evidence["slowest_over_others"] for f in entry.findings if f.kind == "unequal_work"]
    assert lead == ([] if found_to_be is None else [pytest.approx(found_to_be)])


def test_tensors_that_differ_are_named_the_farthest_first() -> None:
    gaps = {"0.weight": 0.125, "2.bias": 0.5}
    detail = REPLICAS_DIFFER + json.dumps({"parameters": gaps, "buffers": {}})
    cell = with_columns(TWO, replica_divergence=0.5, status_detail=detail)

    found = finding(find(ranked(ONE, cell), 2), "unsynchronized_replicas")

    assert found.evidence["parameters"] == gaps
    assert "2.bias (by 0.5), 0.weight (by 0.12)" in found.message


@pytest.mark.parametrize(("precision", "caught"), [("float32", True), ("bfloat16", False)])
def test_rounding_of_a_low_precision_is_no_wrong_gradient(precision: str, caught: bool) -> None:
    cell = with_columns(TWO, gradient_error=0.01, compute_precision=precision)

    kinds = {found.kind for found in find(ranked(ONE, cell), 2).findings}

    assert ("wrong_gradient_averaging" in kinds) is caught


def of_traces(
    path: Path, alone: list[float], shared: list[float], **columns: Any
) -> list[Finding]:
    """What is found of two workers whose losses are given beside those of one."""
    cells = [with_columns(cell, **{"traces_comparable": True, **columns}) for cell in (ONE, TWO)]
    steps = {
        trial: [
            {"rank": 0, "optimizer_step": at + 1, "train_loss": loss}
            for at, loss in enumerate(losses)
        ]
        for trial, losses in {"w1b64s0": alone, "w2b32s0": shared}.items()
    }
    entry = find(rank(in_folder(path, rows(cells, 1), steps=steps)), 2)
    return [found for found in entry.findings if found.kind == "wrong_gradient_averaging"]


@pytest.mark.parametrize("comparable", [True, False])
def test_losses_of_equal_batches_are_compared_only_where_they_can_be(
    tmp_path: Path, comparable: bool
) -> None:
    found = of_traces(tmp_path, [2.0, 1.5, 1.0], [2.0, 1.5, 1.1], traces_comparable=comparable)

    assert bool(found) is comparable
    if found:
        assert found[0].evidence["loss_difference"] == pytest.approx(0.1)
        assert found[0].evidence["optimizer_step"] == 3


def test_losses_of_a_low_precision_part_by_rounding_and_are_not_compared(tmp_path: Path) -> None:
    alone, shared = [2.0, 1.5, 1.0], [2.0, 1.501, 1.005]

    assert of_traces(tmp_path / "32", alone, shared)
    assert not of_traces(tmp_path / "16", alone, shared, compute_precision="bfloat16")


def test_losses_are_compared_until_the_training_blows_up(tmp_path: Path) -> None:
    # What rounding made of it afterwards; a batch that is harder by chance is no blow-up.
    assert not of_traces(tmp_path / "after", [2.0, 1.9, 40.0, 35.0], [2.0, 1.9, 43.0, 20.0])
    (before,) = of_traces(tmp_path / "before", [2.0, 2.2, 1.9, 40.0], [2.0, 2.2, 2.09, 90.0])
    assert before.evidence["loss_difference"] == pytest.approx(0.1)
    assert before.evidence["optimizer_step"] == 3


# Training


def course(losses: np.ndarray[Any, Any]) -> LossCourse:
    return LossCourse.of(losses + np.random.default_rng(0).normal(0, 0.02, len(losses)))


def test_a_loss_course_is_judged_as_a_person_would() -> None:
    time = np.linspace(0, 1, 200)
    falling = 2 * np.exp(-3 * time)

    assert course(falling).trouble is None
    assert course(np.full(200, 2.3)).trouble == "does not fall"
    assert course(2 + time).trouble == "does not fall"
    leapt = np.r_[2.3, 5 - 2 * np.linspace(0, 1, 199)]
    assert course(leapt).trouble == "does not fall"
    spiked = falling + 1.5 * (np.abs(time - 0.7) < 0.06)
    fallen = 2 - 2 * np.exp(-3 * 0.64)
    assert course(spiked).lost_again == pytest.approx(1.5 / fallen, rel=0.1)
    assert "rises again" in str(course(spiked).trouble)


def share_in_trouble(losses: np.ndarray[Any, Any], noise: float, runs: int = 200) -> float:
    """Of courses with another noise each, the share that something is said to be wrong with."""
    rng = np.random.default_rng(len(losses))
    noisy = losses + rng.normal(0, noise, (runs, len(losses)))
    return float(np.mean([LossCourse.of(one).trouble is not None for one in noisy]))


@pytest.mark.parametrize(
    ("fall", "noise", "steps"), [(0.015, 0.05, 1000), (0.03, 0.1, 60), (0.05, 0.15, 60)]
)
def test_a_small_or_noisy_fall_is_no_trouble(fall: float, noise: float, steps: int) -> None:
    assert share_in_trouble(np.linspace(2, 2 * (1 - fall), steps), 2 * noise) < 0.05


def test_a_loss_that_falls_in_the_first_few_steps_has_fallen() -> None:
    falling = 0.5 + 0.5 * np.exp(-np.arange(20_000) / 20)

    assert share_in_trouble(falling, 0.025, runs=20) == 0


def test_a_loss_that_never_moves_is_found_in_spite_of_noise() -> None:
    assert share_in_trouble(np.full(2000, 2.3), 0.05) > 0.9


def test_a_loss_that_leaps_up_and_comes_back_to_where_it_was_has_not_fallen() -> None:
    leap = np.r_[2.3, np.full(9, 9.0), np.full(30, 2.3)]
    assert share_in_trouble(leap, 0.1) > 0.9
    # A rate that is high at first, and falls in time, is none.
    recovered = np.r_[2.3, np.full(9, 4.0), np.linspace(2.3, 0.5, 30)]
    assert share_in_trouble(recovered, 0.1) < 0.05


def evaluations(val: list[float], train: list[float], accuracy: list[float]) -> list[Any]:
    return [
        {
            "epoch": float(at + 1),
            "optimizer_step": 10 * (at + 1),
            "val_loss": loss,
            "train_loss": other,
            "accuracy": share,
        }
        for at, (loss, other, share) in enumerate(zip(val, train, accuracy, strict=True))
    ]


def test_overfitting_says_what_stopping_would_have_given(tmp_path: Path) -> None:
    train = [1.0, 0.8, 0.6, 0.4, 0.2, 0.1]
    overfit = evaluations([1.0, 0.5, 0.6, 0.7, 0.8, 0.9], train, [0.7, 0.9, 0.9, 0.9, 0.8, 0.8])
    healthy = evaluations([1.0, 0.8, 0.6, 0.5, 0.4, 0.39], train, [0.7, 0.8, 0.8, 0.9, 0.9, 0.9])
    records = rows([ONE, TWO], 3)
    evals = {
        record["trial_id"]: overfit if record["world_size"] == 2 else healthy for record in records
    }

    ranking = rank(in_folder(tmp_path, records, evals=evals))

    found = finding(find(ranking, 2), "overfitting")
    expected = {
        **{"runs": 3, "of_runs": 3, "best_epoch": 2, "last_epoch": 6},
        **{"val_loss_best": 0.5, "val_loss_last": 0.9},
        **{"accuracy_best": 0.9, "accuracy_last": 0.8},
    }
    assert found.evidence == expected
    assert "accuracy 0.900 instead of 0.800" in found.message
    assert "overfitting" not in {f.kind for f in find(ranking, 1).findings}


STEADY = [{"rank": 0, "optimizer_step": at + 1, "train_loss": 2 - at / 100} for at in range(100)]
STANDING = [{"rank": 0, "optimizer_step": at + 1, "train_loss": 2.0} for at in range(100)]


def courses(path: Path, records: list[dict[str, Any]], standing: set[str]) -> Ranking:
    """The ranking of runs with steady losses, but for those of some trials."""
    steps = {
        record["trial_id"]: STANDING if record["trial_id"] in standing else STEADY
        for record in records
    }
    return rank(in_folder(path / "results", records, steps=steps))


@pytest.mark.parametrize("alone_too", [False, True])
def test_a_diverged_run_is_compared_with_its_batches_on_fewer_workers(
    tmp_path: Path, alone_too: bool
) -> None:
    # The quality reference has another batch.
    records = rows([Cell(world_size=1, batch=16, seconds=12), ONE, TWO], 3)
    for record in records:
        touched = {"w2b32", "w1b64"} if alone_too else {"w2b32"}
        if record["seed"] == 1 and record["configuration_id"] in touched:
            record["status"] = "diverged"

    found = finding(find(courses(tmp_path, records, set()), 2), "unstable_training")

    assert found.severity is Severity.WARNING
    assert found.evidence["runs"] == 1
    assert found.evidence["of_runs"] == 3
    assert found.evidence["seed"] == "1"
    assert found.evidence["compared_with"] == "1 worker x 64"
    assert found.evidence["stable_with_fewest_workers"] == (0 if alone_too else 1)
    assert "that of 1 worker x 64 " + ("is no better" if alone_too else "falls steadily") in (
        found.message
    )


def test_a_diverged_baseline_is_not_compared_with_itself() -> None:
    records = rows([Cell(world_size=1, batch=16), TWO, Cell(world_size=4, batch=16)], 5)
    for record in records:
        if record["world_size"] > 1 and record["seed"] == 1:
            record["status"] = "diverged"

    ranking = rank(frame(records), baseline={"world_size": 2, "per_worker_batch_size": 32})

    own = finding(find(ranking, 2), "unstable_training")
    assert own.evidence["compared_with"] is None
    assert "same seed" not in own.message
    other = finding(find(ranking, 4), "unstable_training")
    assert other.evidence["compared_with"] == "2 workers x 32 (global batch 64)"
    assert "is no better" in other.message


def test_a_twin_of_whose_losses_nothing_is_known_is_not_compared_with() -> None:
    records = rows([ONE, TWO], 3)
    records[1]["status"] = "diverged"

    found = finding(find(rank(frame(records)), 2), "unstable_training")

    assert found.evidence["compared_with"] is None


@pytest.mark.parametrize(
    ("runs", "severity"), [(1, Severity.INFO), (2, Severity.INFO), (3, Severity.WARNING)]
)
def test_losses_that_stand_still_in_few_runs_are_no_warning(
    tmp_path: Path, runs: int, severity: Severity
) -> None:
    standing = {f"w2b32s{seed}" for seed in range(runs)}

    found = finding(find(courses(tmp_path, rows([ONE, TWO]), standing), 2), "unstable_training")

    assert found.severity is severity
    assert found.evidence["runs"] == runs


# Quality


def confusion(frauds: int, found: int, others: int, alarms: int) -> dict[str, Any]:
    matrix = [[others - alarms, alarms], [frauds - found, found]]
    recalls = [(others - alarms) / others, found / frauds]
    return {
        "confusion_matrix": matrix,
        "class_names": ["regular", "fraud"],
        "accuracy": (others - alarms + found) / (frauds + others),
        "balanced_accuracy": sum(recalls) / 2,
        "recall": recalls[1],
        "mcc": 0.2,
    }


def test_a_high_accuracy_with_a_poor_recall_names_the_class() -> None:
    # 98 % accuracy, 12 % recall.
    cell = with_columns(ONE, **confusion(frauds=50, found=6, others=2450, alarms=6))

    found = finding(find(ranked(cell, TWO), 1), "accuracy_paradox")

    assert found.evidence == {
        "runs": 5,
        "of_runs": 5,
        "accuracy": pytest.approx(0.98),
        "majority_share": pytest.approx(0.98),
        "class": "fraud",
        "recall": pytest.approx(0.12),
        "balanced_accuracy": pytest.approx((0.12 + 2444 / 2450) / 2),
        "mcc": pytest.approx(0.2),
    }
    assert "fraud" in found.message


def test_a_class_hidden_in_one_run_is_told_with_the_figures_of_all() -> None:
    records = rows([ONE, TWO])
    for record in records:
        found_frauds = 2 if record["seed"] == 0 else 18
        record |= confusion(frauds=20, found=found_frauds, others=980, alarms=2)

    found = finding(find(rank(frame(records)), 1), "accuracy_paradox")

    assert (found.evidence["runs"], found.evidence["of_runs"]) == (1, 5)
    assert found.evidence["recall"] == pytest.approx((2 + 4 * 18) / (5 * 20))
    assert found.evidence["accuracy"] == pytest.approx((980 + 4 * 996) / 5000)
    assert "Of class fraud 74 % are found, and in 1 of 5 runs less than half" in found.message


@pytest.mark.parametrize(
    "counts",
    [
        {"frauds": 50, "found": 45, "others": 2450, "alarms": 100},  # less accurate, but useful
        {"frauds": 50, "found": 40, "others": 2450, "alarms": 2},  # good
        {"frauds": 1000, "found": 400, "others": 1500, "alarms": 0},  # no majority to hide behind
    ],
)
def test_a_model_that_finds_the_class_or_has_no_majority_is_no_paradox(
    counts: dict[str, int],
) -> None:
    cell = with_columns(ONE, **confusion(**counts))

    assert "accuracy_paradox" not in all_kinds(ranked(cell, TWO))


LOST = Cell(world_size=4, batch=64, seconds=4, accuracy=0.90)


def regression(*cells: Cell) -> Finding:
    """What is found of the 4 workers that share 256 samples and lost 5 points of accuracy."""
    return finding(
        find(ranked(ONE, LOST, *cells, reference_batch_size=64), 4, 64), "quality_regression"
    )


@pytest.mark.parametrize(
    ("world_size", "batch", "accuracy", "cause", "said"),
    [
        (1, 256, 0.90, "batch_size", "same global batch and loses too much as well"),
        (1, 256, 0.95, "workers", "differs in that alone and keeps within the margin"),
        (4, 16, 0.91, "workers", "the reference's batch, and loses too much as well"),
        (4, 16, 0.95, "batch_size", "differs in that alone and keeps within the margin"),
        (2, 64, 0.95, "unknown", "is not known"),
    ],
)
def test_a_loss_of_quality_is_put_down_to_what_one_other_configuration_isolates(
    world_size: int, batch: int, accuracy: float, cause: str, said: str
) -> None:
    found = regression(Cell(world_size=world_size, batch=batch, seconds=9, accuracy=accuracy))

    assert found.evidence["cause"] == cause
    assert said in found.message
    assert found.evidence["loss"] == pytest.approx(0.05, abs=0.006)
    assert found.evidence["margin"] == 0.01
    if cause != "unknown":
        assert found.evidence["loss_there"] == pytest.approx(0.95 - accuracy, abs=0.006)


def parameters(**changed: Any) -> str:
    return json.dumps({"workload": "digits", "learning_rate": 0.05, "epochs": 8, **changed})


def test_a_configuration_of_other_settings_isolates_neither_batch_nor_workers() -> None:
    other = {"parameters": parameters(epochs=1)}
    found = regression(
        Cell(world_size=1, batch=256, seconds=9, accuracy=0.90, columns=other),
        Cell(world_size=4, batch=16, seconds=5, accuracy=0.95, columns=other),
    )

    assert found.evidence["cause"] == "unknown"


@pytest.mark.parametrize(
    ("columns", "baseline", "named"),
    [
        (
            {"learning_rate": 1.0, "parameters": parameters(learning_rate=1.0)},
            {"learning_rate": 0.05},
            "learning rate 1.0",
        ),
        (
            {"compute_precision": "bfloat16"},
            {"compute_precision": "float32"},
            "compute precision bfloat16",
        ),
        ({"parameters": parameters(epochs=1)}, {"epochs": 8}, "epochs 1"),
    ],
)
def test_a_loss_of_quality_by_another_setting_is_not_blamed_on_the_batch(
    columns: dict[str, Any], baseline: dict[str, Any], named: str
) -> None:
    other = Cell(world_size=1, batch=64, seconds=9, accuracy=0.90, columns=columns)
    records = [
        record | {"configuration_id": name, "trial_id": f"{name}{record['seed']}"}
        for name, cell in (("good", ONE), ("other", other))
        for record in rows([cell], 5)
    ]

    ranking = rank(frame(records), margins=MARGINS, baseline=baseline)

    (entry,) = [one for one in ranking.configurations if one.configuration_id == "other"]
    found = finding(entry, "quality_regression")
    assert found.evidence["cause"] == "settings"
    assert (
        f"Neither the batch nor the number of workers did it, but another setting ({named})"
        in (found.message)
    )


# Speed


def step(own_s: float, wait_s: float, sync_s: float, rank: int, at: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "optimizer_step": at,
        "train_loss": 1.0,
        "step_time_s": own_s + wait_s + sync_s,
        "data_wait_s": wait_s,
        "communication_s": sync_s,
    }


@dataclass(frozen=True)
class Planted:
    own_s: tuple[float, float]
    wait_s: tuple[float, float]
    communication_s: float
    cause: str
    oversubscribed: bool = False
    exchange_s: float | None = None
    """Of a step, as timed with the exchange of gradients and without; None: not timed."""
    taken_s: float = 0.0
    """What of it the exchange takes from computation beside it."""


@pytest.mark.parametrize(
    "planted",
    [
        Planted((0.05, 0.05), (0.0, 0.0), 0.06, "communication"),
        Planted((0.05, 0.05), (0.08, 0.08), 0.01, "data_wait"),
        Planted((0.05, 0.15), (0.0, 0.0), 0.01, "stragglers"),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "too_little_work"),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "oversubscribed_cores", True),
        # Less than what was waited for says nothing; more was taken from computation, as far as
        # computation was slower than the baseline's.
        Planted((0.05, 0.05), (0.0, 0.0), 0.06, "communication", exchange_s=0.02),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "communication", exchange_s=0.04, taken_s=0.03),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "communication", exchange_s=0.08, taken_s=0.04),
    ],
    ids=str,
)
def test_a_low_speedup_comes_with_its_cause_in_shares_of_the_step(
    tmp_path: Path, planted: Planted
) -> None:
    """The baseline computes 0.1 s for 64 samples, so 0.05 s are due to the 32 of a worker."""
    steps_done, alone_s = 10, 0.1
    own = [sum(pair) for pair in zip(planted.own_s, planted.wait_s, strict=True)]
    step_s = max(own) + planted.communication_s
    one = with_columns(
        ONE, train_time_s=steps_done * alone_s, optimizer_steps=steps_done, samples=640
    )
    two = with_columns(
        TWO,
        train_time_s=steps_done * step_s,
        optimizer_steps=steps_done,
        samples=640,
        oversubscribed=planted.oversubscribed,
        communication_fraction=planted.exchange_s and planted.exchange_s / step_s,
    )
    records = rows([one, two], 2)
    ats = range(1, steps_done + 1)
    by_size = {
        1: [step(alone_s, 0.0, 0.0, 0, at) for at in ats],
        2: [
            step(planted.own_s[r], planted.wait_s[r], step_s - own[r], r, at)
            for at in ats
            for r in (0, 1)
        ],
    }
    steps = {record["trial_id"]: by_size[record["world_size"]] for record in records}

    found = finding(find(rank(in_folder(tmp_path, records, steps=steps)), 2), "low_speedup")

    shares, evidence = found.evidence["shares"], found.evidence
    assert evidence["cause"] == planted.cause
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    assert evidence["explained_step_time_s"] == pytest.approx(evidence["step_time_s"])
    assert evidence["step_time_s"] == pytest.approx(step_s)
    assert shares["computation"] * step_s == pytest.approx(0.05)
    exchange_s = planted.communication_s + planted.taken_s
    assert shares["communication"] * step_s == pytest.approx(exchange_s)
    assert shares["data_wait"] * step_s == pytest.approx(planted.wait_s[0])
    late_s = max(planted.own_s) - min(planted.own_s)
    assert shares["stragglers"] * step_s == pytest.approx(late_s)
    assert evidence["speedup"] == pytest.approx(alone_s / step_s)
    assert found.severity is Severity.INFO


@pytest.mark.parametrize(
    ("device", "nodes", "cause"),
    [
        ("cuda", 8, "slower_computation"),
        ("cuda", 1, "slower_computation"),
        ("cpu", 8, "slower_computation"),
        ("cpu", 1, "oversubscribed_cores"),
    ],
)
def test_computation_slower_over_as_many_samples_is_blamed_on_cores_only_where_they_are_shared(
    tmp_path: Path, device: str, nodes: int, cause: str
) -> None:
    """Weak scaling: 64 samples a worker throughout, 0.1 s of the baseline and 0.145 s of 8."""
    done = {"optimizer_steps": 10, "device_type": device, "physical_cores": 64}
    one = with_columns(ONE, train_time_s=1.0, samples=640, **done)
    eight = Cell(
        world_size=8,
        batch=64,
        columns={"train_time_s": 1.5, "samples": 5120, "num_nodes": nodes, **done},
    )
    steps_of = {
        1: [step(0.1, 0, 0, 0, at) for at in range(1, 11)],
        8: [step(0.145, 0, 0.005, rank_, at) for at in range(1, 11) for rank_ in range(8)],
    }
    records = rows([one, eight], 2)
    steps = {record["trial_id"]: steps_of[record["world_size"]] for record in records}

    found = finding(find(rank(in_folder(tmp_path, records, steps=steps)), 8), "low_speedup")

    assert found.evidence["cause"] == cause
    assert found.evidence["shares"][cause] == pytest.approx(0.3)
    assert ("physical cores" in found.message) is (cause == "oversubscribed_cores")


def test_a_good_speedup_needs_no_excuse() -> None:
    assert "low_speedup" not in all_kinds(ranked(ONE, TWO))


@pytest.mark.parametrize(
    ("cores", "threads", "idle"), [(8, 1, True), (8, 8, False), (1, 1, False)]
)
def test_cores_that_one_worker_could_have_had(cores: int, threads: int, idle: bool) -> None:
    alone = with_columns(ONE, physical_cores=cores, threads_per_worker=threads)
    ranking = ranked(alone, with_columns(TWO, physical_cores=cores))

    assert ("idle_cores" in all_kinds(ranking)) is idle
    if idle:
        evidence = finding(ranking, "idle_cores").evidence
        assert evidence == {"cores": 8, "used": 1, "world_size": 1}


def test_cores_that_do_not_divide_among_the_workers_are_not_idle() -> None:
    cells = [Cell(world_size=size, batch=32, columns={"threads_per_worker": 2}) for size in (3, 4)]
    more = [with_columns(cell, physical_cores=9) for cell in cells]

    assert "idle_cores" not in all_kinds(ranked(*cells))
    assert "cpus_per_worker: 3" in finding(ranked(*more), "idle_cores").message


# Noise


def signs(ranking: Ranking) -> set[str]:
    return {
        found.evidence["sign"] for found in ranking.findings if found.kind == "noisy_measurement"
    }


def disturbed(factor: Any, seeds: int = 8) -> Ranking:
    """Times of each run multiplied by a function of (configuration, block)."""
    cells = [ONE, TWO, Cell(world_size=2, batch=64, seconds=5)]
    records = rows(cells, seeds)
    for record in records:
        record["train_time_s"] *= factor(record["configuration_id"], record["block"])
    return rank(frame(records))


def test_each_way_of_being_disturbed_is_told_by_its_sign() -> None:
    assert signs(disturbed(lambda _cell, _block: 1.0)) == set()
    first = disturbed(lambda _cell, block: 1.2 if block == 0 else 1.0)
    assert "first_block" in signs(first)
    assert "drift" not in signs(first)
    drift = disturbed(lambda _cell, block: 1 + 0.03 * block)
    assert "drift" in signs(drift)
    assert finding(drift, "noisy_measurement").evidence["change"] == pytest.approx(0.21, abs=0.04)
    outlier = disturbed(lambda cell, block: 1.5 if (cell, block) == ("w1b64", 4) else 1.0)
    evidence = finding(outlier, "noisy_measurement").evidence
    assert (evidence["sign"], evidence["runs"]) == ("outliers", 1)
    assert evidence["largest"] == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("met_at", [[3, 3, 3, 3, 3, 4], [4, 3, 3, 3, 3, 3], [3, 3, 3, 4, 4, 4]])
def test_when_a_seed_meets_the_target_is_no_disturbance(met_at: list[int]) -> None:
    records = rows([ONE, TWO, Cell(world_size=4, batch=16, seconds=3)], len(met_at))
    for record in records:
        share = met_at[record["seed"]] / 10
        record["time_to_target_s"] = record["train_time_s"] * share
        record["samples_to_target"] = int(record["samples"] * share)

    ranking = rank(frame(records), margins=MARGINS, target={"accuracy": 0.9})

    assert signs(ranking) == set()


@dataclass(frozen=True)
class LogTimes:
    """Log times of many sweeps, normal but for what is planted; shape [sweeps, cells, blocks]."""

    values: np.ndarray[Any, Any]

    @classmethod
    def clean(cls, sweeps: int, cells: int, blocks: int, sd: float, block_sd: float) -> LogTimes:
        rng = np.random.default_rng(cells * blocks)
        of_runs = rng.normal(0, sd, (sweeps, cells, blocks))
        return cls(of_runs + rng.normal(0, block_sd, (sweeps, 1, blocks)))

    def share(self, sign: str) -> float:
        """Of the sweeps, in how many a sign is found; ``any`` for whichever."""
        return float(np.mean([self._has(one, sign) for one in self.values]))

    @staticmethod
    def _has(sweep: np.ndarray[Any, Any], sign: str) -> bool:
        cell, block = np.indices(sweep.shape)
        residual = sweep - sweep.mean(axis=1, keepdims=True)
        found = {change.sign for change in block_changes(residual.ravel(), block.ravel())}
        if outlying(sweep.ravel(), cell.ravel())[0].any():
            found.add("outliers")
        return bool(found) if sign == "any" else sign in found


@pytest.mark.parametrize(("cells", "blocks"), [(1, 5), (8, 5), (16, 5), (16, 10), (200, 5)])
@pytest.mark.parametrize(("sd", "block_sd"), [(0.03, 0.0), (0.05, 0.0), (0.01, 0.03)])
def test_few_undisturbed_sweeps_are_called_disturbed(
    cells: int, blocks: int, sd: float, block_sd: float
) -> None:
    assert LogTimes.clean(400, cells, blocks, sd, block_sd).share("any") <= 0.05


def test_disturbances_of_a_size_to_care_about_are_found() -> None:
    clean = LogTimes.clean(100, cells=8, blocks=5, sd=0.02, block_sd=0.0).values
    one_run, first = np.zeros((8, 5)), np.zeros((8, 5))
    one_run[3, 2], first[:, 0] = np.log(1.4), np.log(1.15)

    assert LogTimes(clean + one_run).share("outliers") > 0.95
    assert LogTimes(clean + first).share("first_block") > 0.95
    assert LogTimes(clean + np.log(1.11) * np.linspace(0, 1, 5)).share("drift") > 0.95


def test_uneven_steps_and_other_load_are_noisy() -> None:
    uneven = {"step_time_median_s": 0.01, "step_time_p95_s": 0.03}
    cells = [with_columns(cell, **uneven, other_load=0.3) for cell in (ONE, TWO)]

    assert signs(ranked(*cells)) == {"step_times", "other_load"}


def test_slope_and_scores_agree_with_other_implementations() -> None:
    rng = np.random.default_rng(1)
    x = np.repeat(np.arange(6.0), 3)
    y = 0.1 * x + rng.normal(size=18)

    line = stats.linregress(x, y)
    assert slope(x, y) == pytest.approx((line.slope, line.pvalue))
    two = (x > 0).astype(float)
    equal = stats.ttest_ind(y[two == 1], y[two == 0])
    assert slope(two, y)[1] == pytest.approx(equal.pvalue)
    one = np.r_[1.0, np.zeros(17)]
    error = np.std(y[1:], ddof=1) * np.sqrt(1 + 1 / 17)
    apart = (y[0] - np.mean(y[1:])) / error
    assert slope(one, y)[1] == pytest.approx(2 * stats.t.sf(abs(apart), 16))
    deviation = stats.median_abs_deviation(y, scale=0.6745)
    gaps = y - np.median(y)
    assert modified_z_scores(gaps) == pytest.approx(gaps / deviation)


def test_the_ranking_of_a_foreign_table_is_not_diagnosed_from_columns_it_lacks() -> None:
    table_of_others = pd.DataFrame(
        {
            "world_size": [1, 1, 2, 2],
            "global_batch_size": 64,
            "train_time_s": [10.0, 10.2, 9.0, 9.1],
        }
    )

    found = all_kinds(rank(table_of_others))

    assert found <= {"edge_of_grid", "reference_ambiguous"}
