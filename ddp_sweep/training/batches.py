"""Which samples are trained on when, the same whatever the world size.

For a seed and an epoch there is one permutation of the training set. Global batch ``i`` is a slice
of it, and rank ``r`` takes every ``world_size``-th sample of that slice, from ``r``. So one worker
with a batch of 64 and two workers with 32 each make the same updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchPlan", "Indices", "StepIndices", "epoch_permutation", "evaluation_shard"]

Indices = NDArray[np.int64]


def epoch_permutation(num_samples: int, seed: int, epoch: int) -> Indices:
    """Order of the samples in an epoch; depends on nothing but the three arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def evaluation_shard(num_samples: int, rank: int, world_size: int) -> Indices:
    """Validation samples of a rank: every one is in just one shard, none is padded.

    >>> [evaluation_shard(5, rank, 2).tolist() for rank in range(2)]
    [[0, 2, 4], [1, 3]]
    """
    return np.arange(rank, num_samples, world_size)


@dataclass(frozen=True)
class StepIndices:
    """What one rank does in one optimizer step.

    Attributes:
        micro_batches: Indices of each forward and backward pass, at least one; of a rank without
            samples, samples of others that take part with weight 0.
        idle: True of a rank without samples in this step.
        global_samples: Samples of all ranks in this step.
        epoch: Epoch that the step belongs to, from 0.
    """

    micro_batches: tuple[Indices, ...]
    idle: bool
    global_samples: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The samples of every optimizer step of a trial, seen from one rank.

    Attributes:
        num_samples: Size of the training set.
        budget: Samples to train on; the last batch is cut to it.
        global_batch_size: Samples of an optimizer step over all ranks.
        per_worker_batch_size: Samples of one forward and backward pass.
        world_size: Number of ranks.
        rank: The rank this plan is for.
        seed: Seed of the order.
    """

    num_samples: int
    budget: int
    global_batch_size: int
    per_worker_batch_size: int
    world_size: int
    rank: int
    seed: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the trial."""
        steps_an_epoch = -(-self.num_samples // self.global_batch_size)
        whole, rest = divmod(self.budget, self.num_samples)
        return whole * steps_an_epoch + -(-rest // self.global_batch_size)

    def steps(self) -> Iterator[StepIndices]:
        """Every optimizer step in order."""
        left, epoch = self.budget, 0
        while left > 0:
            order = epoch_permutation(self.num_samples, self.seed, epoch)
            for start in range(0, min(self.num_samples, left), self.global_batch_size):
                batch = order[start : start + self.global_batch_size][: left - start]
                yield self._share(batch, epoch)
            left -= self.num_samples
            epoch += 1

    def distinct_shapes(self) -> list[StepIndices]:
        """One step of each shape that occurs in the trial, that of the largest batch first."""
        order = epoch_permutation(self.num_samples, self.seed, 0)
        first = min(self.budget, self.num_samples)
        sizes = [min(self.global_batch_size, first)]
        sizes.append(first % self.global_batch_size)
        if self.budget > self.num_samples:
            sizes.append(self.budget % self.num_samples % self.global_batch_size)
        return [self._share(order[:size], 0) for size in dict.fromkeys(sizes) if size > 0]

    def _share(self, batch: Indices, epoch: int) -> StepIndices:
        share = batch[self.rank :: self.world_size]
        size = self.per_worker_batch_size
        idle = len(share) == 0
        if idle:
            # Two samples where a micro-batch may have two: batch norm refuses to train on one.
            share = batch[: min(2, size)]
        micro = tuple(share[at : at + size] for at in range(0, len(share), size))
        return StepIndices(micro, idle, len(batch), epoch)
