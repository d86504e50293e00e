"""A language model over documents of unequal length, and the same in one plain process."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import EvaluationOutput, LanguageModel, LossSum

__all__ = ["OwnSteps", "Tokens", "documents", "plain_losses", "plain_perplexity"]

VOCABULARY = 17
LONGEST = 12
IGNORED = -100


def documents(count: int, seed: int) -> list[list[int]]:
    """Token ids, 2 to 13 a document."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, LONGEST + 2, count)
    return [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]


def padded(texts: list[list[int]]) -> TensorDataset:
    inputs = torch.zeros(len(texts), LONGEST, dtype=torch.long)
    targets = torch.full((len(texts), LONGEST), IGNORED)
    for row, text in enumerate(texts):
        inputs[row, : len(text) - 1] = torch.tensor(text[:-1])
        targets[row, : len(text) - 1] = torch.tensor(text[1:])
    return TensorDataset(inputs, targets)


class _Recurrent(nn.Module):
    """In float64, so that only the arithmetic of losses and weights is left to differ."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8, dtype=torch.float64)
        self.memory = nn.GRU(8, 8, batch_first=True, dtype=torch.float64)
        self.head = nn.Linear(8, VOCABULARY, dtype=torch.float64)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.memory(self.embedding(tokens))
        logits: Tensor = self.head(states)
        return logits


class Tokens:
    """The default steps; ``shape`` is that of the losses it returns."""

    task = LanguageModel()
    train, validation = documents(101, seed=1), documents(43, seed=2)

    def __init__(self, shape: str = "batch x time") -> None:
        self.shape = shape

    def build_model(self) -> nn.Module:
        return _Recurrent()

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        return padded(self.train), padded(self.validation)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.shape == "flat":
            return functional.cross_entropy(
                outputs.flatten(0, 1), targets.flatten(), reduction="none"
            )
        # What comes of a padded place is of no account, whatever it is.
        safe = targets.clamp(min=0)
        return functional.cross_entropy(outputs.transpose(1, 2), safe, reduction="none")


class OwnSteps(Tokens):
    """The same with steps of its own, which count the tokens themselves."""

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        inputs, targets = batch
        counts = targets != IGNORED
        return LossSum(self.loss(model(inputs), targets)[counts].sum(), counts.sum())

    def evaluation_step(self, model: nn.Module, batch: Any) -> EvaluationOutput:
        _, targets = batch
        result = self.training_step(model, batch)
        return EvaluationOutput(result.total, result.weight, targets)


def _document_loss(model: nn.Module, text: list[int]) -> tuple[Tensor, int]:
    """Of one document by itself, without any padding."""
    logits = model(torch.tensor([text[:-1]]))[0]
    return functional.cross_entropy(logits, torch.tensor(text[1:]), reduction="sum"), len(text) - 1


def plain_losses(
    steps: list[list[int]], seed: int, learning_rate: float
) -> tuple[list[float], nn.Module]:
    """Loss per token of each step of plain SGD, and the model after them.

    Args:
        steps: Documents of each step.
    """
    torch.manual_seed(seed)
    model = _Recurrent()
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9)
    losses = []
    for rows in steps:
        pairs = [_document_loss(model, Tokens.train[row]) for row in rows]
        loss = sum(total for total, _ in pairs) / sum(tokens for _, tokens in pairs)
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses, model


@torch.no_grad()
def plain_perplexity(model: nn.Module) -> float:
    """exp(total loss / tokens) of the validation documents, one at a time."""
    pairs = [_document_loss(model, text) for text in Tokens.validation]
    total = math.fsum(loss.item() for loss, _ in pairs)
    return math.exp(total / sum(tokens for _, tokens in pairs))
