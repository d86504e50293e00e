"""What the members of a workload may return in a step, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload import (
    Binary,
    EvaluationOutput,
    LanguageModel,
    LossSum,
    Multiclass,
    Task,
)

__all__ = [
    "check_labels",
    "check_outputs",
    "check_probabilities",
    "check_tokens",
    "checked_losses",
    "checked_output",
    "checked_sum",
    "describe",
    "describe_batch",
    "listed",
    "refuse_none",
    "with_label_kind",
]

_MOST_DESCRIBED = 6


def check_outputs(task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs of a shape that the task does not expect.

    Raises:
        WorkloadError: Names the shapes that are allowed.
    """
    count = len(targets)
    if isinstance(task, LanguageModel):
        if outputs.dim() != targets.dim() + 1 or outputs.shape[:-1] != targets.shape:
            places = ", ".join(map(str, targets.shape))
            raise _wrong_shape(task, outputs, "logits", f"[{places}, vocabulary]")
        return
    allowed: list[tuple[int, ...]] = [(count,), (count, 1)]
    if isinstance(task, Multiclass):
        allowed, what = [(count, task.num_classes)], "logits"
    else:
        what = "one logit a sample" if isinstance(task, Binary) else "one value a sample"
    if tuple(outputs.shape) not in allowed:
        raise _wrong_shape(task, outputs, what, " or ".join(str(list(one)) for one in allowed))


def _wrong_shape(task: Task, outputs: Tensor, what: str, allowed: str) -> WorkloadError:
    return WorkloadError(
        f"the model returned shape {list(outputs.shape)}; a {type(task).__name__} task expects "
        f"{what}, shape {allowed}"
    )


def check_tokens(task: LanguageModel, targets: Tensor, vocabulary: int) -> None:
    """Refuse token ids that the model has no logit for.

    Raises:
        WorkloadError: One is negative or too large, and is not ``ignore_index``.
    """
    counted = targets[targets != task.ignore_index]
    if len(counted) == 0:
        return
    low, high = counted.min().item(), counted.max().item()
    if low < 0 or high >= vocabulary:
        raise WorkloadError(
            f"targets lie between {low} and {high}, and the model returned logits for a "
            f"vocabulary of {vocabulary}; allowed are 0 to {vocabulary - 1}, and "
            f"{task.ignore_index} (ignore_index) for a place that does not count"
        )


def checked_losses(task: Task, losses: Any, targets: Tensor) -> Tensor:  # noqa: ANN401
    """What ``loss`` returned, if it is one loss a sample, or of a language model one a token.

    Raises:
        WorkloadError: It is something else.
    """
    allowed: list[tuple[int, ...]] = [(len(targets),)]
    unit = "samples"
    if isinstance(task, LanguageModel):
        allowed, unit = [tuple(targets.shape), (targets.numel(),)], "tokens"
    if not isinstance(losses, Tensor) or tuple(losses.shape) not in allowed:
        shapes = " or ".join(str(list(shape)) for shape in allowed)
        raise WorkloadError(
            f"loss: expected the losses of {allowed[-1][0]} {unit}, shape {shapes}, got "
            f"{describe(losses)}; take the loss with reduction='none'"
        )
    return losses


def checked_sum(result: Any) -> LossSum:  # noqa: ANN401
    """What ``training_step`` returned, if it is a sum of losses and its weight.

    Raises:
        WorkloadError: It is something else.
    """
    if not isinstance(result, LossSum):
        raise WorkloadError(
            f"training_step: expected LossSum(total, weight), got {describe(result)}"
        )
    if not isinstance(result.total, Tensor) or result.total.dim() != 0:
        raise WorkloadError(
            f"training_step: LossSum.total: expected a scalar tensor, got {describe(result.total)}"
        )
    _check_weight("training_step: LossSum.weight", result.weight)
    return result


def _check_weight(where: str, weight: Any) -> None:  # noqa: ANN401
    scalar = weight.dim() == 0 if isinstance(weight, Tensor) else isinstance(weight, int | float)
    if not scalar:
        raise WorkloadError(
            f"{where}: expected a number or a scalar tensor, got {describe(weight)}"
        )


def checked_output(task: Task, result: Any) -> EvaluationOutput:  # noqa: ANN401
    """What ``evaluation_step`` returned, if its parts fit the task and each other.

    Raises:
        WorkloadError: They do not.
    """
    where = "evaluation_step: EvaluationOutput"
    if not isinstance(result, EvaluationOutput):
        raise WorkloadError(
            f"evaluation_step: expected an EvaluationOutput, got {describe(result)}"
        )
    if not isinstance(result.targets, Tensor) or result.targets.dim() == 0:
        raise WorkloadError(
            f"{where}.targets: expected a tensor with one row a sample, got "
            f"{describe(result.targets)}"
        )
    _check_weight(f"{where}.loss_sum", result.loss_sum)
    _check_weight(f"{where}.weight", result.weight)
    if isinstance(task, LanguageModel):
        return result
    single = (len(result.targets),)
    columns = (*single, task.num_classes) if isinstance(task, Multiclass) else single
    fields = {
        "targets": (result.targets, single),
        "predictions": (result.predictions, single),
        "scores": (result.scores, columns),
    }
    for name, (value, shape) in fields.items():
        if value is not None and (not isinstance(value, Tensor) or tuple(value.shape) != shape):
            raise WorkloadError(
                f"{where}.{name}: expected shape {list(shape)}, got {describe(value)}"
            )
    if result.predictions is not None:
        check_labels(task, result.predictions, "predictions")
    return result


def check_labels(task: Task, labels: Tensor, what: str = "labels") -> None:
    """Refuse labels outside the classes of a task.

    Raises:
        WorkloadError: A label is negative, too large or no whole number.
    """
    if not isinstance(task, Binary | Multiclass) or len(labels) == 0:
        return
    low, high = labels.min().item(), labels.max().item()
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if low < 0 or high >= task.num_classes or not whole:
        raise WorkloadError(
            f"{what} lie between {low} and {high}; a {type(task).__name__} task with "
            f"{task.num_classes} classes allows whole numbers from 0 to {task.num_classes - 1}"
        )


def with_label_kind(task: Task, batch: Any, error: WorkloadError) -> WorkloadError:  # noqa: ANN401
    """The error of a step; where labels of a class task are no whole numbers, that comes first."""
    targets = batch[1] if isinstance(batch, list | tuple) and len(batch) == 2 else None
    if not isinstance(task, Multiclass) or not isinstance(targets, Tensor):
        return error
    if not targets.is_floating_point() or targets.dim() != 1:
        return error
    kind = str(targets.dtype).removeprefix("torch.")
    return WorkloadError(
        f"labels are of dtype {kind}; losses of a Multiclass task mostly expect int64: give the "
        f"data set labels.long(), or convert them in loss. What came of it:\n{error}"
    )


def refuse_none(where: str, sample: Any, *, in_parts: bool) -> None:  # noqa: ANN401
    """Refuse a sample that is None, which is what a function without ``return`` gives.

    Args:
        where: Of which data set.
        sample: What ``__getitem__`` returned.
        in_parts: Whether None is refused within a sample too: no batch can be made of it, unless
            the workload has a ``collate`` of its own.

    Raises:
        WorkloadError: Names what returned None.
    """
    if sample is None:
        raise WorkloadError(
            f"{where}: __getitem__ returned None; does it end with `return`? A sample is expected"
        )
    if not in_parts or not isinstance(sample, list | tuple | dict):
        return
    parts = sample.items() if isinstance(sample, dict) else enumerate(sample)
    for key, part in parts:
        if part is None:
            raise WorkloadError(
                f"{where}: element {key!r} of the sample that __getitem__ returned is None; a "
                "tensor or a number is expected"
            )


def check_probabilities(task: Task, scores: Tensor) -> None:
    """Refuse scores that are no probabilities, such as logits.

    Raises:
        WorkloadError: A score lies outside 0 to 1, or is no number.
    """
    if scores.is_floating_point() and not scores.isfinite().all():
        what = "NaN" if scores.isnan().any() else "infinity"
        raise WorkloadError(
            f"evaluation_step: EvaluationOutput.scores hold {what}; look for a logarithm or a "
            "division of 0 in the model, or an exponential that overflows"
        )
    low, high = scores.min().item(), scores.max().item()
    if isinstance(task, Binary | Multiclass) and not (low >= 0 and high <= 1 + 1e-6):
        function = "sigmoid()" if isinstance(task, Binary) else "softmax(dim=1)"
        raise WorkloadError(
            f"evaluation_step: EvaluationOutput.scores lie between {low:.4g} and {high:.4g}; "
            f"expected probabilities, from 0 to 1: take {function} of logits"
        )


def describe(value: Any) -> str:  # noqa: ANN401
    """A value in words: its kind and its shape or length."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"a tensor of shape {list(value.shape)} and dtype {kind}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)} and dtype {value.dtype}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} elements"
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(str, value)) or '(none)'}"
    if value is None:
        return "None"
    return f"an object of type {type(value).__name__}"


def describe_batch(batch: Any) -> str:  # noqa: ANN401
    """As `describe`, with the elements of a tuple, list or dict of a few."""
    if isinstance(batch, list | tuple) and 0 < len(batch) <= _MOST_DESCRIBED:
        return f"({', '.join(describe(value) for value in batch)})"
    if isinstance(batch, dict) and 0 < len(batch) <= _MOST_DESCRIBED:
        return f"{{{', '.join(f'{key}: {describe(value)}' for key, value in batch.items())}}}"
    return describe(batch)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
