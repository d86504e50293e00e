"""How progress gets from the ranks to the driver."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

from live_events import Clock
from plan_samples import request, trials

from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.gang.mailbox import Job, Mailbox
from ddp_sweep.live import Progress
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import RankReport

EDGE = {
    "samples": 600,
    "budget": 1000,
    "optimizer_step": 60,
    "train_loss": 0.25,
    "train_time_s": 2.0,
}


def test_the_newest_progress_is_read_with_its_speed(tmp_path: Path) -> None:
    clock = Clock(100.0)
    board = ProgressBoard(tmp_path, clock)
    board.trial_begins("a", 1)
    clock.now_s = 103.0
    board.note({"trial_id": "a", "attempt": 1, **EDGE})

    assert ProgressBoard(tmp_path).read("a", 1) == Progress(
        stage="training",
        at_s=103.0,
        began_s=100.0,
        samples=600,
        budget=1000,
        optimizer_step=60,
        train_loss=0.25,
        samples_per_s=300.0,
    )
    # What an evaluation does not say stays known.
    clock.now_s = 104.0
    board.note({"stage": "evaluating"})
    seen = board.read("a", 1)
    assert seen is not None and (seen.stage, seen.samples) == ("evaluating", 600)


def test_progress_of_another_attempt_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    board = ProgressBoard(tmp_path)
    board.trial_begins("a", 1)
    assert board.read("a", 2) is None
    assert board.read("b", 1) is None
    board.workers_starting()
    starting = board.read("b", 1)
    assert starting is not None
    assert (starting.stage, starting.began_s) == ("starting workers", None)


def test_little_is_written(tmp_path: Path) -> None:
    clock = Clock(0.0)
    board = ProgressBoard(tmp_path, clock)
    board.trial_begins("a", 1)
    written = set()
    for _ in range(1000):
        clock.now_s += 0.01
        board.note(EDGE | {"samples": round(100 * clock.now_s)})
        seen = board.read("a", 1)
        written.add(seen and seen.at_s)
    # Ten seconds.
    assert 5 <= len(written) <= 30


def test_a_new_stage_is_written_at_once(tmp_path: Path) -> None:
    board = ProgressBoard(tmp_path, Clock(0.0))
    board.trial_begins("a", 1)
    board.note({"stage": "warming up"})
    seen = board.read("a", 1)
    assert seen is not None and seen.stage == "warming up"


def test_a_loss_that_is_no_number_arrives_as_such(tmp_path: Path) -> None:
    clock = Clock(0.0)
    board = ProgressBoard(tmp_path, clock)
    board.trial_begins("a", 1)
    clock.now_s = 9.0
    board.note(EDGE | {"train_loss": math.nan})
    seen = board.read("a", 1)
    assert seen is not None and seen.train_loss is not None and math.isnan(seen.train_loss)


def test_what_cannot_be_written_or_read_hurts_nobody(tmp_path: Path) -> None:
    board = ProgressBoard(tmp_path / "gone")
    board.workers_starting()
    board.trial_begins("a", 1)
    assert board.read("a", 1) is None
    broken = ProgressBoard(tmp_path)
    (tmp_path / "progress.json").write_text("{")
    assert broken.read("a", 1) is None


def test_the_mailbox_puts_up_what_ranks_say_of_the_running_job_only(tmp_path: Path) -> None:
    clock = Clock(0.0)
    board = ProgressBoard(tmp_path, clock)
    trial = trials()[0]

    async def scene() -> None:
        mailbox = Mailbox(1, clock, board)
        starting = board.read(trial.trial_id, 1)
        assert starting is not None and starting.stage == "starting workers"
        job = Job(key="now", world_size=1, request=request(trial))
        ended = asyncio.create_task(mailbox.run(job, 3600.0))
        await asyncio.sleep(0)
        clock.now_s = 5.0
        await mailbox.emit_progress("before", EDGE)
        building = board.read(trial.trial_id, 1)
        assert building is not None and building.stage == "building"
        await mailbox.emit_progress("now", EDGE)
        training = board.read(trial.trial_id, 1)
        assert training is not None and training.samples == 600
        await mailbox.deliver("now", RankReport(rank=0, node="n", status=Status.SUCCEEDED))
        await ended

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_each_group_of_workers_has_its_own_board_in_the_same_folder(tmp_path: Path) -> None:
    clock = Clock(1.0)
    one, other = (ProgressBoard(tmp_path, clock, group=name) for name in "ab")
    one.trial_begins("x", 1)
    other.workers_starting("waiting for 2 more nodes with 1 GPU each; gives up at 17:42")
    reader = ProgressBoard(tmp_path)
    building, waiting = reader.read("x", 1), reader.read("y", 1)
    assert building is not None and building.stage == "building"
    # Whoever has no group yet waits for the one that is on its way.
    assert waiting is not None and waiting.stage.startswith("waiting for 2 more nodes")
    other.trial_begins("y", 1)
    clock.now_s = 2.0
    other.note({"stage": "warming up"})
    found = reader.read("y", 1)
    assert found is not None and found.stage == "warming up"
    assert reader.read("z", 1) is None
