from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from plan_samples import request, trials

from ddp_sweep.cluster.gang.mailbox import Collected, Job, Mailbox, Member
from ddp_sweep.cluster.gang.output import Printed
from ddp_sweep.cluster.gang.trial_log import TrialLog
from ddp_sweep.results.logs import TrialLogs
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import RankFailure, RankReport

FOREVER_S = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def report(rank: int) -> RankReport:
    return RankReport(rank=rank, node="n", status=Status.SUCCEEDED)


def member(rank: int) -> Member:
    return Member(rank=rank, train_rank=rank, actor=None, controller=None, pid=rank, node_id="n")


def job(key: str = "a", world_size: int = 2) -> Job:
    return Job(key=key, world_size=world_size, request=request(trials()[0]))


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 30))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_job_reaches_the_ranks_that_take_part_and_their_reports_come_back() -> None:
    async def scene() -> None:
        mailbox = Mailbox(3)
        ranks = [asyncio.create_task(mailbox.next_job(rank)) for rank in range(3)]
        run = asyncio.create_task(mailbox.run(job(world_size=2), FOREVER_S))
        assert (await ranks[0]) == (await ranks[1]) == job(world_size=2)
        await mailbox.deliver("a", report(1))
        await settled()
        assert not run.done()
        await mailbox.deliver("a", report(0))
        collected = await run
        assert collected.complete
        assert set(collected.reports) == {0, 1}
        assert not ranks[2].done()
        await mailbox.close()
        assert await ranks[2] is None

    play(scene())


def test_a_rank_gets_a_job_once() -> None:
    async def scene() -> None:
        mailbox = Mailbox(1)
        run = asyncio.create_task(mailbox.run(job(world_size=1), FOREVER_S))
        assert await mailbox.next_job(0) is not None
        again = asyncio.create_task(mailbox.next_job(0))
        await mailbox.deliver("a", report(0))
        await run
        await settled()
        assert not again.done()
        run = asyncio.create_task(mailbox.run(job("b", world_size=1), FOREVER_S))
        received = await again
        assert received is not None
        assert received.key == "b"
        run.cancel()

    play(scene())


def test_a_late_delivery_of_another_job_is_dropped() -> None:
    async def scene() -> None:
        mailbox = Mailbox(1)
        run = asyncio.create_task(mailbox.run(job("b", world_size=1), FOREVER_S))
        await settled()
        await mailbox.deliver("a", report(0))
        await settled()
        assert not run.done()
        await mailbox.deliver("b", report(0))
        assert (await run).complete

    play(scene())


def test_a_failure_ends_the_wait_and_the_others_are_waited_for_a_moment() -> None:
    async def scene() -> None:
        mailbox = Mailbox(2)
        run = asyncio.create_task(mailbox.run(job(), FOREVER_S))
        await settled()
        failure = RankFailure(rank=1, status=Status.WORKLOAD_ERROR, detail="boom")
        await mailbox.deliver("a", failure)
        seen = await run
        assert seen.failures == (failure,)
        assert not seen.complete
        settle = asyncio.create_task(mailbox.settle(FOREVER_S))
        await settled()
        assert not settle.done()
        await mailbox.deliver("a", report(0))
        assert (await settle).complete

    play(scene())


def test_settling_ends_after_its_time_and_with_the_gang() -> None:
    async def scene() -> None:
        mailbox = Mailbox(2)
        run = asyncio.create_task(mailbox.run(job(), FOREVER_S))
        await settled()
        assert not (await mailbox.settle(0.01)).complete
        await mailbox.gang_ended()
        assert (await mailbox.settle(FOREVER_S)).gang_ended
        assert (await run).gang_ended

    play(scene())


def test_progress_puts_off_the_stall_deadline() -> None:
    async def scene() -> None:
        clock = Clock()
        mailbox = Mailbox(1, clock)
        run = asyncio.create_task(mailbox.run(job(world_size=1), 0.05))
        await settled()
        for step in range(3):
            clock.now_s += 0.04
            await mailbox.emit_progress("a", {"step": step})
        # A sign of life of an earlier job says nothing about this one.
        await mailbox.emit_progress("z", {"step": 99})
        await settled()
        assert not run.done()
        clock.now_s += 0.06
        stalled: Collected = await run
        assert stalled.silent_s is not None
        assert stalled.silent_s >= 0.05
        assert stalled.progress == {"step": 2}
        assert not stalled.complete

    play(scene())


def test_what_ranks_print_is_in_the_log_of_their_trial(tmp_path: Path) -> None:
    async def scene() -> None:
        logs = TrialLogs(tmp_path)
        mailbox = Mailbox(1, log=TrialLog(logs, "a1"))
        assert await mailbox.join(member(0))
        run = asyncio.create_task(mailbox.run(job(world_size=1), FOREVER_S))
        await settled()
        piece = Printed(stream="out", time_s=0.0, text=b"hello\n", end=6)
        await mailbox.printed(0, piece)
        await mailbox.note("one more thing")
        await mailbox.deliver("a", report(0))
        await run
        assert [one.source.rank for one in await mailbox.unread()] == [0]
        [log] = logs.files()
        assert log.trial_id == trials()[0].trial_id
        assert log.path.read_text().splitlines() == [
            "# rank 0: process 0 on n",
            "00:00:00.000 rank 0 | hello",
            "# one more thing",
        ]

    play(scene())


def test_without_logs_what_ranks_print_is_dropped() -> None:
    async def scene() -> None:
        mailbox = Mailbox(1)
        assert await mailbox.join(member(0))
        await mailbox.printed(0, Printed(stream="out", time_s=0.0, text=b"hello\n", end=6))
        await mailbox.note("one more thing")
        assert await mailbox.unread() == ()

    play(scene())


def test_the_start_is_complete_when_all_ranks_ask_for_work() -> None:
    async def scene() -> None:
        mailbox = Mailbox(2)
        start = asyncio.create_task(mailbox.collect_start(FOREVER_S))
        for rank in (1, 0):
            assert await mailbox.join(member(rank))
        await settled()
        assert not start.done()
        ranks = [asyncio.create_task(mailbox.next_job(rank)) for rank in range(2)]
        started = await start
        assert started.complete
        assert [one.rank for one in started.members] == [0, 1]
        await mailbox.close()
        await asyncio.gather(*ranks)

    play(scene())


def test_a_start_ends_by_failure_by_the_gangs_end_and_by_its_deadline() -> None:
    async def scene() -> None:
        failure = RankFailure(rank=0, status=Status.WORKLOAD_ERROR, detail="no such module")
        mailbox = Mailbox(2)
        await mailbox.deliver(None, failure)
        assert (await mailbox.collect_start(FOREVER_S)).failures == (failure,)

        mailbox = Mailbox(2)
        await mailbox.gang_ended()
        assert (await mailbox.collect_start(FOREVER_S)).gang_ended

        late = await Mailbox(2).collect_start(0.01)
        assert late.silent_s == 0.01
        assert not late.complete

    play(scene())


def test_a_train_function_that_starts_twice_is_sent_away() -> None:
    async def scene() -> None:
        mailbox = Mailbox(1)
        assert await mailbox.join(member(0))
        assert not await mailbox.join(member(0))

    play(scene())
