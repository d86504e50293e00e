"""Breast cancer: 569 real tumours, 30 measurements each, malignant or benign.

The Wisconsin diagnostic data set, as it comes with scikit-learn. Missing a malignant tumour is the
mistake that counts, so malignant is the positive class: ``recall`` is the share of them found.
"""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.workload import Binary


class BreastCancer:
    """Is the tumour malignant?

    Args:
        hidden: Width of the hidden layer.
    """

    # Labels as scikit-learn has them: 0 is malignant, 1 is benign.
    task = Binary(positive=0, class_names=("malignant", "benign"))

    def __init__(self, hidden: int = 32) -> None:
        self.hidden = hidden

    def build_model(self) -> nn.Module:
        """One hidden layer; one logit, that of label 1."""
        return nn.Sequential(nn.Linear(30, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        """426 tumours to train on and 143 for validation, 53 of them malignant."""
        return _tumours()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of each sample."""
        return functional.binary_cross_entropy_with_logits(
            outputs.squeeze(1), targets.float(), reduction="none"
        )


@cache
def _tumours() -> tuple[TensorDataset, TensorDataset]:
    features, labels = load_breast_cancer(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        features, labels, test_size=143, stratify=labels, random_state=0
    )
    # Fitted on the training rows alone: validation rows must not leak into it.
    scaler = StandardScaler().fit(train_x)
    return (
        TensorDataset(
            torch.from_numpy(scaler.transform(train_x)).float(), torch.from_numpy(train_y)
        ),
        TensorDataset(torch.from_numpy(scaler.transform(val_x)).float(), torch.from_numpy(val_y)),
    )
