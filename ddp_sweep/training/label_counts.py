"""How many samples of each class a data set has, where that is known without loading them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ddp_sweep.workload import Binary, Multiclass, Task

__all__ = ["class_counts"]


def class_counts(task: Task, dataset: Dataset[Any]) -> tuple[int, ...] | None:
    """Samples of each class; None without classes, or where labels come one sample at a time."""
    if not isinstance(task, Binary | Multiclass):
        return None
    labels = _labels(dataset)
    if labels is None or labels.dim() != 1 or len(labels) != len(dataset):  # type: ignore[arg-type]
        return None
    counts = torch.bincount(labels.long(), minlength=task.num_classes)
    return tuple(counts.tolist()) if len(counts) == task.num_classes else None


def _labels(dataset: Dataset[Any]) -> Tensor | None:
    """Labels that a data set holds in memory: the last tensor, or torchvision's ``targets``."""
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1]
    if isinstance(dataset, Subset):
        whole = _labels(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices)]
    try:
        return torch.as_tensor(dataset.targets)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
