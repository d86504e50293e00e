"""Faults of a workload that raise no error: a mean for a sum, chance that is not the sample's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ddp_sweep.errors import DataWarning, WorkloadError
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.augmentation import AugmentedDataset
from ddp_sweep.training.batch_steps import training_step
from ddp_sweep.training.isolation import seed_everything
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.overlap import sample_digest
from ddp_sweep.workload import LossSum, Workload

__all__ = ["warn_of_mean", "warn_of_unseeded_chance"]

_CPU = torch.device("cpu")
_EQUAL = 1e-3
"""Relative difference below which losses of one model and the same samples are the same."""
_APART = 0.1
_TRIES = 8
"""A coin that augment throws may fall the same way a few times."""


class _Kept(Dataset[Any]):
    """A data set of a few samples that were read already."""

    def __init__(self, samples: Sequence[Any]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - what the user makes it
        return self._samples[index]


def _augmented(workload: Workload, dataset: Dataset[Any], samples: int) -> list[Any]:
    """The first training samples as the first epoch has them."""
    augment = getattr(workload, "augment", None)
    if augment is None:
        return [dataset[index] for index in range(samples)]
    augmented = AugmentedDataset(dataset, augment, seed=0)
    return [augmented[0, index] for index in range(samples)]


def warn_of_mean(
    workload: Workload, model: nn.Module, dataset: Dataset[Any], data: DataSettings, samples: int
) -> None:
    """Warn where a ``training_step`` returns a mean as the total of a batch.

    Sums of two halves add up to that of the whole batch; a mean of the whole is the mean of their
    means, weighted. Both are taken in evaluation mode, so that dropout changes nothing. A loss
    that is neither (contrastive, with chance of its own) is not judged.

    Args:
        workload: What the user wrote.
        model: Is in training mode afterwards.
        dataset: The training set.
        data: How samples will be loaded.
        samples: How many of the first to take; at least 2 are needed.
    """
    if not hasattr(workload, "training_step") or samples < 2:
        return
    step = training_step(workload, _CPU, "float32")
    rows = np.arange(samples)
    # Read once: a data set, or augmentation, may draw by itself.
    fetch = BatchSource(_Kept(_augmented(workload, dataset, samples)), workload, data, _CPU).fetch
    model.eval()
    # What fails here fails again where it is named.
    with suppress(WorkloadError), torch.no_grad():
        found = [_plain(step(model, fetch(part))) for part in (rows, *np.array_split(rows, 2))]
        if _is_mean(*found):
            warnings.warn(
                "training_step: LossSum.total looks like a mean: that of "
                f"{samples} samples is the mean of those of its halves, not their sum, though "
                f"LossSum.weight is {found[0][1]:g}. It must be a sum (of losses that were taken "
                "with reduction='none'); otherwise gradients are too small by the batch size",
                DataWarning,
                stacklevel=2,
            )
    model.train()


def _plain(result: LossSum) -> tuple[float, float]:
    return float(result.total), float(result.weight)


def _is_mean(
    whole: tuple[float, float], first: tuple[float, float], second: tuple[float, float]
) -> bool:
    (total, weight), (a, weight_a), (b, weight_b) = whole, first, second
    if not weight > 0 or not math.isclose(weight, weight_a + weight_b, rel_tol=_EQUAL):
        return False
    mean = (a * weight_a + b * weight_b) / weight
    is_sum = math.isclose(total, a + b, rel_tol=_APART)
    return math.isclose(total, mean, rel_tol=_EQUAL) and not is_sum


def warn_of_unseeded_chance(workload: Workload, dataset: Dataset[Any]) -> None:
    """Warn where ``augment`` takes chance from elsewhere than the generator it is given.

    Args:
        workload: What the user wrote.
        dataset: The training set; its first sample is augmented twice with equal generators.
    """
    augment = getattr(workload, "augment", None)
    if augment is None:
        return
    # The sample itself is read once: a data set may draw by itself.
    augmented = AugmentedDataset(_Kept([dataset[0]]), augment, seed=0)
    digests = set()
    try:
        for seed in range(_TRIES):
            seed_everything(seed)
            digests.add(sample_digest(augmented[0, 0]))
    except TypeError:  # of a kind whose content cannot be compared
        return
    finally:
        seed_everything(0)
    if len(digests) > 1:
        warnings.warn(
            "augment: the same sample and equal generators gave different samples: chance comes "
            "from somewhere else (random, numpy.random or torch's global generator), and batches "
            "will depend on the number of workers. Take all chance from the generator that it is "
            "given, such as torch.rand(1, generator=generator)",
            DataWarning,
            stacklevel=2,
        )
