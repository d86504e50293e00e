"""What a checkpoint is made of: tensors, numbers, texts, and containers of these.

Nothing else, so that no code can hide in one: it is read by PyTorch's loader for weights, which
knows nothing but these.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["State", "content_of", "floats", "state_in"]

State: TypeAlias = dict[str, Any]


def floats(values: Iterable[float]) -> Tensor:
    """Numbers of any count as one tensor, float64: lists are read and written slowly."""
    return torch.tensor(list(values), dtype=torch.float64)


def content_of(state: State) -> memoryview:
    """A state as it is written to a file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def state_in(content: Any) -> State:  # noqa: ANN401 - any buffer
    """The state that a file holds, on the CPU.

    Raises:
        Exception: It is no such file, or holds something else than plain values.
    """
    state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
