"""What a rank makes of a workload's errors; no Ray, no process group."""

from __future__ import annotations

from typing import NoReturn

from plan_samples import request, trials

from ddp_sweep.cluster.gang.mailbox import Job
from ddp_sweep.cluster.gang.serving import _run
from ddp_sweep.schema import Status
from ddp_sweep.training.checkpoints import CheckpointStore
from ddp_sweep.training.messages import RankFailure, TrialRequest


class WithoutTextError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Silent:
    """A worker whose trial fails with such an error."""

    def run(
        self,
        request: TrialRequest,  # noqa: ARG002
        checkpoints: CheckpointStore | None = None,  # noqa: ARG002
    ) -> NoReturn:
        raise WithoutTextError

    def describe_failure(self, error: BaseException) -> RankFailure:
        return RankFailure(rank=1, status=Status.OUT_OF_MEMORY, detail=str(error))


def test_an_error_whose_text_cannot_be_had_is_the_workloads_and_no_death() -> None:
    trial = trials()[0]
    job = Job(key="k", world_size=trial.world_size, request=request(trial))
    failure = _run(Silent(), 1, job, None)
    assert isinstance(failure, RankFailure)
    assert (failure.rank, failure.status) == (1, Status.WORKLOAD_ERROR)
    assert "WithoutTextError" in failure.detail
    assert "raise WithoutTextError" in failure.detail, "where it was raised"
