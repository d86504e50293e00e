from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.errors import ResultsError
from ddp_sweep.plan import InfeasibleTrial
from ddp_sweep.reporter import AttemptResult, Reporter, SweepFacts
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.schema import EVALS, STEPS, TRIALS, Status
from ddp_sweep.training.messages import RankReport

DIGITS = "training_workloads:OddDigits"
BAD_ROW = "training_workloads:OneBadRow"
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOT_YET_MEASURED = {
    *("throughput_tokens_per_s", "energy_wh"),
    *("perplexity", "mae", "rmse", "r2", "status_detail"),
    # No target was set.
    *("time_to_target_s", "samples_to_target"),
}
WANTED = request(DIGITS, 2, 60, training={"samples": 1500, "evaluations": 3, "record_every": 4})


@pytest.fixture(scope="module")
def reports(pool: RankProcesses) -> list[RankReport]:
    """Of a real trial on two ranks."""
    return pool.run(run_trial, DIGITS, WANTED)[:2]


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    facts = SweepFacts(
        sweep="test",
        session_id="session",
        placement="exclusive",
        price_per_worker_hour=3.0,
        ray_version="2.60.0",
        ddp_sweep_version="0.1.0",
        code_version="abc:def",
    )
    return Reporter(ResultsFolder(tmp_path / "results"), facts)


def attempt(reports: list[RankReport], number: int = 1) -> AttemptResult:
    return AttemptResult(
        trial=WANTED.trial,
        attempt=number,
        status=Status.SUCCEEDED,
        reports=reports,
        gang_id="gang",
        started_at=STARTED,
        finished_at=STARTED,
        startup_time_s=4.0,
        wall_time_s=5.0,
    )


@pytest.mark.ddp
def test_a_trial_fills_every_column_that_is_measured(
    reporter: Reporter, reports: list[RankReport]
) -> None:
    reporter.commit(attempt(reports))
    trials = pd.read_parquet(reporter.folder.trials)
    assert list(trials.columns) == TRIALS.names
    assert len(trials) == 1
    row = trials.iloc[0]
    missing = {name for name in TRIALS.names if np.ndim(row[name]) == 0 and pd.isna(row[name])}
    assert missing == NOT_YET_MEASURED

    assert row["status"] == "succeeded"
    assert (row["samples"], row["optimizer_steps"]) == (1500, 26)
    assert row["epochs"] == pytest.approx(1500 / 997)
    assert (row["eval_samples"], row["expected_eval_samples"]) == (360, 360)
    assert row["throughput_samples_per_s"] == pytest.approx(1500 / row["train_time_s"])
    assert row["worker_hours"] == pytest.approx(
        2 * (row["train_time_s"] + row["eval_time_s"]) / 3600
    )
    assert row["cost"] == pytest.approx(3 * row["worker_hours"])
    assert row["peak_memory_bytes"] == max(r.peak_memory_bytes or 0 for r in reports)
    assert row["straggler_ratio"] >= 1
    assert 0 <= row["data_wait_fraction"] < 1
    assert row["started_at"] == STARTED
    assert (row["num_nodes"], row["threads_per_worker"]) == (1, 1)
    confusion = np.stack(row["confusion_matrix"])
    assert confusion.sum() == 360
    assert np.trace(confusion) / 360 == pytest.approx(row["accuracy"])
    bits = np.unpackbits(np.frombuffer(row["correct_bits"], dtype=np.uint8))
    assert bits.sum() == np.trace(confusion)
    assert json.loads(row["parameters"])["workload"] == DIGITS


@pytest.mark.ddp
def test_evaluations_and_steps_have_a_row_each(
    reporter: Reporter, reports: list[RankReport]
) -> None:
    reporter.commit(attempt(reports))
    results = load_results(reporter.folder.path)
    assert results.problems == ()

    evals = results.evals
    assert list(evals.columns) == EVALS.names
    assert evals["samples"].tolist() == [540, 1057, 1500]
    assert evals["train_time_s"].is_monotonic_increasing
    assert evals["train_time_s"].iloc[-1] == results.trials["train_time_s"].iloc[0]
    assert evals["accuracy"].iloc[-1] == results.trials["accuracy"].iloc[0]
    assert evals["eval_time_s"].sum() == pytest.approx(results.trials["eval_time_s"].iloc[0])
    best = evals.sort_values("val_loss")["epoch"].iloc[0]
    assert results.trials["best_epoch"].iloc[0] == evals["best_epoch"].iloc[-1] == best

    steps = results.steps
    assert list(steps.columns) == STEPS.names
    assert len(steps) == 2 * 7
    assert steps["rank"].tolist() == [0] * 7 + [1] * 7
    for _, of_rank in steps.groupby("rank"):
        assert of_rank["optimizer_step"].tolist() == [4, 8, 12, 16, 20, 24, 26]
        assert of_rank["samples"].iloc[-1] == 1500
        assert of_rank["memory_bytes"].notna().any()
    # The loss is that of the global batch: the same on both ranks.
    assert steps["train_loss"].iloc[:7].tolist() == steps["train_loss"].iloc[7:].tolist()


@pytest.mark.ddp
def test_memory_that_was_not_read_is_null(reporter: Reporter, reports: list[RankReport]) -> None:
    steps = reports[0].steps
    assert steps is not None
    memory = steps.memory_bytes.copy()
    memory[0] = np.nan
    first = replace(reports[0], steps=replace(steps, memory_bytes=memory))
    reporter.commit(attempt([first, reports[1]]))
    held = load_results(reporter.folder.path).steps["memory_bytes"]
    assert pd.isna(held.iloc[0])


@pytest.mark.ddp
def test_a_diverged_trial_and_one_that_was_lost_are_rows(
    reporter: Reporter, pool: RankProcesses, reports: list[RankReport]
) -> None:
    wanted = request(BAD_ROW, 2, 12)
    diverged = pool.run(run_trial, BAD_ROW, wanted)[:2]
    reporter.commit(
        AttemptResult(
            trial=wanted.trial,
            attempt=1,
            status=diverged[0].status,
            status_detail=diverged[0].status_detail,
            reports=diverged,
        )
    )
    lost = replace(attempt(reports[:1]), status=Status.WORKER_DIED, status_detail="killed")
    reporter.commit(lost)
    trials = load_results(reporter.folder.path).trials
    rows: dict[Any, Any] = {row["status"]: row for row in trials.to_dict("records")}
    assert rows.keys() == {"diverged", "worker_died"}
    assert "nan" in rows["diverged"]["status_detail"]
    assert rows["diverged"]["optimizer_steps"] >= 1
    # One rank of two delivered: what it says is not the trial's measurement.
    assert pd.isna(rows["worker_died"]["train_time_s"])
    assert rows["worker_died"]["world_size"] == 2


def test_an_infeasible_trial_is_a_row(reporter: Reporter) -> None:
    trial = WANTED.trial
    reporter.commit_infeasible(
        InfeasibleTrial(
            trial_id=trial.trial_id,
            configuration_id=trial.configuration_id,
            world_size=4,
            per_worker_batch_size=None,
            global_batch_size=60,
            accumulation_steps=None,
            seed=0,
            learning_rate=0.1,
            training=trial.training,
            workload_options={},
            parameters={},
            reason="4 workers asked for, at most 2 fit",
        ),
        STARTED,
    )
    trials = load_results(reporter.folder.path).trials
    assert trials["status"].tolist() == ["infeasible"]
    assert trials["status_detail"].tolist() == ["4 workers asked for, at most 2 fit"]
    assert trials["per_worker_batch_size"].isna().all()


@pytest.mark.ddp
def test_a_reader_never_sees_half_a_file(reporter: Reporter, reports: list[RankReport]) -> None:
    reporter.commit(attempt(reports))
    done = threading.Event()
    problems: list[BaseException] = []
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            try:
                files = [f for f in reporter.folder.trials.iterdir() if f.name[0] != "."]
                seen.append(sum(pq.read_table(file).num_rows for file in files))
            except BaseException as error:  # noqa: BLE001 - shown below
                problems.append(error)

    def write() -> None:
        for number in range(2, 40):
            reporter.commit(attempt(reports, number))

    with_reader(read, done, write)
    assert problems == []
    assert seen
    assert seen == sorted(seen)
    for table in ("trials", "evals", "steps"):
        names = [file.name for file in reporter.folder.table(table).iterdir()]
        assert len(names) == 39
        assert not any(name.startswith(".") for name in names)


def with_reader(
    read: Callable[[], None], done: threading.Event, write: Callable[[], None]
) -> None:
    reader = threading.Thread(target=read)
    reader.start()
    try:
        write()
    finally:
        done.set()
        reader.join()


@pytest.mark.ddp
def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(
    reporter: Reporter, reports: list[RankReport]
) -> None:
    reporter.folder.path.write_text("a file where the folder should be")
    with pytest.raises(ResultsError, match="then run the same command"):
        reporter.commit(attempt(reports))


@pytest.mark.ddp
def test_a_write_that_fails_leaves_nothing(reporter: Reporter, reports: list[RankReport]) -> None:
    # A folder in place of the file: the rename fails after everything was written.
    target = reporter.folder.attempt_file("steps", WANTED.trial.trial_id, 1)
    target.mkdir(parents=True)
    with pytest.raises(ResultsError):
        reporter.commit(attempt(reports))
    assert [file.name for file in reporter.folder.steps.iterdir()] == [target.name]
    assert not any(reporter.folder.trials.iterdir())


@pytest.mark.ddp
def test_declared_metrics_are_columns_that_know_their_direction(
    reporter: Reporter, reports: list[RankReport]
) -> None:
    declared = {"metric_iou": True, "metric_error": False}
    last = reports[0].evaluations[-1]
    known = replace(last, quality=last.quality | {"metric_iou": 0.75, "metric_error": None})
    first = replace(reports[0], evaluations=(*reports[0].evaluations[:-1], known))
    with_metrics = Reporter(reporter.folder, reporter.facts, declared)
    with_metrics.commit(attempt([first, reports[1]]))
    # A file without them, as an older one would be, takes nothing away.
    reporter.commit(attempt(reports, 2))

    results = load_results(reporter.folder.path)
    assert results.problems == ()
    assert results.declared_metrics == declared
    trials = results.trials.sort_values("attempt")
    assert trials["metric_iou"].iloc[0] == 0.75
    assert trials["metric_iou"].isna().tolist() == [False, True]
    assert trials["metric_error"].isna().all()
    of_first = results.evals[results.evals["attempt"] == 1]
    assert of_first["metric_iou"].iloc[-1] == 0.75
    assert of_first["metric_iou"].isna().sum() == len(of_first) - 1
    assert not any(name.startswith("metric_") for name in results.steps)
