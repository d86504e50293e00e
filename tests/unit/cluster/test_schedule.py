from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from plan_samples import spec, trials

from ddp_sweep.cluster.lane.schedule import Assignment, Schedule
from ddp_sweep.plan import build_plan, waves
from ddp_sweep.schema import AFTER_OTHERS, Status, is_transient
from ddp_sweep.spec import SweepSpec

CAPACITY = 8
MAX_ATTEMPTS = 3
ENDS = st.sampled_from([status for status in Status if status != Status.INFEASIBLE])


def packed() -> SweepSpec:
    return spec(seeds=5, world_sizes=(1, 2, 4, 8), resources={"placement": "packed"})


def test_attempts_follow_the_plan_and_retries_come_in_place() -> None:
    planned = trials(seeds=2)
    schedule = Schedule(planned, {planned[0].trial_id: 4}, max_attempts=2)
    seen = []
    ends = iter(["worker_died", "succeeded", "node_lost", "node_lost", "succeeded", "diverged"])
    while not schedule.finished:
        assignment = schedule.next()
        seen.append((assignment.index, assignment.attempt))
        assert assignment.trial is planned[assignment.index]
        schedule.ended(assignment, next(ends), None)
    assert seen == [(0, 5), (0, 6), (1, 1), (1, 2), (2, 1), (3, 1)]
    assert schedule.remaining == 0


@given(ends=st.lists(ENDS, min_size=40, max_size=40), max_attempts=st.integers(1, 4))
def test_every_trial_gets_its_attempts_and_no_more(ends: list[Status], max_attempts: int) -> None:
    planned = trials(seeds=5)
    schedule = Schedule(planned, {}, max_attempts)
    history: dict[int, list[Status]] = {}
    for end in ends:
        if schedule.finished:
            break
        assignment = schedule.next()
        history.setdefault(assignment.index, []).append(end)
        assert assignment.attempt == len(history[assignment.index])
        schedule.ended(assignment, end, None)
    assert schedule.finished
    assert list(history) == list(range(len(planned)))
    for statuses in history.values():
        assert len(statuses) <= max_attempts
        assert all(is_transient(status, None) for status in statuses[:-1])
        assert len(statuses) == max_attempts or not is_transient(statuses[-1], None)


def test_draining_ends_after_the_running_attempt() -> None:
    schedule = Schedule(trials(seeds=2), {}, max_attempts=3)
    running = schedule.next()
    schedule.drain()
    assert schedule.finished
    assert schedule.running == (running,)
    schedule.ended(running, "worker_died", None)
    assert schedule.running == ()
    assert schedule.remaining == 4


def test_two_attempts_never_run_at_once_unless_asked_for() -> None:
    schedule = Schedule(trials(), {}, max_attempts=3)
    schedule.next()
    assert not schedule.ready
    with pytest.raises(AssertionError):
        schedule.next()


def test_a_trial_to_be_tried_again_comes_before_new_ones() -> None:
    schedule = Schedule(trials(seeds=3), {}, max_attempts=2, side_by_side=2)
    first, second = schedule.next(), schedule.next()
    assert schedule.ended(first, "worker_died", None)
    again = schedule.next()
    assert (again.index, again.attempt) == (0, 2)
    assert schedule.running == (second, again)
    schedule.ended(second, "succeeded", None)
    assert schedule.next().index == 2


def test_what_runs_may_still_come_back_so_nothing_is_finished_before() -> None:
    schedule = Schedule(trials(seeds=1), {}, max_attempts=2, side_by_side=2)
    first, second = schedule.next(), schedule.next()
    assert not schedule.ready
    assert not schedule.finished
    schedule.ended(first, "succeeded", None)
    assert not schedule.finished
    schedule.ended(second, "node_lost", None)
    assert schedule.ready
    last = schedule.next()
    schedule.ended(last, "node_lost", None)
    assert schedule.finished
    assert schedule.remaining == 0


class PackedSweep(RuleBasedStateMachine):
    """Any order in which trials may end, and any way: a cluster of 8 workers.

    The model knows the trials, what runs and what has ended, from what it was handed alone.
    """

    def __init__(self) -> None:
        super().__init__()
        planned = build_plan(packed(), capacity=CAPACITY, train_lengths=512).trials
        self.waves = list(waves(planned, "packed", CAPACITY))
        self.planned = {trial.trial_id for trial in planned}
        self.running: dict[str, Assignment] = {}
        self.final: list[str] = []
        self.attempts: dict[str, int] = {}
        self.drained = False
        self.begin_wave()

    def begin_wave(self) -> None:
        wave = self.waves.pop(0)
        assert wave.side_by_side is not None
        self.schedule = Schedule(wave.trials, {}, MAX_ATTEMPTS, wave.side_by_side)

    @precondition(lambda self: self.schedule.ready)
    @rule()
    def hand_out(self) -> None:
        assignment = self.schedule.next()
        trial_id = assignment.trial.trial_id
        assert trial_id not in self.running
        assert trial_id not in self.final
        assert not self.drained
        self.attempts[trial_id] = self.attempts.get(trial_id, 0) + 1
        assert assignment.attempt == self.attempts[trial_id] <= MAX_ATTEMPTS
        self.running[trial_id] = assignment

    @precondition(lambda self: self.running)
    @rule(which=st.integers(min_value=0), status=ENDS)
    def end(self, which: int, status: Status) -> None:
        trial_id = sorted(self.running)[which % len(self.running)]
        again = self.schedule.ended(self.running.pop(trial_id), status, None)
        assert again == (is_transient(status, None) and self.attempts[trial_id] < MAX_ATTEMPTS)
        if not again:
            self.final.append(trial_id)

    @precondition(lambda self: not self.drained)
    @rule(chance=st.integers(0, 30))
    def drain(self, chance: int) -> None:
        if chance == 0:
            self.schedule.drain()
            self.drained = True

    @precondition(lambda self: self.schedule.finished and not self.running)
    @rule()
    def next_wave(self) -> None:
        if self.drained:
            assert set(self.final) <= self.planned
        elif self.waves:
            self.begin_wave()
        else:
            assert sorted(self.final) == sorted(self.planned)

    @invariant()
    def nothing_exceeds_the_cluster(self) -> None:
        sizes = [one.trial.world_size for one in self.running.values()]
        assert sum(sizes) <= CAPACITY
        assert len(set(sizes)) <= 1
        assert {one.trial.trial_id for one in self.schedule.running} == set(self.running)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        # Something runs, something can be handed out, or all of the wave has ended.
        assert self.running or self.schedule.ready or self.schedule.finished
        assert len(self.final) == len(set(self.final))


PackedSweep.TestCase.settings = settings(stateful_step_count=150, max_examples=100)
TestPackedSweep = PackedSweep.TestCase


def test_waves_fill_the_cluster_with_one_world_size_at_a_time() -> None:
    planned = build_plan(packed(), capacity=CAPACITY, train_lengths=512).trials
    parts = waves(planned, "packed", CAPACITY)
    assert [(w.world_size, w.side_by_side, len(w.trials)) for w in parts] == [
        *((1, 5, 5), (2, 4, 5), (4, 2, 5), (8, 1, 5)),
    ]
    assert [trial for wave in parts for trial in wave.trials] == list(planned)
    (alone,) = waves(planned, "exclusive", CAPACITY)
    assert (alone.side_by_side, alone.world_size, alone.trials) == (1, 8, planned)
    unknown = waves(planned, "packed", None)
    assert [wave.side_by_side for wave in unknown] == [None] * 4
    assert waves((), "packed", 8) == ()


def test_memory_that_ran_out_in_used_workers_is_tried_once_more_in_fresh_ones() -> None:
    schedule = Schedule(trials(), {}, max_attempts=3)
    first = schedule.next()
    assert schedule.ended(first, Status.OUT_OF_MEMORY, f"{AFTER_OTHERS}out of memory")
    second = schedule.next()
    assert (first.fresh_workers, second.fresh_workers) == (False, True)
    assert (second.trial, second.attempt) == (first.trial, 2)
    assert not schedule.ended(second, Status.OUT_OF_MEMORY, "out of memory")
    third = schedule.next()
    assert third.trial != first.trial
    assert not third.fresh_workers
