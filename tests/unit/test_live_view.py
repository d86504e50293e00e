"""The live view: what it says, and that it fits every terminal."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from itertools import product

import pytest
from live_events import (
    Clock,
    attempt,
    began,
    ended,
    followed,
    grid,
    heard,
    plan_event,
    training,
    trial,
)
from rich.cells import cell_len
from rich.console import Console

from ddp_sweep.live import BatchAxis, Event, Stopping, SweepEnded, SweepOverview
from ddp_sweep.report.front_runner import CellOutcome, FrontRunner, Quality
from ddp_sweep.report.live_drawing import LiveDrawing
from ddp_sweep.report.live_grid import Mark, view_grid
from ddp_sweep.report.live_view import view_live

TRIALS = grid((1, 2, 4), (32, 64, 128), seeds=5)
FRONT = FrontRunner(
    name="2 workers x 64 (global batch 128)",
    baseline="1 worker x 64",
    speedup=1.4321,
    speedup_low=1.3,
    speedup_high=1.5678,
    quality=Quality.HELD,
    is_baseline=False,
    trials=20,
    cells={
        "w1b64": CellOutcome(speedup=1.0, quality=Quality.BASELINE),
        "w2b64": CellOutcome(speedup=1.4321, quality=Quality.HELD),
        "w2b128": CellOutcome(speedup=1.9, quality=Quality.LOST),
        "w4b128": CellOutcome(speedup=None, quality=Quality.FAILED),
    },
)


def midway(extra: tuple[Event, ...] = ()) -> SweepOverview:
    """20 trials done, those of 4 workers x 128 out of memory, one running."""
    events: list[Event] = [plan_event(TRIALS)]
    for one in TRIALS[:20]:
        failed = one.configuration_id == "w4b128"
        detail = "rank 3:\nRuntimeError: can't allocate 12 GB" if failed else None
        status = "out_of_memory" if failed else "succeeded"
        events += [began(one), ended(one, status=status, status_detail=detail)]
    events += [began(TRIALS[20]), heard(TRIALS[20], training()), *extra]
    return followed(events, Clock(1000.0))


def drawn(
    overview: SweepOverview,
    width: int,
    front: FrontRunner | None = FRONT,
    *,
    height: int = 40,
    encoding: str = "utf-8",
) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, force_terminal=True)
    console.print(LiveDrawing(view_live(overview, front)))
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()]


def test_the_view_says_how_far_it_is_and_what_runs() -> None:
    view = view_live(midway(), FRONT)

    assert view.heading == "digits: 20 of 45 trials"
    assert (view.done, view.planned) == (20.6, 45)
    # 24 trials of 10 s, and two fifths of the running one.
    assert view.time == "0:00, about 4.1 min left"
    assert view.now == (
        "1 worker x 128, seed 2: training, epoch 2.4 of 4, loss 0.25, 4,120 samples/s",
    )
    assert view.front == (
        "2 workers x 64 (global batch 128): 1.43x [1.30, 1.57] against 1 worker x 64, "
        "quality held (after 20 trials)"
    )
    assert view.failures == (
        "4 workers x 128: out of memory in 2 of 5 trials (RuntimeError: can't allocate 12 GB)",
    )


def test_every_cell_is_filled_as_its_seeds_finish() -> None:
    overview = midway()
    view = view_grid(overview.cells, overview.batch_axis, FRONT.cells)

    assert (view.workers, view.batches) == (("1", "2", "4"), ("32", "64", "128"))
    running = TRIALS[20]
    for (row, world_size), (column, batch) in product(
        enumerate((1, 2, 4)), enumerate((32, 64, 128))
    ):
        cell = view.rows[row][column]
        assert cell is not None
        here = [
            t for t in TRIALS if (t.world_size, t.per_worker_batch_size) == (world_size, batch)
        ]
        failed = (world_size, batch) == (4, 128)
        expected = [
            Mark.RUNNING
            if one is running
            else Mark.TO_COME
            if one not in TRIALS[:20]
            else Mark.OUT_OF_MEMORY
            if failed
            else Mark.DONE
            for one in here
        ]
        assert cell.marks == tuple(expected)
    best, lost, failed_cell = view.rows[1][1], view.rows[1][2], view.rows[2][2]
    assert best and (best.speedup, best.quality) == ("1.43x", Quality.HELD)
    assert lost and (lost.speedup, lost.quality) == ("1.90x", Quality.LOST)
    assert failed_cell and (failed_cell.speedup, failed_cell.count) == (None, "2/5, 2 failed")
    assert set(view.marks) == {Mark.DONE, Mark.RUNNING, Mark.TO_COME, Mark.OUT_OF_MEMORY}


@pytest.mark.parametrize("width", [60, 80, 140])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    lines = drawn(midway(), width)
    text = " ".join(" ".join(lines).split())

    assert max(map(cell_len, lines)) <= width
    # Where the cursor rests: a ^C that is echoed there does no harm.
    assert lines[-1] == ""
    for words in (
        *("digits: 20 of 45 trials", "about 4.1 min left", "loss 0.25", "4,120 samples/s"),
        *("1.43x [1.30, 1.57]", "quality held", "can't allocate 12 GB", "out of memory"),
        *("■■▶··", "■■···", "MM···", "1.43x ✓", "1.90x ✗"),
    ):
        assert words in text
    assert len([line for line in lines if line.startswith(("      1", "      2", "      4"))]) == 3


def test_a_terminal_without_unicode_gets_letters() -> None:
    lines = drawn(midway(), 80, encoding="ascii")
    assert any("##>.." in line for line in lines)
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(140, 40), (80, 24), (60, 24), (40, 12)])
def test_two_hundred_cells_degrade_and_do_not_break(width: int, height: int) -> None:
    trials = grid(range(1, 11), [2**n for n in range(20)], seeds=5)
    overview = followed([plan_event(trials), began(trials[0]), ended(trials[0])])
    lines = drawn(overview, width, None, height=height)

    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height
    assert any("1/5" in line for line in lines)
    shown = max(len(re.findall(r"\d/5", line)) for line in lines)
    left_out = [line for line in lines if line.startswith("... and ")]
    assert bool(left_out) == (shown < 20)
    assert all(f"{20 - shown} more batch sizes" in line for line in left_out)


def test_many_seeds_are_counted() -> None:
    trials = grid((1, 2), (32,), seeds=30)
    done = [attempt(one) for one in trials[:40]] + [attempt(trials[40], status="diverged")]
    overview = followed([plan_event(trials, past=done)])
    lines = drawn(overview, 80, None)
    assert any("21/30, 1 failed" in line for line in lines)
    assert any("20/30" in line for line in lines)


def test_cells_stand_by_the_batch_size_of_the_sweep_file() -> None:
    one = followed([plan_event(TRIALS, axis=BatchAxis.GLOBAL)])
    assert {cell.batch_size for cell in one.cells} == {32, 64, 128, 256, 512}
    lines = drawn(one, 80, None)
    assert any(line.strip() == "global batch" for line in lines)


def test_a_batch_that_cannot_be_shared_out_has_a_place() -> None:
    refused = trial(
        2, 31, 0, per_worker_batch_size=None, infeasible="63 is no multiple of 2", trial_id="x"
    )
    overview = followed([plan_event([trial(1, 32, 0), refused])])
    text = " ".join(drawn(overview, 80, None))
    assert "not feasible in 1 of 1 trials (63 is no multiple of 2)" in " ".join(text.split())


@pytest.mark.parametrize(
    ("front", "words"),
    [
        (
            replace(FRONT, quality=Quality.UNKNOWN, speedup_low=None, speedup_high=None),
            "1.43x against 1 worker x 64, quality not yet known",
        ),
        (replace(FRONT, is_baseline=True), "the baseline: none shown to be faster yet"),
        (replace(FRONT, speedup=None, trials=1), "speed unknown"),
    ],
)
def test_the_front_runner_in_words(front: FrontRunner, words: str) -> None:
    found = view_live(midway(), front).front
    assert found is not None and words in found


def test_losses_and_speeds_that_are_unknown_or_no_numbers() -> None:
    nan = heard(TRIALS[20], training(train_loss=math.nan, samples_per_s=None))
    view = view_live(midway((nan,)), None)
    assert view.now[0].endswith("epoch 2.4 of 4, loss is no number")
    counted = training(samples=1500, budget=64000, train_loss=None, samples_per_s=None)
    only_samples = trial(1, 32, 7, epochs=None, trial_id="samples")
    events = [plan_event([only_samples]), began(only_samples), heard(only_samples, counted)]
    assert view_live(followed(events), None).now[0].endswith("training, 1,500 of 64,000 samples")


def test_stopping_and_the_end_are_said() -> None:
    assert "stopping after it" in view_live(midway((Stopping(),)), None).now[0]
    over = view_live(midway((SweepEnded(interrupted=False),)), FRONT)
    # The ranking is printed next.
    assert (over.now, over.front, over.time) == ((), None, "0:00")
    assert view_live(followed([]), None).now == ("connecting to the cluster",)


def test_markup_in_names_and_messages_is_text() -> None:
    events: list[Event] = [plan_event(TRIALS), began(TRIALS[0])]
    events.append(ended(TRIALS[0], status="workload_error", status_detail="KeyError: [bold]x[/]"))
    assert "KeyError: [bold]x[/]" in " ".join(drawn(followed(events), 140))


def test_trials_side_by_side_have_a_line_each_as_far_as_there_is_room() -> None:
    others = TRIALS[21:25]
    view = view_live(midway((*map(began, others), heard(others[0], training(samples=500)))), None)

    assert view.now[0].startswith("1 worker x 128, seed 2: training, epoch 2.4 of 4")
    assert len(view.now) == 4
    assert view.now[-1].endswith("; and 1 more")
    # 0.6 and 0.5 of two trials.
    assert view.done == pytest.approx(21.1)
    stopping = view_live(midway((began(others[0]), Stopping())), None)
    assert stopping.now[-1].endswith("stopping after these, Ctrl-C again stops at once")
    for width in (60, 140):
        lines = drawn(midway(tuple(map(began, others))), width)
        assert sum("seed" in line for line in lines) >= 4
        assert max(map(cell_len, lines)) <= width
