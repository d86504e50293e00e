"""Attempts whose lane dies under them: Tune hears of no result, the driver writes the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from plan_samples import FACTS, plan, spec, trials

from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.session import Session
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.lane.schedule import Assignment, Schedule
from ddp_sweep.cluster.lane.tuning import Ended, ScheduleSearcher
from ddp_sweep.errors import CapacityError
from ddp_sweep.live.lines import PlainLines
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import Evaluation, RankReport
from ddp_sweep.training.worker import Worker

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One that has a board for its workers, as it does while they run."""
    folder = ResultsFolder(tmp_path / "results")
    folder.trials.mkdir(parents=True)
    feed = Feed(PlainLines(), folder, resume_command="the same")
    feed.board = ProgressBoard(tmp_path)
    return Session(
        spec=spec(),
        folder=folder,
        reporter=Reporter(folder, FACTS),
        plan_for=lambda _: plan(),
        worker_factory=Worker,
        feed=feed,
    )


def handed_out(session: Session, lane: ProgressBoard, *, begins: bool) -> ScheduleSearcher:
    """Hand out trials to a lane that dies under each of them, until nothing more is."""
    ended: list[tuple[Assignment, Ended]] = []
    started: list[Assignment] = []
    searcher = ScheduleSearcher(
        Schedule(trials(), {}, max_attempts=1),
        started.append,
        lambda assignment, end, _: ended.append((assignment, end)),
        session._recover,
    )
    while isinstance(searcher.suggest(f"tune {len(started)}"), dict):
        now = started[-1]
        lane.workers_starting()
        if begins:
            lane.trial_begins(now.trial.trial_id, now.attempt)
        searcher.on_trial_complete(f"tune {len(started) - 1}", error=True)
    assert [one for one, _ in ended] == started
    return searcher


def test_a_trial_that_takes_its_lane_along_leaves_the_others_their_turn(
    session: Session, tmp_path: Path
) -> None:
    before = datetime.now(UTC)
    searcher = handed_out(session, ProgressBoard(tmp_path, group="1"), begins=True)
    assert searcher.fatal is None
    rows = load_results(session.folder.path).trials
    assert rows["status"].tolist() == ["worker_died"] * len(trials())
    assert rows["started_at"].between(before, rows["finished_at"]).all()


def test_lanes_that_die_before_any_trial_begins_end_the_sweep(
    session: Session, tmp_path: Path
) -> None:
    searcher = handed_out(session, ProgressBoard(tmp_path, group="1"), begins=False)
    assert isinstance(searcher.fatal, CapacityError)
    assert "the workers could not be started" in str(searcher.fatal)
    assert "the process that drives the workers died" in str(searcher.fatal)
    (row,) = load_results(session.folder.path).trials.to_dict("records")
    assert row["started_at"] is None or row["started_at"] != row["started_at"]


class LateLane(Reporter):
    """Right before the driver writes, a lane commits a success: it was on its way out."""

    success: AttemptResult | None

    def commit(self, result: AttemptResult) -> None:
        self.lane_commits()
        super().commit(result)

    def commit_row(self, row: Mapping[str, Any]) -> None:
        self.lane_commits()
        super().commit_row(row)

    def lane_commits(self) -> None:
        if self.success is not None:
            success, self.success = self.success, None
            Reporter(self.folder, FACTS).commit(success)


def test_a_success_that_comes_at_the_last_moment_keeps_its_curves(session: Session) -> None:
    trial = next(one for one in trials() if one.world_size == 1)
    evaluation = Evaluation(
        epoch=1.0, optimizer_step=3, samples=12, train_time_s=1.0, eval_time_s=0.5, quality={}
    )
    report = RankReport(
        rank=0, node="n", status=Status.SUCCEEDED, evaluations=(evaluation, evaluation)
    )
    late = LateLane(session.folder, FACTS)
    late.success = AttemptResult(
        trial=trial, attempt=1, status=Status.SUCCEEDED, reports=[report], started_at=NOON
    )
    recover = replace(session, reporter=late)._recover
    ended = recover(Assignment(index=0, trial=trial, attempt=1), Status.INTERRUPTED, "stopped")
    assert (ended.status, ended.began) == ("succeeded", True)
    results = load_results(session.folder.path)
    assert results.trials["status"].tolist() == ["succeeded"]
    assert len(results.evals) == 2
