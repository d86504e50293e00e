"""Tables whose figures are given, ranked with their findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from trials_frame import Cell, frame, rows, table

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import EVALS, STEPS

__all__ = ["MARGINS", "ONE", "TWO", "in_folder", "ranked", "with_columns"]

MARGINS = {"accuracy": 0.01}
ONE = Cell(world_size=1, batch=64, seconds=10)
TWO = Cell(world_size=2, batch=32, seconds=5.5)


def ranked(*cells: Cell, seeds: int = 5, **options: Any) -> Ranking:
    return rank(frame(rows(cells, seeds)), **{"margins": MARGINS, **options})


def with_columns(cell: Cell, **columns: Any) -> Cell:
    return replace(cell, columns={**cell.columns, **columns})


def in_folder(
    path: Path,
    records: list[dict[str, Any]],
    evals: Mapping[str, list[dict[str, Any]]] | None = None,
    steps: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """A results folder; evaluations and steps by trial."""
    folder = ResultsFolder(path)
    for name in ("trials", "evals", "steps"):
        folder.table(name).mkdir(parents=True)
    for record in records:
        trial = record["trial_id"]
        pq.write_table(table([record]), folder.attempt_file("trials", trial, 1))
        for name, schema, found in (("evals", EVALS, evals), ("steps", STEPS, steps)):
            own = [record | one for one in (found or {}).get(trial, [])]
            columns = {column: [one.get(column) for one in own] for column in schema.names}
            pq.write_table(pa.table(columns, schema=schema), folder.attempt_file(name, trial, 1))
    return path
