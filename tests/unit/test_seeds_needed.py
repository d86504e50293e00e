"""The number of seeds that is advised, against scipy's noncentral t distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from trials_frame import Cell, find, frame, rows

from ddp_sweep.analysis import Verdict, rank

ONE = Cell(world_size=1, batch=64, seconds=10)
TWO = Cell(world_size=2, batch=64, seconds=6, accuracy=0.946, spread=0.012)


def least(sd: float, freedom: float, per_run: float, margin: float, alpha: float) -> int:
    """Counted upwards from 3."""
    sd *= np.sqrt(freedom / stats.chi2.ppf(0.4, freedom))
    for n in range(3, 5000):
        df = per_run * (n - 1)
        critical = stats.t.ppf(1 - alpha, df)
        if stats.nct.sf(critical, df, margin * np.sqrt(n) / sd) >= 0.8:
            return n
    raise AssertionError


def accuracies(records: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    table = frame(records).sort_values("seed")
    one, two = (table.loc[table["world_size"] == size, "accuracy"] for size in (2, 1))
    return one.to_numpy(), two.to_numpy()


@pytest.mark.parametrize("margin", [0.004, 0.006, 0.008])
def test_pairs(margin: float) -> None:
    records = rows([ONE, TWO])
    own, reference = accuracies(records)
    sd = (own - reference).std(ddof=1)

    entry = find(rank(frame(records), margins={"accuracy": margin}), 2)

    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.seeds_needed == least(sd, 4, 1, margin, 0.025)


def test_independent_runs() -> None:
    records = rows([ONE, TWO], seeds=6)
    for record in records:
        record["seed"] += 100 * record["world_size"]
    own, reference = accuracies(records)
    a, b = own.var(ddof=1), reference.var(ddof=1)
    freedom = (a + b) ** 2 / (a**2 / 5 + b**2 / 5)

    entry = find(rank(frame(records), margins={"accuracy": 0.01}), 2)

    expected = least(np.sqrt(a + b), freedom, freedom / 5, 0.01, 0.025)
    assert entry.seeds_needed == expected


def test_the_most_demanding_margin_counts() -> None:
    records = rows([ONE, TWO])
    noise = np.random.default_rng(1)
    for record in records:
        record["val_loss"] = 0.15 + noise.normal(0, 0.02)

    def needed(**margins: float) -> int | None:
        return find(rank(frame(records), margins=margins), 2).seeds_needed

    singly = needed(accuracy=0.008), needed(val_loss=0.01)
    assert None not in singly
    assert needed(accuracy=0.008, val_loss=0.01) == max(singly)


@pytest.mark.parametrize(
    ("accuracy", "margin"),
    [
        (0.95, 0.05),  # held
        (0.80, 0.01),  # lost
        (0.944, 0.0005),  # the loss observed exceeds the margin
    ],
)
def test_none_are_needed_or_none_would_help(accuracy: float, margin: float) -> None:
    two = Cell(world_size=2, batch=64, accuracy=accuracy, spread=0.012)

    assert (
        find(rank(frame(rows([ONE, two])), margins={"accuracy": margin}), 2).seeds_needed is None
    )


def test_a_single_run_tells_nothing_about_the_spread() -> None:
    found = find(rank(frame(rows([ONE, TWO], seeds=1)), margins={"accuracy": 0.05}), 2)

    assert (found.verdict, found.seeds_needed) == (Verdict.INCONCLUSIVE, None)


def test_failures_are_not_mended_by_more_seeds() -> None:
    records = rows([ONE, Cell(world_size=2, batch=64)])
    records[-1].update(status="diverged", accuracy=None, train_time_s=None)

    entry = find(rank(frame(records), margins={"accuracy": 0.01}), 2)

    assert (entry.verdict, entry.seeds_needed) == (Verdict.INCONCLUSIVE, None)
