"""The three tables a sweep writes: their columns, types and version.

Other people's notebooks and scripts read these tables, so a column never changes its name, its
type or its meaning within a schema version. A measurement that does not exist is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa

__all__ = [
    "AFTER_OTHERS",
    "CLOCKS_THROTTLED",
    "EVALS",
    "HIGHER_IS_BETTER",
    "METRIC_PREFIX",
    "QUALITY_COLUMNS",
    "REPLICAS_DIFFER",
    "SCHEMA_VERSION",
    "STALLED",
    "STEPS",
    "TABLES",
    "TRIALS",
    "Status",
    "is_to_rerun",
    "is_transient",
    "table_schema",
]

SCHEMA_VERSION = 1
METRIC_PREFIX = "metric_"
HIGHER_IS_BETTER = "ddp_sweep.higher_is_better"
"""Key of the metadata, ``true`` or ``false``, of the column of a declared metric."""


class Status(StrEnum):
    """How an attempt at a trial ended."""

    SUCCEEDED = "succeeded"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    WORKER_DIED = "worker_died"
    NODE_LOST = "node_lost"
    TIMED_OUT = "timed_out"
    INFEASIBLE = "infeasible"
    WORKLOAD_ERROR = "workload_error"
    INTERRUPTED = "interrupted"


STALLED = "stalled: "
"""Begins the detail of a time-out for want of progress; tells it from a trial's own deadline."""


AFTER_OTHERS = "after other trials in the same workers: "
"""Begins the detail of an out_of_memory that a fresh process may not have: what earlier trials
left behind, fragments for one, is not the configuration's."""


REPLICAS_DIFFER = "replicas differ: "
"""Begins the detail of a trial whose ranks did not hold equal weights. The rest is JSON:
``{"parameters": {name: largest absolute difference}, "buffers": {...}}``."""


CLOCKS_THROTTLED = "clocks throttled: "
"""Begins the detail of a trial during which heat or the like lowered the clocks of what it ran on.
The rest is JSON: ``{"seconds": time or null, "times": count or null, "reasons": [...]}``."""


def is_transient(status: str, detail: str | None) -> bool:
    """Whether another attempt may end differently: the cause lay outside the trial."""
    if status == Status.TIMED_OUT:
        return (detail or "").startswith(STALLED)
    if status == Status.OUT_OF_MEMORY:
        return (detail or "").startswith(AFTER_OTHERS)
    return status in (Status.WORKER_DIED, Status.NODE_LOST)


def is_to_rerun(status: str, detail: str | None, *, began: bool) -> bool:
    """Whether another run of the sweep tries the trial again.

    Args:
        status: How its last attempt ended.
        detail: More of that.
        began: Whether there were workers to run it. Where a workload could not be loaded, on a
            node that lacks a package for one, that says nothing about the trial.
    """
    not_loaded = status == Status.WORKLOAD_ERROR and not began
    return not_loaded or status == Status.INTERRUPTED or is_transient(status, detail)


_TIME = pa.timestamp("us", tz="UTC")
_FLOATS = pa.list_(pa.float64())

QUALITY_COLUMNS: dict[str, pa.DataType] = {
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "accuracy": pa.float64(),
    "balanced_accuracy": pa.float64(),
    "precision": pa.float64(),
    "recall": pa.float64(),
    "f1": pa.float64(),
    "mcc": pa.float64(),
    "auroc": pa.float64(),
    "average_precision": pa.float64(),
    "perplexity": pa.float64(),
    "mae": pa.float64(),
    "rmse": pa.float64(),
    "r2": pa.float64(),
    "per_class_recall": _FLOATS,
    "per_class_precision": _FLOATS,
    "class_names": pa.list_(pa.string()),
    "confusion_matrix": pa.list_(pa.list_(pa.int64())),
    "correct_bits": pa.binary(),
    "best_epoch": pa.float64(),
}
"""Quality of a model on the validation set; ``confusion_matrix`` rows are the truth."""

_TRIALS: dict[str, pa.DataType] = {
    # identity
    "sweep": pa.string(),
    "trial_id": pa.string(),
    "configuration_id": pa.string(),
    "attempt": pa.int64(),
    "world_size": pa.int64(),
    "per_worker_batch_size": pa.int64(),
    "global_batch_size": pa.int64(),
    "accumulation_steps": pa.int64(),
    "seed": pa.int64(),
    "learning_rate": pa.float64(),
    "compute_precision": pa.string(),
    "parameters": pa.string(),
    # order
    "block": pa.int64(),
    "position": pa.int64(),
    "gang_id": pa.string(),
    "session_id": pa.string(),
    # outcome
    "status": pa.string(),
    "status_detail": pa.string(),
    "started_at": _TIME,
    "finished_at": _TIME,
    # work
    "epochs": pa.float64(),
    "optimizer_steps": pa.int64(),
    "samples": pa.int64(),
    # time
    "train_time_s": pa.float64(),
    "eval_time_s": pa.float64(),
    "startup_time_s": pa.float64(),
    "wall_time_s": pa.float64(),
    "time_to_target_s": pa.float64(),
    "samples_to_target": pa.int64(),
    # speed
    "throughput_samples_per_s": pa.float64(),
    "throughput_tokens_per_s": pa.float64(),  # targets that are not ignored; language models only
    "step_time_median_s": pa.float64(),
    "step_time_p95_s": pa.float64(),
    "data_wait_fraction": pa.float64(),
    "communication_fraction": pa.float64(),
    "straggler_ratio": pa.float64(),
    # cost
    "worker_hours": pa.float64(),
    "cost": pa.float64(),
    "energy_wh": pa.float64(),
    # memory
    "peak_memory_bytes": pa.int64(),
    "device_memory_bytes": pa.int64(),
    # quality
    **QUALITY_COLUMNS,
    # integrity
    "eval_samples": pa.int64(),
    "expected_eval_samples": pa.int64(),
    "traces_comparable": pa.bool_(),
    "gradient_error": pa.float64(),
    "replica_divergence": pa.float64(),
    "train_val_overlap": pa.int64(),
    "duplicate_samples": pa.int64(),
    "batch_imbalance": pa.float64(),
    "other_load": pa.float64(),
    # environment
    "device_type": pa.string(),
    "device_name": pa.string(),
    "num_nodes": pa.int64(),
    "physical_cores": pa.int64(),
    "threads_per_worker": pa.int64(),
    "oversubscribed": pa.bool_(),
    "placement": pa.string(),
    "torch_version": pa.string(),
    "ray_version": pa.string(),
    "ddp_sweep_version": pa.string(),
    "code_version": pa.string(),
}

_EVALS: dict[str, pa.DataType] = {
    "trial_id": pa.string(),
    "configuration_id": pa.string(),
    "attempt": pa.int64(),
    "world_size": pa.int64(),
    "per_worker_batch_size": pa.int64(),
    "global_batch_size": pa.int64(),
    "seed": pa.int64(),
    "epoch": pa.float64(),
    "optimizer_step": pa.int64(),
    "samples": pa.int64(),
    "train_time_s": pa.float64(),
    "eval_time_s": pa.float64(),
    **QUALITY_COLUMNS,
}

_STEPS: dict[str, pa.DataType] = {
    "trial_id": pa.string(),
    "configuration_id": pa.string(),
    "attempt": pa.int64(),
    "world_size": pa.int64(),
    "global_batch_size": pa.int64(),
    "seed": pa.int64(),
    "rank": pa.int64(),
    "node": pa.string(),
    "optimizer_step": pa.int64(),
    "samples": pa.int64(),
    "train_loss": pa.float64(),  # of the global batch: the same on all ranks
    "step_time_s": pa.float64(),
    "data_wait_s": pa.float64(),
    "communication_s": pa.float64(),
    "learning_rate": pa.float64(),
    "memory_bytes": pa.int64(),
}


def _schema(table: str, columns: dict[str, pa.DataType]) -> pa.Schema:
    metadata = {"ddp_sweep.table": table, "ddp_sweep.schema_version": str(SCHEMA_VERSION)}
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()], metadata=metadata)


TRIALS = _schema("trials", _TRIALS)
"""One row an attempt at a trial."""
EVALS = _schema("evals", _EVALS)
"""One row an evaluation."""
STEPS = _schema("steps", _STEPS)
"""One row a rank and recorded interval of optimizer steps."""
TABLES: dict[str, pa.Schema] = {"trials": TRIALS, "evals": EVALS, "steps": STEPS}


def table_schema(table: str, metrics: Mapping[str, bool | None] | None = None) -> pa.Schema:
    """Schema of a table, with a ``metric_<name>`` column for every metric a workload declares.

    Args:
        table: ``trials``, ``evals`` or ``steps``.
        metrics: Columns of the declared metrics, and whether higher is better (None: unknown),
            which the column keeps as metadata; ``steps`` has none of them.

    Raises:
        KeyError: There is no such table.
    """
    schema = TABLES[table]
    if table == "steps":
        return schema
    for name, higher_is_better in (metrics or {}).items():
        known = {HIGHER_IS_BETTER: str(higher_is_better).lower()}
        metadata = None if higher_is_better is None else known
        schema = schema.append(pa.field(name, pa.float64(), metadata=metadata))
    return schema
