"""Workloads with little memory, as far as they can tell: an error where a pass is too large."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_workloads import Layers

from ddp_sweep import LossSum

__all__ = ["Scarce"]


class Scarce(Layers):
    """A backward pass of more than ``most`` samples is out of memory, as PyTorch says it.

    On the rank ``on`` alone if that is given; ``bare``: only outside of DDP.
    """

    def __init__(
        self, most: int, on: int | None = None, bare: bool = False, kind: str = "plain"
    ) -> None:
        super().__init__(kind)
        self.most, self.on, self.bare = most, on, bare

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        rank = dist.get_rank() if dist.is_initialized() else 0
        spared = self.bare and isinstance(model, DistributedDataParallel)
        if len(batch[0]) > self.most and self.on in (None, rank) and not spared:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        losses = self.loss(model(batch[0]), batch[1])
        return LossSum(losses.sum(), len(losses))
