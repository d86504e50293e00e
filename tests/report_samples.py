"""Sweeps with evaluations and steps, as a report needs them; the figures follow a formula."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from trials_frame import Cell, frame, rows, write_folder

from ddp_sweep.results import Results, ResultsFolder
from ddp_sweep.schema import EVALS, STEPS

EVALUATIONS = 5
CLASSES = ("cat", "dog", "bird")
TARGET = {"accuracy": 0.9}


def loss_at(samples: float, seed: int) -> float:
    """Training loss after so many samples."""
    return 0.05 + 2.0 * float(np.exp(-samples / 3000)) + 0.001 * seed


def measured(
    cells: Iterable[Cell], seeds: int = 5, *, target: bool = True
) -> list[dict[str, Any]]:
    """Trials with all that a workload of three classes gives."""
    records = rows(cells, seeds)
    for record in records:
        right = round(120 * record["accuracy"])
        wrong = 120 - right
        record["recall"] = right / 120
        record["confusion_matrix"] = [[right, wrong, 0], [0, right, wrong], [wrong, 0, right]]
        record["class_names"] = list(CLASSES)
        record["per_class_recall"] = [right / 120] * 3
        record["data_wait_fraction"] = 0.02 * record["world_size"]
        record["peak_memory_bytes"] = 200_000_000 + 1000 * record["global_batch_size"]
        if target:
            # Larger batches need more samples, by a known factor.
            share = min(0.95, 0.4 * (record["global_batch_size"] / 64) ** 0.15)
            record["samples_to_target"] = round(share * record["samples"])
            record["time_to_target_s"] = share * record["train_time_s"]
    return records


def evaluations(records: Iterable[dict[str, Any]], count: int = EVALUATIONS) -> pd.DataFrame:
    """Evenly spaced over the samples of each trial that finished."""
    found = []
    for record in records:
        if record["status"] != "succeeded":
            continue
        for k in range(1, count + 1):
            samples = record["samples"] * k // count
            found.append(
                {name: record.get(name) for name in EVALS.names}
                | {
                    "epoch": 8 * k / count,
                    "optimizer_step": samples // record["global_batch_size"],
                    "samples": samples,
                    "train_time_s": record["train_time_s"] * k / count,
                    "val_loss": loss_at(samples, record["seed"]) + 0.1,
                }
            )
    return _typed(found, EVALS)


def steps(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Every optimizer step of every rank of each trial that finished."""
    found = []
    for record in records:
        if record["status"] != "succeeded":
            continue
        batch = record["global_batch_size"]
        count = record["samples"] // batch
        for rank in range(record["world_size"]):
            for step in range(1, count + 1):
                found.append(
                    {name: record.get(name) for name in STEPS.names}
                    | {
                        "rank": rank,
                        "optimizer_step": step,
                        "samples": step * batch,
                        "train_loss": loss_at(step * batch, record["seed"]),
                        "step_time_s": record["train_time_s"] / count,
                    }
                )
    return _typed(found, STEPS)


def loaded(records: list[dict[str, Any]]) -> Results:
    """The tables of a folder, without one."""
    return Results(
        trials=frame(records),
        evals=evaluations(records),
        steps=steps(records),
        folder=ResultsFolder(Path("results") / "digits"),
        spec=None,
    )


def write_results(path: Path, records: list[dict[str, Any]], spec: str) -> ResultsFolder:
    """A results folder with a sweep file and all three tables."""
    folder = write_folder(path, records)
    for name, table, schema in (
        ("evals", evaluations(records), EVALS),
        ("steps", steps(records), STEPS),
    ):
        for file in folder.table(name).iterdir():
            file.unlink()
        for (trial, attempt), part in table.groupby(["trial_id", "attempt"]):
            whole = pa.Table.from_pandas(part, schema=schema, preserve_index=False)
            pq.write_table(
                whole.replace_schema_metadata(schema.metadata),
                folder.attempt_file(name, str(trial), int(attempt)),
            )
    folder.spec_file.write_text(spec, encoding="utf-8")
    return folder


def many_cells(count: int) -> list[Cell]:
    """Configurations of four world sizes, each with its own batch."""
    sizes = (1, 2, 4, 8)
    return [
        Cell(
            world_size=sizes[place % 4],
            batch=8 * (place // 4 + 1),
            seconds=20 / sizes[place % 4] ** 0.8 / (1 + place / count),
            accuracy=0.95 - 0.0002 * place,
            columns={"parameters": json.dumps({"epochs": 8})},
        )
        for place in range(count)
    ]


def _typed(found: list[dict[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    columns = {name: [row.get(name) for row in found] for name in schema.names}
    return pa.table(columns, schema=schema).to_pandas(types_mapper=nullable.get)
