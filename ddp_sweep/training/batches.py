"""Which samples are trained on when, the same whatever the world size.

For a seed and an epoch there is one permutation of the training set. Global batch ``i`` is a slice
of it, and rank ``r`` takes every ``world_size``-th sample of that slice, from ``r``. So one worker
with a batch of 64 and two workers with 32 each make the same updates.

Batch norm cannot train on a single sample. So a share is cut into pieces of even size (33 into 17
and 16, not 32 and 1), a batch of fewer than two samples a rank is dealt out to fewer ranks, and a
last batch of one sample is joined to the batch before it, whatever the world size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddp_sweep.errors import WorkloadError
from ddp_sweep.plan import Trial

__all__ = [
    "BatchPlan",
    "Draw",
    "Indices",
    "StepIndices",
    "epoch_permutation",
    "evaluation_shard",
]

Indices = NDArray[np.int64]
Draw: TypeAlias = tuple[Indices, int]
"""The samples of one batch, and the epoch they are drawn in."""


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

    def draws(self) -> Iterator[Draw]:
        """The micro-batches with their epoch."""
        return ((part, self.epoch) for part in self.micro_batches)


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

    @classmethod
    def of(cls, trial: Trial, num_samples: int, rank: int) -> BatchPlan:
        """The plan of one rank of a trial.

        Raises:
            WorkloadError: Batch norm is to be synchronized, and ranks would wait for each other
                in vain since they do not all make the same number of passes.
        """
        epochs, samples = trial.training.epochs, trial.training.samples
        budget = samples if samples is not None else round((epochs or 0) * num_samples)
        plan = cls(
            num_samples=num_samples,
            budget=max(1, budget),
            global_batch_size=trial.global_batch_size,
            per_worker_batch_size=trial.per_worker_batch_size,
            world_size=trial.world_size,
            rank=rank,
            seed=trial.seed,
        )
        uneven = plan.uneven_batch if trial.training.synchronized_batch_norm else None
        if uneven is not None:
            raise WorkloadError(
                f"training.synchronized_batch_norm: a batch of {uneven} samples takes more "
                f"forward passes on some of the {trial.world_size} workers than on others, and "
                "this layer waits for all of them at each pass; choose a batch size that divides "
                "the training set, or training.samples so that no smaller batch is left"
            )
        return plan

    @property
    def uneven_batch(self) -> int | None:
        """A batch of which not all ranks make as many passes; its samples, None for no such."""
        for size in self._distinct_sizes():
            sharing = self._sharing(size)
            most = self._passes(-(-size // sharing))
            least = 1 if sharing < self.world_size else self._passes(size // sharing)
            if most != least:
                return size
        return None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the trial."""
        whole, rest = divmod(self.budget, self.num_samples)
        return whole * self._steps_of(self.num_samples) + self._steps_of(rest)

    def _steps_of(self, samples: int) -> int:
        """Optimizer steps of the first so many samples of an epoch."""
        whole, rest = divmod(samples, self.global_batch_size)
        joined = rest == 1 and whole > 0
        return whole + (rest > 0) - joined

    def _size_of(self, samples: int, step: int) -> int:
        """Size of one of the batches that so many samples of an epoch are cut into."""
        is_last = step == self._steps_of(samples) - 1
        return samples - step * self.global_batch_size if is_last else self.global_batch_size

    def steps(self, done: int = 0) -> Iterator[StepIndices]:
        """Every optimizer step in order, but for so many that are done already."""
        left, epoch = self.budget, 0
        while left > 0:
            samples = min(self.num_samples, left)
            steps = self._steps_of(samples)
            if done < steps:
                order = epoch_permutation(self.num_samples, self.seed, epoch)
                for step in range(done, steps):
                    start = step * self.global_batch_size
                    yield self._share(order[start : start + self._size_of(samples, step)], epoch)
            done = max(0, done - steps)
            left -= samples
            epoch += 1

    def distinct_shapes(self) -> list[StepIndices]:
        """One step of each shape that occurs in the trial, that of the largest batch first."""
        order = epoch_permutation(self.num_samples, self.seed, 0)
        return [self._share(order[:size], 0) for size in self._distinct_sizes()]

    def _distinct_sizes(self) -> list[int]:
        """Sizes of the batches of the trial, the largest first."""
        parts = {min(self.budget, self.num_samples), self.budget % self.num_samples} - {0}
        sizes = {
            self._size_of(samples, step)
            for samples in parts
            for step in (0, self._steps_of(samples) - 1)
        }
        return sorted(sizes, reverse=True)

    def _sharing(self, size: int) -> int:
        """Ranks that a batch is dealt out to."""
        return max(1, min(self.world_size, size // self._least))

    @property
    def _least(self) -> int:
        """Samples of a rank below which a batch goes to fewer ranks."""
        return min(2, self.per_worker_batch_size)

    def _passes(self, samples: int) -> int:
        """Forward passes of a rank for so many samples."""
        return -(-samples // self.per_worker_batch_size)

    def _share(self, batch: Indices, epoch: int) -> StepIndices:
        sharing = self._sharing(len(batch))
        idle = self.rank >= sharing
        share = batch[: self._least] if idle else batch[self.rank :: sharing]
        pieces = self._passes(len(share))
        # Asked first, since cutting takes ten times as long as all else here.
        parts = (share,) if pieces == 1 else tuple(np.array_split(share, pieces))
        return StepIndices(parts, idle, len(batch), epoch)
