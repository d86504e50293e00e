"""The views of a running sweep on a terminal and for programs, and who is ahead meanwhile."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from live_events import Clock, began, ended, followed, grid, heard, plan_event, training
from rich.console import Console
from trials_frame import Cell, rows, write_folder

from ddp_sweep.analysis import rank
from ddp_sweep.cli.watching import Progress, watching
from ddp_sweep.errors import CapacityError
from ddp_sweep.live import (
    Connecting,
    Event,
    LastOutput,
    Notice,
    Observer,
    Stopping,
    SweepEnded,
    WorkersStarting,
)
from ddp_sweep.report.front_runner import Judge, Quality, front_runner
from ddp_sweep.report.live_json import JsonLines, MessageLines
from ddp_sweep.report.live_terminal import TerminalView
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.schema import Status

TRIALS = grid((1, 2), (64,), seeds=3)
LAST = LastOutput(lines=("epoch 3 \x1b[5A[red]",), command="ddp-sweep logs results/digits w1b64s")
CELLS = [
    Cell(world_size=1, batch=64, seconds=10),
    Cell(world_size=2, batch=64, seconds=6),
    Cell(world_size=2, batch=512, seconds=3, accuracy=0.7),
]


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    folder = write_folder(tmp_path / "results", rows(CELLS))
    folder.spec_file.write_text(
        "name: digits\nworkload: x.py:X\n"
        "sweep: {world_size: [1, 2], per_worker_batch_size: [64, 512]}\n"
        "training: {epochs: 8, learning_rate: 0.1, reference_batch_size: 64}\n"
        "quality: {margins: {accuracy: 0.02}}\n"
    )
    return folder


def story(folder: Path) -> list[Event]:
    """A sweep with a retry, a failure, a loss that is no number, and Ctrl-C."""
    first, second = TRIALS[:2]
    return [
        Connecting(sweep="digits", folder=folder),
        heard(first, None),
        plan_event(TRIALS),
        WorkersStarting(pending=6),
        began(first),
        heard(first, training()),
        replace(ended(first, again=True, status="worker_died", seconds=None), output=LAST),
        began(first, 2),
        heard(first, training(train_loss=math.nan)),
        ended(first),
        began(second),
        Notice(text="one more round"),
        Stopping(),
        ended(second, status="diverged", status_detail="training loss is nan at step 3"),
        SweepEnded(interrupted=True),
    ]


def watched(observer: Observer, events: list[Event], clock: Clock, step_s: float = 7.0) -> None:
    for number, event in enumerate(events):
        clock.now_s += step_s
        observer.observe(event, followed(events[1 : number + 1], clock))


def json_story(folder: Path, **options: Any) -> list[dict[str, Any]]:
    stream, clock = io.StringIO(), Clock()
    watched(JsonLines(stream, clock), story(folder), clock, **options)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in stream.getvalue().splitlines()]


def test_every_line_is_an_object_of_a_documented_kind(results: ResultsFolder) -> None:
    lines = json_story(results.path)
    documentation = sys.modules["ddp_sweep.report.live_json"].__doc__ or ""

    kinds = [line["event"] for line in lines]
    assert [kind for kind in kinds if kind != "front_runner"] == [
        *("connecting", "sweep_planned", "workers_starting"),
        *("trial_started", "trial_progress", "trial_ended"),
        *("trial_started", "trial_progress", "trial_ended"),
        *("trial_started", "message", "stopping", "trial_ended", "sweep_ended"),
    ]
    assert "front_runner" in kinds
    for line in lines:
        [section] = [
            part for part in documentation.split("\n- ") if part.startswith(f"``{line['event']}``")
        ]
        for key in set(line) - {"event", "time"}:
            assert f"``{key}``" in section


def test_lines_carry_what_happened(results: ResultsFolder) -> None:
    lines = json_story(results.path)
    retried, again, diverged = [line for line in lines if line["event"] == "trial_ended"]

    assert (retried["again"], retried["done"], retried["wall_time_s"]) == (True, 0, None)
    assert (again["trial"]["attempt"], again["done"], again["planned"]) == (2, 1, 6)
    assert (retried["last_lines"], retried["logs_command"]) == (list(LAST.lines), LAST.command)
    assert (again["last_lines"], again["logs_command"]) == ([], None)
    assert diverged["status"] == "diverged"
    assert diverged["status_detail"] == "training loss is nan at step 3"
    first, second = [line for line in lines if line["event"] == "trial_progress"]
    assert first["progress"]["train_loss"] == 0.25
    assert second["progress"]["train_loss"] is None
    assert first["trial"] == {
        "trial_id": "w1b64s0",
        "configuration_id": "w1b64",
        "world_size": 1,
        "per_worker_batch_size": 64,
        "global_batch_size": 64,
        "accumulation_steps": 1,
        "seed": 0,
        "attempt": 1,
    }
    assert lines[-1]["interrupted"] is True


def test_progress_is_told_every_few_seconds_only(tmp_path: Path) -> None:
    kinds = [line["event"] for line in json_story(tmp_path, step_s=0.5)]
    assert kinds.count("trial_progress") == 1
    assert "front_runner" not in kinds, "there is nothing to rank in this folder"


def test_whatever_is_printed_beside_becomes_a_line_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watching(Progress.JSON) as observer:
        assert isinstance(observer, JsonLines)
        print("hello", file=sys.stderr)
        print("two\nlines", file=sys.stderr)
        print("data")
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.err.splitlines()]
    assert [line.get("text") for line in lines] == ["hello", "two", "lines", None]
    assert (lines[-1]["event"], lines[-1]["exit_code"]) == ("finished", 0)
    assert captured.out == "data\n"
    assert MessageLines(JsonLines(io.StringIO())).writable()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(CapacityError("no GPU"), 3, "no GPU"), (typer.Exit(130), 130, None)],
)
def test_the_last_line_says_how_it_ended(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, message: str | None
) -> None:
    with pytest.raises(typer.Exit) as left, watching(Progress.JSON):
        raise error
    [line] = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert left.value.exit_code == code
    assert (line["exit_code"], line["message"]) == (code, message)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError("lost"), 1)])
def test_the_last_line_never_calls_a_broken_run_a_good_one(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    with pytest.raises(type(error)), watching(Progress.JSON):
        raise error
    [line] = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["exit_code"]) == ("finished", code)


@pytest.mark.parametrize("progress", [Progress.AUTO, Progress.PLAIN, Progress.NONE])
def test_off_a_terminal_nothing_is_drawn(progress: Progress) -> None:
    with watching(progress) as observer:
        assert observer is None


@pytest.mark.parametrize(
    ("terminal", "name", "drawn"),
    [(True, "xterm-256color", True), (True, "dumb", False), (False, "xterm", False)],
)
def test_on_a_terminal_a_view_is_drawn(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, name: str, drawn: bool
) -> None:
    monkeypatch.setenv("TERM", name)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with watching(Progress.AUTO) as observer:
        assert isinstance(observer, TerminalView) == drawn


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_view_follows_a_sweep_and_leaves_the_terminal_as_it_was(
    results: ResultsFolder, width: int
) -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, width=width, height=40, force_terminal=True)
    view = TerminalView(console, clock)
    watched(view, story(results.path), clock)
    view.close()

    text = stream.getvalue()
    assert "digits: 2 of 6 trials" in text
    assert "attempt 2" in text
    assert text.count("one more round") == 1
    plain = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split())
    assert "training loss is nan at step 3" in plain
    # Once above the view, as it was printed, and nothing of it steers the terminal.
    assert plain.count("| epoch 3 [red]") == 1
    assert text.count(LAST.command) == 1
    assert "\x1b[5A" not in text
    assert "in front" in text
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert text.count(hide) == text.count(show) == 1
    assert text.rindex(show) > text.rindex(hide)


def test_the_terminal_is_restored_after_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyboardInterrupt), watching(Progress.RICH) as observer:
        assert observer is not None
        connecting = Connecting(sweep="digits", folder=tmp_path)
        observer.observe(connecting, followed([]))
        assert sys.stderr is not before[1], "what others print would run over the view"
        print("by others", file=sys.stderr)
        raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr) == before
    text = capsys.readouterr().err
    assert "by others" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_the_front_runner_is_the_recommendation_of_the_ranking(results: ResultsFolder) -> None:
    ranking = rank(results.path)
    front = front_runner(results.read(("trials", "evals")))

    best = ranking.recommendation.fastest
    assert front is not None and best is not None
    assert best.world_size == 2
    assert (front.name, front.baseline) == (best.name, ranking.baseline.name)
    assert (front.speedup, front.speedup_low, front.speedup_high) == (
        best.speedup,
        best.speedup_low,
        best.speedup_high,
    )
    assert front.trials == 15
    qualities = {name: outcome.quality for name, outcome in front.cells.items()}
    assert qualities == {
        "w1b64": Quality.BASELINE,
        "w2b64": Quality.HELD,
        "w2b512": Quality.LOST,
    }


def test_where_nothing_is_recommended_the_fastest_of_unknown_quality_is_ahead(
    tmp_path: Path,
) -> None:
    noisy = [
        Cell(world_size=1, batch=64, seconds=10, spread=0.05),
        Cell(world_size=2, batch=64, seconds=5, spread=0.05, accuracy=0.93),
    ]
    folder = write_folder(tmp_path / "noisy", rows(noisy, seeds=2))
    folder.spec_file.write_text("quality: {margins: {accuracy: 0.001}}\n")
    front = front_runner(load_results(folder.path))
    assert front is not None
    assert (front.name.split(" x ")[0], front.quality) == ("2 workers", Quality.UNKNOWN)
    assert not front.is_baseline


def test_a_configuration_that_always_fails_did_not_finish(tmp_path: Path) -> None:
    records = rows(CELLS[:2])
    for record in records:
        if record["world_size"] == 2:
            record.update(status=Status.OUT_OF_MEMORY.value, train_time_s=None, accuracy=None)
    front = front_runner(load_results(write_folder(tmp_path / "out", records).path))
    assert front is not None
    assert front.is_baseline
    assert front.cells["w2b64"].quality is Quality.FAILED


class SlowClock:
    """Every look at it takes a while."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def test_rankings_take_a_small_share_of_the_time(tmp_path: Path) -> None:
    clock = SlowClock()
    judge = Judge(tmp_path, clock)
    for _ in range(2000):
        judge.look()
    assert judge.spent_s / clock.now_s < 0.04
    assert judge.spent_s > 5


def test_a_ranking_that_takes_too_long_is_not_repeated_before_the_end(tmp_path: Path) -> None:
    judge = Judge(tmp_path, SlowClock(step_s=11.0))
    for _ in range(1000):
        judge.look()
    assert judge.spent_s == 11.0
    judge.look(at_any_cost=True)
    assert judge.spent_s == 22.0


def test_nothing_to_rank_is_no_error(tmp_path: Path) -> None:
    judge = Judge(tmp_path)
    judge.prepare()
    judge.look()
    assert judge.newest is None


def test_json_tells_each_of_several_running_trials_apart() -> None:
    first, second = TRIALS[:2]
    stream = io.StringIO()
    clock = Clock()
    lines = JsonLines(stream, clock)
    both = replace(
        heard(first, training(samples=1)),
        progress={first.trial_id: training(samples=1), second.trial_id: training(samples=2)},
    )
    events = [plan_event(TRIALS), began(first), began(second), both, ended(second), ended(first)]
    for number, event in enumerate(events):
        lines.observe(event, followed(events[: number + 1], clock))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    seen = [(one["event"], one["trial"]["trial_id"]) for one in told if "trial" in one]
    ends = [seen[-2], seen[-1]]
    assert ends == [("trial_ended", second.trial_id), ("trial_ended", first.trial_id)]
    samples = {
        one["trial"]["trial_id"]: one["progress"]["samples"]
        for one in told
        if one["event"] == "trial_progress"
    }
    assert samples == {first.trial_id: 1, second.trial_id: 2}
