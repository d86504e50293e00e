"""What a workload names and says reaches Parquet, or is refused with the column's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_samples import FACTS, trials

from ddp_sweep.errors import UnwritableError
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import Evaluation, RankReport

NO_UTF_8 = b"caf\xe9.png".decode("utf-8", "surrogateescape")
"""As Python reads the name of such a file."""


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter(ResultsFolder(tmp_path), FACTS, {"metric_iou": True})


def measured(**quality: Any) -> AttemptResult:
    trial = next(one for one in trials() if one.world_size == 1)
    evaluation = Evaluation(
        epoch=1.0, optimizer_step=3, samples=12, train_time_s=1.0, eval_time_s=0.5, quality=quality
    )
    report = RankReport(rank=0, node="n", status=Status.SUCCEEDED, evaluations=(evaluation,))
    return AttemptResult(trial=trial, attempt=1, status=Status.SUCCEEDED, reports=[report])


def test_what_a_workload_says_of_a_file_is_written_whatever_its_name(reporter: Reporter) -> None:
    detail = f"rank 0: ValueError: bad image {NO_UTF_8}, größer als möglich"
    reporter.commit(
        AttemptResult(
            trial=trials()[0], attempt=1, status=Status.WORKLOAD_ERROR, status_detail=detail
        )
    )
    (row,) = load_results(reporter.folder.path).trials.to_dict("records")
    assert row["status_detail"] == (
        r"rank 0: ValueError: bad image caf\udce9.png, größer als möglich"
    )


def test_class_names_are_written_whatever_they_are(reporter: Reporter) -> None:
    reporter.commit(measured(class_names=["chat", NO_UTF_8]))
    results = load_results(reporter.folder.path)
    for table in (results.trials, results.evals):
        assert list(table["class_names"].iloc[0]) == ["chat", r"caf\udce9.png"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("metric_iou", "very good"),
        ("confusion_matrix", [[2**70, 0], [0, 1]]),
        ("class_names", [1, 2]),
        ("per_class_recall", 0.5),
    ],
)
def test_a_measurement_that_does_not_fit_its_column_is_named(
    reporter: Reporter, column: str, value: Any
) -> None:
    with pytest.raises(UnwritableError, match=f"column {column}: "):
        reporter.commit(measured(**{column: value}))
    assert list(reporter.folder.trials.iterdir()) == []
