"""Checks of the training itself: is the gradient exact, and which samples were drawn."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddp_sweep.training.batch_steps import TrainingStep
from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.chance import drawn_since
from ddp_sweep.training.gradient_copies import gradients, pieces, unless_out_of_memory
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.loading import BatchSource, move_batch
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.snapshot import RandomState
from ddp_sweep.training.states import State

__all__ = ["DrawCounter", "GradientProbe"]


class GradientProbe:
    """Compares the synchronized gradient of one global batch with the exact one.

    The exact gradient is the sum over ranks of each rank's own gradient of its summed losses, in
    float64, divided by the sum of the weights; DDP has no part in it. All passes get the same
    samples and start from the same random state.

    Make it before the model is put under DDP: DDP with a static graph counts the backward passes
    of the bare model as well, and then waits for as many in every step and never synchronizes.

    Args:
        model: The bare model.
        step: Loss of one micro-batch.
        source: The training set.
        indices: The global batch.
        ranks: The ranks of the trial.
        compiled: Whether the training goes through a compiled model. Its random numbers are
            others than those of the bare model, from the same random state.
    """

    def __init__(
        self,
        model: nn.Module,
        step: TrainingStep,
        source: BatchSource,
        indices: StepIndices,
        ranks: Ranks,
        *,
        compiled: bool = False,
    ) -> None:
        self._model = model
        self._indices = indices
        self._ranks = ranks
        # Fetched once, since a data set may augment at random.
        # Kept on the host: batches are accumulated because the device cannot hold them all.
        # Copies, since what a loading process sends lies in shared memory, of which there is less.
        host = torch.device("cpu")
        few = source.stream_few(indices.draws())
        self._batches = [move_batch(copy.deepcopy(batch), host) for batch in few]
        self._random = RandomState(ranks.device)
        self._step_s = math.inf
        self._weight = torch.zeros(1, dtype=torch.float64, device=ranks.device)
        model.zero_grad()
        self._own = unless_out_of_memory(model, lambda: self._own_gradients(step))
        self._repeatable = not (compiled and drawn_since(self._random))
        model.zero_grad()

    def _own_gradients(self, step: TrainingStep) -> list[Tensor]:
        share = 0.0 if self._indices.idle else 1.0
        for batch in self._own_batches():
            result = step(self._model, batch)
            (result.total * share).backward()  # type: ignore[no-untyped-call]
            self._weight += torch.as_tensor(result.weight).detach().to(self._weight) * share
        # On the host, since the passes that follow are to fit where those of the training do.
        return [gradient.to("cpu", copy=True) for gradient in gradients(self._model)]

    def error(self, gradient_step: GradientStep) -> float | None:
        """Norm of (synchronized - exact gradient) / norm of the exact one; leaves no gradients.

        Returns:
            None where the exact gradient is 0, where a rank had not enough memory for its own, or
            where the compiled model draws random numbers.
        """
        # The first step of DDP differs from all others: it settles buckets and a static graph.
        for _ in range(2):
            self._model.zero_grad()
            self._random.restore()
            began = time.perf_counter()
            gradient_step.run(self._indices, self._own_batches())
            self._ranks.synchronize()
            self._step_s = min(self._step_s, time.perf_counter() - began)
        self._step_s = self._ranks.largest(self._step_s)
        known = self._own is not None and self._repeatable
        found = self._error() if self._ranks.smallest(float(known)) == 1.0 else None
        self._model.zero_grad()
        return found

    def _error(self) -> float | None:
        assert self._own is not None
        weight = self._ranks.sum_(self._weight.clone())
        error = norm = 0.0
        for whole, own in zip(gradients(self._model), self._own, strict=True):
            # A piece at a time: float64 copies of the largest parameter may not fit.
            for used, part in zip(pieces(whole), pieces(own), strict=True):
                exact = self._ranks.sum_(part.to(self._ranks.device, torch.float64)) / weight
                error += float((used.double() - exact).square().sum())
                norm += float(exact.square().sum())
        return math.sqrt(error / norm) if norm > 0 else None

    @property
    def step_s(self) -> float:
        """What the step takes on the slowest rank: the quicker of the two in :meth:`error`."""
        return self._step_s

    def last_batch(self) -> Any:  # noqa: ANN401 - a batch is what the user makes it
        """The last micro-batch, on the device; for the next one to look at the same step."""
        return move_batch(copy.deepcopy(self._batches[-1]), self._ranks.device)

    def _own_batches(self) -> Iterator[Any]:
        """Copies on the device, one at a time; copies, since a model may work in place."""
        device = self._ranks.device
        return (move_batch(copy.deepcopy(batch), device) for batch in self._batches)


class DrawCounter:
    """Counts from the indices actually used how often each sample was drawn in an epoch.

    Args:
        num_samples: Size of the training set.
        ranks: The ranks of the trial.
    """

    def __init__(self, num_samples: int, ranks: Ranks) -> None:
        self._num_samples = num_samples
        self._ranks = ranks
        self._epochs: dict[int, Tensor] = {}
        self._first_open = 0
        self.duplicates = 0
        """Samples drawn again within an epoch, over all ranks and the epochs closed so far."""

    def add(self, indices: StepIndices) -> None:
        """Count the samples of one step on this rank."""
        if indices.idle:
            return
        counts = self._epochs.get(indices.epoch)
        if counts is None:
            counts = torch.zeros(self._num_samples, dtype=torch.int32)
            self._epochs[indices.epoch] = counts
        for part in indices.micro_batches:
            np.add.at(counts.numpy(), part, 1)

    def close(self, through_epoch: int, *, complete: bool = True) -> None:
        """Add up all epochs before ``through_epoch``; every rank calls it at the same step.

        Args:
            through_epoch: The first epoch that is not over.
            complete: False where the last of them ended before its time.
        """
        for epoch in range(self._first_open, through_epoch):
            counts = self._epochs.pop(epoch, None)
            if counts is None:
                counts = torch.zeros(self._num_samples, dtype=torch.int32)
            total = self._ranks.sum_(counts.to(self._ranks.device))
            again = int((total - 1).clamp(min=0).sum())
            self.duplicates += again
            # As many draws as there are samples: whatever was left out, another took its place.
            whole = complete or epoch < through_epoch - 1
            assert not whole or int((total == 0).sum()) == again, f"epoch {epoch} is no epoch"
        self._first_open = max(self._first_open, through_epoch)

    def state_dict(self) -> State:
        """The counts of the epochs that are open, and what those before came to."""
        return {
            "epochs": dict(self._epochs),
            "first_open": self._first_open,
            "duplicates": self.duplicates,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from the counts of another counter."""
        self._epochs = dict(state["epochs"])
        self._first_open = state["first_open"]
        self.duplicates = state["duplicates"]
