from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from plan_samples import request, trials

from ddp_sweep.cluster.gang.failures import Failure, GangOutcome
from ddp_sweep.cluster.lane.lane import Lane, restart_is_cheap
from ddp_sweep.errors import ResultsError
from ddp_sweep.reporter import AttemptResult
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import RankReport, TrialRequest

DIED = Failure(status=Status.WORKER_DIED, rank=1, detail="rank 1: gone")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class World:
    """A clock that the fake gangs move, and what happened."""

    start_s: float = 8.0
    trial_s: float = 2.0
    start_failure: Failure | None = None
    outcomes: list[GangOutcome] = field(default_factory=list)
    clean_end: bool = True
    now_s: float = 0.0
    events: list[str] = field(default_factory=list)
    committed: list[AttemptResult] = field(default_factory=list)
    gangs: int = 0

    def lane(self) -> Lane:
        return Lane(
            self.make,
            self.commit,
            clock=lambda: self.now_s,
            now=lambda: NOON + timedelta(seconds=self.now_s),
        )

    def make(self) -> FakeGang:
        self.gangs += 1
        return FakeGang(self, f"gang-{self.gangs}")

    def commit(self, result: AttemptResult) -> None:
        self.events.append(f"commit {result.status}")
        self.committed.append(result)


@dataclass
class FakeGang:
    world: World
    gang_id: str
    alive: bool = False

    def start(self) -> Failure | None:
        self.world.now_s += self.world.start_s
        self.alive = self.world.start_failure is None
        return self.world.start_failure

    def run(self, request: TrialRequest) -> GangOutcome:
        assert self.alive
        self.world.now_s += self.world.trial_s
        if self.world.outcomes:
            return self.world.outcomes.pop(0)
        return succeeded(request.trial.world_size)

    def close(self) -> bool:
        return self._end("close")

    def abort(self) -> bool:
        return self._end("abort")

    def _end(self, how: str) -> bool:
        self.alive = False
        self.world.events.append(f"{how} {self.gang_id}")
        return self.world.clean_end


def succeeded(world_size: int, recycle_reason: str | None = None) -> GangOutcome:
    return GangOutcome(
        reports=tuple(
            RankReport(rank=rank, node="n", status=Status.SUCCEEDED, recycle_reason=recycle_reason)
            for rank in range(world_size)
        )
    )


def test_trials_of_a_block_share_a_gang_whose_start_the_first_one_bears() -> None:
    world = World()
    lane = world.lane()
    first, second = (lane.run(request(trial)) for trial in trials(seeds=1))
    assert world.gangs == 1
    assert (first.startup_time_s, second.startup_time_s) == (8.0, None)
    assert first.wall_time_s == second.wall_time_s == 2.0
    assert first.started_at == NOON + timedelta(seconds=8)
    assert first.finished_at == second.started_at == NOON + timedelta(seconds=10)
    assert first.gang_id == second.gang_id == "gang-1"
    assert world.committed == [first, second]


@pytest.mark.parametrize(("start_s", "gangs"), [(0.39, 3), (0.41, 1)])
def test_a_gang_is_renewed_between_blocks_where_that_costs_less_than_a_tenth(
    start_s: float, gangs: int
) -> None:
    world = World(start_s=start_s)
    lane = world.lane()
    for trial in trials(seeds=3):
        lane.run(request(trial))
    assert world.gangs == gangs
    assert [event for event in world.events if event.startswith("abort")] == []


def test_restart_is_cheap_below_a_tenth() -> None:
    assert restart_is_cheap(0.99, 10.0)
    assert not restart_is_cheap(1.0, 10.0)


def test_a_failure_is_committed_then_the_gang_is_aborted_and_replaced() -> None:
    world = World(outcomes=[GangOutcome(failure=DIED)])
    lane = world.lane()
    trial = trials(seeds=1)[0]
    failed, healthy = lane.run(request(trial)), lane.run(request(trial, attempt=2))
    assert (failed.status, failed.status_detail) == (Status.WORKER_DIED, "rank 1: gone")
    assert healthy.status == Status.SUCCEEDED
    assert (failed.gang_id, healthy.gang_id) == ("gang-1", "gang-2")
    assert world.events == ["commit worker_died", "abort gang-1", "commit succeeded"]


def test_a_worker_that_asks_for_it_is_replaced_gently() -> None:
    world = World(outcomes=[succeeded(2, recycle_reason="2 threads are left")])
    lane = world.lane()
    for trial in trials(seeds=1):
        assert lane.run(request(trial)).status == Status.SUCCEEDED
    assert world.events == ["commit succeeded", "close gang-1", "commit succeeded"]


def test_a_gang_found_dead_is_replaced_before_the_trial_and_not_counted_against_it() -> None:
    world = World()
    gangs: list[FakeGang] = []

    def make() -> FakeGang:
        gangs.append(world.make())
        return gangs[-1]

    lane = Lane(make, world.commit, clock=lambda: world.now_s, now=lambda: NOON)
    first, second = trials(seeds=1)
    lane.run(request(first))
    gangs[0].alive = False
    assert lane.run(request(second)).status == Status.SUCCEEDED
    assert world.gangs == 2


def test_an_expected_end_keeps_the_gang() -> None:
    diverged = RankReport(rank=1, node="n", status=Status.DIVERGED, status_detail="loss is nan")
    fine = RankReport(rank=0, node="n", status=Status.SUCCEEDED)
    world = World(outcomes=[GangOutcome(reports=(fine, diverged))])
    lane = world.lane()
    first, _ = (lane.run(request(trial)) for trial in trials(seeds=1))
    assert (first.status, first.status_detail) == (Status.DIVERGED, "loss is nan")
    assert world.gangs == 1


def test_workers_that_do_not_start_are_the_outcome() -> None:
    world = World(start_failure=Failure(status=Status.TIMED_OUT, detail="stalled: no start"))
    result = world.lane().run(request(trials()[0]))
    assert (result.status, result.status_detail) == (Status.TIMED_OUT, "stalled: no start")
    assert result.started_at is None
    assert result.wall_time_s is None
    assert result.startup_time_s == 8.0
    assert world.events == ["commit timed_out", "abort gang-1"]


def test_a_gang_that_cannot_be_ended_marks_the_lane_as_broken() -> None:
    world = World(outcomes=[GangOutcome(failure=DIED)], clean_end=False)
    lane = world.lane()
    lane.run(request(trials()[0]))
    assert lane.broken


def test_rows_that_cannot_be_written_are_no_fault_of_the_trial() -> None:
    world = World(outcomes=[GangOutcome(failure=DIED)])

    def full(result: AttemptResult) -> None:
        raise ResultsError(f"no space left for {result.status}")

    lane = Lane(world.make, full, clock=lambda: world.now_s, now=lambda: NOON)
    with pytest.raises(ResultsError, match="no space left"):
        lane.run(request(trials()[0]))
    assert world.events == ["abort gang-1"]


def test_closing_ends_the_gang_once() -> None:
    world = World()
    lane = world.lane()
    lane.run(request(trials()[0]))
    lane.close()
    lane.close()
    assert world.events == ["commit succeeded", "close gang-1"]
