"""Workloads with nothing wrong, and with all that makes one hard to check."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep.workloads.digits import Digits


class _Shifted(Dataset[tuple[Tensor, Tensor]]):
    """Images moved by a pixel at random."""

    def __init__(self, rows: TensorDataset) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self._rows[index]
        shift = int(torch.randint(-1, 2, ()))
        return image.roll(shift, dims=-1), label


class Mixed(Digits):
    """Digits with batch norm, dropout and random augmentation."""

    def build_model(self) -> nn.Module:
        width = self.channels
        return nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(16 * width, 10),
        )

    def build_data(self) -> Any:
        train, validation = super().build_data()
        return _Shifted(train), validation


class Augmented(Mixed):
    """The same, with images moved by the protocol's ``augment``."""

    def build_data(self) -> Any:
        return Digits.build_data(self)

    def augment(
        self, sample: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        image, label = sample
        shift = int(torch.randint(-1, 2, (), generator=generator))
        return image.roll(shift, dims=-1), label
