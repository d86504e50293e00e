"""A workload's model: built, moved to its device, compiled and put under DDP."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import TrainingSettings
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.workload import Workload

__all__ = ["build_model", "wrap_model"]


def build_model(workload: Workload, ranks: Ranks, settings: TrainingSettings) -> nn.Module:
    """The bare model on its device, in train mode, the same on all ranks.

    Raises:
        WorkloadError: ``build_model`` returned something else, or synchronized batch norm was
            asked for on a CPU.
    """
    model = workload.build_model()
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"build_model: expected a torch.nn.Module, got an object of type "
            f"{type(model).__name__}"
        )
    model = model.to(ranks.device).train()
    if settings.synchronized_batch_norm:
        if ranks.device.type == "cpu":
            raise WorkloadError(
                "training.synchronized_batch_norm: true needs GPUs; PyTorch has no "
                "synchronized batch norm for CPUs"
            )
        if ranks.group is not None:
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            model = convert(model, ranks.group)
    # Equal already where the weights come from the global generators, as they nearly always do.
    for tensor in (*model.parameters(), *model.buffers()):
        ranks.broadcast_(tensor.detach())
    return model


def wrap_model(model: nn.Module, ranks: Ranks, settings: TrainingSettings) -> nn.Module:
    """What the forward pass goes through: DDP, with one rank the model itself; compiled if asked.

    DDP around a single worker costs some per cent and would flatter every speedup. The compiled
    model goes inside DDP: ``torch.compile`` around DDP compiles nothing of an ``nn.Sequential``.
    """
    # The compiled module shares its parameters and buffers with the bare one.
    forward: Any = torch.compile(model) if settings.compile else model
    if ranks.group is None:
        assert isinstance(forward, nn.Module)
        return forward
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    options = settings.ddp.model_dump(exclude_none=True)
    return DistributedDataParallel(
        forward, device_ids=device_ids, process_group=ranks.group, **options
    )
