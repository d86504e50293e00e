"""Exact evaluation: every validation sample counts once, whatever the world size.

The bare model, with the buffers of rank 0, sees unpadded shards; ranks add up losses, counts and a
confusion matrix, and metrics come from those sums alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddp_sweep.training.batch_steps import EvaluationStep
from ddp_sweep.training.batches import evaluation_shard
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.metrics import (
    RegressionSums,
    classification_metrics,
    perplexity,
    regression_metrics,
    score_metrics,
)
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.workload import (
    Binary,
    EvaluationOutput,
    LanguageModel,
    Multiclass,
    Regression,
    Task,
    class_names,
)

__all__ = ["EvaluationSums", "Evaluator", "broadcast_buffers"]

_SIGN_OF_LIFE_S = 1.0
_MAX_GATHERED_SCORES = 20_000_000
"""Above it (160 MB a rank) the scores of several classes are not gathered: auroc is unknown."""


class EvaluationSums:
    """Sufficient statistics of a shard, and of the whole set once they are added up.

    Attributes:
        losses: float64, shape [2]: sum of the losses, sum of the weights.
        errors: float64, shape [2]: sum of the absolute and of the squared errors (regression).
        moments: float64, shape [2]: sums of the targets and of their squares, less the first of
            them, which keeps digits that targets far from 0 would lose (regression).
        confusion: int64, shape [classes, classes]; empty where there are no classes.
        count: Samples.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.losses = torch.zeros(2, dtype=torch.float64, device=device)
        self.errors = torch.zeros(2, dtype=torch.float64, device=device)
        self.moments = torch.zeros(2, dtype=torch.float64, device=device)
        self.confusion = torch.zeros((classes, classes), dtype=torch.int64, device=device)
        self.count = 0
        self._shift = torch.zeros(1, dtype=torch.float64, device=device)

    def add(self, output: EvaluationOutput) -> None:
        """Add one batch."""
        self.losses[0] += output.loss_sum
        self.losses[1] += output.weight
        if output.predictions is not None:
            self._add_predictions(output.targets, output.predictions)
        self.count += len(output.targets)

    def _add_predictions(self, targets: Tensor, predictions: Tensor) -> None:
        if classes := len(self.confusion):
            cells = targets.long() * classes + predictions.long()
            counts = torch.bincount(cells, minlength=classes * classes)
            self.confusion += counts.view(classes, classes)
        else:
            targets = targets.double().flatten()
            errors = predictions.double().flatten() - targets
            self.errors += torch.stack([errors.abs().sum(), errors.square().sum()])
            if self.count == 0:
                self._shift = targets[:1]
            shifted = targets - self._shift
            self.moments += torch.stack([shifted.sum(), shifted.square().sum()])

    def reduce_(self, ranks: Ranks) -> None:
        """Add up the shards of all ranks."""
        self._shift_to_first_target_of_rank_0(ranks)
        whole = [self.losses, self.errors, self.moments, self.confusion.flatten().double()]
        count = torch.tensor([self.count], dtype=torch.float64, device=ranks.device)
        joined = ranks.sum_(torch.cat([count, *whole]))
        self.count = int(joined[0])
        self.losses, self.errors, self.moments = joined[1:3], joined[3:5], joined[5:7]
        self.confusion = joined[7:].long().view_as(self.confusion)

    def _shift_to_first_target_of_rank_0(self, ranks: Ranks) -> None:
        shift = self._shift.clone()
        ranks.broadcast_(shift)
        gap = self._shift - shift
        first, second = self.moments.chunk(2)
        second = second + 2 * gap * first + self.count * gap.square()
        self.moments = torch.cat([first + self.count * gap, second])

    @property
    def deviation(self) -> float:
        """Sum of the squared deviations of the targets from their mean."""
        first, second = self.moments.tolist()
        return float(second - first**2 / self.count)


def broadcast_buffers(model: nn.Module, ranks: Ranks) -> None:
    """Give every rank the buffers of rank 0: running statistics differ between ranks."""
    if ranks.group is not None:
        for buffer in model.buffers():
            ranks.broadcast_(buffer)


class Evaluator:
    """Evaluates a model on the validation set, together with the other ranks.

    Args:
        model: The bare model, without DDP.
        source: The validation set.
        step: What a batch becomes.
        task: Names the metrics.
        batch_size: Samples of one forward pass.
        ranks: The ranks of the trial.
        emit_progress: Gets a dictionary now and then; must not block.
    """

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource,
        step: EvaluationStep,
        task: Task,
        *,
        batch_size: int,
        ranks: Ranks,
        emit_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._source = source
        self._step = step
        self._task = task
        self._ranks = ranks
        self._emit = emit_progress
        self._last_sign_s = time.monotonic()
        classes = task.num_classes if isinstance(task, Binary | Multiclass) else 0
        self._classes = classes
        self._gathers_scores = len(source) * classes <= _MAX_GATHERED_SCORES
        shard = evaluation_shard(len(source), ranks.rank, ranks.world_size)
        self._batches = [shard[at : at + batch_size] for at in range(0, len(shard), batch_size)]

    @property
    def num_samples(self) -> int:
        """Size of the validation set."""
        return len(self._source)

    def run(self) -> tuple[dict[str, Any], int]:
        """Evaluate; the model is left in train mode.

        Returns:
            Quality columns, and the number of samples that were counted.

        Raises:
            WorkloadError: Outputs or labels do not fit the task.
        """
        broadcast_buffers(self._model, self._ranks)
        self._model.eval()
        sums = EvaluationSums(self._classes, self._ranks.device)
        outputs: list[EvaluationOutput] = []
        with torch.no_grad():
            for batch in self._source.stream(self._batches):
                self._show_life()
                output = self._step(self._model, batch)
                sums.add(output)
                if self._classes:
                    outputs.append(
                        output if self._gathers_scores else replace(output, scores=None)
                    )
        self._model.train()
        sums.reduce_(self._ranks)
        # Unpadded shards cover the set exactly; anything else would make every metric wrong.
        assert sums.count == len(self._source), (sums.count, len(self._source))
        loss, weight = sums.losses.tolist()
        quality: dict[str, Any] = {"val_loss": loss / weight if weight else None}
        if isinstance(self._task, Regression):
            absolute, squared = sums.errors.tolist()
            quality |= regression_metrics(
                RegressionSums(sums.count, absolute, squared, sums.deviation)
            )
        elif isinstance(self._task, LanguageModel):
            quality["perplexity"] = perplexity(loss, weight)
        else:
            quality |= self._classification(sums.confusion, outputs)
        return quality, sums.count

    def _show_life(self) -> None:
        """Tell now and then that evaluation goes on: a long one is no stall."""
        if time.monotonic() - self._last_sign_s >= _SIGN_OF_LIFE_S:
            self._last_sign_s = time.monotonic()
            self._emit({"stage": "evaluating"})

    def _classification(
        self, confusion: Tensor, outputs: list[EvaluationOutput]
    ) -> dict[str, Any]:
        task = self._task
        assert isinstance(task, Binary | Multiclass)
        positive = task.positive if isinstance(task, Binary) else None
        quality = classification_metrics(confusion.cpu().numpy(), positive)
        quality["class_names"] = class_names(task)
        targets = self._gathered([o.targets.long() for o in outputs])
        predictions = self._gathered(
            [o.predictions.long() for o in outputs if o.predictions is not None]
        )
        quality["correct_bits"] = np.packbits(targets == predictions).tobytes()
        quality |= {"auroc": None, "average_precision": None}
        columns = () if positive is not None else (task.num_classes,)
        scores = [o.scores.double() for o in outputs if o.scores is not None]
        if self._ranks.total(len(outputs) - len(scores)) == 0:
            gathered = self._gathered(scores, columns, torch.float64)
            quality |= score_metrics(targets, gathered, positive)
        return quality

    def _gathered(
        self,
        parts: list[Tensor],
        columns: tuple[int, ...] = (),
        dtype: torch.dtype = torch.int64,
    ) -> Any:  # noqa: ANN401 - ints or floats
        """Rows of all ranks in the order of the set; a rank may have none."""
        empty = torch.zeros((0, *columns), dtype=dtype, device=self._ranks.device)
        return self._ranks.gather_rows(torch.cat([empty, *parts])).cpu().numpy()
