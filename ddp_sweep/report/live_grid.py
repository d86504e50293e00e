"""The cells of a sweep as a small grid of text: workers down, batch sizes across."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ddp_sweep.live import BatchAxis, CellProgress
from ddp_sweep.report.front_runner import CellOutcome, Quality
from ddp_sweep.schema import Status

__all__ = ["Detail", "GridCell", "GridView", "Mark", "view_grid"]

_LONGEST_ROW_OF_MARKS = 16


class Mark(StrEnum):
    """What a trial of a cell, or the cell itself, is shown as."""

    DONE = "done"
    RUNNING = "running"
    TO_COME = "to come"
    OUT_OF_MEMORY = "out of memory"
    DIVERGED = "diverged"
    TIMED_OUT = "timed out"
    ERROR = "error"
    LOST_WORKER = "worker or node lost"
    INFEASIBLE = "not feasible"
    INTERRUPTED = "interrupted"


_MARKS = {
    None: Mark.TO_COME,
    Status.SUCCEEDED: Mark.DONE,
    Status.OUT_OF_MEMORY: Mark.OUT_OF_MEMORY,
    Status.DIVERGED: Mark.DIVERGED,
    Status.TIMED_OUT: Mark.TIMED_OUT,
    Status.WORKLOAD_ERROR: Mark.ERROR,
    Status.WORKER_DIED: Mark.LOST_WORKER,
    Status.NODE_LOST: Mark.LOST_WORKER,
    Status.INFEASIBLE: Mark.INFEASIBLE,
    Status.INTERRUPTED: Mark.INTERRUPTED,
}


class Detail(StrEnum):
    """How much of a cell is shown, from the most to the least."""

    BESIDE = "speed beside the trials"
    BELOW = "speed below the trials"
    TRIALS = "trials only"
    COUNTS = "counts only"


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One number of workers with one batch size."""

    marks: tuple[Mark, ...] | None
    """One for each trial; None where there are too many of them to be shown one by one."""
    count: str
    """``3/5``, and what failed: ``37/50, 2 failed``."""
    speedup: str | None
    """``1.43x``; None where it is unknown or the cell holds several configurations."""
    quality: Quality | None


@dataclass(frozen=True, kw_only=True)
class GridView:
    """All cells; a place where the sweep has none is None."""

    batch_title: str
    batches: tuple[str, ...]
    workers: tuple[str, ...]
    rows: tuple[tuple[GridCell | None, ...], ...]
    marks: tuple[Mark, ...]
    """Those that appear, for the legend."""
    qualities: tuple[Quality, ...]
    """Those that appear, for the legend."""


def view_grid(
    cells: Sequence[CellProgress], axis: BatchAxis, outcomes: Mapping[str, CellOutcome]
) -> GridView:
    """The info object behind the grid.

    Args:
        cells: Of the sweep.
        axis: Which batch size they stand by.
        outcomes: Speed and quality so far, by the id of the configuration.
    """
    by_place = {(one.world_size, one.batch_size): _cell(one, outcomes) for one in cells}
    workers = sorted({world_size for world_size, _ in by_place})
    batches = sorted({batch for _, batch in by_place}, key=lambda batch: (batch is None, batch))
    marks = {mark for one in cells for mark in _marks(one)}
    qualities = {cell.quality for cell in by_place.values()}
    return GridView(
        batch_title="global batch" if axis is BatchAxis.GLOBAL else "batch of a worker",
        batches=tuple("?" if batch is None else f"{batch:,}" for batch in batches),
        workers=tuple(f"{size:,}" for size in workers),
        rows=tuple(tuple(by_place.get((w, b)) for b in batches) for w in workers),
        marks=tuple(mark for mark in Mark if mark in marks),
        qualities=tuple(quality for quality in Quality if quality in qualities),
    )


def _cell(cell: CellProgress, outcomes: Mapping[str, CellOutcome]) -> GridCell:
    marks = tuple(_marks(cell))
    outcome = outcomes.get(cell.configurations[0]) if len(cell.configurations) == 1 else None
    known = outcome is not None and outcome.speedup is not None
    return GridCell(
        marks=marks if len(marks) <= _LONGEST_ROW_OF_MARKS else None,
        count=_count(cell, marks),
        speedup=f"{outcome.speedup:.2f}x" if outcome is not None and known else None,
        quality=None if outcome is None else outcome.quality,
    )


def _marks(cell: CellProgress) -> Iterator[Mark]:
    for place, outcome in enumerate(cell.outcomes):
        yield Mark.RUNNING if place in cell.running else _MARKS[outcome]


def _count(cell: CellProgress, marks: Sequence[Mark]) -> str:
    fine = (Mark.DONE, Mark.RUNNING, Mark.TO_COME)
    failed = Counter(mark for mark in marks if mark not in fine)
    text = f"{cell.ended}/{len(cell.outcomes)}"
    return f"{text}, {sum(failed.values())} failed" if failed else text
