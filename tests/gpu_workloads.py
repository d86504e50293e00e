"""A workload that gives a GPU something to do, and on demand more than it can hold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import Multiclass

__all__ = ["Wide"]


class Wide:
    """Clusters around ten corners; ``extra_bytes`` are asked for in every forward pass."""

    task = Multiclass(10)

    def __init__(self, extra_bytes: int = 0) -> None:
        self.extra_bytes = extra_bytes

    def build_model(self) -> nn.Module:
        return _Model(self.extra_bytes)

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        return _clusters(4096, seed=1), _clusters(500, seed=2)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class _Model(nn.Module):
    def __init__(self, extra_bytes: int) -> None:
        super().__init__()
        self.extra_bytes = extra_bytes
        self.layers = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.extra_bytes:
            torch.empty(self.extra_bytes, dtype=torch.uint8, device=inputs.device)
        return self.layers(inputs)  # type: ignore[no-any-return]


def _clusters(samples: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 10, (samples,), generator=draw)
    noise = torch.randn(samples, 64, generator=draw)
    return TensorDataset(2 * corners[labels] + noise, labels)
