"""Faults of a workload that raise no error, and what is like them and is none."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.errors import DataWarning
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.workload import LossSum, Multiclass


class Steps:
    """Its training step returns what the option says."""

    task = Multiclass(3)

    def __init__(self, form: str = "sum") -> None:
        self.form = form

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 16), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 3)
        )

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        draw = torch.Generator().manual_seed(1)
        return tuple(
            TensorDataset(torch.randn(12, 4, generator=draw), torch.arange(12) % 3)
            for _ in range(2)
        )  # type: ignore[return-value]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        inputs, targets = batch
        losses = self.loss(model(inputs), targets)
        weights = torch.tensor([1.0, 2.0, 5.0])[targets]
        return {
            "sum": LossSum(losses.sum(), len(targets)),
            "mean": LossSum(losses.mean(), len(targets)),
            "mean of weight 1": LossSum(losses.mean(), 1.0),
            "weighted sum": LossSum((losses * weights).sum(), weights.sum()),
            "weighted mean": LossSum((losses * weights).sum() / weights.sum(), weights.sum()),
            "scaled sum": LossSum(0.25 * losses.sum(), len(targets)),
            "of the whole batch": LossSum(losses.max(), len(targets)),
        }[self.form]


def warned(workload: type, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inspect_workload(workload, options)
    return [str(one.message) for one in caught if one.category is DataWarning]


@pytest.mark.parametrize("form", ["mean", "weighted mean"])
def test_a_mean_for_a_sum_is_named(form: str) -> None:
    [warning] = warned(Steps, form=form)
    assert "LossSum.total looks like a mean" in warning
    assert "It must be a sum" in warning


@pytest.mark.parametrize(
    "form", ["sum", "mean of weight 1", "weighted sum", "scaled sum", "of the whole batch"]
)
def test_what_is_no_mean_is_not_called_one(form: str) -> None:
    assert not warned(Steps, form=form)


class Augmented(Steps):
    """Its chance comes from where the option says."""

    def __init__(self, chance: str, form: str = "sum") -> None:
        super().__init__(form)
        self.chance = chance

    def augment(self, sample: Any, generator: torch.Generator) -> Any:
        inputs, target = sample
        noise = {
            "generator": lambda: torch.rand(4, generator=generator),
            "none": lambda: 0.0,
            "torch": lambda: torch.rand(4),
            "numpy": lambda: float(np.random.rand()),
            "random": random.random,
            "coin": lambda: float(random.random() < 0.5),
        }[self.chance]()
        return inputs + noise, target


@pytest.mark.parametrize("chance", ["torch", "numpy", "random", "coin"])
def test_chance_from_elsewhere_than_the_generator_is_named(chance: str) -> None:
    [warning] = warned(Augmented, chance=chance)
    assert "augment: the same sample and equal generators gave different samples" in warning


@pytest.mark.parametrize("chance", ["generator", "none"])
def test_chance_from_the_generator_is_right(chance: str) -> None:
    assert not warned(Augmented, chance=chance)


def test_a_mean_is_named_whatever_augmentation_does() -> None:
    said = " ".join(warned(Augmented, chance="random", form="mean"))
    assert "looks like a mean" in said
    assert "augment: the same sample" in said
