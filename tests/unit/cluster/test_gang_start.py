"""Nodes that go while workers start; Ray is stood in for, the mailbox is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ddp_sweep.cluster.gang.gang import Gang
from ddp_sweep.cluster.gang.mailbox import Mailbox, Member
from ddp_sweep.cluster.gang.serving import GangSettings
from ddp_sweep.training.messages import WorkerSetup
from ddp_sweep.training.worker import Worker


@dataclass
class Remote:
    """What calls an actor, which here answers once it is asked for the answer."""

    actor: Any

    def __getattr__(self, name: str) -> SimpleNamespace:
        method: Callable[..., Awaitable[Any]] = getattr(self.actor, name)
        return SimpleNamespace(remote=lambda *arguments: lambda: asyncio.run(method(*arguments)))


@dataclass
class RoomForOne:
    """What is left of a cluster that had room for two."""

    def present(self) -> int:
        return 1

    def possible(self) -> int:
        return 1


def member(rank: int) -> Member:
    return Member(
        rank=rank, train_rank=rank, actor=f"actor {rank}", controller=None, pid=1, node_id="n"
    )


def test_workers_that_had_come_before_a_node_went_are_known_and_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = SimpleNamespace(
        wait=lambda references, timeout: ([], references),  # noqa: ARG005
        get=lambda reference: reference(),
        exceptions=ray.exceptions,
    )
    monkeypatch.setattr("ddp_sweep.cluster.gang.gang.ray", waiting)
    setup = WorkerSetup(
        workload="some.module:Workload",
        base_dir=None,
        world_sizes=(2,),
        device_type="cpu",
        threads=1,
    )
    settings = GangSettings(
        world_size=2,
        setup=setup,
        worker_factory=Worker,
        resources_per_worker={"CPU": 1},
        placement_strategy="PACK",
        start_timeout_s=3600.0,
        stall_timeout_s=3600.0,
        storage=tmp_path,
    )
    mailbox = Mailbox(2)
    asyncio.run(mailbox.join(member(0)))
    gang = Gang(settings, "under-test")
    gang._mailbox = Remote(mailbox)
    gang._room = RoomForOne()  # type: ignore[assignment]
    started, lacking = gang._wait_for_start()
    assert [one.actor for one in started.members] == ["actor 0"]
    assert not started.complete
    assert (started.silent_s, lacking) == (None, None)
