"""Two ranks that all tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from ddp_processes import RankProcesses
from trial_runs import run_trial

from ddp_sweep.training.messages import RankReport, TrialRequest


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    with RankProcesses(2, tmp_path_factory.mktemp("ranks")) as processes:
        yield processes


@pytest.fixture
def run(pool: RankProcesses) -> Callable[[str, TrialRequest], Sequence[RankReport]]:
    def run_one(workload: str, request: TrialRequest) -> Sequence[RankReport]:
        reports = pool.run(run_trial, workload, request)
        return [report for report in reports if report is not None]

    return run_one
