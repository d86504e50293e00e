"""Random augmentation that is the same whatever the world size and whoever loads the sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddp_sweep.errors import WorkloadError

__all__ = ["Augment", "AugmentedDataset", "sample_generator"]

Augment: TypeAlias = Callable[[Any, torch.Generator], Any]


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The generator of one sample in one epoch of a trial; a new one at every call."""
    digest = hashlib.blake2b(f"{seed},{epoch},{index}".encode(), digest_size=8).digest()
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(digest, "little"))
    return generator


class AugmentedDataset(Dataset[Any]):
    """A training set whose samples are augmented anew in every epoch.

    Its keys are pairs (epoch, index): with loading processes, the epoch has to reach those too.

    Args:
        dataset: Map-style data set.
        augment: The workload's ``augment(sample, generator)``.
        seed: Seed of the trial.
    """

    def __init__(self, dataset: Dataset[Any], augment: Augment, seed: int) -> None:
        self._dataset = dataset
        self._augment = augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> Any:  # noqa: ANN401 - what the user makes it
        epoch, index = key
        # A copy: augmenting in place would otherwise change the data set itself.
        sample = _copied(self._dataset[index])
        augmented = self._augment(sample, sample_generator(self._seed, epoch, index))
        if augmented is None:
            raise WorkloadError("augment: returned None; expected the augmented sample")
        return augmented


def _copied(value: Any) -> Any:  # noqa: ANN401 - any nesting
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (tuple, list):
        return type(value)(_copied(part) for part in value)
    if type(value) is dict:
        return {name: _copied(part) for name, part in value.items()}
    return value
