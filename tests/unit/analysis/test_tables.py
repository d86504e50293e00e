"""Tables of other tools: foreign names, conditions, pairing, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trials_frame import find

from ddp_sweep.analysis import Verdict, rank
from ddp_sweep.errors import TableError

LEAST = pd.DataFrame({"world_size": [1, 2], "global_batch_size": 64, "train_time_s": [10.0, 6.0]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_least_table_gives_a_speedup_and_claims_nothing_else(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"runs{suffix}"
    LEAST.to_csv(file, index=False) if suffix == ".csv" else LEAST.to_parquet(file)

    entry = find(rank(file), 2)

    assert entry.speedup == pytest.approx(10 / 6)
    assert (entry.speedup_low, entry.within_one_start, entry.num_nodes) == (None, None, None)
    assert entry.verdict is Verdict.INCONCLUSIVE


def test_throughput_alone_can_be_ranked() -> None:
    table = LEAST.drop(columns="train_time_s").assign(throughput_samples_per_s=[100.0, 170.0])

    assert find(rank(table), 2).speedup == pytest.approx(1.7)


def test_settings_that_differ_are_different_configurations() -> None:
    table = pd.concat([LEAST.assign(learning_rate=rate) for rate in (0.1, 0.2)])

    names = sorted(entry.name for entry in rank(table).configurations)

    assert names == [
        "1 worker (global batch 64), learning rate 0.1",
        "1 worker (global batch 64), learning rate 0.2",
        "2 workers (global batch 64), learning rate 0.1",
        "2 workers (global batch 64), learning rate 0.2",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (LEAST.drop(columns="world_size"), "lacks a column world_size"),
        (LEAST.drop(columns="global_batch_size"), "per_worker_batch_size or global_batch_size"),
        (LEAST.drop(columns="train_time_s"), "time_to_target_s or train_time_s"),
        (
            LEAST.assign(train_time_s=[10, -1]),
            "row 1: received .*-1.*, allowed is a finite number",
        ),
        (LEAST.assign(train_time_s=[10, 0]), "above 0"),
        (LEAST.assign(train_time_s=[10, np.inf]), "received .*inf"),
        (LEAST.assign(train_time_s=["10", "fast"]), "received 'fast'"),
        (LEAST.assign(world_size=[1, 1.5]), "received .*1.5.*, allowed is a whole number"),
        (LEAST.assign(world_size=[1, None]), "world_size has rows without a value"),
        (LEAST.assign(status=["ok", "succeeded"]), "column status holds ok"),
        (LEAST.iloc[:0], "holds no rows"),
    ],
)
def test_tables_that_cannot_be_ranked_say_why(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(TableError, match=message):
        rank(table)
