from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from plan_samples import request, trials

from ddp_sweep.cluster.gang.failures import Failure, GangOutcome
from ddp_sweep.cluster.lane.headroom import Headroom
from ddp_sweep.cluster.lane.lane import Lane, restart_is_cheap
from ddp_sweep.errors import ResultsError, UnwritableError
from ddp_sweep.plan import Trial
from ddp_sweep.reporter import AttemptResult
from ddp_sweep.schema import AFTER_OTHERS, Status, is_transient
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
    room: list[int] = field(default_factory=lambda: [2])
    """Workers that fit, at each look at what may be; the last one stays."""
    grows_to: int = 0
    """Workers that an autoscaler might make room for."""
    start_failures: list[Failure | None] = field(default_factory=list)
    """Of the first starts; those after them succeed, or fail as ``start_failure`` says."""

    def lane(self) -> Lane:
        return Lane(
            self.make,
            self.commit,
            self.headroom(),
            clock=lambda: self.now_s,
            now=lambda: NOON + timedelta(seconds=self.now_s),
        )

    def headroom(self) -> Headroom:
        return Headroom(self, 30.0, clock=lambda: self.now_s, sleep=self.sleep)

    def present(self) -> int:
        return self.room[0]

    def possible(self) -> int:
        room = self.room.pop(0) if len(self.room) > 1 else self.room[0]
        return max(room, self.grows_to)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def make(self, limit: int) -> FakeGang:
        self.gangs += 1
        return FakeGang(self, f"gang-{self.gangs}", min(limit, 2))

    def commit(self, result: AttemptResult) -> None:
        self.events.append(f"commit {result.status}")
        self.committed.append(result)


@dataclass
class FakeGang:
    world: World
    gang_id: str
    world_size: int
    alive: bool = False

    def start(self) -> Failure | None:
        self.world.now_s += self.world.start_s
        planned = self.world.start_failures
        failure = planned.pop(0) if planned else self.world.start_failure
        self.alive = failure is None
        return failure

    def run(self, request: TrialRequest) -> GangOutcome:
        assert self.alive
        assert request.trial.world_size <= self.world_size
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

    def make(limit: int) -> FakeGang:
        gangs.append(world.make(limit))
        return gangs[-1]

    lane = Lane(make, world.commit, world.headroom(), clock=lambda: world.now_s, now=lambda: NOON)
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

    lane = Lane(world.make, full, world.headroom(), clock=lambda: world.now_s, now=lambda: NOON)
    with pytest.raises(ResultsError, match="no space left"):
        lane.run(request(trials()[0]))
    assert world.events == ["abort gang-1"]


def test_measurements_that_cannot_be_written_cost_the_trial_and_not_its_row() -> None:
    world = World(outcomes=[succeeded(2, recycle_reason="2 threads are left")])

    def picky(result: AttemptResult) -> None:
        if result.reports:
            raise UnwritableError("column class_names: expected text, got an int")
        world.commit(result)

    lane = Lane(world.make, picky, world.headroom(), clock=lambda: world.now_s, now=lambda: NOON)
    result = lane.run(request(trials()[0]))
    assert world.committed == [result]
    assert result.status == Status.WORKLOAD_ERROR
    assert result.status_detail == (
        "its measurements cannot be written: column class_names: expected text, got an int"
    )
    assert result.started_at is not None
    # What its workers said of themselves still counts.
    assert world.events == ["commit workload_error", "close gang-1"]


def test_closing_ends_the_gang_once() -> None:
    world = World()
    lane = world.lane()
    lane.run(request(trials()[0]))
    lane.close()
    lane.close()
    assert world.events == ["commit succeeded", "close gang-1"]


OUT_OF_MEMORY = Failure(status=Status.OUT_OF_MEMORY, rank=0, detail="rank 0: out of memory")


def test_memory_that_ran_out_in_used_workers_is_told_from_that_of_fresh_ones() -> None:
    used, fresh = GangOutcome(failure=OUT_OF_MEMORY), GangOutcome(failure=OUT_OF_MEMORY)
    world = World(outcomes=[succeeded(2), used, fresh])
    lane = world.lane()
    trial = trials(seeds=1)[0]
    ends = [lane.run(request(trial, attempt=number)) for number in (1, 2, 3)]
    details = [end.status_detail for end in ends]
    assert details[1:] == [f"{AFTER_OTHERS}rank 0: out of memory", "rank 0: out of memory"]
    assert [is_transient(end.status, end.status_detail) for end in ends] == [False, True, False]


def test_fresh_workers_are_had_where_they_are_asked_for() -> None:
    world = World()
    lane = world.lane()
    trial = trials(seeds=1)[0]
    for fresh in (False, False, True):
        lane.run(request(trial), fresh_workers=fresh)
    assert world.gangs == 2
    assert world.events.count("close gang-1") == 1


def by_size() -> dict[int, Trial]:
    return {trial.world_size: trial for trial in trials(seeds=1)}


def test_after_a_lost_node_smaller_trials_go_on_and_larger_ones_are_waited_for_once() -> None:
    world = World(room=[1])
    lane = world.lane()
    ends = [lane.run(request(by_size()[size])) for size in (2, 1, 2, 1)]
    lost, small = Status.NODE_LOST, Status.SUCCEEDED
    assert [end.status for end in ends] == [lost, small, lost, small]
    assert ends[0].started_at is None
    assert "2 workers are needed, and there is room for 1" in str(ends[0].status_detail)
    assert ends[0].finished_at == NOON + timedelta(seconds=30)
    # The small ones share a gang, which outlives the trial that had no room.
    assert ends[1].gang_id == ends[3].gang_id == "gang-1"
    assert ends[2].finished_at == ends[1].finished_at


def test_a_node_that_comes_back_gives_the_larger_trial_its_workers() -> None:
    world = World(room=[1, 1, 1, 2])
    lane = world.lane()
    sizes = (1, 2)
    ends = [lane.run(request(by_size()[size])) for size in sizes]
    assert [end.status for end in ends] == [Status.SUCCEEDED, Status.SUCCEEDED]
    assert [end.gang_id for end in ends] == ["gang-1", "gang-2"]


def test_workers_whose_node_is_lost_while_they_start_are_tried_with_what_is_left() -> None:
    lost = Failure(status=Status.NODE_LOST, detail="nodes of the cluster are gone")
    world = World(room=[2, 1], start_failures=[lost])
    lane = world.lane()
    assert lane.run(request(by_size()[1])).status == Status.SUCCEEDED
    assert world.events == ["abort gang-1", "commit succeeded"]
    world = World(room=[2, 1], start_failures=[lost])
    ended = world.lane().run(request(by_size()[2]))
    assert (ended.status, ended.started_at, ended.gang_id) == (Status.NODE_LOST, None, None)
    assert "room for 1" in str(ended.status_detail)


def test_no_workers_are_started_beside_those_that_could_not_be_ended() -> None:
    """They may hold the room that is left, and go only with the process of the lane."""
    lost = Failure(status=Status.NODE_LOST, detail="nodes of the cluster are gone")
    world = World(start_failures=[lost], clean_end=False)
    lane = world.lane()
    ended = lane.run(request(by_size()[1]))
    assert (world.gangs, lane.broken) == (1, True)
    assert ended.started_at is None
    assert ended.status == Status.WORKER_DIED, "to be tried again, by another process"
    assert ended.status_detail == "nodes of the cluster are gone"
    # Where there is no room any more, another process could do no better.
    world = World(room=[2, 1], start_failures=[lost], clean_end=False)
    assert world.lane().run(request(by_size()[2])).status == Status.NODE_LOST


def test_an_autoscaler_is_asked_by_starting_workers_and_what_it_does_not_bring_is_lost() -> None:
    late = Failure(status=Status.TIMED_OUT, detail="stalled: no start")
    world = World(room=[2], grows_to=2)
    lane = world.lane()
    assert lane.run(request(by_size()[2])).status == Status.SUCCEEDED
    # A node goes, and the autoscaler does not replace it in time.
    world.room, world.outcomes = [1], [GangOutcome(failure=DIED)]
    lane.run(request(by_size()[2]))
    world.start_failures = [late]
    ends = [lane.run(request(by_size()[size])) for size in (2, 1, 2)]
    lost = Status.NODE_LOST
    assert [end.status for end in ends] == [lost, Status.SUCCEEDED, lost]
    # One start in vain, and none after that.
    assert world.gangs == 3
    assert [event for event in world.events if event.startswith("abort")] == [
        "abort gang-1",
        "abort gang-2",
    ]


def test_workers_that_never_were_there_are_not_taken_for_lost() -> None:
    late = Failure(status=Status.TIMED_OUT, detail="stalled: no start")
    world = World(room=[1], grows_to=2, start_failures=[late])
    assert world.lane().run(request(by_size()[2])).status == Status.TIMED_OUT
