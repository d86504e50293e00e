"""Does the same global batch give the same update however it is divided among workers?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from ddp_sweep.training.batch_steps import TrainingStep
from ddp_sweep.training.batches import Indices
from ddp_sweep.training.chance import drawn_since
from ddp_sweep.training.gradient_copies import (
    gradients,
    squared_distance,
    squared_norm,
    unless_out_of_memory,
)
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.snapshot import RandomState

__all__ = ["traces_comparable"]

_PROBE_SAMPLES = 8
_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def traces_comparable(
    model: nn.Module,
    step: TrainingStep,
    source: BatchSource,
    ranks: Ranks,
    precision: str,
    per_worker_batch_size: int,
) -> bool | None:
    """Whether the same global batch gives the same update however it is divided among workers.

    Not where the model draws random numbers, as with dropout. Gradients of a few samples in train
    mode: taken twice, they differ with random augmentation; with the samples divided otherwise
    and added up, they differ with batch norm. Gradients and not outputs, since a model whose last
    layer starts at 0 has the same outputs either way.

    Args:
        model: The bare model; is left without gradients.
        step: Loss of one micro-batch.
        source: The training set.
        ranks: The ranks of the trial.
        precision: What the model computes in.
        per_worker_batch_size: Samples of a pass that fit into memory; a pass of the probe has no
            more, but for a second one.

    Returns:
        None where a rank had not enough memory to find out.
    """
    passes = _divisions(len(source), per_worker_batch_size)
    own = unless_out_of_memory(
        model, lambda: _is_same_update(model, step, source, passes, _TOLERANCE[precision])
    )
    model.zero_grad()
    if ranks.smallest(float(own is not False)) == 0.0:
        return False
    return None if ranks.smallest(float(own is not None)) == 0.0 else True


def _divisions(samples: int, per_worker_batch_size: int) -> tuple[list[Indices], list[Indices]]:
    """Two ways to divide the same few samples among passes; the second is empty if there is none.

    Every pass has two samples at least, where there are as many: batch norm refuses one.
    """
    rows = np.arange(min(_PROBE_SAMPLES, samples))
    if per_worker_batch_size < 4 <= samples:
        return [rows[:2], rows[2:4]], [rows[0:4:2], rows[1:4:2]]
    rows = rows[: max(2, per_worker_batch_size)]
    return [rows], np.array_split(rows, 2) if len(rows) >= 4 else []


def _is_same_update(
    model: nn.Module,
    step: TrainingStep,
    source: BatchSource,
    divisions: tuple[list[Indices], list[Indices]],
    tolerance: float,
) -> bool:
    first, other = divisions
    # One stream for all, whose loading process goes on with its random numbers.
    batches = source.stream_few((part, 0) for part in (*first, *first, *other))
    if _draws_in(model, step, batches, len(first)):
        return False
    kept = [gradient.clone() for gradient in gradients(model)]
    norm = math.sqrt(sum(map(squared_norm, kept)))
    for division in (first, other) if other else (first,):
        if _draws_in(model, step, batches, len(division)):
            return False
        pairs = zip(kept, gradients(model), strict=True)
        gap = math.sqrt(sum(squared_distance(*pair) for pair in pairs))
        # Asked this way round, gradients that are no numbers are not the same.
        if not gap <= tolerance * norm + 1e-12:
            return False
    return True


def _draws_in(model: nn.Module, step: TrainingStep, batches: Iterator[Any], passes: int) -> bool:
    """Leave the sum of the gradients of so many passes; whether they drew random numbers."""
    model.zero_grad()
    device = next(model.parameters()).device
    drawn = False
    for _ in range(passes):
        batch = next(batches)
        before = RandomState(device)
        result = step(model, batch)
        drawn = drawn or drawn_since(before)
        result.total.backward()  # type: ignore[no-untyped-call]
    return drawn
