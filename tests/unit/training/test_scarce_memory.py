"""Memory that a trial just fits into: probes must neither need more nor end the trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset
from training_workloads import Layers
from trial_runs import request, run_trial, try_trial

from ddp_sweep.schema import Status
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.comparability import traces_comparable
from ddp_sweep.training.gradient_copies import unless_out_of_memory
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.integrity import GradientProbe
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.workload import LossSum

SCARCE = "scarce_workloads:Scarce"
ALONE = Ranks(0, 1, torch.device("cpu"))


def scarce(world_size: int, batch: int, **options: Any) -> Any:
    return request(SCARCE, world_size, batch, options=options, training={"samples": 40})


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("kind", "batch", "most"),
    [
        *(("plain", batch, max(2, batch)) for batch in (1, 2, 3, 5, 8)),
        *(("batch_norm", batch, batch) for batch in (2, 3, 5, 8)),
    ],
)
def test_a_probe_has_no_larger_passes_than_the_trial_but_for_a_second_sample(
    pool: RankProcesses, kind: str, batch: int, most: int
) -> None:
    report = pool.run(run_trial, SCARCE, scarce(1, batch, most=most, kind=kind))[0]
    assert report.status is Status.SUCCEEDED
    assert report.traces_comparable is (kind == "plain")
    assert report.gradient_error < 1e-6


@pytest.mark.ddp
def test_what_only_a_probe_has_no_memory_for_is_unknown(pool: RankProcesses) -> None:
    report = pool.run(run_trial, SCARCE, scarce(1, 1, most=1))[0]
    assert report.status is Status.SUCCEEDED
    assert report.traces_comparable is None
    assert report.gradient_error < 1e-6


@pytest.mark.ddp
@pytest.mark.parametrize("kind", ["plain", "dropout"])
def test_ranks_agree_where_one_of_them_has_no_memory(pool: RankProcesses, kind: str) -> None:
    reports = pool.run(run_trial, SCARCE, scarce(3, 9, most=1, on=1, bare=True, kind=kind))
    assert {report.status for report in reports} == {Status.SUCCEEDED}
    # Where one rank knows that they are not, they are not.
    assert {report.traces_comparable for report in reports} == {None if kind == "plain" else False}
    assert {report.gradient_error for report in reports} == {None}


@pytest.mark.ddp
def test_a_trial_that_does_not_fit_is_still_out_of_memory(pool: RankProcesses) -> None:
    failures = pool.run(try_trial, SCARCE, scarce(1, 4, most=3))
    assert failures[0].status is Status.OUT_OF_MEMORY


class Largest(TorchDispatchMode):
    """Values of the largest float64 tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None):  # noqa: ANN204
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype is torch.float64:
            self.values = max(self.values, result.numel())
        return result


def test_no_float64_copy_of_a_large_parameter_is_made() -> None:
    size = 3_000_000
    model = nn.Embedding(size, 1)
    data = TensorDataset(torch.arange(40), torch.zeros(40))
    source = BatchSource(data, Layers("plain"), DataSettings(), ALONE.device)

    def step(module: nn.Module, batch: Any) -> LossSum:
        return LossSum(module(batch[0]).square().sum(), len(batch[0]))

    with Largest() as seen:
        assert traces_comparable(model, step, source, ALONE, "float32", 8) is True
        probe = GradientProbe(
            model, step, source, StepIndices((np.arange(9),), False, 9, 0), ALONE
        )
        gradient_step = GradientStep(model, step, list(model.parameters()), ALONE, weighted=False)
        assert probe.error(gradient_step) < 1e-6
    assert 0 < seen.values < size // 2


def test_where_ranks_meet_in_batch_norm_none_goes_on_alone() -> None:
    def scarce() -> None:
        raise torch.OutOfMemoryError("planted")

    alone, meeting = torch.nn.BatchNorm1d(4), torch.nn.SyncBatchNorm(4)
    assert unless_out_of_memory(torch.nn.Sequential(alone), scarce) is None
    with pytest.raises(torch.OutOfMemoryError):
        unless_out_of_memory(torch.nn.Sequential(alone, meeting), scarce)
