"""Handwritten digits: 1,797 real images of 8 x 8 pixels, ten classes, and a small CNN.

The images come with scikit-learn (a copy of the test set of the UCI data set "Optical Recognition
of Handwritten Digits"). One in five, the same for every trial, is kept for validation.
"""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.workload import Multiclass


class Digits:
    """Which digit is it?

    Args:
        channels: Width of the first convolution; the second has twice as many.
    """

    task = Multiclass(num_classes=10)

    def __init__(self, channels: int = 16) -> None:
        self.channels = channels

    def build_model(self) -> nn.Module:
        """Two convolutions and a linear layer; no batch norm, no dropout."""
        width = self.channels
        return nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 10),
        )

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        """1,437 images to train on and 360 for validation."""
        return _digits()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each sample."""
        return functional.cross_entropy(outputs, targets, reduction="none")


@cache
def _digits() -> tuple[TensorDataset, TensorDataset]:
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=360, stratify=labels, random_state=0)
    train_x, val_x, train_y, val_y = (torch.from_numpy(part) for part in parts)
    return (
        TensorDataset(train_x.float().view(-1, 1, 8, 8), train_y),
        TensorDataset(val_x.float().view(-1, 1, 8, 8), val_y),
    )
