"""Does the same global batch give the same update however it is divided among workers?"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ddp_sweep.training.batch_steps import TrainingStep
from ddp_sweep.training.chance import drawn_since
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.snapshot import RandomState

__all__ = ["gradient_copies", "traces_comparable"]

_PROBE_SAMPLES = 8
_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def traces_comparable(
    model: nn.Module,
    step: TrainingStep,
    source: BatchSource,
    ranks: Ranks,
    precision: str,
) -> bool:
    """Whether the same global batch gives the same update however it is divided among workers.

    Not where the model draws random numbers, as with dropout. Gradients of a few samples in train
    mode: taken twice, they differ with random augmentation; taken in two parts and added up, they
    differ with batch norm. Gradients and not outputs, since a model whose last layer starts at 0
    has the same outputs either way.
    """
    count = min(_PROBE_SAMPLES, len(source))
    whole, half = np.arange(count), count // 2
    tolerance = _TOLERANCE[precision]
    # One stream for all, whose loading process goes on with its random numbers.
    batches = source.stream_few((part, 0) for part in (whole, whole, whole[:half], whole[half:]))
    drawn = False

    def gradient(passes: int) -> list[Tensor]:
        nonlocal drawn
        model.zero_grad()
        for _ in range(passes):
            batch = next(batches)
            before = RandomState()
            result = step(model, batch)
            drawn = drawn or drawn_since(before)
            result.total.backward()  # type: ignore[no-untyped-call]
        return gradient_copies(model)

    first, again = gradient(1), gradient(1)
    comparable = not drawn and _close(first, again, tolerance)
    # Parts of one sample are refused by batch norm.
    if comparable and half >= 2:
        comparable = _close(first, gradient(2), tolerance)
    model.zero_grad()
    return ranks.smallest(float(comparable)) == 1.0


def _close(left: list[Tensor], right: list[Tensor], tolerance: float) -> bool:
    pairs = zip(left, right, strict=True)
    gap = sum(float((one - other).double().square().sum()) for one, other in pairs)
    norm = sum(float(one.double().square().sum()) for one in left)
    return math.sqrt(gap) <= tolerance * math.sqrt(norm) + 1e-12


def gradient_copies(model: nn.Module) -> list[Tensor]:
    """Copies of all gradients; zeros where a parameter has none."""
    return [
        torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for p in model.parameters()
        if p.requires_grad
    ]
