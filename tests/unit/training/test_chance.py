from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from ddp_sweep.training.chance import drawn_since
from ddp_sweep.training.snapshot import RandomState

DRAWS = {
    "python": random.random,
    "numpy": lambda: np.random.rand(),
    "numpy, a normal number": lambda: np.random.standard_normal(1),
    "torch": lambda: torch.rand(()),
    "in place": lambda: torch.empty(3).bernoulli_(0.5),
    "dropout": lambda: torch.nn.functional.dropout(torch.ones(4), 0.1),
}
NO_DRAWS = {
    "nothing": lambda: None,
    "dropout of nothing": lambda: torch.nn.functional.dropout(torch.ones(4), 0.0),
    "a generator of one's own": lambda: np.random.default_rng(0).random(),
    "torch's own": lambda: torch.rand((), generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
def test_every_use_of_a_global_generator_is_seen(draw: object) -> None:
    for _ in range(2):
        before = RandomState(torch.device("cpu"))
        assert callable(draw)
        draw()
        assert drawn_since(before)
        before.restore()
        assert not drawn_since(before)
        draw()


@pytest.mark.parametrize("act", NO_DRAWS.values(), ids=list(NO_DRAWS))
def test_what_draws_nothing_is_not_accused(act: object) -> None:
    before = RandomState(torch.device("cpu"))
    assert callable(act)
    act()
    assert not drawn_since(before)
