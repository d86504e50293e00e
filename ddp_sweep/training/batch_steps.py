"""How one batch becomes a loss, or predictions: the workload's own steps or the default ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload import (
    Binary,
    EvaluationOutput,
    LossSum,
    Multiclass,
    Regression,
    Task,
    Workload,
)

__all__ = ["EvaluationStep", "TrainingStep", "check_labels", "evaluation_step", "training_step"]

TrainingStep: TypeAlias = Callable[[nn.Module, Any], LossSum]
EvaluationStep: TypeAlias = Callable[[nn.Module, Any], EvaluationOutput]


def training_step(workload: Workload, device: torch.device, precision: str) -> TrainingStep:
    """The workload's ``training_step``, or outputs and per-sample losses of (inputs, targets).

    Args:
        workload: What the user wrote.
        device: Where the batches are.
        precision: ``float32``, or ``bfloat16`` for autocast; losses are float32 either way.

    Raises (when called):
        WorkloadError: ``loss`` or ``training_step`` returned something else than it should.
    """
    own: TrainingStep | None = getattr(workload, "training_step", None)

    def default_step(model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        inputs, targets = _pair(batch)
        with _autocast(device, precision):
            outputs = model(inputs)
        losses = _losses(workload, outputs, targets)
        return LossSum(losses.sum(), float(len(losses)))

    if own is None:
        return default_step

    def own_step(model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        with _autocast(device, precision):
            result = own(model, batch)
        return _checked_sum(result)

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
        inputs, targets = _pair(batch)
        with _autocast(device, precision):
            outputs = model(inputs)
        losses = _losses(workload, outputs, targets)
        scores, values = _scores(task, outputs, targets)
        return EvaluationOutput(
            losses.double().sum(), float(len(losses)), targets.flatten(), scores, values
        )

    def own_step(model: nn.Module, batch: Any) -> EvaluationOutput:  # noqa: ANN401
        assert own is not None
        with _autocast(device, precision):
            result = own(model, batch)
        return _checked_output(task, result)

    step = default_step if own is None else own_step

    def complete_step(model: nn.Module, batch: Any) -> EvaluationOutput:  # noqa: ANN401
        return _with_predictions(task, step(model, batch), threshold)

    return complete_step


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _pair(batch: Any) -> tuple[Any, Tensor]:  # noqa: ANN401
    if isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    raise WorkloadError(
        f"a batch of the data set is {_describe(batch)}; expected (inputs, targets). For other "
        "forms write training_step(model, batch) and evaluation_step(model, batch)"
    )


def _losses(workload: Workload, outputs: Any, targets: Tensor) -> Tensor:  # noqa: ANN401
    if not isinstance(outputs, Tensor):
        raise WorkloadError(
            f"the model returned {_describe(outputs)}; expected a tensor. For other outputs write "
            "training_step(model, batch) and evaluation_step(model, batch)"
        )
    if outputs.dtype in (torch.bfloat16, torch.float16):
        outputs = outputs.float()
    losses = workload.loss(outputs, targets)
    if not isinstance(losses, Tensor) or losses.shape != (len(targets),):
        raise WorkloadError(
            f"loss: expected the losses of {len(targets)} samples, shape [{len(targets)}], got "
            f"{_describe(losses)}; take the loss with reduction='none'"
        )
    return losses


def _checked_sum(result: Any) -> LossSum:  # noqa: ANN401
    if not isinstance(result, LossSum):
        raise WorkloadError(
            f"training_step: expected LossSum(total, weight), got {_describe(result)}"
        )
    if not isinstance(result.total, Tensor) or result.total.dim() != 0:
        raise WorkloadError(
            f"training_step: LossSum.total: expected a scalar tensor, got "
            f"{_describe(result.total)}"
        )
    if isinstance(result.weight, Tensor) and result.weight.dim() != 0:
        raise WorkloadError(
            f"training_step: LossSum.weight: expected a number or a scalar tensor, got "
            f"{_describe(result.weight)}"
        )
    return result


def _checked_output(task: Task, result: Any) -> EvaluationOutput:  # noqa: ANN401
    if not isinstance(result, EvaluationOutput):
        raise WorkloadError(
            f"evaluation_step: expected an EvaluationOutput, got {_describe(result)}"
        )
    single = (len(result.targets),)
    columns = (*single, task.num_classes) if isinstance(task, Multiclass) else single
    fields = {
        "targets": (result.targets, single),
        "predictions": (result.predictions, single),
        "scores": (result.scores, columns),
    }
    for name, (value, shape) in fields.items():
        if value is not None and tuple(value.shape) != shape:
            raise WorkloadError(
                f"evaluation_step: EvaluationOutput.{name}: expected shape {list(shape)}, got "
                f"{_describe(value)}"
            )
    if result.predictions is not None:
        check_labels(task, result.predictions, "predictions")
    return result


def _scores(task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Probabilities, and values of a regression."""
    count = len(targets)
    if isinstance(task, Multiclass):
        _check_shape(outputs, [(count, task.num_classes)], "logits", task)
        return outputs.double().softmax(dim=1), None
    single = [(count,), (count, 1)]
    if isinstance(task, Binary):
        _check_shape(outputs, single, "one logit a sample", task)
        return outputs.flatten().double().sigmoid(), None
    _check_shape(outputs, single, "one value a sample", task)
    return None, outputs.flatten().double()


def _check_shape(outputs: Tensor, allowed: list[tuple[int, ...]], what: str, task: Task) -> None:
    if tuple(outputs.shape) not in allowed:
        shapes = " or ".join(str(list(shape)) for shape in allowed)
        raise WorkloadError(
            f"the model returned shape {list(outputs.shape)}; a {type(task).__name__} task "
            f"expects {what}, shape {shapes}"
        )


def _with_predictions(task: Task, output: EvaluationOutput, threshold: float) -> EvaluationOutput:
    """Check the labels and derive the predicted labels from the scores."""
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
    return EvaluationOutput(output.loss_sum, output.weight, output.targets, scores, predictions)


def check_labels(task: Task, labels: Tensor, what: str = "labels") -> None:
    """Refuse labels outside the classes of a task.

    Raises:
        WorkloadError: A label is negative, too large or no whole number.
    """
    if isinstance(task, Regression) or len(labels) == 0:
        return
    low, high = labels.min().item(), labels.max().item()
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if low < 0 or high >= task.num_classes or not whole:
        raise WorkloadError(
            f"{what} lie between {low} and {high}; a {type(task).__name__} task with "
            f"{task.num_classes} classes allows whole numbers from 0 to {task.num_classes - 1}"
        )


def _describe(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} elements"
    return f"an object of type {type(value).__name__}"
