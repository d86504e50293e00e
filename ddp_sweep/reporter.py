"""From the measurements of all ranks to rows, and from rows to files: the one module that writes.

A file appears in its table's folder whole or not at all, and is never changed afterwards. Of an
attempt the row in ``trials`` comes last, so that where it is, all is there; and of two processes
that give one attempt an end (a run that was killed, and the one that goes on) the first stands.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ddp_sweep.errors import RecordedError
from ddp_sweep.plan import InfeasibleTrial, Trial
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.row_tables import table_of_rows
from ddp_sweep.results.whole_files import whole_file, writing
from ddp_sweep.schema import Status, table_schema
from ddp_sweep.training.messages import Evaluation, RankReport

__all__ = ["AttemptResult", "Reporter", "SweepFacts"]


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What every row of a session of a sweep has in common."""

    sweep: str
    session_id: str
    """One start of ``ddp-sweep run``."""
    placement: str
    price_per_worker_hour: float | None
    ray_version: str
    ddp_sweep_version: str
    code_version: str


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """How one attempt at a trial ended."""

    trial: Trial
    attempt: int
    status: Status
    status_detail: str | None = None
    reports: Sequence[RankReport] = ()
    """Of the ranks that delivered; of all ranks where the trial succeeded."""
    gang_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    """Both in UTC, by the driver's clock."""
    startup_time_s: float | None = None
    """Time to start the workers; None where they were there already."""
    wall_time_s: float | None = None
    """From handing the trial over until its last report."""


@dataclass
class Reporter:
    """Writes the rows of a sweep into its results folder.

    Raises:
        RecordedError: The attempt has its row already.
        UnwritableError: A measurement does not fit its column; the attempt has no row.
        WriteError: A file cannot be written.
    """

    folder: ResultsFolder
    facts: SweepFacts
    metrics: Mapping[str, bool] = field(default_factory=dict)
    """Columns of the metrics that the workload declares; whether higher is better."""
    _made: bool = field(default=False, init=False)

    def commit(self, result: AttemptResult) -> None:
        """Write the rows of an attempt to all three tables; that of ``trials`` comes last."""
        self._write("steps", result.trial.trial_id, result.attempt, step_rows(result))
        self._write("evals", result.trial.trial_id, result.attempt, eval_rows(result))
        self.commit_row(self.trial_row(result))

    def commit_infeasible(
        self, infeasible: InfeasibleTrial, at: datetime, attempt: int = 1
    ) -> None:
        """Write the row of a trial that cannot run."""
        ended = {
            "status": Status.INFEASIBLE,
            "status_detail": infeasible.reason,
            "started_at": at,
            "finished_at": at,
        }
        self.commit_row({**vars(self.facts), **_identity(infeasible), "attempt": attempt, **ended})

    def commit_row(self, row: Mapping[str, Any]) -> None:
        """Write a row of ``trials`` alone."""
        self._write("trials", row["trial_id"], row["attempt"], [row])

    def trial_row(self, result: AttemptResult) -> dict[str, Any]:
        """The row of an attempt in ``trials``; a column that is not in it is null."""
        row: dict[str, Any] = {
            **vars(self.facts),
            **_identity(result.trial),
            "attempt": result.attempt,
            "block": result.trial.block,
            "position": result.trial.position,
            "gang_id": result.gang_id,
            "status": result.status,
            "status_detail": result.status_detail,
            "started_at": result.started_at,
            "finished_at": result.finished_at,
            "startup_time_s": result.startup_time_s,
            "wall_time_s": result.wall_time_s,
        }
        reports = sorted(result.reports, key=lambda report: report.rank)
        if reports and len(reports) == result.trial.world_size:
            row |= _measurements(reports)
            row |= self._cost(reports[0], result.trial.world_size)
        return row

    def _cost(self, report: RankReport, world_size: int) -> dict[str, float | None]:
        if report.train_time_s is None or report.eval_time_s is None:
            return {}
        hours = world_size * (report.train_time_s + report.eval_time_s) / 3600
        price = self.facts.price_per_worker_hour
        return {"worker_hours": hours, "cost": None if price is None else hours * price}

    def _write(
        self, table: str, trial_id: str, attempt: int, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        contents = table_of_rows(rows, table_schema(table, self.metrics))
        target = self.folder.attempt_file(table, trial_id, attempt)
        with writing(target):
            self._make_folders()
            try:
                # What a killed process left of an attempt is written anew; a row is not.
                with whole_file(target, overwrite=table != "trials") as file:
                    # The checksums tell a reader of damage that the disk has done.
                    pq.write_table(contents, file, write_page_checksum=True)
            except FileExistsError:
                raise RecordedError(f"{target} is there already; it stands") from None

    def _make_folders(self) -> None:
        if not self._made:
            for table in ("trials", "evals", "steps"):
                self.folder.table(table).mkdir(parents=True, exist_ok=True)
            self._made = True


def _identity(trial: Trial | InfeasibleTrial) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "configuration_id": trial.configuration_id,
        "world_size": trial.world_size,
        "per_worker_batch_size": trial.per_worker_batch_size,
        "global_batch_size": trial.global_batch_size,
        "accumulation_steps": trial.accumulation_steps,
        "seed": trial.seed,
        "learning_rate": trial.learning_rate,
        "compute_precision": trial.training.precision,
        "parameters": json.dumps(dict(trial.parameters), sort_keys=True),
    }


def _measurements(reports: Sequence[RankReport]) -> dict[str, Any]:
    """Columns that come from the ranks, which all delivered; rank 0 comes first."""
    first = reports[0]
    reduced = {
        name: getattr(first, name)
        for name in (
            *("epochs", "optimizer_steps", "samples", "train_time_s", "eval_time_s"),
            *("time_to_target_s", "samples_to_target", "best_epoch", "eval_samples"),
            *("expected_eval_samples", "traces_comparable", "gradient_error"),
            *("replica_divergence", "train_val_overlap", "duplicate_samples"),
            *("batch_imbalance", "other_load"),
            *("device_type", "device_name", "device_memory_bytes", "physical_cores"),
            "torch_version",
        )
    }
    quality = first.evaluations[-1].quality if first.evaluations else {}
    return {
        **quality,
        **reduced,
        **_speed(reports),
        "energy_wh": _total([report.energy_wh for report in reports]),
        "peak_memory_bytes": _largest([report.peak_memory_bytes for report in reports]),
        "num_nodes": len({report.node for report in reports}),
        "threads_per_worker": first.threads,
        "oversubscribed": _oversubscribed(reports),
    }


def _speed(reports: Sequence[RankReport]) -> dict[str, float | None]:
    first = reports[0]
    medians = [r.step_time_median_s for r in reports if r.step_time_median_s is not None]
    train_time = first.train_time_s
    if not medians or not train_time or first.samples is None:
        return {}
    waits = [report.data_wait_s for report in reports if report.data_wait_s is not None]
    return {
        "throughput_samples_per_s": first.samples / train_time,
        "throughput_tokens_per_s": None if first.tokens is None else first.tokens / train_time,
        "step_time_median_s": max(medians),
        "step_time_p95_s": _largest([report.step_time_p95_s for report in reports]),
        "data_wait_fraction": max(waits) / train_time if waits else None,
        "communication_fraction": _communication_fraction(first),
        "straggler_ratio": _straggler_ratio(reports),
    }


def _communication_fraction(report: RankReport) -> float | None:
    """Exposed communication of a step / its mean time."""
    exposed, steps = report.exposed_communication_s, report.optimizer_steps
    if exposed is None or not steps or not report.train_time_s:
        return None
    return min(1.0, exposed * steps / report.train_time_s)


def _straggler_ratio(reports: Sequence[RankReport]) -> float | None:
    """Of the time that each rank itself needed for a step: whole steps end together."""
    own = [r.own_step_time_median_s for r in reports if r.own_step_time_median_s is not None]
    return max(own) / float(np.median(own)) if len(own) == len(reports) else None


def _oversubscribed(reports: Sequence[RankReport]) -> bool | None:
    """Whether the workers of a node may use more threads than it has physical cores."""
    first = reports[0]
    if first.device_type != "cpu":
        return False
    if first.physical_cores is None or first.threads is None:
        return None
    workers = max(Counter(report.node for report in reports).values())
    return workers * first.threads > first.physical_cores


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _total(values: Sequence[float | None]) -> float | None:
    """None where one of them is: a part of the whole is not the whole."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def eval_rows(result: AttemptResult) -> list[dict[str, Any]]:
    """Rows of an attempt in ``evals``."""
    identity = _identity(result.trial) | {"attempt": result.attempt}
    evaluations = [e for report in result.reports for e in report.evaluations]
    best = _running_best(evaluations)
    return [
        identity
        | evaluation.quality
        | {
            "epoch": evaluation.epoch,
            "optimizer_step": evaluation.optimizer_step,
            "samples": evaluation.samples,
            "train_time_s": evaluation.train_time_s,
            "eval_time_s": evaluation.eval_time_s,
            "best_epoch": epoch,
        }
        for evaluation, epoch in zip(evaluations, best, strict=True)
    ]


def _running_best(evaluations: Sequence[Evaluation]) -> list[float | None]:
    """Epoch of the lowest validation loss up to each evaluation."""
    epochs: list[float | None] = []
    best: tuple[float, float] | None = None
    for evaluation in evaluations:
        loss = evaluation.quality.get("val_loss")
        if loss is not None and math.isfinite(loss) and (best is None or loss < best[0]):
            best = (loss, evaluation.epoch)
        epochs.append(best[1] if best else None)
    return epochs


def step_rows(result: AttemptResult) -> list[dict[str, Any]]:
    """Rows of an attempt in ``steps``: those of rank 0, then those of rank 1, ..."""
    identity = _identity(result.trial) | {"attempt": result.attempt}
    rows = []
    for report in result.reports:
        if report.steps is None:
            continue
        columns = {name: column.tolist() for name, column in vars(report.steps).items()}
        # Memory is read now and then only, and waiting for other ranks not without the probes.
        for name in ("memory_bytes", "communication_s"):
            columns[name] = [None if math.isnan(value) else value for value in columns[name]]
        rank = {"rank": report.rank, "node": report.node}
        for values in zip(*columns.values(), strict=True):
            rows.append(identity | rank | dict(zip(columns, values, strict=True)))
    return rows
