"""What one trial is made of on one rank: workload, data, model, optimizer, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from ddp_sweep.training.batch_steps import (
    TrainingStep,
    evaluation_step,
    is_weighted,
    training_step,
)
from ddp_sweep.training.batches import BatchPlan
from ddp_sweep.training.context import Progress
from ddp_sweep.training.evaluation import Evaluator
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.isolation import seed_everything
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.messages import TrialRequest
from ddp_sweep.training.model import build_model, wrap_model
from ddp_sweep.training.optimization import build_optimizer
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.workload import Workload, WorkloadFactory, declared_metrics

__all__ = ["TrialParts"]

_LARGEST_AUTO_EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TrialParts:
    """The parts of a trial, made for it and used by no other."""

    workload: Workload
    data: tuple[Dataset[Any], Dataset[Any]]
    """Training set and validation set."""
    model: nn.Module
    """The bare model, the same on all ranks."""
    source: BatchSource
    """Delivers the training set."""
    plan: BatchPlan
    optimizer: Optimizer
    step: TrainingStep
    """Loss of one micro-batch."""
    evaluator: Evaluator

    @classmethod
    def build(
        cls,
        request: TrialRequest,
        factory: WorkloadFactory,
        ranks: Ranks,
        emit_progress: Callable[[Progress], None],
    ) -> TrialParts:
        """Make them anew; all ranks do so together.

        Raises:
            WorkloadError: The workload returned something else than it should.
            Exception: Whatever the workload raises.
        """
        trial, settings = request.trial, request.trial.training
        # Splits must not depend on the trial's seed, even where the workload forgot its own.
        seed_everything(0)
        workload = factory(**trial.workload_options)
        train_data, validation_data = workload.build_data()
        seed_everything(trial.seed)
        model = build_model(workload, ranks, settings)
        # Ranks draw different random numbers (dropout) from here on; rank 0 those of one worker.
        seed_everything(trial.seed + 1_000_003 * ranks.rank)
        source = BatchSource(
            train_data, workload, request.data, ranks.device, augmentation_seed=trial.seed
        )
        return cls(
            workload=workload,
            data=(train_data, validation_data),
            model=model,
            source=source,
            plan=BatchPlan.of(trial, len(source), ranks.rank),
            optimizer=build_optimizer(workload, model, settings, trial.learning_rate),
            step=training_step(workload, ranks.device, settings.precision),
            evaluator=_evaluator(request, workload, model, validation_data, ranks, emit_progress),
        )

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def gradient_step(self, request: TrialRequest, ranks: Ranks) -> GradientStep:
        """Put the model under DDP; once only, since it then hooks into the parameters."""
        return GradientStep(
            wrap_model(self.model, ranks, request.trial.training),
            self.step,
            self.parameters,
            ranks,
            weighted=is_weighted(self.workload),
        )


def _evaluator(
    request: TrialRequest,
    workload: Workload,
    model: nn.Module,
    validation_data: Dataset[Any],
    ranks: Ranks,
    emit_progress: Callable[[Progress], None],
) -> Evaluator:
    trial, chosen = request.trial, request.data.evaluation_batch_size
    # Without gradients several times the training batch fits into the same memory.
    automatic = min(_LARGEST_AUTO_EVALUATION_BATCH, 4 * trial.per_worker_batch_size)
    return Evaluator(
        model,
        BatchSource(validation_data, workload, request.data, ranks.device),
        evaluation_step(
            workload,
            ranks.device,
            trial.training.precision,
            request.quality.decision_threshold,
        ),
        workload.task,
        batch_size=automatic if chosen == "auto" else chosen,
        ranks=ranks,
        metrics=declared_metrics(workload),
        emit_progress=emit_progress,
    )
