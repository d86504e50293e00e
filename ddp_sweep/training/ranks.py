"""The ranks of one trial and what they do together.

With a world size of 1 nothing is sent and no process group is needed. No collective of a trial
uses the default group: several world sizes take turns on subsets of one set of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Ranks"]


@dataclass(frozen=True)
class Ranks:
    """One rank's view of the ranks that run a trial.

    Attributes:
        rank: This rank, from 0.
        world_size: Number of ranks of the trial.
        device: Device that this rank computes on; collectives take tensors that live there.
        group: Process group of ranks 0 to ``world_size - 1``; None with one rank.
    """

    rank: int
    world_size: int
    device: torch.device
    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        assert (self.group is None) == (self.world_size == 1)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all ranks."""
        if self.group is not None:
            dist.all_reduce(tensor, dist.ReduceOp.SUM, group=self.group)
        return tensor

    def max_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its largest values over all ranks."""
        if self.group is not None:
            dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.group)
        return tensor

    def start_sum(self, tensor: Tensor) -> dist.Work | None:
        """Begin to sum a tensor over all ranks; None where there is nothing to wait for."""
        if self.group is None:
            return None
        work: dist.Work = dist.all_reduce(
            tensor, dist.ReduceOp.SUM, group=self.group, async_op=True
        )
        return work

    def broadcast_(self, tensor: Tensor) -> None:
        """Replace a tensor by that of rank 0."""
        if self.group is not None:
            whole = tensor.contiguous()  # NCCL takes nothing else
            dist.broadcast(whole, group_src=0, group=self.group)
            if whole is not tensor:
                tensor.copy_(whole)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.max_(torch.zeros(1, device=self.device))
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def largest(self, value: float) -> float:
        """The largest of the ranks' values."""
        return float(self.max_(self._float64([value]))[0])

    def smallest(self, value: float) -> float:
        """The smallest of the ranks' values."""
        return -self.largest(-value)

    def total(self, value: float) -> float:
        """The sum of the ranks' values."""
        return float(self.sum_(self._float64([value]))[0])

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Put together rows that were dealt out in turn: rank r held rows r, r + world_size, ...

        Args:
            rows: This rank's rows, shape [n_r, ...], with n_r as the dealing out gave it.

        Returns:
            All rows in their order, shape [sum of n_r, ...], on every rank.
        """
        if self.group is None:
            return rows
        count = int(self.total(len(rows)))
        longest = -(-count // self.world_size)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded, group=self.group)
        return torch.stack(parts, dim=1).flatten(0, 1)[:count]

    def _float64(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)
