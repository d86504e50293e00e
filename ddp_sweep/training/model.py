"""A workload's model: built, moved to its device, compiled and put under DDP."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import TrainingSettings
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.step_checks import listed
from ddp_sweep.workload import Workload

__all__ = ["build_model", "check_model", "wrap_model"]


def check_model(model: object) -> None:
    """Refuse what cannot be trained.

    Raises:
        WorkloadError: It is no module, its parameters have no values yet, or none is trainable.
    """
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"build_model: expected a torch.nn.Module, got an object of type "
            f"{type(model).__name__}"
        )
    tensors = [*model.named_parameters(), *model.named_buffers()]
    lazy = [name for name, tensor in tensors if is_lazy(tensor)]
    if lazy:
        raise WorkloadError(
            f"build_model: {listed(lazy)} gets a shape only from the first batch; put a batch "
            "through the model in build_model"
        )
    without_values = [name for name, tensor in tensors if tensor.is_meta]
    if without_values:
        raise WorkloadError(
            f"build_model: {listed(without_values)} is on the device meta and so has no values; "
            "expected a model on the CPU, which is moved to its device afterwards"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise WorkloadError("build_model: no parameter of the model requires a gradient")


def build_model(workload: Workload, ranks: Ranks, settings: TrainingSettings) -> nn.Module:
    """The bare model on its device, in train mode, the same on all ranks.

    Raises:
        WorkloadError: ``build_model`` returned something else, or synchronized batch norm was
            asked for on a CPU.
    """
    model = workload.build_model()
    check_model(model)
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
