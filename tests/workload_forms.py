"""One small problem in the forms that batches, models and optimizers of real projects have.

And the same in a plain loop of one process, which imports nothing of what it is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ddp_sweep import EvaluationOutput, LossSum, Multiclass

__all__ = ["Forms", "Groups", "plain_losses", "plain_smoothing_free_loss"]

CLASSES, SMOOTHING = 3, 0.2


@dataclass
class Result:
    logits: Tensor
    hidden: Tensor


class Pair(NamedTuple):
    logits: Tensor
    hidden: Tensor


def rows(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    left = torch.from_numpy(rng.normal(size=(count, 4)) + labels[:, None]).float()
    right = torch.from_numpy(rng.normal(size=(count, 2))).float()
    return left, right, torch.from_numpy(labels)


class Records(Dataset[dict[str, Tensor]]):
    def __init__(self, count: int, seed: int) -> None:
        self.left, self.right, self.labels = rows(count, seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {
            "left": self.left[index],
            "right": self.right[index],
            "label": self.labels[index],
        }


class TwoInputs(nn.Module):
    """Two inputs; returns a dataclass, a named tuple or a tensor, as ``kind`` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, CLASSES)
        if kind == "unused":
            self.forgotten = nn.Linear(8, 2)
        if kind == "frozen":
            self.body.requires_grad_(False)

    def forward(self, left: Tensor, right: Tensor) -> Any:
        hidden = torch.relu(self.body(torch.cat([left, right], dim=1)))
        logits = self.head(hidden)
        if self.kind == "dataclass":
            return Result(logits, hidden)
        return (logits, hidden) if self.kind == "tuple" else Pair(logits, hidden)


def logits_of(outputs: Any) -> Tensor:
    logits: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs.logits
    return logits


class Forms:
    """Dict batches, two inputs, label smoothing in training only, steps of its own."""

    task = Multiclass(CLASSES)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def build_model(self) -> nn.Module:
        return TwoInputs(self.kind)

    def build_data(self) -> tuple[Records, Records]:
        return Records(103, 0), Records(41, 1)

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> LossSum:
        logits = logits_of(model(batch["left"], batch["right"]))
        losses = functional.cross_entropy(
            logits, batch["label"], reduction="none", label_smoothing=SMOOTHING
        )
        return LossSum(losses.sum(), len(losses))

    def evaluation_step(self, model: nn.Module, batch: dict[str, Tensor]) -> EvaluationOutput:
        logits = logits_of(model(batch["left"], batch["right"])).double()
        losses = functional.cross_entropy(logits, batch["label"], reduction="none")
        return EvaluationOutput(
            losses.sum(), len(losses), batch["label"], scores=logits.softmax(1)
        )


class Groups(Forms):
    """An optimizer with a rate of its own for each part of the model."""

    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        assert isinstance(model, TwoInputs)
        return torch.optim.SGD(
            [
                {"params": model.body.parameters(), "lr": learning_rate / 10},
                {"params": model.head.parameters(), "lr": learning_rate},
            ]
        )


def plain_losses(
    kind: str, *, samples: int, batch_size: int, factors: list[float], learning_rate: float
) -> tuple[list[float], nn.Module]:
    """Losses of one process; ``factors`` are those of the rate of each step."""
    torch.manual_seed(0)
    model = TwoInputs(kind)
    left, right, labels = rows(103, 0)
    body = learning_rate / 10 if kind == "groups" else learning_rate
    rates = [body, learning_rate]
    parts = [list(model.body.parameters()), list(model.head.parameters())]
    momentum = 0.0 if kind == "groups" else 0.9
    speed = [[torch.zeros_like(p) for p in part] for part in parts]
    order = np.concatenate(
        [np.random.default_rng([0, epoch]).permutation(103) for epoch in range(2)]
    )
    losses = []
    starts = [*range(0, 103, batch_size), *range(103, samples, batch_size)]
    for step, (start, end) in enumerate(zip(starts, [*starts[1:], samples], strict=True)):
        chosen = torch.from_numpy(order[start:end])
        logits = logits_of(model(left[chosen], right[chosen]))
        loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=SMOOTHING)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for part, moving, rate in zip(parts, speed, rates, strict=True):
                for parameter, velocity in zip(part, moving, strict=True):
                    if parameter.grad is not None:
                        velocity.mul_(momentum).add_(parameter.grad)
                        parameter -= rate * factors[step] * velocity
        losses.append(loss.item())
    return losses, model


@torch.no_grad()
def plain_smoothing_free_loss(model: nn.Module) -> float:
    """Validation loss of a model, without smoothing."""
    left, right, labels = rows(41, 1)
    return functional.cross_entropy(logits_of(model(left, right)).double(), labels).item()
