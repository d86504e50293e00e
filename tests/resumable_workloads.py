"""Workloads whose training depends on everything that a checkpoint has to hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import LossSum, Multiclass

__all__ = ["Everything", "OwnParts", "Unkept", "Unrestored"]


class _Rows(Dataset[tuple[Tensor, int]]):
    """A data set of its own, so that loading processes can come into play."""

    def __init__(self, points: Tensor, labels: Tensor) -> None:
        self._points, self._labels = points, labels

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._points[index], int(self._labels[index])


class Everything:
    """Batch norm, dropout, augmentation, and chance from three global generators."""

    task = Multiclass(3)

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        rng = np.random.default_rng(0)
        labels = torch.from_numpy(rng.integers(0, 3, 160))
        points = torch.from_numpy(rng.normal(size=(160, 6))).float() + labels[:, None]
        return _Rows(points[:101], labels[:101]), TensorDataset(points[101:], labels[101:])

    def augment(self, sample: Any, generator: torch.Generator) -> Any:
        point, label = sample
        return point + 0.3 * torch.randn(point.shape, generator=generator), label

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        points, labels = batch
        chance = random.random() + np.random.rand() + float(torch.rand(()))
        losses = self.loss(model(points), labels) * (1 + 0.1 * chance)
        return LossSum(losses.sum(), len(losses))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")


class OwnParts(Everything):
    """An optimizer with two groups and a schedule that moves its momentum as well."""

    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        weights = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": 0.01},
            {"params": others, "lr": 2 * learning_rate},
        ]
        return torch.optim.Adam(groups, lr=learning_rate)

    def build_scheduler(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=[0.02, 0.04], total_steps=total_steps + 1
        )


class _Bare:
    def step(self) -> None:
        pass


class _Opaque(_Bare):
    def state_dict(self) -> dict[str, Any]:
        return {"generator": random.Random(0)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class _DeafOptimizer(torch.optim.SGD):
    load_state_dict = None  # type: ignore[assignment]


class Unkept(Everything):
    """Its scheduler or its optimizer has no state that can be kept."""

    def __init__(self, what: str) -> None:
        if what == "optimizer":
            self.build_optimizer = _deaf_optimizer
        else:
            scheduler = {"no state": _Bare, "opaque": _Opaque}[what]()
            self.build_scheduler = lambda _optimizer, _total_steps: scheduler


def _deaf_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return _DeafOptimizer(model.parameters(), lr=learning_rate)


class _OneWay(torch.optim.Adam):
    """Takes back the state it began with, and fails at that of a training."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if state["state"]:
            raise IndexError("tuple index out of range")


class _OneWayCycle(torch.optim.lr_scheduler.OneCycleLR):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        random.random()
        raise KeyError("last_lr")


class Unrestored(OwnParts):
    """On one rank, the state of its optimizer or its scheduler is kept and cannot be put back."""

    def __init__(self, what: str, on_rank: int) -> None:
        self._what = what if dist.get_rank() == on_rank else ""

    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        kind = _OneWay if self._what == "optimizer" else torch.optim.Adam
        return kind(model.parameters(), lr=learning_rate)

    def build_scheduler(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        cycle = torch.optim.lr_scheduler.OneCycleLR
        kind = _OneWayCycle if self._what == "scheduler" else cycle
        return kind(optimizer, max_lr=0.02, total_steps=total_steps + 1)
