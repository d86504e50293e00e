"""Events reach the observer in order, and nothing an observer does reaches the sweep."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from live_events import began, ended, grid, plan_event

from ddp_sweep.cluster.driver import feed as feed_module
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.live import Connecting, Event, SweepEnded, SweepOverview, TrialProgressed
from ddp_sweep.live.record import read_plan, read_record
from ddp_sweep.results import ResultsFolder

TRIALS = grid((1, 2), (32,), seeds=2)
BEAT_S = 0.01


class Watcher:
    """Keeps what it is told; does what it is asked to with each event."""

    def __init__(self, do: Callable[[Event], None] = lambda _event: None) -> None:
        self.told: list[tuple[Event, SweepOverview]] = []
        self.threads: set[str] = set()
        self.closed = False
        self._do = do

    def observe(self, event: Event, overview: SweepOverview) -> None:
        self.told.append((event, overview))
        self.threads.add(threading.current_thread().name)
        self._do(event)

    def close(self) -> None:
        self.closed = True

    def events(self) -> list[Event]:
        return [event for event, _ in self.told if not isinstance(event, TrialProgressed)]


def feed_to(watcher: Watcher, folder: Path, beat_s: float = 3600.0) -> Feed:
    return Feed(watcher, ResultsFolder(folder), resume_command="again", beat_s=beat_s)


def whole_sweep(folder: Path) -> list[Event]:
    events: list[Event] = [Connecting(sweep="s", folder=folder), plan_event(TRIALS)]
    for one in TRIALS:
        events += [began(one), ended(one)]
    return [*events, SweepEnded(interrupted=False)]


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_events_arrive_in_order_with_where_the_sweep_stands(tmp_path: Path) -> None:
    watcher = Watcher()
    events = whole_sweep(tmp_path)
    with feed_to(watcher, tmp_path) as feed:
        for event in events:
            feed.tell(event)

    assert watcher.events() == events
    assert [overview.done for _, overview in watcher.told] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert watcher.threads == {"progress"}


def test_who_waits_goes_on_when_the_observer_is_done(tmp_path: Path) -> None:
    done: list[Event] = []

    def slow(event: Event) -> None:
        time.sleep(0.05)
        done.append(event)

    with feed_to(Watcher(slow), tmp_path) as feed:
        for event in whole_sweep(tmp_path):
            feed.tell_and_wait(event)
            assert done[-1] is event


def test_an_observer_that_hangs_holds_up_one_trial_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_PATIENCE_S", 0.2)
    release = threading.Event()
    watcher = Watcher(lambda _event: release.wait(30) and None)
    with feed_to(watcher, tmp_path) as feed:
        waited = []
        for event in whole_sweep(tmp_path):
            began_s = time.monotonic()
            feed.tell_and_wait(event)
            waited.append(time.monotonic() - began_s)
        release.set()
        wait_until(lambda: len(watcher.told) == len(waited))
    assert sum(seconds >= 0.2 for seconds in waited) == 1


def test_an_observer_that_raises_is_replaced_by_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, type(began(TRIALS[0]))):
            raise ValueError("no such colour")

    watcher = Watcher(fail)
    with feed_to(watcher, tmp_path) as feed:
        for event in whole_sweep(tmp_path):
            feed.tell_and_wait(event)

    lines = capsys.readouterr().err.splitlines()
    assert watcher.closed
    assert lines[0] == (
        "the view of the progress failed (ValueError: no such colour); lines follow"
    )
    places = [line.split("]")[0] for line in lines[1:]]
    assert places == ["[1 of 4", "[2 of 4", "[3 of 4", "[4 of 4"]


def test_the_running_trial_is_looked_at_in_between(tmp_path: Path) -> None:
    board = ProgressBoard(tmp_path)
    board.trial_begins(TRIALS[0].trial_id, 1)
    watcher = Watcher()

    def seen() -> bool:
        return any(
            isinstance(event, TrialProgressed) and event.progress
            for event, _ in list(watcher.told)
        )

    with feed_to(watcher, tmp_path, BEAT_S) as feed:
        feed.board = board
        feed.tell(plan_event(TRIALS))
        feed.tell(began(TRIALS[0]))
        wait_until(seen)
    _, overview = watcher.told[-1]
    assert [one.progress and one.progress.stage for one in overview.running] == ["building"]


def test_the_record_says_what_runs(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    with feed_to(Watcher(), tmp_path) as feed:
        feed.tell_and_wait(Connecting(sweep="s", folder=tmp_path))
        feed.tell_and_wait(plan_event(TRIALS))
        feed.tell_and_wait(began(TRIALS[1]))
        record = read_record(folder)
        assert record is not None
        assert [one.trial_id for one in record.attempts] == [TRIALS[1].trial_id]
        assert record.stage == "running"
        assert record.resume_command == "again"
        feed.tell_and_wait(SweepEnded(interrupted=True))
    plan, record = read_plan(folder), read_record(folder)
    assert plan is not None and plan.trials == tuple(TRIALS)
    assert record is not None and (record.attempts, record.stage) == ((), "ended")


def test_a_feed_does_not_stand_in_the_way_of_a_pickle(tmp_path: Path) -> None:
    """Ray Tune pickles its search algorithm and all that this reaches."""
    with feed_to(Watcher(), tmp_path) as feed:
        assert pickle.loads(pickle.dumps(feed)) is not None
