"""What a workload leaves behind does not touch the trial that comes next."""

from __future__ import annotations

from pathlib import Path

import fault_scene
import pandas as pd
import pytest
from fault_scene import attempts, run, sweep_over

from ddp_sweep.results import load_results

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("ray_of_two", "nothing_left"),
]

LEAKS = ("leak_memory", "leak_thread", "leak_child", "leak_settings")
NEEDS_NEW_WORKERS = {"leak_child"}
"""What the first trial of a process holds in memory is what later ones are held to; and a thread
that is started in a daemon's thread, as Ray Train's are, is a daemon like those of libraries."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all sweeps alike: the workload gets it, so it is part of what a trial is."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def seed(folder: Path) -> int:
    """One with which each of the leaks comes before the trial that it might touch."""
    for candidate in range(1000):
        specs = (sweep_over(folder, leak, "none", seeds=[candidate]) for leak in LEAKS)
        if all(fault_scene.first_fault(one) != "none" for one in specs):
            return candidate
    raise AssertionError


@pytest.fixture(scope="module")
def alone(
    ray_of_two: None,  # noqa: ARG001 - connected before
    folder: Path,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Results of the trial by itself."""
    results = tmp_path_factory.mktemp("alone") / "results"
    run(sweep_over(folder, "none", seeds=[seed]), results)
    return results


def measured(results: Path, trial_id: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What of a trial must be the same whatever ran before it."""
    found = load_results(results)
    trial, steps = (one[one["trial_id"] == trial_id] for one in (found.trials, found.steps))
    columns = ["status", "samples", "val_loss", "accuracy", "auroc", "threads_per_worker"]
    losses = steps.sort_values(["rank", "optimizer_step"])[
        ["rank", "optimizer_step", "train_loss"]
    ]
    return trial[columns].reset_index(drop=True), losses.reset_index(drop=True)


@pytest.mark.parametrize("leak", LEAKS)
def test_the_next_trial_is_as_if_alone(
    leak: str, folder: Path, seed: int, alone: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    run(sweep_over(folder, leak, "none", seeds=[seed]), results)

    rows = attempts(results)
    assert list(rows["fault"]) == [leak, "none"]
    assert list(rows["status"]) == ["succeeded", "succeeded"]
    gap_s = (rows["started_at"][1] - rows["finished_at"][0]).total_seconds()
    print(
        f"fault: {leak} status: succeeded seen after: 0.0 s next trial after: {gap_s:.1f} s "
        "rows lost: 0"
    )
    assert (rows["gang_id"].nunique() == 2) == (leak in NEEDS_NEW_WORKERS)
    (trial_id,) = load_results(alone).trials["trial_id"]
    for mine, reference in zip(
        measured(results, trial_id), measured(alone, trial_id), strict=True
    ):
        assert len(reference)
        pd.testing.assert_frame_equal(mine, reference, check_exact=True)
