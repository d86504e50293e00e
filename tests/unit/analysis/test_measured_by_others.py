"""Measurements that others published, with answers worked out elsewhere: MLPerf and Pollux."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ddp_sweep.analysis import Evidence, RecommendationStatus, Verdict, rank

DATA = Path(__file__).parents[2] / "data"


def pollux(workload: str) -> pd.DataFrame:
    """Time to the target of every cell that tests/data/README.md counts."""
    steps = pd.read_csv(DATA / "pollux_throughput.csv")
    steps = steps[steps["workload"] == workload]
    fewest_nodes = steps["num_nodes"] == -(-steps["world_size"] // 4)
    steps = steps[fewest_nodes & steps["world_size"].isin([1, 8, 16, 32, 64])]
    epochs = pd.read_csv(DATA / "pollux_convergence.csv")
    epochs = epochs[epochs["workload"] == workload]
    last = epochs.sort_values("epoch").drop_duplicates("batch_size", keep="last")
    runs = steps.merge(last, left_on="global_batch_size", right_on="batch_size")
    return runs.assign(
        time_to_target_s=runs["iteration"] * runs["step_time_s"],
        per_worker_batch_size=runs["local_bsz"],
        accuracy=runs["metric"] / (100 if workload == "bert" else 1),
    )[
        [
            "world_size",
            "num_nodes",
            "per_worker_batch_size",
            "global_batch_size",
            "time_to_target_s",
            "accuracy",
        ]
    ]


@pytest.mark.parametrize(
    ("workload", "speedups"),
    [
        ("imagenet", {8: 6.69, 16: 12.08, 32: 20.32, 64: 33.88}),
        ("bert", {8: 2.85, 16: 7.67, 32: 13.87, 64: 13.31}),
    ],
)
def test_pollux_against_the_best_cell_of_one_gpu(
    workload: str, speedups: dict[int, float]
) -> None:
    ranking = rank(pollux(workload))

    assert ranking.baseline.world_size == 1
    for world_size, speedup in speedups.items():
        found = [e for e in ranking.configurations if e.world_size == world_size]
        assert max(entry.speedup for entry in found) == pytest.approx(speedup, rel=0.003)


@pytest.mark.parametrize("workload", ["imagenet", "bert"])
def test_one_run_a_cell_gives_no_interval_and_no_verdict(workload: str) -> None:
    ranking = rank(pollux(workload), margins={"accuracy": 0.005})

    assert all(entry.n_seeds == 1 for entry in ranking.configurations)
    others = [e for e in ranking.configurations if e not in (ranking.baseline, ranking.reference)]
    assert {entry.verdict for entry in others} == {Verdict.INCONCLUSIVE}
    assert {entry.speedup_low for entry in others} == {None}
    assert {entry.evidence for entry in others} == {Evidence.NONE}
    assert ranking.recommendation.status is not RecommendationStatus.CONFIRMED
