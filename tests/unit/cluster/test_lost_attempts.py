"""Attempts whose lane dies under them: Tune hears of no result, the driver writes the row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from plan_samples import FACTS, plan, spec, trials

from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.session import Session
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.lane.schedule import Assignment, Schedule
from ddp_sweep.cluster.lane.tuning import Ended, ScheduleSearcher
from ddp_sweep.errors import CapacityError
from ddp_sweep.live.lines import PlainLines
from ddp_sweep.reporter import Reporter
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.training.worker import Worker


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
