from __future__ import annotations

from dataclasses import replace

import pytest
from live_events import Clock, began, ended, followed, grid, heard, plan_event, training

from ddp_sweep.live import Event, LastOutput, Notice, Stopping, WorkersStarting
from ddp_sweep.live.lines import HEARTBEAT_S, PlainLines, Silence

TRIALS = grid((2,), (4,), seeds=3)


def lines_of(*events: Event, clock: Clock | None = None, waits_s: float = 0.0) -> list[str]:
    clock = clock or Clock()
    said: list[str] = []
    lines = PlainLines(said.append, clock)
    told: list[Event] = [plan_event(TRIALS)]
    for event in events:
        told.append(event)
        clock.now_s += waits_s
        lines.observe(event, followed(told, clock))
    lines.close()
    return said


def test_a_line_says_which_trial_it_was_and_how_it_ended() -> None:
    first, second = TRIALS[:2]
    said = lines_of(began(first), ended(first, seconds=1.94), began(second), ended(second))
    assert said == [
        "[1 of 3] 2 workers x 4, seed 0: 1.9 s, succeeded",
        "[2 of 3] 2 workers x 4, seed 1: 10.0 s, succeeded",
    ]


def test_a_failure_says_why_and_that_it_is_tried_again() -> None:
    detail = "rank 1:\n  file.py\nValueError: boom"
    lost = ended(TRIALS[0], again=True, seconds=None, status="worker_died", status_detail=detail)
    [line] = lines_of(began(TRIALS[0]), lost)
    assert line == (
        "[0 of 3] 2 workers x 4, seed 0: lost a worker (ValueError: boom); trying again"
    )


def test_a_failure_shows_what_was_printed_last_and_where_the_rest_is() -> None:
    lost = ended(TRIALS[0], status="worker_died", status_detail="\x1b[2Jgone")
    output = LastOutput(lines=("epoch 3", "\x1b[31m" + "x" * 1000), command="ddp-sweep logs r w2")
    line, first, second, command = lines_of(began(TRIALS[0]), replace(lost, output=output))
    assert line.endswith("lost a worker (gone)")
    assert (first, command) == ("  | epoch 3", "  all of it: ddp-sweep logs r w2")
    assert second.startswith("  | xxx")
    assert len(second) < 250


def test_a_failure_that_printed_nothing_still_has_a_log() -> None:
    lost = replace(
        ended(TRIALS[0], status="worker_died"), output=LastOutput(lines=(), command="c")
    )
    assert lines_of(began(TRIALS[0]), lost)[1:] == ["  its log: c"]


def test_a_trial_that_went_on_from_a_checkpoint_says_so() -> None:
    first, second = TRIALS[:2]
    resumed = ended(first, status_detail="went on from step 120 of attempt 1")
    differing = ended(second, status_detail='replicas differ: {"parameters": {}, "buffers": {}}')
    assert lines_of(began(first), resumed, began(second), differing) == [
        "[1 of 3] 2 workers x 4, seed 0: 10.0 s, succeeded (went on from step 120 of attempt 1)",
        "[2 of 3] 2 workers x 4, seed 1: 10.0 s, succeeded",
    ]


def test_a_trial_that_takes_long_is_told_of_once_a_minute() -> None:
    running = heard(TRIALS[0], training())
    said = lines_of(began(TRIALS[0]), *[running] * 31, waits_s=HEARTBEAT_S / 15)
    assert len(said) == 2
    assert said[0] == (
        "[0 of 3] running 2 workers x 4, seed 0: training, epoch 2.4 of 4, loss 0.25, "
        "4,120 samples/s; time left not yet known"
    )
    # Between trials, and before the first, nobody waits for one.
    assert lines_of(*[heard(TRIALS[0], None)] * 9, waits_s=HEARTBEAT_S) == []


def test_the_begin_and_an_interruption_are_said() -> None:
    said = lines_of(WorkersStarting(pending=3), Notice(text="one more round"), Stopping())
    assert said == [
        "starting workers for 3 trials",
        "one more round",
        "stopping after the running trial; Ctrl-C again stops at once",
    ]


def test_lines_go_to_stderr_and_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    event = WorkersStarting(pending=1)
    overview = followed([plan_event(TRIALS)])
    Silence().observe(event, overview)
    assert capsys.readouterr() == ("", "")
    PlainLines().observe(event, overview)
    assert capsys.readouterr() == ("", "starting workers for 1 trials\n")


def test_several_running_trials_are_one_line_and_each_ends_with_its_own() -> None:
    first, second = TRIALS[:2]
    running = heard(second, training())
    said = lines_of(
        began(first), began(second), running, Stopping(), ended(second), waits_s=HEARTBEAT_S
    )
    assert said[0].startswith(
        "[0 of 3] running 2 workers x 4, seed 0: beginning, and 1 more beside"
    )
    assert said[1] == "stopping after the running trials; Ctrl-C again stops at once"
    assert said[-1].startswith("[1 of 3] 2 workers x 4, seed 1: 10.0 s, succeeded")


def test_what_is_waited_for_is_said_at_once_and_once() -> None:
    wait = "waiting for 2 more nodes with 1 GPU each; gives up at 17:42"
    waiting = heard(TRIALS[0], training(stage=wait, samples=None))
    other = heard(TRIALS[0], training(stage=wait.replace("2 more nodes", "1 more node")))
    said = lines_of(began(TRIALS[0]), waiting, waiting, other, heard(TRIALS[0], training()))
    assert said == [wait, wait.replace("2 more nodes", "1 more node")]
