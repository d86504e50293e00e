from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plan_samples import request, trials

from ddp_sweep.cluster.gang import shelf as shelf_module
from ddp_sweep.cluster.gang.arrivals import Arrivals
from ddp_sweep.cluster.gang.mailbox import Job, Mailbox
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.spec import QualitySettings
from ddp_sweep.training.messages import RankFailure, RankReport

ALONE, TRIAL = sorted(trials(seeds=1), key=lambda trial: trial.world_size)
OF_TWO = request(TRIAL)


def parts(mark: int, size: int = 1000) -> list[NDArray[np.uint8]]:
    chance = [np.random.default_rng([mark, rank]) for rank in range(2)]
    return [rng.integers(0, 256, size).astype(np.uint8) for rng in chance]


@pytest.fixture
def shelf(tmp_path: Path) -> CheckpointShelf:
    return CheckpointShelf(ResultsFolder(tmp_path), "commit:code")


def files(shelf: CheckpointShelf) -> list[str]:
    root = shelf.folder.checkpoints
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def test_what_was_written_is_found(shelf: CheckpointShelf) -> None:
    shelf.write(OF_TWO, 40, parts(1))
    kept, problems = shelf.find(request(TRIAL, attempt=2))
    assert problems == ()
    assert kept is not None
    assert (kept.attempt, kept.step) == (1, 40)
    for part, written in zip(kept.parts, parts(1), strict=True):
        np.testing.assert_array_equal(part, written)
    assert shelf.find(request(ALONE)) == (None, ())


def test_the_newest_is_found_and_only_the_one_before_is_kept(shelf: CheckpointShelf) -> None:
    shelf.write(OF_TWO, 900, parts(0))
    # A later attempt that had to begin anew is newer, whatever the step.
    later = request(TRIAL, attempt=12)
    for step in (9, 10, 100):
        shelf.write(later, step, parts(step))
    kept, _ = shelf.find(OF_TWO)
    assert kept is not None
    assert (kept.attempt, kept.step) == (12, 100)
    assert {Path(file).parts[1] for file in files(shelf)} == {
        "0012-000000000100",
        "0012-000000000010",
    }


def damage(shelf: CheckpointShelf, how: str) -> None:
    newest = max(shelf.folder.checkpoints_of(TRIAL.trial_id).iterdir())
    part, manifest = newest / "rank-1.pt", newest / "manifest.json"
    if how == "truncated":
        os.truncate(part, 500)
    elif how == "flipped":
        content = bytearray(part.read_bytes())
        content[700] ^= 1
        part.write_bytes(content)
    elif how == "part missing":
        part.unlink()
    elif how == "manifest missing":
        manifest.unlink()
    elif how == "manifest empty":
        manifest.write_text("")
    elif how == "manifest of another kind":
        manifest.write_text("[1]")
    elif how == "foreign folder":
        for file in newest.iterdir():
            file.unlink()


@pytest.mark.parametrize(
    "how",
    [
        *("truncated", "flipped", "part missing", "manifest missing", "manifest empty"),
        *("manifest of another kind", "foreign folder"),
    ],
)
def test_a_damaged_one_is_passed_over_with_a_message(shelf: CheckpointShelf, how: str) -> None:
    shelf.write(OF_TWO, 40, parts(1))
    damage(shelf, how)
    kept, (problem,) = shelf.find(OF_TWO)
    assert kept is None
    assert "the checkpoint at step 40 of attempt 1 was not used: it is damaged" in problem

    shelf.discard(TRIAL.trial_id)
    shelf.write(OF_TWO, 30, parts(1))
    shelf.write(OF_TWO, 40, parts(2))
    damage(shelf, how)
    kept, problems = shelf.find(OF_TWO)
    assert kept is not None
    assert kept.step == 30
    assert len(problems) == 1


def test_one_of_another_training_is_passed_over(shelf: CheckpointShelf) -> None:
    shelf.write(OF_TWO, 40, parts(1))
    others = {
        "workload code": (replace(shelf, code_version="commit:changed"), OF_TWO),
        "sweep file": (shelf, replace(OF_TWO, quality=QualitySettings(target={"accuracy": 0.5}))),
        "world size": (shelf, replace(OF_TWO, trial=replace(TRIAL, world_size=3))),
    }
    for what, (other, wanted) in others.items():
        kept, (problem,) = other.find(wanted)
        assert kept is None
        assert problem.endswith(f"was not used: made with another {what}")
    # Another commit of the same code changes nothing.
    assert replace(shelf, code_version="later:code").find(OF_TWO)[0] is not None


def test_discarding_leaves_nothing(shelf: CheckpointShelf) -> None:
    assert shelf.trials() == ()
    shelf.write(OF_TWO, 40, parts(1))
    shelf.write(request(ALONE), 40, parts(1)[:1])
    assert set(shelf.trials()) == {TRIAL.trial_id, ALONE.trial_id}
    shelf.discard(TRIAL.trial_id)
    assert shelf.trials() == (ALONE.trial_id,)
    shelf.discard(ALONE.trial_id)
    assert not shelf.folder.checkpoints.exists()
    shelf.discard(TRIAL.trial_id)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from plan_samples import request, trials
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.results import ResultsFolder
shelf = CheckpointShelf(ResultsFolder(Path(sys.argv[1])), "commit:code")
of_two = max((request(t) for t in trials(seeds=1)), key=lambda r: r.trial.world_size)
print("ready", flush=True)
for step in range(10**6):
    part = np.full(2_000_000, step % 251, dtype=np.uint8)
    shelf.write(of_two, step, [part, part])
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_one(shelf: CheckpointShelf) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(shelf.folder.path)]
    left_partial = 0
    for kill in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not shelf.find(OF_TWO)[0]:
                time.sleep(0.01)
            time.sleep(0.05 + 0.013 * kill)
            writer.send_signal(signal.SIGKILL)
        kept, _ = shelf.find(OF_TWO)
        assert kept is not None
        for part in kept.parts:
            assert set(np.unique(part)) == {kept.step % 251}
        left_partial += any("/." in file for file in files(shelf))
    shelf.write(OF_TWO, 10**7, parts(1))
    assert not any("/." in file for file in files(shelf)), f"left {left_partial} times"


def test_one_that_cannot_be_written_leaves_the_one_before(shelf: CheckpointShelf) -> None:
    shelf.write(OF_TWO, 40, parts(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            shelf.write(OF_TWO, 80, parts(2, size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept, problems = shelf.find(OF_TWO)
    assert problems == ()
    assert kept is not None
    assert kept.step == 40
    assert {Path(file).parts[1] for file in files(shelf)} == {"0001-000000000040"}


class _FullDisk(CheckpointShelf):
    def write(self, *_arguments: Any, **_named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 30))


class ready:  # noqa: N801 - a reference whose object is there
    def __init__(self, part: Any) -> None:
        self.part = part

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.part


def test_a_checkpoint_counts_when_all_parts_are_there(shelf: CheckpointShelf) -> None:
    async def scene() -> None:
        arrivals = Arrivals(shelf)
        arrivals.begin()
        lone = asyncio.create_task(arrivals.add(OF_TWO, 0, 40, [ready(parts(1)[0])]))
        await asyncio.sleep(0.05)
        assert files(shelf) == []
        first = asyncio.create_task(arrivals.add(OF_TWO, 1, 80, [ready(parts(2)[1])]))
        assert await lone == "not all workers gave their part of step 40"
        assert await arrivals.add(OF_TWO, 0, 80, [ready(parts(2)[0])]) is None
        assert await first is None

    play(scene())
    kept, _ = shelf.find(OF_TWO)
    assert kept is not None
    assert kept.step == 80
    for part, written in zip(kept.parts, parts(2), strict=True):
        np.testing.assert_array_equal(part, written)


def test_nothing_is_written_once_a_trial_is_over_and_parts_are_still_on_their_way(
    shelf: CheckpointShelf,
) -> None:
    class Watched(CheckpointShelf):
        written = 0

        def write(self, *arguments: Any, **named: Any) -> None:
            Watched.written += 1
            super().write(*arguments, **named)

    async def scene() -> None:
        arrivals = Arrivals(Watched(shelf.folder, "commit:code"))
        arrivals.begin()
        on_its_way: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        alone = request(ALONE)
        waiting = asyncio.create_task(arrivals.add(alone, 0, 40, [on_its_way]))
        await asyncio.sleep(0.05)
        await arrivals.finish(0.0)
        assert await waiting == "its trial is over"
        await asyncio.sleep(0)
        assert on_its_way.cancelled(), "it is still waited for"
        await asyncio.sleep(0.05)

    play(scene())
    assert Watched.written == 0
    assert not shelf.folder.checkpoints.exists()


@pytest.mark.parametrize("asked", range(5))
def test_one_that_is_not_wanted_any_more_leaves_no_trace(
    shelf: CheckpointShelf, asked: int
) -> None:
    answers = iter([True] * asked)
    ends: list[str] = []

    def wanted() -> bool:
        answer = next(answers, False)
        if not answer:
            # As the driver does: the trial has its result.
            shelf.discard(TRIAL.trial_id)
            ends.append("refused")
        return answer

    def finish(_rename: Any) -> None:
        ends.append("finished")

    shelf.write(OF_TWO, 40, parts(1), wanted=wanted, finish=finish)
    assert not shelf.folder.checkpoints.exists()
    assert ends in (["refused"], ["finished"])


def test_a_large_part_is_not_written_to_its_end_for_nobody(
    shelf: CheckpointShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "_CHUNK_BYTES", 1000)
    sizes: list[int] = []

    def wanted() -> bool:
        root = shelf.folder.checkpoints
        sizes.append(sum(file.stat().st_size for file in root.rglob("*.pt")))
        return len(sizes) < 8

    shelf.write(OF_TWO, 40, parts(1, size=50_000), wanted=wanted)
    assert max(sizes) <= 8000
    assert not shelf.folder.checkpoints.exists()


@pytest.mark.parametrize("first", [0, 1])
def test_one_that_a_rank_gives_up_keeps_no_rank_waiting(
    shelf: CheckpointShelf, first: int
) -> None:
    full = "the checkpoint at step 40 was not kept: MemoryError: no room"

    async def scene() -> None:
        arrivals = Arrivals(shelf)
        arrivals.begin()
        calls = [
            lambda: arrivals.add(OF_TWO, 0, 40, [ready(parts(1)[0])]),
            lambda: arrivals.give_up(OF_TWO, 1, 40, full),
        ]
        waiting = asyncio.create_task(calls[first]())
        await asyncio.sleep(0)
        assert await calls[1 - first]() == await waiting == f"{full} (rank 1)"

        ranks = [
            asyncio.create_task(arrivals.add(OF_TWO, rank, 80, [ready(part)]))
            for rank, part in enumerate(parts(2))
        ]
        assert await asyncio.gather(*ranks) == [None, None]

    play(scene())
    kept, _ = shelf.find(OF_TWO)
    assert kept is not None
    assert kept.step == 80


def test_ranks_go_on_only_when_all_have_had_their_say(shelf: CheckpointShelf) -> None:
    of_three = request(replace(TRIAL, world_size=3))

    async def scene() -> None:
        arrivals = Arrivals(shelf)
        arrivals.begin()
        ranks = [
            asyncio.create_task(arrivals.add(of_three, 0, 40, [ready(parts(1)[0])])),
            asyncio.create_task(arrivals.give_up(of_three, 1, 40, "no room")),
        ]
        await asyncio.sleep(0.05)
        assert not any(rank.done() for rank in ranks), "the next one could overtake the last part"
        ranks.append(asyncio.create_task(arrivals.add(of_three, 2, 40, [ready(parts(1)[1])])))
        assert await asyncio.gather(*ranks) == ["no room (rank 1)"] * 3

    play(scene())
    assert files(shelf) == []


def test_a_part_that_died_with_its_worker_and_a_full_disk_are_problems_and_no_errors(
    shelf: CheckpointShelf,
) -> None:
    async def gone() -> Any:
        raise RuntimeError("the owner died")

    async def scene() -> None:
        arrivals = Arrivals(shelf)
        arrivals.begin()
        first = asyncio.create_task(arrivals.add(OF_TWO, 0, 40, [ready(parts(1)[0])]))
        await asyncio.sleep(0)
        assert await arrivals.add(OF_TWO, 1, 40, [gone()]) == await first
        assert await first == "the checkpoint at step 40 was not written: the owner died"

        full = Arrivals(_FullDisk(shelf.folder, "commit:code"))
        full.begin()
        alone = request(ALONE)
        problem = await full.add(alone, 0, 40, [ready(parts(1)[0])])
        assert problem == "the checkpoint at step 40 was not written: No space left on device"

    play(scene())
    assert files(shelf) == []


def test_after_its_trial_a_checkpoint_does_not_appear_any_more(shelf: CheckpointShelf) -> None:
    class Slow(CheckpointShelf):
        def write(self, *arguments: Any, **named: Any) -> None:
            time.sleep(0.3)
            super().write(*arguments, **named)

    async def scene() -> None:
        arrivals = Arrivals(Slow(shelf.folder, "commit:code"))
        arrivals.begin()
        alone = request(ALONE)
        writing = asyncio.create_task(arrivals.add(alone, 0, 40, [ready(parts(1)[0])]))
        await asyncio.sleep(0.05)
        await arrivals.finish(0.0)
        assert await writing == "its trial is over"
        assert await arrivals.add(alone, 0, 80, [asyncio.Future()]) == "its trial is over"
        await asyncio.sleep(0.5)
        assert files(shelf) == []

        # Of a trial that was lost, what is being written is waited for.
        arrivals.begin()
        writing = asyncio.create_task(arrivals.add(alone, 0, 120, [ready(parts(1)[0])]))
        await asyncio.sleep(0.05)
        await arrivals.finish(20.0)
        assert await writing is None
        kept, _ = shelf.find(alone)
        assert kept is not None
        assert kept.step == 120

    play(scene())


def test_the_mailbox_tells_all_ranks_what_one_gave_up(shelf: CheckpointShelf) -> None:
    async def scene() -> None:
        mailbox = Mailbox(2, shelf=shelf)
        run = asyncio.create_task(mailbox.run(Job(key="a", world_size=2, request=OF_TWO), 3600.0))
        await asyncio.sleep(0)
        part = mailbox.keep_checkpoint("a", 0, 40, [ready(parts(1)[0])])
        waiting = asyncio.create_task(part)
        assert await mailbox.give_up_checkpoint("z", 1, 40, "late") == "its trial is over"
        await mailbox.give_up_checkpoint("a", 1, 40, "no room")
        assert await waiting == "no room (rank 1)"
        run.cancel()

    play(scene())


@pytest.mark.parametrize("lost", [False, True])
def test_the_mailbox_writes_for_the_trial_that_runs(shelf: CheckpointShelf, lost: bool) -> None:
    async def scene() -> None:
        mailbox = Mailbox(2, shelf=shelf)
        job = Job(key="a", world_size=2, request=OF_TWO)
        run = asyncio.create_task(mailbox.run(job, 3600.0))
        await asyncio.sleep(0)
        stale = await mailbox.keep_checkpoint("z", 0, 40, [asyncio.Future()])
        assert stale == "its trial is over"
        ranks = [
            asyncio.create_task(mailbox.keep_checkpoint("a", rank, 40, [ready(part)]))
            for rank, part in enumerate(parts(1))
        ]
        assert await asyncio.gather(*ranks) == [None, None]
        for rank in range(2):
            result: Any = RankReport(rank=rank, node="n", status=Status.SUCCEEDED)
            if lost:
                result = RankFailure(rank=rank, status=Status.WORKER_DIED, detail="gone")
            await mailbox.deliver("a", result)
        await run
        late = await mailbox.keep_checkpoint("a", 0, 80, [asyncio.Future()])
        assert late == "its trial is over"

    play(scene())
    manifest = shelf.folder.checkpoints_of(TRIAL.trial_id) / "0001-000000000040/manifest.json"
    assert json.loads(manifest.read_text())["step"] == 40
