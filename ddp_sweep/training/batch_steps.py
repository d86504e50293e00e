"""How one batch becomes a loss, or predictions: the workload's own steps or the default ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.step_checks import (
    check_labels,
    check_outputs,
    checked_losses,
    checked_output,
    checked_sum,
    describe,
)
from ddp_sweep.workload import (
    Binary,
    EvaluationOutput,
    LanguageModel,
    LossSum,
    Multiclass,
    Regression,
    Task,
    Workload,
)

__all__ = ["EvaluationStep", "TrainingStep", "evaluation_step", "is_weighted", "training_step"]

TrainingStep: TypeAlias = Callable[[nn.Module, Any], LossSum]
EvaluationStep: TypeAlias = Callable[[nn.Module, Any], EvaluationOutput]


def is_weighted(workload: Workload) -> bool:
    """Whether a batch's weight is known only from its step; else every sample weighs 1."""
    return hasattr(workload, "training_step") or isinstance(workload.task, LanguageModel)


def training_step(workload: Workload, device: torch.device, precision: str) -> TrainingStep:
    """The workload's ``training_step``, or outputs and losses of (inputs, targets).

    Args:
        workload: What the user wrote.
        device: Where the batches are.
        precision: ``float32``, or ``bfloat16`` for autocast; losses are float32 either way.

    Raises (when called):
        WorkloadError: ``loss`` or ``training_step`` returned something else than it should.
    """
    own: TrainingStep | None = getattr(workload, "training_step", None)

    def default_step(model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        outputs, targets = _forward(model, batch, device, precision)
        losses, weight = _losses(workload, outputs, targets)
        return LossSum(losses.sum(), weight)

    if own is None:
        return default_step

    def own_step(model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        with _autocast(device, precision):
            result = own(model, batch)
        return checked_sum(result)

    return own_step


def evaluation_step(
    workload: Workload, device: torch.device, precision: str, threshold: float
) -> EvaluationStep:
    """The workload's ``evaluation_step``, or what its task makes of the outputs.

    Args:
        workload: What the user wrote.
        device: Where the batches are.
        precision: As for :func:`training_step`.
        threshold: Binary tasks: probability from which a sample counts as positive.

    Raises (when called):
        WorkloadError: Outputs, losses or labels do not fit the task.
    """
    own: EvaluationStep | None = getattr(workload, "evaluation_step", None)
    task = workload.task

    def default_step(model: nn.Module, batch: Any) -> EvaluationOutput:  # noqa: ANN401
        outputs, targets = _forward(model, batch, device, precision)
        # Before the loss, whose own complaint of a wrong shape says less.
        check_outputs(task, outputs, targets)
        losses, weight = _losses(workload, outputs, targets)
        total = losses.double().sum()
        if isinstance(task, LanguageModel):
            return EvaluationOutput(total, weight, targets)
        scores, values = _scores(task, outputs)
        return EvaluationOutput(total, weight, targets.flatten(), scores, values)

    def own_step(model: nn.Module, batch: Any) -> EvaluationOutput:  # noqa: ANN401
        assert own is not None
        with _autocast(device, precision):
            result = own(model, batch)
        return checked_output(task, result)

    step = default_step if own is None else own_step

    def complete_step(model: nn.Module, batch: Any) -> EvaluationOutput:  # noqa: ANN401
        return _with_predictions(task, step(model, batch), threshold)

    return complete_step


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _forward(
    model: nn.Module,
    batch: Any,  # noqa: ANN401
    device: torch.device,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """Outputs of the model, float32 or wider, and the targets of a batch (inputs, targets)."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        raise WorkloadError(
            f"a batch of the data set is {describe(batch)}; expected (inputs, targets). For other "
            "forms write training_step(model, batch) and evaluation_step(model, batch)"
        )
    inputs, targets = batch
    with _autocast(device, precision):
        outputs = model(inputs)
    if outputs is None:
        raise WorkloadError("the model returned None; does its forward end with `return`?")
    if not isinstance(outputs, Tensor):
        raise WorkloadError(
            f"the model returned {describe(outputs)}; expected a tensor. For other outputs write "
            "training_step(model, batch) and evaluation_step(model, batch)"
        )
    if outputs.dtype in (torch.bfloat16, torch.float16):
        outputs = outputs.float()
    return outputs, targets


def _losses(workload: Workload, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | float]:
    """Losses to be added up, and the weight of the batch: samples, or tokens that count."""
    task = workload.task
    if not isinstance(task, LanguageModel):
        losses = workload.loss(outputs, targets)
        return checked_losses(task, losses, targets), float(len(targets))
    check_outputs(task, outputs, targets)
    losses = checked_losses(task, workload.loss(outputs, targets), targets)
    counts = targets.flatten() != task.ignore_index
    # Kept in place and not picked out: a length known only to the device would be waited for.
    return torch.where(counts, losses.flatten(), 0.0), counts.sum()


def _scores(task: Task, outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Probabilities, and values of a regression."""
    if isinstance(task, Multiclass):
        return outputs.double().softmax(dim=1), None
    if isinstance(task, Binary):
        return outputs.flatten().double().sigmoid(), None
    return None, outputs.flatten().double()


def _with_predictions(task: Task, output: EvaluationOutput, threshold: float) -> EvaluationOutput:
    """Check the labels and derive the predicted labels from the scores."""
    if isinstance(task, LanguageModel):
        return replace(output, scores=None, predictions=None)
    if isinstance(task, Regression):
        if output.predictions is None:
            raise WorkloadError("evaluation_step: a Regression task needs predictions")
        return output
    check_labels(task, output.targets)
    if output.predictions is not None:
        return output
    scores = output.scores
    if scores is None:
        raise WorkloadError("evaluation_step: give scores or predictions")
    if isinstance(task, Multiclass):
        predictions = scores.argmax(dim=1)
    elif task.positive == 1:
        predictions = (scores >= threshold).long()
    else:
        predictions = (1 - scores < threshold).long()
    return replace(output, predictions=predictions)
