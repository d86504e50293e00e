"""Findings about the course of losses: what raises them, with what evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosed_tables import ONE, TWO, in_folder
from sweep_of_trials import finding
from trials_frame import Cell, find, frame, rows

from ddp_sweep.analysis import Ranking, Severity, rank
from ddp_sweep.analysis.diagnosis.training import LossCourse


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
