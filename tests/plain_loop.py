"""A training loop as one would write it by hand: one process, no accumulation, no DDP.

The reference that trials are compared with. It imports nothing from ddp_sweep and repeats what a
trial must do: the data, the model, the order of the samples and the weighted mean of the losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PlainResult", "Problem", "digits", "fraud", "train", "whole_batch_gradient"]


@dataclass(frozen=True)
class Problem:
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    class_weight: float | None = None

    def build_model(self) -> nn.Module:
        if self.class_weight is None:
            return nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(512, 10),
            )
        return nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.class_weight is None:
            return functional.cross_entropy(outputs, targets)
        weights = torch.where(targets == 1, self.class_weight, 1.0)
        losses = functional.binary_cross_entropy_with_logits(
            outputs[:, 0], targets.float(), reduction="none"
        )
        return (losses * weights).sum() / weights.sum()

    def predicted(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1) if self.class_weight is None else (outputs[:, 0] >= 0).long()


@dataclass(frozen=True)
class PlainResult:
    losses: list[float]
    accuracy: float


def digits(rows: int | None = None) -> Problem:
    images, labels = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        images / 16.0, labels, test_size=360, stratify=labels, random_state=0
    )
    return Problem(
        torch.tensor(train_x[:rows], dtype=torch.float32).view(-1, 1, 8, 8),
        torch.tensor(train_y[:rows]),
        torch.tensor(val_x, dtype=torch.float32).view(-1, 1, 8, 8),
        torch.tensor(val_y),
    )


def fraud(samples: int, class_weight: float) -> Problem:
    features, labels = make_classification(
        n_samples=samples,
        n_features=20,
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
    return Problem(
        torch.tensor(scaler.transform(train_x), dtype=torch.float32),
        torch.tensor(train_y),
        torch.tensor(scaler.transform(val_x), dtype=torch.float32),
        torch.tensor(val_y),
        class_weight,
    )


def train(
    problem: Problem,
    *,
    seed: int,
    samples: int,
    batch_size: int,
    learning_rate: float,
    max_gradient_norm: float | None = None,
) -> PlainResult:
    torch.manual_seed(seed)
    model = problem.build_model()
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9)
    losses: list[float] = []
    left, epoch = samples, 0
    while left > 0:
        order = np.random.default_rng([seed, epoch]).permutation(len(problem.train_y))[:left]
        starts = list(range(0, len(order), batch_size))
        if len(order) - starts[-1] == 1 < len(order):
            starts.pop()  # a single sample at the end belongs to the batch before
        for batch in np.split(order, starts[1:]):
            rows = torch.from_numpy(batch)
            optimizer.zero_grad()
            loss = problem.mean_loss(model(problem.train_x[rows]), problem.train_y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            if max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
            optimizer.step()
            losses.append(loss.item())
        left -= len(order)
        epoch += 1
    with torch.no_grad():
        hits = problem.predicted(model(problem.val_x)) == problem.val_y
    return PlainResult(losses, hits.double().mean().item())


def whole_batch_gradient(problem: Problem, seed: int, rows: Tensor) -> list[Tensor]:
    """Gradient of one process on a whole batch, from the weights a seed gives."""
    torch.manual_seed(seed)
    model = problem.build_model()
    loss = problem.mean_loss(model(problem.train_x[rows]), problem.train_y[rows])
    return list(torch.autograd.grad(loss, list(model.parameters())))
