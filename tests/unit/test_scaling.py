"""Speedups too good or too bad for the number of workers, and margins that cannot hold."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from trials_frame import Cell, find, frame, rows

from ddp_sweep.analysis import Finding, Ranking, rank


def to_target(*cells: tuple[int, float, int], runs: int = 1) -> Ranking:
    """World size, seconds and samples to the target; runs differ by a tenth of a percent."""
    return rank(
        pd.DataFrame(
            [
                {
                    "world_size": size,
                    "global_batch_size": 64 * size,
                    "time_to_target_s": seconds * (1 + run / 1000),
                    "samples_to_target": samples,
                }
                for size, seconds, samples in cells
                for run in range(runs)
            ]
        )
    )


def found(ranking: Ranking, world_size: int) -> Finding | None:
    kinds = ("super_linear", "retrograde")
    findings = [f for f in find(ranking, world_size).findings if f.kind in kinds]
    assert len(findings) <= 1
    return findings[0] if findings else None


@pytest.mark.parametrize("runs", [1, 4])
@pytest.mark.parametrize(
    ("seconds", "samples", "made_by"),
    [
        (40, 1000, "is the throughput of each worker, not the parallelism"),
        (40, 700, "is the number of samples needed, not the parallelism"),
        (30, 900, "is the throughput of each worker and the number of samples needed"),
    ],
)
def test_what_makes_a_speedup_more_than_linear(
    seconds: float, samples: int, made_by: str, runs: int
) -> None:
    finding = found(to_target((1, 100, 1000), (2, seconds, samples), runs=runs), 2)

    assert finding is not None
    assert finding.kind == "super_linear"
    assert made_by in finding.message
    factors = finding.evidence
    product = 2 * factors["throughput_efficiency"] * factors["statistical_efficiency"]
    assert product == pytest.approx(100 / seconds)


@pytest.mark.parametrize("seconds", [50, 60, 90])
def test_an_ordinary_speedup_needs_no_explanation(seconds: float) -> None:
    assert found(to_target((1, 100, 1000), (2, seconds, 1100)), 2) is None


@pytest.mark.parametrize(
    ("seconds", "samples", "words"),
    [
        (130, 1000, "0.77x as many samples a second, and the target took 1.00x as many samples; "
                    "the throughput made it slower"),
        (130, 2600, "2.00x as many samples a second, and the target took 2.60x as many samples; "
                    "the samples made it slower"),
        (200, 1500, "; both made it slower"),
    ],
)  # fmt: skip
def test_what_makes_more_workers_slower_than_the_baseline(
    seconds: float, samples: int, words: str
) -> None:
    finding = found(to_target((1, 100, 1000), (4, seconds, samples)), 4)

    assert finding is not None
    assert finding.kind == "retrograde"
    assert words in finding.message


def test_more_workers_may_be_slower_than_fewer_though_faster_than_the_baseline() -> None:
    ranking = to_target((1, 100, 1000), (32, 7.2, 1200), (64, 7.5, 1800))

    assert found(ranking, 32) is None
    finding = found(ranking, 64)
    assert finding is not None
    assert "Slower than 32 workers (global batch 2,048), though it has 2x" in finding.message
    assert finding.evidence["samples_ratio"] == pytest.approx(1.5)
    assert finding.evidence["throughput_ratio"] == pytest.approx(7.2 / 7.5 * 1.5)


def test_a_difference_that_is_not_shown_is_not_explained() -> None:
    records = rows([Cell(world_size=1, batch=64), Cell(world_size=2, batch=64, seconds=10.05)])

    assert found(rank(frame(records)), 2) is None


CONFUSION = {"confusion_matrix": [[300, 18], [12, 30]], "recall": 30 / 42}


@pytest.mark.parametrize(
    ("margins", "columns", "kind"),
    [
        ({"accuracy": 0.002}, {}, "margin_below_one_sample"),
        ({"accuracy": 0.003}, {}, None),
        ({"recall": 0.02}, CONFUSION, "margin_below_one_sample"),
        ({"recall": 0.03}, CONFUSION, None),
        ({"accuracy": 0.06}, {}, "margin_above_error"),
        ({"accuracy": 0.04}, {}, None),
        ({"val_loss": "2%"}, {}, None),
        ({"val_loss": 0.3}, {}, None),
    ],
)
def test_margins_that_cannot_mean_what_they_seem_to(
    margins: dict[str, Any], columns: dict[str, Any], kind: str | None
) -> None:
    cells = [Cell(world_size=size, batch=64, columns=columns) for size in (1, 2)]

    findings = rank(frame(rows(cells)), margins=margins).findings

    kinds = [finding.kind for finding in findings if finding.kind.startswith("margin")]
    assert kinds == ([] if kind is None else [kind])
