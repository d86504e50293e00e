from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_samples import trials

from ddp_sweep.cluster.lane.schedule import Schedule
from ddp_sweep.schema import Status, is_transient

ENDS = st.sampled_from([status for status in Status if status != Status.INFEASIBLE])


def test_attempts_follow_the_plan_and_retries_come_in_place() -> None:
    planned = trials(seeds=2)
    schedule = Schedule(planned, {planned[0].trial_id: 4}, max_attempts=2)
    seen = []
    ends = iter(["worker_died", "succeeded", "node_lost", "node_lost", "succeeded", "diverged"])
    while not schedule.finished:
        assignment = schedule.next()
        seen.append((assignment.index, assignment.attempt))
        assert assignment.trial is planned[assignment.index]
        schedule.ended(next(ends), None)
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
        schedule.ended(end, None)
    assert schedule.finished
    assert list(history) == list(range(len(planned)))
    for statuses in history.values():
        assert len(statuses) <= max_attempts
        assert all(is_transient(status, None) for status in statuses[:-1])
        assert len(statuses) == max_attempts or not is_transient(statuses[-1], None)


def test_draining_ends_after_the_running_attempt() -> None:
    schedule = Schedule(trials(seeds=2), {}, max_attempts=3)
    schedule.next()
    schedule.drain()
    assert schedule.running is not None
    schedule.ended("worker_died", None)
    assert schedule.finished
    assert schedule.remaining == 4


def test_two_attempts_never_run_at_once() -> None:
    schedule = Schedule(trials(), {}, max_attempts=3)
    schedule.next()
    with pytest.raises(AssertionError):
        schedule.next()
