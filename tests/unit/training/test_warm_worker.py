from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ddp_processes import RankProcesses
from training_workloads import release_threads
from trial_runs import process_state, repeated, request, run_trial

pytestmark = pytest.mark.ddp
DIGITS = "ddp_sweep.workloads.digits:Digits"
NASTY = "training_workloads:Nasty"
LEAVES_THREAD = "training_workloads:LeavesThread"
BETWEEN = 48


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_trial_ends_the_same_first_in_a_fresh_worker_and_fiftieth_in_a_warm_one(
    world_size: int, tmp_path: Path
) -> None:
    wanted = request(DIGITS, world_size, 48, seed=2, training={"epochs": 2.0, "evaluations": 2})
    nasty = request(NASTY, world_size, 24, training={"samples": 24})
    with RankProcesses(world_size, tmp_path) as fresh:
        first = fresh.run(run_trial, DIGITS, wanted)
        state = fresh.run(process_state)
        fresh.run(repeated, NASTY, nasty, BETWEEN)
        assert fresh.run(process_state) == state
        fiftieth = fresh.run(run_trial, DIGITS, wanted)

    for before, after in zip(first, fiftieth, strict=True):
        assert len(before.steps.train_loss) >= 50
        np.testing.assert_allclose(
            after.steps.train_loss[:50], before.steps.train_loss[:50], rtol=0, atol=1e-6
        )
        assert after.threads == before.threads == 1
        assert after.peak_memory_bytes == pytest.approx(before.peak_memory_bytes, rel=0.1)
        assert before.recycle_reason is after.recycle_reason is None
    accuracies = [run[0].evaluations[-1].quality["accuracy"] for run in (first, fiftieth)]
    assert accuracies[0] == accuracies[1] > 0.5


def test_a_trial_that_leaves_a_thread_asks_for_a_new_process(pool: RankProcesses) -> None:
    try:
        report = pool.run(run_trial, LEAVES_THREAD, request(LEAVES_THREAD, 1, 24))[0]
    finally:
        pool.run(release_threads)
    assert report.recycle_reason == "threads left running: left behind"
