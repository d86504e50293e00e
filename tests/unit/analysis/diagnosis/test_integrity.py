"""Findings about data, gradients, replicas and shares of the work: what raises them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosed_tables import ONE, TWO, in_folder, ranked, with_columns
from sweep_of_trials import all_kinds, finding
from trials_frame import Cell, find, rows

from ddp_sweep.analysis import Finding, Severity, rank
from ddp_sweep.schema import REPLICAS_DIFFER


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


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"gradient_error": 1e-7, "train_val_overlap": None}, True),
        ({"gradient_error": 1e-7, "train_val_overlap": 0}, False),
        # The probes were turned off.
        ({"gradient_error": None, "train_val_overlap": None}, False),
    ],
)
def test_a_leak_that_nobody_looked_for_is_not_taken_for_none(
    columns: dict[str, Any], told: bool
) -> None:
    ranking = ranked(*(with_columns(cell, **columns) for cell in (ONE, TWO)))
    assert ("leakage_not_counted" in all_kinds(ranking)) is told


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
