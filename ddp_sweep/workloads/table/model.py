"""A multilayer perceptron over scaled numbers and embedded categories."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddp_sweep.workloads.table.encoding import UNSEEN

__all__ = ["TableModel"]


class TableModel(nn.Module):
    """Embeddings of the categories beside the numbers, hidden layers, outputs.

    Args:
        numbers: Columns of numbers; they come first in the input.
        category_counts: Codes of each categorical column; these columns come next.
        outputs: 1, or one logit for each of several classes.
        hidden: Widths of the hidden layers.
        embedding: Width of an embedding; None chooses by the number of categories.
        dropout: Share of hidden units left out in training.
        centre: What outputs are shifted by (mean of a regression's labels).
        scale: What outputs are multiplied by (deviation of a regression's labels).
    """

    def __init__(
        self,
        numbers: int,
        category_counts: Sequence[int],
        outputs: int,
        *,
        hidden: Sequence[int],
        embedding: int | None,
        dropout: float,
        centre: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self._numbers = numbers
        self._centre, self._scale = centre, scale
        widths = [embedding or embedding_width(count) for count in category_counts]
        # An unseen category adds nothing: its vector is 0 and stays so.
        self.embeddings = nn.ModuleList(
            nn.Embedding(count, width, padding_idx=UNSEEN)
            for count, width in zip(category_counts, widths, strict=True)
        )
        width = numbers + sum(widths)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape [batch, numbers + categorical columns] to [batch, outputs]."""
        parts = [inputs[:, : self._numbers]]
        codes = inputs[:, self._numbers :].long()
        parts += [embed(codes[:, at]) for at, embed in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat(parts, dim=1))
        return outputs * self._scale + self._centre


def embedding_width(categories: int) -> int:
    """1.6 n^0.56, at most 50: the rule of thumb of fastai's tabular models.

    >>> [embedding_width(n) for n in (3, 10, 1000)]
    [3, 6, 50]
    """
    return min(50, max(2, round(1.6 * math.pow(categories, 0.56))))
