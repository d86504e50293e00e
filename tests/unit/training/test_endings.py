from __future__ import annotations

import numpy as np
import pytest
from ddp_processes import RankProcesses
from trial_runs import request, run_trial, try_trial

from ddp_sweep.schema import Status

pytestmark = pytest.mark.ddp
BAD_ROW = "training_workloads:OneBadRow"
RAISING = "training_workloads:Raising"
PLAIN = "training_workloads:Layers"


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_loss_that_is_no_number_on_one_rank_ends_the_trial_on_all(
    pool: RankProcesses, world_size: int
) -> None:
    wanted = request(BAD_ROW, world_size, 12, seed=4, training={"samples": 202, "evaluations": 2})
    order = np.random.default_rng([4, 0]).permutation(101).tolist()
    first_bad = order.index(60) // 12 + 1
    assert first_bad > 2, "the seed is to leave some good steps"

    reports = pool.run(run_trial, BAD_ROW, wanted)[:world_size]
    assert {report.status for report in reports} == {Status.DIVERGED}
    assert {report.optimizer_steps for report in reports} == {reports[0].optimizer_steps}
    assert reports[0].optimizer_steps >= first_bad
    for report in reports:
        assert f"nan at step {first_bad}" in report.status_detail
        assert np.isfinite(report.steps.train_loss[: first_bad - 1]).all()
        assert np.isnan(report.steps.train_loss[first_bad - 1])
        assert report.replica_divergence in (None, 0.0)
        assert report.time_to_target_s is None


def test_the_ranks_go_on_after_a_diverged_trial(pool: RankProcesses) -> None:
    wanted = request(BAD_ROW, 3, 12, training={"samples": 101})
    assert pool.run(run_trial, BAD_ROW, wanted)[2].status is Status.DIVERGED
    good = request(PLAIN, 3, 12, options={"kind": "plain"})
    assert pool.run(run_trial, PLAIN, good)[2].status is Status.SUCCEEDED


@pytest.mark.parametrize("timeout_s", [1e-9, 0.3])
def test_a_deadline_ends_the_trial_on_all_ranks_at_the_same_step(
    pool: RankProcesses, timeout_s: float
) -> None:
    wanted = request(
        PLAIN,
        3,
        12,
        options={"kind": "plain"},
        training={"samples": 10**9},
        trial_timeout_s=timeout_s,
    )
    reports = pool.run(run_trial, PLAIN, wanted)
    assert {report.status for report in reports} == {Status.TIMED_OUT}
    assert len({report.optimizer_steps for report in reports}) == 1
    assert reports[0].optimizer_steps >= 1
    assert reports[0].optimizer_steps == len(reports[0].steps.train_loss)
    assert "trial_timeout_s" in reports[0].status_detail
    assert reports[0].evaluations == ()


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        ("shape", Status.WORKLOAD_ERROR, "super().loss(outputs[:, :0], targets)"),
        ("memory", Status.OUT_OF_MEMORY, "torch.empty(2**55)"),
        ("gloo", Status.WORKER_DIED, "Connection closed by peer"),
        ("gloo timeout", Status.WORKER_DIED, "Timed out waiting"),
        ("loading process", Status.WORKER_DIED, "exited unexpectedly"),
        ("shared memory", Status.WORKLOAD_ERROR, "out of shared memory"),
        ("own file", Status.WORKLOAD_ERROR, "igloo.png"),
        ("own connection", Status.WORKLOAD_ERROR, "ConnectionResetError"),
    ],
)
def test_a_rank_that_raises_tells_why(
    pool: RankProcesses, error: str, status: Status, detail: str
) -> None:
    wanted = request(RAISING, 2, 12, options={"error": error})
    failures = pool.run(try_trial, RAISING, wanted)
    assert failures[2] is None
    for rank, failure in enumerate(failures[:2]):
        assert (failure.rank, failure.status) == (rank, status)
        assert detail in failure.detail
        assert "training_workloads.py" in failure.detail
        # The user's own lines, not ours.
        assert "ddp_sweep/training" not in failure.detail


def test_a_target_that_is_met_stops_its_clock_only(pool: RankProcesses) -> None:
    wanted = request(
        PLAIN,
        2,
        10,
        options={"kind": "plain"},
        training={"samples": 300, "evaluations": 10},
        quality={"target": {"accuracy": 0.01, "val_loss": 5.0}},
    )
    report = pool.run(run_trial, PLAIN, wanted)[0]
    first = report.evaluations[0]
    assert report.samples_to_target == first.samples == 30
    assert report.time_to_target_s == first.train_time_s < report.train_time_s
    assert report.samples == 300
    # At the first step boundary at or after each tenth; epochs end at 101 and 202.
    assert [e.samples for e in report.evaluations] == [
        *(30, 60, 90, 121, 151, 181, 212, 242, 272, 300),
    ]


def test_a_target_that_is_not_met_is_unknown(pool: RankProcesses) -> None:
    wanted = request(
        PLAIN, 1, 10, options={"kind": "plain"}, quality={"target": {"val_loss": 0.0, "auroc": 1}}
    )
    report = pool.run(run_trial, PLAIN, wanted)[0]
    assert report.samples_to_target is None
    assert report.time_to_target_s is None
