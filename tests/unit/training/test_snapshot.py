"""Chance that a training goes on with, wherever the rank's device is by then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddp_sweep.training.snapshot import RandomState
from ddp_sweep.training.states import content_of, state_in

Visible = Callable[[int], list[torch.Generator]]


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> Visible:
    """Lets the process see so many GPUs, whose generators ``torch.cuda`` finds by their number."""
    generators: list[torch.Generator] = []

    def get(device: torch.device) -> Tensor:
        return generators[device.index].get_state()

    def put(state: Tensor, device: torch.device) -> None:
        generators[device.index].set_state(state)

    def see(count: int) -> list[torch.Generator]:
        generators[:] = [torch.Generator().manual_seed(70 + number) for number in range(count)]
        return generators

    monkeypatch.setattr(torch.cuda, "get_rng_state", get)
    monkeypatch.setattr(torch.cuda, "set_rng_state", put)
    return see


def test_the_chance_of_a_ranks_gpu_follows_the_rank_to_another(visible: Visible) -> None:
    four = visible(4)
    kept = content_of(RandomState(torch.device("cuda", 3)).state_dict())
    wanted = torch.rand(5, generator=four[3])

    bystander, own = visible(2)
    RandomState.of(state_in(kept), torch.device("cuda", 1)).restore()
    assert torch.equal(torch.rand(5, generator=own), wanted)
    assert torch.equal(
        torch.rand(5, generator=bystander),
        torch.rand(5, generator=torch.Generator().manual_seed(70)),
    )


def test_on_a_cpu_no_gpu_is_asked(visible: Visible) -> None:
    visible(0)
    kept = RandomState(torch.device("cpu"))
    wanted = torch.rand(5)
    kept.restore()
    assert torch.equal(torch.rand(5), wanted)
