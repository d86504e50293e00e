"""What is tried out on a trial before it trains; its state is put back afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ddp_sweep.plan import Trial
from ddp_sweep.training.batch_steps import TrainingStep
from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.communication import exposed_communication_s
from ddp_sweep.training.comparability import traces_comparable
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.integrity import GradientProbe
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.overlap import count_overlap
from ddp_sweep.training.ranks import Ranks

__all__ = ["OverlapCounts", "ProbeResults", "TrialProbes"]


_LEAST_BUDGET_S = 0.25
_SHARE_OF_TRIAL = 0.01
"""Of the time that the steps of a trial should take: what timing communication may cost."""


@dataclass(frozen=True, kw_only=True)
class ProbeResults:
    """What the probes of a trial found; None is unknown."""

    traces_comparable: bool | None = None
    gradient_error: float | None = None
    exposed_communication_s: float | None = None


class TrialProbes:
    """Runs the probes of one trial, in part before its model is put under DDP.

    Args:
        trial: Its settings.
        model: The bare model.
        step: Loss of one micro-batch.
        source: The training set.
        first: The first step of the trial.
        total_steps: Its steps, by which the time for probing is measured out.
        ranks: The ranks of the trial.
    """

    def __init__(
        self,
        trial: Trial,
        model: nn.Module,
        step: TrainingStep,
        source: BatchSource,
        first: StepIndices,
        total_steps: int,
        ranks: Ranks,
    ) -> None:
        self._total_steps = total_steps
        self._trial, self._model, self._first, self._ranks = trial, model, first, ranks
        settings = trial.training
        self._comparable = traces_comparable(
            model, step, source, ranks, settings.precision, trial.per_worker_batch_size
        )
        self._gradient = GradientProbe(
            model, step, source, first, ranks, compiled=settings.compile
        )

    def finish(self, gradient_step: GradientStep) -> ProbeResults:
        """Run what needs the model as it will be trained."""
        error = self._gradient.error(gradient_step)
        return ProbeResults(
            traces_comparable=self._comparable,
            gradient_error=error,
            exposed_communication_s=self._exposed_communication_s(gradient_step),
        )

    def _exposed_communication_s(self, gradient_step: GradientStep) -> float | None:
        if self._trial.training.ddp.static_graph:
            # DDP then counts on passes that are all alike; one that sends nothing is not.
            return None
        step_s = self._gradient.step_s
        # The same on all ranks, as the number of passes need not be.
        passes = self._ranks.smallest(len(self._first.micro_batches))
        return exposed_communication_s(
            self._model,
            gradient_step,
            self._first,
            self._gradient.last_batch(),
            self._ranks,
            pass_s=step_s / passes,
            budget_s=max(_LEAST_BUDGET_S, _SHARE_OF_TRIAL * self._total_steps * step_s),
        )


class OverlapCounts:
    """Validation samples that are training samples: counted once for each set of options.

    Data sets depend on the workload and its options alone, never on a trial's seed.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._uncounted: set[tuple[str, int]] = set()

    def of(
        self,
        options: dict[str, Any],
        train: Dataset[Any],
        validation: Dataset[Any],
        ranks: Ranks,
        processes: int = 0,
    ) -> int | None:
        """The count; all ranks call it together, with what :func:`count_overlap` is to get.

        Rank 0 takes part in every trial and knows what was counted; others may not.
        """
        key = json.dumps(options, sort_keys=True, default=repr)
        # More ranks may have the time to read what was too much for fewer.
        uncounted = (key, ranks.world_size)
        count = self._counts.get(key)
        is_known = count is not None or uncounted in self._uncounted
        known = torch.tensor([is_known, -1 if count is None else count]).to(ranks.device)
        ranks.broadcast_(known)
        if not known[0]:
            count = count_overlap(train, validation, ranks, processes)
        else:
            count = None if known[1] < 0 else int(known[1])
        if count is None:
            self._uncounted.add(uncounted)
        else:
            self._counts[key] = count
        return count
