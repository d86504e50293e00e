"""Findings about metrics that mislead, and lost quality: what raises them, with what evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from diagnosed_tables import MARGINS, ONE, TWO, ranked, with_columns
from sweep_of_trials import all_kinds, finding
from trials_frame import Cell, find, frame, rows

from ddp_sweep.analysis import Finding, rank


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
