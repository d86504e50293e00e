"""What a workload is to predict; a task names the outputs it expects and the metrics it yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

__all__ = ["Binary", "LanguageModel", "Multiclass", "Regression", "Task", "class_names"]

_CLASSIFICATION_METRICS = (
    *("accuracy", "balanced_accuracy", "precision", "recall"),
    *("f1", "mcc", "auroc", "average_precision"),
)
_LOSSES = ("train_loss", "val_loss")


@dataclass(frozen=True)
class Binary:
    """Two classes, labels 0 and 1; the model returns one logit a sample, that of label 1.

    ``positive`` is the label whose precision, recall and F1 are reported.
    """

    positive: int = 1
    class_names: Sequence[str] | None = None
    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, *_CLASSIFICATION_METRICS)

    def __post_init__(self) -> None:
        if self.positive not in (0, 1):
            raise ValueError(f"Binary(positive={self.positive!r}): a label, 0 or 1, is allowed")
        _check_names(self, 2)

    @property
    def num_classes(self) -> int:
        """Always 2."""
        return 2


@dataclass(frozen=True)
class Multiclass:
    """Labels 0 to ``num_classes - 1``; the model returns logits of shape [batch, num_classes]."""

    num_classes: int
    class_names: Sequence[str] | None = None
    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, *_CLASSIFICATION_METRICS)

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"Multiclass({self.num_classes!r}): at least 2 classes are needed")
        _check_names(self, self.num_classes)


@dataclass(frozen=True)
class Regression:
    """One value a sample; the model returns shape [batch] or [batch, 1]."""

    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, "mae", "rmse", "r2")


@dataclass(frozen=True)
class LanguageModel:
    """A token at every place, such as the next; logits of shape [batch, time, vocabulary].

    A batch is (inputs, targets), token ids of shape [batch, time]; ``loss`` returns the losses of
    the tokens, [batch, time] or the same flattened. Every token weighs the same: losses are
    divided by the number of targets that are not ``ignore_index``, of all workers together. So a
    loss is per token, and perplexity = exp(sum of the losses / number of tokens).

    ``ignore_index`` marks the targets that do not count: padding, a prompt. Masked language models
    work as well: mark every target but the masked ones. Throughput in tokens counts the targets
    that count.
    """

    ignore_index: int = -100
    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, "perplexity")


Task: TypeAlias = Binary | Multiclass | Regression | LanguageModel


def class_names(task: Task) -> list[str] | None:
    """Names of the classes in label order, ``"0"``, ``"1"`` where none are given.

    >>> class_names(Multiclass(3))
    ['0', '1', '2']
    """
    if not isinstance(task, Binary | Multiclass):
        return None
    return list(task.class_names or map(str, range(task.num_classes)))


def _check_names(task: Binary | Multiclass, expected: int) -> None:
    if task.class_names is not None and len(task.class_names) != expected:
        raise ValueError(
            f"{type(task).__name__}: class_names has {len(task.class_names)} names "
            f"for {expected} classes"
        )
