"""The plan of a sweep: its trials in the order they run, and those that cannot run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from ddp_sweep.plan.configuration import (
    Configuration,
    broken_limits,
    digest,
    resolve,
    scaled_learning_rate,
    warmup_fraction,
)
from ddp_sweep.plan.grid import grid_cells
from ddp_sweep.spec import Json, SweepSpec, TrainingSettings, canonical_json

__all__ = [
    "Estimate",
    "InfeasibleTrial",
    "MoreSeeds",
    "Plan",
    "Trial",
    "build_plan",
    "configuration_ids",
    "count_trials",
]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration with one seed."""

    trial_id: str
    """12 hex digits: a hash of every setting that can change a measurement, and the seed."""
    configuration_id: str
    """The same without the seed."""
    world_size: int
    per_worker_batch_size: int
    """Samples of one backward pass of one worker."""
    global_batch_size: int
    """world_size x per_worker_batch_size x accumulation_steps."""
    accumulation_steps: int
    seed: int
    learning_rate: float
    """As scaled to the global batch size."""
    warmup_fraction: float
    """Share of the optimizer steps, with ``auto`` resolved."""
    training: TrainingSettings
    """This trial's own settings; the learning rate in it is the unscaled one."""
    workload_options: Mapping[str, Json]
    parameters: Mapping[str, Json]
    """Every setting that has no field above, by the name it has as an axis of a sweep."""
    block: int
    """All trials of one seed are a block; its number in the order of the sweep, from 0."""
    position: int
    """Place in the block, from 0."""


@dataclass(frozen=True, kw_only=True)
class InfeasibleTrial:
    """A trial that cannot run, and why; the fields are those of ``Trial``."""

    trial_id: str
    configuration_id: str
    world_size: int
    per_worker_batch_size: int | None
    """None where the batch cannot be shared out evenly."""
    global_batch_size: int
    accumulation_steps: int | None
    seed: int
    learning_rate: float
    training: TrainingSettings
    workload_options: Mapping[str, Json]
    parameters: Mapping[str, Json]
    reason: str
    """What was received and what is allowed, for every limit that is broken."""


class MoreSeeds(Protocol):
    """Seeds beside those of the sweep file, each a further block."""

    @property
    def seeds(self) -> Sequence[int]:
        """Seeds that the sweep has not had before."""
        ...

    @property
    def configuration_ids(self) -> Collection[str] | None:
        """Which configurations run with them; None for all."""
        ...


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the trials will take; None where nothing is known yet."""

    trials: int
    worker_hours: float | None = None
    wall_s: float | None = None
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trials of a sweep in the order they run, and those that cannot."""

    trials: tuple[Trial, ...]
    infeasible: tuple[InfeasibleTrial, ...]
    estimate: Estimate


def build_plan(
    spec: SweepSpec,
    *,
    capacity: int | None,
    train_lengths: Callable[[Mapping[str, Json]], int] | int,
    more_seeds: Sequence[MoreSeeds] = (),
) -> Plan:
    """Put a sweep's trials in order and name those that cannot run.

    One block a seed; within it the configurations stand in an order that a hash of the seed and
    their ids gives, so a drift of the machine favours none of them. The same sweep file always
    gives the same plan, whatever the order of its axes. Where trials run side by side, those of
    fewer workers come first, and in this order within each number of workers.

    Args:
        spec: The sweep file.
        capacity: The largest number of workers that can run at once; None for no limit.
        train_lengths: Samples in the training set, for the workload options that it is given.
        more_seeds: Seeds that were added since; their blocks come after those of the sweep file.
            A configuration that cannot run is named with the seeds of the sweep file only.

    Raises:
        SpecError: Every cell of the grid is excluded, or the baseline is none of them.
    """
    feasible: list[Configuration] = []
    refused: list[tuple[Configuration, str]] = []
    samples_of = _remembered(train_lengths)
    for cell in grid_cells(spec):
        configuration = resolve(spec, cell)
        reasons = list(broken_limits(configuration, capacity, samples_of(cell.workload_options)))
        if reasons:
            refused.append((configuration, "; ".join(reasons)))
        else:
            feasible.append(configuration)
    blocks = [(seed, feasible) for seed in spec.seeds]
    for more in more_seeds:
        ids = more.configuration_ids
        covered = [one for one in feasible if ids is None or one.configuration_id in ids]
        blocks += [(seed, covered) for seed in more.seeds]
    trials = [
        _trial(configuration, seed, block, position)
        for block, (seed, configurations) in enumerate(blocks)
        for position, configuration in enumerate(_shuffled(configurations, seed))
    ]
    if spec.resources.placement == "packed":
        trials.sort(key=attrgetter("world_size"))
    infeasible = [
        _infeasible_trial(configuration, seed, reason)
        for seed in spec.seeds
        for configuration, reason in refused
    ]
    return Plan(
        trials=tuple(trials),
        infeasible=tuple(infeasible),
        estimate=Estimate(trials=len(trials)),
    )


def count_trials(spec: SweepSpec, more_seeds: Iterable[MoreSeeds] = ()) -> int:
    """How many trials a sweep asks for, feasible or not.

    Args:
        spec: The sweep file.
        more_seeds: Seeds that were added since.

    Raises:
        SpecError: Every cell of the grid is excluded, or the baseline is none of them.
    """
    count = len(grid_cells(spec)) * len(spec.seeds)
    known = configuration_ids(spec)
    for more in more_seeds:
        ids = known if more.configuration_ids is None else known & set(more.configuration_ids)
        count += len(ids) * len(more.seeds)
    return count


def configuration_ids(spec: SweepSpec) -> frozenset[str]:
    """The ids of a sweep's configurations, feasible or not.

    Raises:
        SpecError: Every cell of the grid is excluded, or the baseline is none of them.
    """
    return frozenset(resolve(spec, cell).configuration_id for cell in grid_cells(spec))


def _remembered(
    train_lengths: Callable[[Mapping[str, Json]], int] | int,
) -> Callable[[Mapping[str, Json]], int]:
    """The same lengths, asked for once for each set of options: it may mean loading the data."""
    if isinstance(train_lengths, int):
        same = train_lengths
        return lambda _options: same
    ask, known = train_lengths, dict[str, int]()

    def length(options: Mapping[str, Json]) -> int:
        key = canonical_json(dict(options))
        if key not in known:
            known[key] = ask(options)
        return known[key]

    return length


def _shuffled(configurations: Iterable[Configuration], seed: int) -> list[Configuration]:
    """An order that depends on the seed and the configurations' ids alone."""

    def place(configuration: Configuration) -> str:
        return hashlib.sha256(f"{seed}:{configuration.configuration_id}".encode()).hexdigest()

    return sorted(configurations, key=place)


def _trial_id(configuration: Configuration, seed: int) -> str:
    return digest({**configuration.identity, "seed": seed})


def _trial(configuration: Configuration, seed: int, block: int, position: int) -> Trial:
    cell = configuration.cell
    assert configuration.per_worker_batch_size is not None
    assert configuration.accumulation_steps is not None
    learning_rate = scaled_learning_rate(cell.training, cell.global_batch_size)
    return Trial(
        trial_id=_trial_id(configuration, seed),
        configuration_id=configuration.configuration_id,
        world_size=cell.world_size,
        per_worker_batch_size=configuration.per_worker_batch_size,
        global_batch_size=cell.global_batch_size,
        accumulation_steps=configuration.accumulation_steps,
        seed=seed,
        learning_rate=learning_rate,
        warmup_fraction=warmup_fraction(cell.training, learning_rate),
        training=cell.training,
        workload_options=cell.workload_options,
        parameters=configuration.parameters,
        block=block,
        position=position,
    )


def _infeasible_trial(configuration: Configuration, seed: int, reason: str) -> InfeasibleTrial:
    cell = configuration.cell
    return InfeasibleTrial(
        trial_id=_trial_id(configuration, seed),
        configuration_id=configuration.configuration_id,
        world_size=cell.world_size,
        per_worker_batch_size=configuration.per_worker_batch_size,
        global_batch_size=cell.global_batch_size,
        accumulation_steps=configuration.accumulation_steps,
        seed=seed,
        learning_rate=scaled_learning_rate(cell.training, cell.global_batch_size),
        training=cell.training,
        workload_options=cell.workload_options,
        parameters=configuration.parameters,
        reason=reason,
    )
