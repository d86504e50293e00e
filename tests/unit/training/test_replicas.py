from __future__ import annotations

import json

import pytest
from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.schema import REPLICAS_DIFFER, Status

pytestmark = pytest.mark.ddp

OWN_BUFFER = "faulty_workloads:OwnBuffer"


@pytest.mark.parametrize("evaluations", [1, 3])
def test_buffers_that_only_training_changes_are_compared_before_evaluation_makes_them_equal(
    pool: RankProcesses, evaluations: int
) -> None:
    wanted = request(OWN_BUFFER, 3, 30, training={"samples": 120, "evaluations": evaluations})
    for report in pool.run(run_trial, OWN_BUFFER, wanted):
        assert report.status is Status.SUCCEEDED
        assert report.replica_divergence == 0.0
        found = json.loads(report.status_detail.removeprefix(REPLICAS_DIFFER))
        # The value of the buffer is the rank; batch norm beside it may differ.
        assert found == {"parameters": {}, "buffers": {"offset": 2.0}}


def test_one_worker_has_nothing_to_differ_from(pool: RankProcesses) -> None:
    wanted = request(OWN_BUFFER, 1, 30, training={"samples": 120})
    assert pool.run(run_trial, OWN_BUFFER, wanted)[0].status_detail is None
