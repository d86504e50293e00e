"""Gradients compared by probes beside a model that may just fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from ddp_sweep.training.memory import is_out_of_memory

__all__ = ["gradients", "pieces", "squared_distance", "squared_norm", "unless_out_of_memory"]

_PIECE = 2**20
"""Values that are taken in float64 at a time: an embedding may be half of a model."""
_Found = TypeVar("_Found")


def gradients(model: nn.Module) -> Iterator[Tensor]:
    """The gradient of each parameter that is trained, flat; zeros where it has none."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            found = torch.zeros_like(parameter) if gradient is None else gradient.to_dense()
            yield found.detach().flatten()


def pieces(flat: Tensor) -> Iterator[Tensor]:
    """Parts of a flat tensor that are small enough to be copied."""
    yield from torch.split(flat, _PIECE)


def squared_distance(left: Tensor, right: Tensor) -> float:
    """Sum of the squared differences of two flat tensors."""
    pairs = zip(pieces(left), pieces(right), strict=True)
    return sum(float((one.double() - other.double()).square().sum()) for one, other in pairs)


def squared_norm(flat: Tensor) -> float:
    """Sum of the squares."""
    return sum(float(part.double().square().sum()) for part in pieces(flat))


def unless_out_of_memory(model: nn.Module, probe: Callable[[], _Found]) -> _Found | None:
    """What a probe of a model finds; None where there is not enough memory for it.

    The trial itself may fit: what only measuring it needs must not end it. Where the passes of
    all ranks meet in synchronized batch norm, it does: the others would wait for this rank.
    """
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return probe()
    try:
        return probe()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
