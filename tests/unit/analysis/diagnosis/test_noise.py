"""Findings about disturbed measurements: what raises them, with what evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from diagnosed_tables import MARGINS, ONE, TWO, ranked, with_columns
from scipy import stats
from sweep_of_trials import all_kinds, finding
from trials_frame import Cell, frame, rows

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.analysis.diagnosis.disturbances import (
    block_changes,
    modified_z_scores,
    outlying,
    slope,
)


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
