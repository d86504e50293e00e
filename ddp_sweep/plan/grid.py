"""The cells of a sweep's grid: what each configuration is asked to be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ddp_sweep.errors import SpecError
from ddp_sweep.spec import Json, SweepSpec, TrainingSettings, canonical_json
from ddp_sweep.spec.axes import OPTION_PREFIX

__all__ = ["Cell", "grid_cells"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the grid: what a configuration is asked to be."""

    world_size: int
    share: int | None
    """A worker's part of a global batch; None where the batch does not divide."""
    global_batch_size: int
    training: TrainingSettings
    workload_options: Mapping[str, Json]
    values: Mapping[str, Json]
    """The cell's value on each axis, and the batch size that follows from them."""


def grid_cells(spec: SweepSpec) -> list[Cell]:
    """Every cell of the grid that is not excluded.

    Raises:
        SpecError: Every cell is excluded, or the baseline is none of those left.
    """
    sizes = spec.sweep.per_worker_batch_size or spec.sweep.global_batch_size
    assert sizes is not None  # a rule of the sweep file
    axes = spec.sweep.axes
    grid = [
        _cell(spec, world_size, size, dict(zip(axes, values, strict=True)))
        for world_size, size in itertools.product(spec.sweep.world_size, sizes)
        for values in itertools.product(*axes.values())
    ]
    cells = [
        cell
        for cell in grid
        if not any(_matches(excluded, cell) for excluded in spec.sweep.exclude)
    ]
    if not cells:
        message = f"these cells leave none of the {len(grid)} in the sweep; remove one of them"
        raise SpecError([spec.problem(("sweep", "exclude"), message)])
    if isinstance(spec.baseline, dict):
        _require_baseline(spec, spec.baseline, cells)
    return cells


def _cell(spec: SweepSpec, world_size: int, size: int, settings: dict[str, Json]) -> Cell:
    share: int | None = size
    global_batch_size = world_size * size
    if spec.sweep.per_worker_batch_size is None:
        share = size // world_size if size % world_size == 0 else None
        global_batch_size = size
    options = {key: value for key, value in settings.items() if key.startswith(OPTION_PREFIX)}
    training = {key: value for key, value in settings.items() if key not in options}
    return Cell(
        world_size=world_size,
        share=share,
        global_batch_size=global_batch_size,
        training=TrainingSettings.model_validate({**spec.training.model_dump(), **training}),
        workload_options={
            **spec.workload_options,
            **{key.removeprefix(OPTION_PREFIX): value for key, value in options.items()},
        },
        values={
            "world_size": world_size,
            "per_worker_batch_size": share,
            "global_batch_size": global_batch_size,
            **settings,
        },
    )


def _matches(asked: Mapping[str, Json], cell: Cell) -> bool:
    return all(cell.values[key] == value for key, value in asked.items())


def _require_baseline(spec: SweepSpec, baseline: dict[str, Json], cells: list[Cell]) -> None:
    if any(_matches(baseline, cell) for cell in cells):
        return
    swept = [
        f"{key}: {', '.join(map(canonical_json, _distinct(cell.values[key] for cell in cells)))}"
        for key in baseline
    ]
    message = f"received {canonical_json(baseline)}; no cell of the sweep has it; "
    raise SpecError([spec.problem(("baseline",), message + f"swept are {'; '.join(swept)}")])


def _distinct(values: Iterable[Json]) -> list[Json]:
    return list({canonical_json(value): value for value in values}.values())
