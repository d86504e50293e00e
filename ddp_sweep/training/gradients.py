"""The gradient of an optimizer step: every sample of the global batch weighs the same.

The gradient is the sum of the losses over all ranks and micro-batches divided by the sum of the
weights. DDP averages the ranks' gradients, so each rank's loss is multiplied by the number of
ranks; a mean of the ranks' means would be wrong as soon as their weights differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddp_sweep.training.batch_steps import TrainingStep
from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.timing import SynchronizationClock
from ddp_sweep.workload import LossSum

__all__ = ["GradientStep", "LocalLoss"]


@dataclass(frozen=True)
class LocalLoss:
    """Loss of this rank's share of a global batch; still on the device.

    Attributes:
        total: Sum of the weighted losses, a scalar.
        weight: Sum of the weights; a number where it is that of the samples.
    """

    total: Tensor
    weight: Tensor | float


class GradientStep:
    """Leaves the exact gradient of a global batch in the parameters' ``grad``.

    Args:
        model: What the forward pass goes through: DDP, or with one rank the model.
        step: Loss of one micro-batch.
        parameters: All parameters with gradient.
        ranks: The ranks of the trial.
        weighted: The weight of a batch is known only once its forward pass is done
            (``training_step``); without it a sample weighs 1.
    """

    def __init__(
        self,
        model: nn.Module,
        step: TrainingStep,
        parameters: list[nn.Parameter],
        ranks: Ranks,
        *,
        weighted: bool,
    ) -> None:
        self._model = model
        self._ddp = model if isinstance(model, DistributedDataParallel) else None
        self._step = step
        self._parameters = parameters
        self._ranks = ranks
        self._weighted = weighted

    def run(
        self,
        indices: StepIndices,
        batches: Iterator[Any],
        *,
        synchronize: bool = True,
        clock: SynchronizationClock | None = None,
    ) -> LocalLoss:
        """Forward and backward of one step; gradients must have been cleared beforehand.

        Args:
            indices: The step.
            batches: Its micro-batches come next from here.
            synchronize: False leaves each rank with its own gradients, to time what that saves.
            clock: Times the wait for the other ranks.
        """
        total: Tensor | None = None
        weight: Tensor | float = 0.0
        last = len(indices.micro_batches) - 1
        # The losses are divided by the samples at once, which keeps gradients in the usual range;
        # where the weights are not those, the rest of the quotient follows after the averaging.
        scale = self._ranks.world_size / indices.global_samples
        rest: _PendingQuotient | None = None
        for at in range(last + 1):
            with self._synchronization(synchronize and at == last):
                result = self._step(self._model, next(batches))
                if indices.idle:
                    result = LossSum(result.total * 0.0, result.weight * 0.0)
                weight = weight + result.weight
                if self._weighted and at == last:
                    rest = _PendingQuotient(weight, indices.global_samples, self._ranks)
                scaled = result.total * scale
                if clock is not None and at == last:
                    clock.watch(scaled)
                scaled.backward()  # type: ignore[no-untyped-call]
            part = result.total.detach()
            total = part if total is None else total + part
        if clock is not None:
            clock.backward_done()
        if rest is not None:
            torch._foreach_mul_(self._gradients(), rest.value())
        assert total is not None
        return LocalLoss(total, weight)

    def _synchronization(self, wanted: bool) -> AbstractContextManager[None]:
        if wanted or self._ddp is None:
            return nullcontext()
        return self._ddp.no_sync()

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]


class _PendingQuotient:
    """Samples of a global batch divided by its weight, summed while the backward pass runs."""

    def __init__(self, weight: Tensor | float, global_samples: int, ranks: Ranks) -> None:
        self._samples = global_samples
        if isinstance(weight, Tensor):
            self._weight = weight.detach().to(ranks.device, torch.float64).clone()
        else:
            self._weight = torch.tensor(weight, dtype=torch.float64, device=ranks.device)
        self._work = ranks.start_sum(self._weight)

    def value(self) -> Tensor:
        """The quotient; 1 where the whole batch has no weight, and so no gradient."""
        if self._work is not None:
            self._work.wait()
        quotient = self._samples / self._weight
        return torch.where(self._weight == 0, torch.ones_like(quotient), quotient).float()
