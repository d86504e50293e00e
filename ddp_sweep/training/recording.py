"""Losses and step times of a trial, kept at next to no cost while it runs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddp_sweep.training.gradients import LocalLoss
from ddp_sweep.training.memory import memory_bytes
from ddp_sweep.training.messages import StepRecord
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.states import State, floats

__all__ = ["LossLedger", "StepRecorder"]


class LossLedger:
    """Turns the ranks' losses into those of the global batches, many steps at a time.

    A step only appends; the ranks add up when :meth:`settle` is called at the edge of a window.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.totals: list[float] = []
        """Sum of the losses of each settled step, over all ranks."""
        self.weights: list[float] = []
        """Sum of the weights of each settled step, over all ranks."""
        self.own_weight = 0.0
        """Sum of the weights of this rank over all settled steps."""
        self._ranks = ranks
        self._pending: list[LocalLoss] = []

    def add(self, loss: LocalLoss) -> None:
        """Note the loss of a step on this rank; waits for nothing."""
        self._pending.append(loss)

    def settle(self, flags: list[float]) -> list[float]:
        """Add up the noted steps over all ranks.

        Args:
            flags: Values of this rank to be summed along, in the same message.

        Returns:
            The sums of the flags.
        """
        steps = len(self._pending)
        device = self._ranks.device
        weights = [loss.weight for loss in self._pending]
        if any(isinstance(weight, Tensor) for weight in weights):
            column = torch.stack([torch.as_tensor(w).detach().to(device) for w in weights])
        else:
            column = torch.tensor(weights, dtype=torch.float64, device=device)
        column = column.double().flatten()
        totals = torch.stack([loss.total for loss in self._pending]).double().flatten()
        more = torch.tensor(flags, dtype=torch.float64, device=device)
        self.own_weight += float(column.sum())
        joined = self._ranks.sum_(torch.cat([totals, column, more])).tolist()
        self.totals += joined[:steps]
        self.weights += joined[steps : 2 * steps]
        self._pending = []
        return joined[2 * steps :]

    def mean(self, first: int = 0) -> float | None:
        """Loss of the settled steps from ``first`` on, every sample weighed the same."""
        weight = sum(self.weights[first:])
        return sum(self.totals[first:]) / weight if weight else None

    def state_dict(self) -> State:
        """The settled steps; to be asked for at the edge of a window."""
        assert not self._pending
        return {
            "totals": floats(self.totals),
            "weights": floats(self.weights),
            "own_weight": self.own_weight,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from the steps of another ledger."""
        self.totals = state["totals"].tolist()
        self.weights = state["weights"].tolist()
        self.own_weight = state["own_weight"]


class StepRecorder:
    """Collects what the ``steps`` table shows of one rank.

    Args:
        record_every: Optimizer steps an interval.
        device: Whose memory is recorded.
    """

    def __init__(self, record_every: int, device: torch.device) -> None:
        self._every = record_every
        self._device = device
        self._samples: list[int] = []
        self._rates: list[float] = []
        self._memory: dict[int, int] = {}

    def step_done(self, samples: int, learning_rate: float) -> None:
        """Note the samples so far, of all ranks, and the rate of a step."""
        self._samples.append(samples)
        self._rates.append(learning_rate)

    def read_memory(self) -> None:
        """Read the memory held now; done at the edges of windows, since it takes a moment."""
        if self._samples:
            self._memory[(len(self._samples) - 1) // self._every] = memory_bytes(self._device)

    def state_dict(self) -> State:
        """The steps so far."""
        return {
            "samples": torch.tensor(self._samples, dtype=torch.int64),
            "rates": floats(self._rates),
            "memory": dict(self._memory),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from the steps of another recorder."""
        self._samples = state["samples"].tolist()
        self._rates = state["rates"].tolist()
        self._memory = dict(state["memory"])

    def record(
        self,
        losses: LossLedger,
        step_times_s: NDArray[np.float64],
        waits_s: list[float],
        synchronization_s: NDArray[np.float64] | None = None,
    ) -> StepRecord:
        """The intervals of all steps done; the last one may be shorter than the others.

        Args:
            losses: Of all steps.
            step_times_s: Of every step on this rank.
            waits_s: Time each step waited for its samples.
            synchronization_s: Time each step waited for the other ranks; None if not measured.
        """
        steps = len(self._samples)
        starts = np.arange(0, steps, self._every)
        ends = np.minimum(starts + self._every, steps)
        sizes = ends - starts
        samples, rates = np.array(self._samples), np.array(self._rates)
        totals = np.add.reduceat(np.array(losses.totals), starts)
        weights = np.add.reduceat(np.array(losses.weights), starts)
        mean = np.full(len(starts), np.nan)
        np.divide(totals, weights, out=mean, where=weights > 0)
        if synchronization_s is None:
            synchronization_s = np.full(steps, np.nan)
        memory = [self._memory.get(interval, np.nan) for interval in range(len(starts))]
        return StepRecord(
            optimizer_step=ends.astype(np.int64),
            samples=samples[ends - 1].astype(np.int64),
            train_loss=mean,
            step_time_s=np.add.reduceat(step_times_s, starts) / sizes,
            data_wait_s=np.add.reduceat(np.array(waits_s), starts) / sizes,
            communication_s=np.add.reduceat(synchronization_s[:steps], starts) / sizes,
            learning_rate=rates[ends - 1],
            memory_bytes=np.array(memory, dtype=np.float64),
        )
