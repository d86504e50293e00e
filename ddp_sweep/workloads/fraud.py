"""Fraud: GENERATED transactions, about 2 % of them fraudulent. Not real data.

A stand-in for tables where the class that matters is rare: a model that never says fraud is right
98 times in 100. ``class_weight`` makes a fraudulent transaction count as much as that many others.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.workload import Binary, LossSum

_FEATURES = 20


class Fraud:
    """Is the transaction fraudulent?

    Args:
        class_weight: Weight of a fraudulent transaction in the loss; that of others is 1.
        samples: Transactions to generate; a quarter of them is for validation.
        hidden: Width of the two hidden layers.
    """

    task = Binary(positive=1, class_names=("regular", "fraud"))

    def __init__(self, class_weight: float = 1.0, samples: int = 12_000, hidden: int = 64) -> None:
        self.class_weight = class_weight
        self.samples = samples
        self.hidden = hidden

    def build_model(self) -> nn.Module:
        """Two hidden layers; one logit, that of fraud."""
        return nn.Sequential(
            nn.Linear(_FEATURES, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, 1),
        )

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        """Generated training and validation transactions, the same for every trial."""
        return _transactions(self.samples)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of each sample, without class weights: what validation reports."""
        return functional.binary_cross_entropy_with_logits(
            outputs.squeeze(1), targets.float(), reduction="none"
        )

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        """The weighted losses and the weights, each summed."""
        inputs, targets = batch
        weights = torch.where(targets == 1, self.class_weight, 1.0)
        losses = self.loss(model(inputs).float(), targets)
        return LossSum((losses * weights).sum(), weights.sum())


@cache
def _transactions(samples: int) -> tuple[TensorDataset, TensorDataset]:
    features, labels = make_classification(
        n_samples=samples,
        n_features=_FEATURES,
        n_informative=8,
        n_redundant=4,
        n_clusters_per_class=3,
        weights=[0.98],
        flip_y=0.003,
        class_sep=1.2,
        random_state=0,
    )
    train_x, val_x, train_y, val_y = train_test_split(
        features, labels, test_size=0.25, stratify=labels, random_state=0
    )
    scaler = StandardScaler().fit(train_x)
    return (
        TensorDataset(
            torch.from_numpy(scaler.transform(train_x)).float(), torch.from_numpy(train_y)
        ),
        TensorDataset(torch.from_numpy(scaler.transform(val_x)).float(), torch.from_numpy(val_y)),
    )
