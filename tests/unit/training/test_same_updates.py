from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from plain_loop import Problem, digits, fraud, train
from trial_runs import request, run_trial

from ddp_sweep.schema import Status

pytestmark = pytest.mark.ddp

DIGITS = "ddp_sweep.workloads.digits:Digits"
ODD_DIGITS = "training_workloads:OddDigits"
FRAUD = "ddp_sweep.workloads.fraud:Fraud"


def problem(workload: str) -> Problem:
    if workload == FRAUD:
        return fraud(samples=1003, class_weight=10.0)
    return digits(rows=997 if workload == ODD_DIGITS else None)


CASES: dict[str, dict[str, Any]] = {
    "whole batches": {"workload": DIGITS, "batch": 48, "samples": 2 * 1437},
    "uneven last batch": {"workload": ODD_DIGITS, "batch": 192, "samples": 2000},
    # The last batch of all has 3 samples: with 2 or 3 ranks, one of them takes all.
    "fewer than two samples a rank": {
        "workload": ODD_DIGITS,
        "batch": 198,
        "samples": 2 * 997 + 2 * 198 + 3,
    },
    # 997 = 83 x 12 + 1.
    "one sample is left over": {"workload": ODD_DIGITS, "batch": 12, "samples": 997},
    "accumulation": {
        "workload": ODD_DIGITS,
        "batch": 192,
        "samples": 2000,
        "training": {"max_per_worker_batch_size": 40},
    },
    "clipping": {
        "workload": ODD_DIGITS,
        "batch": 96,
        "samples": 1100,
        "training": {"max_gradient_norm": 0.4, "max_per_worker_batch_size": 24},
    },
    "class weights": {
        "workload": FRAUD,
        "batch": 60,
        "samples": 1000,
        "options": {"samples": 1003, "class_weight": 10.0},
    },
    "class weights and accumulation": {
        "workload": FRAUD,
        "batch": 60,
        "samples": 1000,
        "options": {"samples": 1003, "class_weight": 10.0},
        "training": {"max_per_worker_batch_size": 10},
    },
}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_trial_makes_the_updates_of_a_plain_loop(
    pool: RankProcesses, case: dict[str, Any], world_size: int
) -> None:
    settings = {"samples": case["samples"], **case.get("training", {})}
    torch.set_num_threads(1)
    plain = train(
        problem(case["workload"]),
        seed=3,
        samples=case["samples"],
        batch_size=case["batch"],
        learning_rate=0.05,
        max_gradient_norm=settings.get("max_gradient_norm"),
    )
    wanted = request(
        case["workload"],
        world_size,
        case["batch"],
        seed=3,
        options=case.get("options"),
        training=settings,
    )
    reports = pool.run(run_trial, case["workload"], wanted)[:world_size]
    report = reports[0]

    assert all(report.status is Status.SUCCEEDED for report in reports)
    assert report.optimizer_steps == len(plain.losses) >= 10
    np.testing.assert_allclose(report.steps.train_loss[:10], plain.losses[:10], rtol=0, atol=1e-5)
    assert report.evaluations[-1].quality["accuracy"] == plain.accuracy
    assert report.samples == case["samples"]
    assert report.duplicate_samples == 0
    assert report.replica_divergence == 0.0
    assert report.traces_comparable is True
    assert 0 <= report.gradient_error < 1e-6
    if world_size > 1:
        # Every rank's own report says the same.
        for other in reports[1:]:
            np.testing.assert_array_equal(other.steps.train_loss, report.steps.train_loss)
            assert other.train_time_s == report.train_time_s
            assert other.batch_imbalance == report.batch_imbalance


def test_clipping_matters_in_the_case_above() -> None:
    free, clipped = (
        train(
            digits(997),
            seed=3,
            samples=1100,
            batch_size=96,
            learning_rate=0.05,
            max_gradient_norm=norm,
        )
        for norm in (None, 0.4)
    )
    assert not np.allclose(free.losses[:10], clipped.losses[:10], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "ddp",
    [
        {"static_graph": True},
        {"gradient_as_bucket_view": True, "bucket_cap_mb": 0.01},
        {"find_unused_parameters": True},
    ],
    ids=lambda ddp: next(iter(ddp)),
)
def test_options_of_ddp_change_no_update(pool: RankProcesses, ddp: dict[str, Any]) -> None:
    plain = train(digits(997), seed=0, samples=600, batch_size=60, learning_rate=0.05)
    wanted = request(ODD_DIGITS, 3, 60, training={"samples": 600, "ddp": ddp})
    report = pool.run(run_trial, ODD_DIGITS, wanted)[0]
    np.testing.assert_allclose(report.steps.train_loss, plain.losses, rtol=0, atol=1e-5)
    assert report.replica_divergence == 0.0


def test_a_data_set_of_ones_own_and_a_collate_change_no_update(pool: RankProcesses) -> None:
    listed = "training_workloads:ListedDigits"
    training = {"samples": 600, "evaluations": 2}
    reports = [
        pool.run(run_trial, workload, request(workload, 2, 60, training=training, data=data))[0]
        for workload, data in [(ODD_DIGITS, {}), (listed, {}), (listed, {"loader_workers": 2})]
    ]
    for other in reports[1:]:
        np.testing.assert_array_equal(other.steps.train_loss, reports[0].steps.train_loss)
        assert other.evaluations[-1].quality == reports[0].evaluations[-1].quality
        # No loading process is left, else the group of workers would have to be replaced.
        assert other.recycle_reason is None
