"""Trials as a sweep would have written them, for tests of everything right of Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.analysis import RankedConfiguration, Ranking
from ddp_sweep.results import ResultsFolder, mark_final
from ddp_sweep.schema import EVALS, METRIC_PREFIX, STEPS, TRIALS, table_schema

START = datetime(2026, 1, 1, tzinfo=UTC)
VALIDATION_SAMPLES = 360
MLPERF = Path(__file__).parent / "data" / "mlperf_runs.csv"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A configuration with its true speed and quality."""

    world_size: int
    batch: int
    """Of one worker."""
    seconds: float = 10.0
    accuracy: float = 0.95
    spread: float = 0.004
    """Standard deviation of the accuracy over seeds."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of all its trials."""

    @property
    def name(self) -> str:
        return f"w{self.world_size}b{self.batch}"


def trial(cell: Cell, seed: int, position: int, noise: np.random.Generator) -> dict[str, Any]:
    """One succeeded trial; the accuracy of a seed is close to that of the other cells' seed."""
    luck = np.random.default_rng(seed).normal(0, cell.spread) + noise.normal(0, cell.spread / 4)
    correct = round(min(1.0, cell.accuracy + luck) * VALIDATION_SAMPLES)
    seconds = cell.seconds * float(np.exp(noise.normal(0, 0.02)))
    global_batch = cell.world_size * cell.batch
    started = START + timedelta(seconds=100 * position)
    return {
        "sweep": "digits",
        "trial_id": f"{cell.name}s{seed}",
        "configuration_id": cell.name,
        "attempt": 1,
        "world_size": cell.world_size,
        "per_worker_batch_size": cell.batch,
        "global_batch_size": global_batch,
        "accumulation_steps": 1,
        "seed": seed,
        "learning_rate": 0.05 * global_batch / 64,
        "compute_precision": "float32",
        "parameters": json.dumps({"workload": "digits", "learning_rate": 0.05, "epochs": 8}),
        "block": seed,
        "position": position,
        "gang_id": f"gang{seed}",
        "session_id": "session",
        "status": "succeeded",
        "started_at": started,
        "finished_at": started + timedelta(seconds=seconds + 2),
        "epochs": 8.0,
        "optimizer_steps": 8 * 1437 // global_batch,
        "samples": 8 * 1437,
        "train_time_s": seconds,
        "eval_time_s": 0.5,
        "wall_time_s": seconds + 2,
        "throughput_samples_per_s": 8 * 1437 / seconds,
        "worker_hours": cell.world_size * (seconds + 0.5) / 3600,
        "train_loss": 0.05,
        "val_loss": 0.15,
        "accuracy": correct / VALIDATION_SAMPLES,
        "eval_samples": VALIDATION_SAMPLES,
        "expected_eval_samples": VALIDATION_SAMPLES,
        "traces_comparable": False,
        "gradient_error": 1e-7,
        "train_val_overlap": 0,
        "other_load": 0.01,
        "device_type": "cpu",
        "num_nodes": 1,
        "physical_cores": 8,
        "threads_per_worker": 1,
        "oversubscribed": False,
        "placement": "exclusive",
        "code_version": "abc",
        **cell.columns,
    }


def rows(cells: Iterable[Cell], seeds: int = 5) -> list[dict[str, Any]]:
    noise = np.random.default_rng(7)
    order = [(cell, seed) for seed in range(seeds) for cell in cells]
    return [trial(cell, seed, position, noise) for position, (cell, seed) in enumerate(order)]


def table(records: list[dict[str, Any]], metrics: tuple[str, ...] = ()) -> pa.Table:
    """Records as the trials table, columns that are absent null."""
    schema = table_schema("trials", {METRIC_PREFIX + name: None for name in metrics})
    columns = {name: [record.get(name) for record in records] for name in schema.names}
    return pa.table(columns, schema=schema)


def frame(records: list[dict[str, Any]], metrics: tuple[str, ...] = ()) -> pd.DataFrame:
    """Records as `load_results` gives them."""
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return mark_final(table(records, metrics).to_pandas(types_mapper=nullable.get))


def write_folder(path: Path, records: list[dict[str, Any]]) -> ResultsFolder:
    """A results folder with one file for each record in each table."""
    folder = ResultsFolder(path)
    for name in ("trials", "evals", "steps"):
        folder.table(name).mkdir(parents=True, exist_ok=True)
    for record in records:
        for name, schema in (("trials", TRIALS), ("evals", EVALS), ("steps", STEPS)):
            file = folder.attempt_file(name, record["trial_id"], record["attempt"])
            columns = {column: [record.get(column)] for column in schema.names}
            pq.write_table(pa.table(columns, schema=schema), file)
    return folder


def mlperf(set_id: str) -> pd.DataFrame:
    """Runs of one benchmark on machines of several sizes, as tests/data/README.md explains."""
    runs = pd.read_csv(MLPERF)
    runs = runs[runs["set_id"] == set_id]
    return runs.assign(time_to_target_s=runs["run_duration_s"].where(runs["converged"]))


def find(ranking: Ranking, world_size: int, batch: int | None = None) -> RankedConfiguration:
    """The one configuration of that many workers and that batch of a worker."""
    (found,) = [
        entry
        for entry in ranking.configurations
        if entry.world_size == world_size and batch in (None, entry.per_worker_batch_size)
    ]
    return found
