"""From a cell of the grid to a configuration: batch split, learning rate, ids and limits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ddp_sweep.plan.grid import Cell
from ddp_sweep.spec import Json, SweepSpec, TrainingSettings, canonical_json
from ddp_sweep.spec.axes import OPTION_PREFIX

__all__ = [
    "AUTO_WARMUP_FRACTION",
    "Configuration",
    "broken_limits",
    "digest",
    "resolve",
    "scaled_learning_rate",
    "warmup_fraction",
]

AUTO_WARMUP_FRACTION = 0.05
"""Warm-up where it is left to us and the rate is scaled up: large rates diverge from a cold start
(Goyal et al. 2017, https://arxiv.org/abs/1706.02677)."""

_ID_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A cell with everything resolved that does not depend on the seed."""

    cell: Cell
    per_worker_batch_size: int | None
    accumulation_steps: int | None
    parameters: Mapping[str, Json]
    identity: Mapping[str, Json]
    """What the ids are hashes of."""

    @property
    def configuration_id(self) -> str:
        """The same for the same settings, whichever sweep they stand in."""
        return digest(self.identity)


def scaled_learning_rate(training: TrainingSettings, global_batch_size: int) -> float:
    """The learning rate at a global batch size.

    ``linear`` multiplies by the ratio to ``reference_batch_size`` (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677), ``sqrt`` by its square root (Krizhevsky 2014,
    https://arxiv.org/abs/1404.5997).

    Examples:
        >>> from ddp_sweep.spec import TrainingSettings
        >>> training = TrainingSettings(epochs=1, learning_rate=0.1, reference_batch_size=64)
        >>> scaled_learning_rate(training, 256)
        0.4
    """
    if training.learning_rate_scaling == "none":
        return training.learning_rate
    assert training.reference_batch_size is not None  # a rule of the sweep file
    ratio = global_batch_size / training.reference_batch_size
    return training.learning_rate * (
        ratio if training.learning_rate_scaling == "linear" else math.sqrt(ratio)
    )


def warmup_fraction(training: TrainingSettings, scaled_rate: float) -> float:
    """Share of the optimizer steps in which the rate rises, with ``auto`` resolved."""
    if training.warmup_fraction != "auto":
        return training.warmup_fraction
    return AUTO_WARMUP_FRACTION if scaled_rate > training.learning_rate else 0.0


def digest(identity: Mapping[str, Json]) -> str:
    """12 hex digits that are the same for the same settings on every machine."""
    text = canonical_json(dict(identity))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def resolve(spec: SweepSpec, cell: Cell) -> Configuration:
    """Split the share into backward passes, and fix what the ids are made of."""
    per_worker, steps = None, None
    if cell.share is not None:
        steps = _accumulation_steps(cell.share, cell.training.max_per_worker_batch_size)
        per_worker = cell.share // steps
    resources = spec.resources
    parameters: dict[str, Json] = {
        "workload": spec.workload,
        **{OPTION_PREFIX + name: value for name, value in cell.workload_options.items()},
        **cell.training.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "decision_threshold": spec.quality.decision_threshold,
        "device": resources.device,
        "cpus_per_worker": resources.cpus_per_worker,
        "gpus_per_worker": resources.gpus_per_worker,
        "placement": resources.placement,
        "placement_strategy": resources.placement_strategy,
    }
    identity: dict[str, Json] = {
        **parameters,
        "world_size": cell.world_size,
        "per_worker_batch_size": per_worker,
        "global_batch_size": cell.global_batch_size,
        "accumulation_steps": steps,
    }
    return Configuration(
        cell=cell,
        per_worker_batch_size=per_worker,
        accumulation_steps=steps,
        parameters=parameters,
        identity=identity,
    )


def _accumulation_steps(share: int, limit: int | None) -> int:
    """The fewest equal parts of ``share`` of at most ``limit`` samples each."""
    if limit is None or share <= limit:
        return 1
    small = [part for part in range(1, math.isqrt(share) + 1) if share % part == 0]
    return min(
        parts for part in small for parts in (part, share // part) if share <= parts * limit
    )


def broken_limits(
    configuration: Configuration, capacity: int | None, train_samples: int
) -> Iterator[str]:
    """Why a configuration cannot run: what it asks for and what is allowed.

    Args:
        configuration: What would run.
        capacity: The largest number of workers that can run at once; None for no limit.
        train_samples: Samples in the training set.
    """
    cell = configuration.cell
    if capacity is not None and cell.world_size > capacity:
        yield f"{cell.world_size} workers asked for, at most {capacity} can run at once"
    if cell.global_batch_size > train_samples:
        yield (
            f"a global batch of {cell.global_batch_size} samples asked for, "
            f"the training set has {train_samples}"
        )
    if cell.share is None:
        yield (
            f"a global batch of {cell.global_batch_size} samples asked for, for "
            f"{cell.world_size} workers it must be a multiple of {cell.world_size}"
        )
    elif configuration.accumulation_steps != 1:
        yield from _uneven_split(cell.share, configuration)


def _uneven_split(share: int, configuration: Configuration) -> Iterator[str]:
    """A share that only splits into tiny parts would be slow for no reason of the user's."""
    limit = configuration.cell.training.max_per_worker_batch_size
    part = configuration.per_worker_batch_size
    assert limit is not None
    assert part is not None
    if 2 * part < limit:
        yield (
            f"{share} samples a worker asked for, they must split into equal parts of "
            f"{math.ceil(limit / 2)} to {limit} samples (max_per_worker_batch_size), "
            f"as {limit * max(1, round(share / limit))} do"
        )
