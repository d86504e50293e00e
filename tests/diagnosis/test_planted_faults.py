"""Each kind of finding against a fault of a known amount, planted in a real training.

Beside each test stand the only other kinds that the fault may bring with it; ``ALWAYS`` are those
of small sweeps on a busy machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweep_of_trials import RunTrial, all_kinds, finding, ranked
from trial_runs import request
from trials_frame import find

from ddp_sweep.analysis import Ranking, Severity

pytestmark = [pytest.mark.diagnosis, pytest.mark.ddp]

ALWAYS = {
    *("edge_of_grid", "idle_cores", "low_speedup", "noisy_measurement", "within_one_start"),
    *("batch_untried_on_smallest", "weak_baseline", "oversubscribed", "no_speedup_claim"),
    # On a busy machine one of two workers may be the slower one as long as a small sweep lasts.
    *("retrograde", "super_linear", "unequal_work"),
}
DIGITS = "ddp_sweep.workloads.digits:Digits"
STEPS = 20


def trials(
    run: RunTrial,
    folder: Path,
    workload: str,
    *,
    world_sizes: tuple[int, ...] = (1, 2),
    batch: int = 32,
    options: dict[str, Any] | None = None,
    samples: int | None = None,
    **training: Any,
) -> Ranking:
    if not workload.startswith("ddp_sweep."):
        workload = f"faulty_workloads:{workload}"
    training = {"samples": samples or STEPS * batch, "evaluations": 4, **training}
    wanted = [
        request(workload, size, batch, seed=0, options=options, training=training)
        for size in world_sizes
    ]
    return ranked(folder, workload, wanted, run)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("copies", [1, 37])
def test_training_rows_among_the_validation_rows_are_counted(
    run: RunTrial, tmp_path: Path, copies: int, listed: bool
) -> None:
    ranking = trials(
        run, tmp_path, "Leaky", options={"copies": copies, "channels": 4, "listed": listed}
    )

    found = finding(ranking, "data_leakage")
    assert found.evidence == {"train_val_overlap": copies, "validation_samples": 360 + copies}
    assert found.severity is (Severity.ERROR if copies == 37 else Severity.WARNING)
    assert all_kinds(ranking) <= {"data_leakage", *ALWAYS}


def test_a_parameter_stepped_outside_ddp_is_named_with_its_distance(
    run: RunTrial, tmp_path: Path
) -> None:
    # The losses of two ranks with different weights also part from those of one.
    consequences = {"wrong_gradient_averaging"}
    ranking = trials(run, tmp_path, "SteppedOutside", options={"drift": 0.01, "channels": 4})

    found = finding(find(ranking, 2), "unsynchronized_replicas")
    assert found.severity is Severity.ERROR
    assert found.evidence["replica_divergence"] == pytest.approx(0.01 * STEPS, rel=1e-3)
    (name,) = found.evidence["parameters"]
    assert name == "6.bias"
    assert name in found.message
    assert not find(ranking, 1).findings
    assert all_kinds(ranking) <= {"unsynchronized_replicas", *consequences, *ALWAYS}


def test_buffers_of_ones_own_are_told_apart_from_parameters_and_from_batch_norm(
    run: RunTrial, tmp_path: Path
) -> None:
    ranking = trials(run, tmp_path, "OwnBuffer", options={"channels": 4})

    found = finding(find(ranking, 2), "unsynchronized_replicas")
    assert found.severity is Severity.INFO
    assert found.evidence == {"buffers": {"offset": 1.0}}
    assert all_kinds(ranking) <= {"unsynchronized_replicas", *ALWAYS}


def test_a_hook_that_adds_up_instead_of_averaging_is_caught(run: RunTrial, tmp_path: Path) -> None:
    ranking = trials(run, tmp_path, "Summed", options={"channels": 4})

    found = finding(find(ranking, 2), "wrong_gradient_averaging")
    # Twice the gradient of two ranks is off by all of it.
    assert found.evidence["gradient_error"] == pytest.approx(1.0, rel=1e-4)
    assert found.evidence["loss_difference"] > 0.001
    assert found.evidence["optimizer_step"] > 1
    assert "added up" in found.message
    assert all_kinds(ranking) <= {"wrong_gradient_averaging", *ALWAYS}


@pytest.mark.parametrize("times", [1.5, 3.0])
def test_a_rank_with_more_work_is_weighed(run: RunTrial, tmp_path: Path, times: float) -> None:
    # Weights that depend on the rank give other gradients than one worker's.
    consequences = {"wrong_gradient_averaging"}
    ranking = trials(run, tmp_path, "Heavier", options={"times": times, "channels": 4})

    found = finding(find(ranking, 2), "unequal_work")
    assert found.evidence["batch_imbalance"] == pytest.approx(times, rel=1e-6)
    assert all_kinds(ranking) <= {*consequences, *ALWAYS}


def test_a_rank_that_sleeps_is_a_straggler_and_its_sleep_the_cause(
    run: RunTrial, tmp_path: Path
) -> None:
    sleep_s = 0.2
    ranking = trials(
        run, tmp_path, "Sleepy", batch=64, options={"seconds": sleep_s, "channels": 4}
    )

    entry = find(ranking, 2)
    slow = finding(entry, "low_speedup").evidence
    assert slow["cause"] == "stragglers"
    # What rank 1 sleeps, and what rank 0 waits for it, are the same.
    waited_s = slow["shares"]["stragglers"] * slow["explained_step_time_s"]
    assert sleep_s * 0.99 <= waited_s <= 1.5 * sleep_s
    assert sum(slow["shares"].values()) == pytest.approx(1, abs=0.03)
    assert slow["explained_step_time_s"] == pytest.approx(slow["step_time_s"], rel=0.1)
    # The slow rank's own step over the mean of the two, which is what a median of two is.
    assert 1.5 < finding(entry, "unequal_work").evidence["straggler_ratio"] <= 2
    assert all_kinds(ranking) <= {*ALWAYS}


def test_a_slow_data_set_is_what_steps_wait_for(run: RunTrial, tmp_path: Path) -> None:
    each_s, batch = 0.002, 64
    ranking = trials(
        run, tmp_path, "SlowData", batch=batch, options={"seconds": each_s, "channels": 4}
    )
    faster = trials(
        run,
        tmp_path / "plain",
        DIGITS,
        batch=batch,
        options={"channels": 4},
    )

    for source in (ranking, faster):
        assert all_kinds(source) <= {*ALWAYS}

    rows = pd.read_parquet(tmp_path / "trials").set_index("world_size")
    for workers in (1, 2):
        row = rows.loc[workers]
        # What each rank slept for its share of the samples, and hardly any more.
        slept_s = each_s * batch / workers * STEPS
        waited_s = row["data_wait_fraction"] * row["train_time_s"]
        assert 0.99 * slept_s <= waited_s <= 2 * slept_s


def test_losses_that_jump_are_told_apart_from_one_workers(run: RunTrial, tmp_path: Path) -> None:
    rates = {1: 0.05, 2: 5.0}
    workload = DIGITS
    wanted = [
        request(
            workload,
            size,
            32,
            training={"samples": 40 * 32, "evaluations": 4, "learning_rate": rate},
        )
        for size, rate in rates.items()
    ]
    ranking = ranked(tmp_path, workload, wanted, run)

    found = finding(find(ranking, 2), "unstable_training")
    assert found.evidence["stable_with_fewest_workers"] == 1
    assert "falls steadily" in found.message
    assert not [f for f in find(ranking, 1).findings if f.kind == "unstable_training"]
    assert all_kinds(ranking) <= {
        *("unstable_training", "lost_runs", "overfitting"),
        *ALWAYS,
    }


def test_a_clean_workload_raises_nothing_of_the_kind(run: RunTrial, tmp_path: Path) -> None:
    assert all_kinds(trials(run, tmp_path, DIGITS, samples=3000)) <= ALWAYS
