"""Chance that seldom changes a result, told without waiting for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from training_workloads import Layers

from ddp_sweep.spec import DataSettings
from ddp_sweep.training.batch_steps import training_step
from ddp_sweep.training.comparability import traces_comparable
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.ranks import Ranks

CPU = torch.device("cpu")


class Dropped(nn.Module):
    """A layer that is left out of a batch where a coin falls so: once in 10^12."""

    def __init__(self, coin: Callable[[], float]) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.coin = coin

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs
        if self.coin() > 1e-12:
            outputs = outputs + self.layer(inputs)
        return outputs


class Drawing(Dataset[Any]):
    """Draws from every global generator and returns the sample as it is."""

    def __init__(self, rows: Dataset[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        random.random(), np.random.rand(), torch.rand(())
        return self.rows[index]


def comparable(model: nn.Module, *, drawing_data: bool = False) -> bool:
    workload = Layers("plain")
    train = workload.build_data()[0]
    data = Drawing(train) if drawing_data else train
    source = BatchSource(data, workload, DataSettings(), CPU)
    step = training_step(workload, CPU, "float32")
    found = traces_comparable(model, step, source, Ranks(0, 1, CPU), "float32", 8)
    assert found is not None
    return found


COINS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
}


@pytest.mark.parametrize("coin", COINS.values(), ids=list(COINS))
def test_a_layer_that_is_seldom_left_out_is_chance(coin: Callable[[], float]) -> None:
    assert comparable(nn.Sequential(Dropped(coin), nn.Linear(6, 1))) is False


def test_models_that_draw_nothing_stay_comparable_whatever_their_data_draw() -> None:
    models = [
        nn.Linear(6, 1),
        nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.0), nn.LayerNorm(8), nn.Linear(8, 1)),
        nn.Sequential(Dropped(lambda: 1.0), nn.Linear(6, 1)),
    ]
    for model in models:
        assert comparable(model) is True
        assert comparable(model, drawing_data=True) is True
