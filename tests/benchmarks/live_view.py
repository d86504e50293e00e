"""What following a sweep costs the process that drives it: processor time of one beat a second.

A beat reads the progress of the running trial from its file, adds it up and redraws the view.
Run it with: python tests/benchmarks/live_view.py
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from live_events import attempt, began, grid, heard, plan_event
from rich.console import Console

from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.live import Connecting, Observer, Tracker
from ddp_sweep.live.lines import PlainLines
from ddp_sweep.live.record import write_record
from ddp_sweep.report.live_json import JsonLines
from ddp_sweep.report.live_terminal import TerminalView
from ddp_sweep.results import ResultsFolder

BEATS = 300
RECORD_EVERY = 5
SWEEPS = {"60 trials": ((1, 2, 4), 4, 5), "1,500 trials": ((1, 2, 4), 20, 25)}


def observers() -> dict[str, Observer]:
    console = Console(file=io.StringIO(), width=140, height=40, force_terminal=True)
    return {
        "rich": TerminalView(console),
        "plain": PlainLines(lambda _line: None),
        "json": JsonLines(io.StringIO()),
    }


def beat_s(observer: Observer, sizes: tuple[int, ...], batches: int, seeds: int) -> float:
    """Mean processor time of a beat."""
    trials = grid(sizes, [8 * (n + 1) for n in range(batches)], seeds)
    half = len(trials) // 2
    tracker = Tracker()
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsFolder(Path(folder))
        board = ProgressBoard(Path(folder))
        connecting = Connecting(sweep="digits", folder=results.path)
        plan = plan_event(trials, past=[attempt(one, 10.0) for one in trials[:half]])
        for event in (connecting, plan, began(trials[half])):
            tracker.apply(event)
            observer.observe(event, tracker.overview())
        board.trial_begins(trials[half].trial_id, 1)
        edge = {"budget": 10_000, "train_loss": 0.1, "train_time_s": 9.0}
        began_s = time.process_time()
        for number in range(BEATS):
            board.note(edge | {"samples": 10 * number, "optimizer_step": number})
            event = heard(trials[half], board.read(trials[half].trial_id, 1))
            tracker.apply(event)
            observer.observe(event, tracker.overview())
            if number % RECORD_EVERY == 0:
                overview = tracker.overview()
                write_record(results, overview, now_s=0.0, resume_command="ddp-sweep run")
        spent_s = time.process_time() - began_s
    observer.close()
    return spent_s / BEATS


if __name__ == "__main__":
    for name, (sizes, batches, seeds) in SWEEPS.items():
        for mode, observer in observers().items():
            each_s = beat_s(observer, sizes, batches, seeds)
            print(f"{name}, {mode}: {1000 * each_s:.2f} ms a beat, {100 * each_s:.2f} % of a core")
