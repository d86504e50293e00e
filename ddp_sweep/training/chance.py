"""Has something drawn random numbers?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddp_sweep.training.snapshot import RandomState

__all__ = ["drawn_since"]


def drawn_since(before: RandomState) -> bool:
    """Whether a global generator of Python, numpy or torch was used since then.

    Certain where results are not: a layer that is seldom dropped leaves most of them equal.
    """
    return not _same(before.state_dict(), RandomState(before.device).state_dict())


def _same(left: Any, right: Any) -> bool:  # noqa: ANN401 - plain values and tensors, nested
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list | tuple):
        return all(_same(one, other) for one, other in zip(left, right, strict=True))
    return bool(left == right)
