"""Where a sweep stands, against counts done over the rows themselves."""

from __future__ import annotations

import random
from collections import Counter

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
from plan_samples import plan

from ddp_sweep.live import BatchAxis, Event, Stopping, SweepEnded, WorkersStarting
from ddp_sweep.live.trials import planned
from ddp_sweep.schema import Status

TRIALS = grid((1, 2), (32, 64), seeds=3)


@pytest.mark.parametrize("seed", range(4))
def test_counts_and_cells_agree_with_a_count_over_the_ends(seed: int) -> None:
    draw = random.Random(seed)
    final = [Status.SUCCEEDED, Status.OUT_OF_MEMORY, Status.DIVERGED, Status.WORKLOAD_ERROR]
    ends = {one.trial_id: draw.choice(final) for one in TRIALS[: draw.randrange(1, len(TRIALS))]}
    events: list[Event] = [plan_event(TRIALS)]
    for one in TRIALS[: len(ends)]:
        events += [began(one), ended(one, status=ends[one.trial_id])]
    overview = followed(events)

    assert overview.by_status == Counter(ends.values())
    assert (overview.done, overview.left) == (len(ends), len(TRIALS) - len(ends))
    for cell in overview.cells:
        here = [
            one
            for one in TRIALS
            if (one.world_size, one.per_worker_batch_size) == (cell.world_size, cell.batch_size)
        ]
        assert cell.outcomes == tuple(ends.get(one.trial_id) for one in here)
        assert cell.configurations == (here[0].configuration_id,)
    assert len(overview.cells) == 4


def test_failures_of_one_kind_are_told_once_with_the_last_cause() -> None:
    events: list[Event] = [plan_event(TRIALS)]
    for number, one in enumerate(t for t in TRIALS if t.configuration_id == "w2b64"):
        detail = f"rank 1:\n  model.py, line 3\nRuntimeError: attempt to allocate {number} GB"
        events += [began(one), ended(one, status="out_of_memory", status_detail=detail)]
    [group] = followed(events).failures

    assert (group.configuration, group.status) == ("2 workers x 64", Status.OUT_OF_MEMORY)
    assert (group.count, group.of) == (3, 3)
    assert group.cause == "RuntimeError: attempt to allocate 2 GB"


def test_a_trial_that_is_tried_again_is_neither_done_nor_failed() -> None:
    first = TRIALS[0]
    again = ended(first, again=True, status="worker_died")
    overview = followed([plan_event(TRIALS), began(first), again, began(first, 2)])

    assert (overview.done, overview.by_status, overview.failures) == (0, {}, ())
    assert [one.attempt for one in overview.running] == [2]
    lost = followed([plan_event(TRIALS), began(first), ended(first, status="worker_died")])
    assert (lost.done, lost.by_status) == (1, {Status.WORKER_DIED: 1})


def test_earlier_runs_count_and_what_they_left_open_does_not() -> None:
    past = [attempt(TRIALS[0]), attempt(TRIALS[1], status="interrupted")]
    overview = followed([plan_event(TRIALS, past=past)])
    assert (overview.done, overview.by_status) == (1, {Status.SUCCEEDED: 1})


def test_only_the_running_trial_runs_and_keeps_the_newest_progress() -> None:
    events = [
        plan_event(TRIALS),
        began(TRIALS[1]),
        heard(TRIALS[1], training(samples=10)),
        heard(TRIALS[1], None),
    ]
    overview = followed(events)

    assert [cell.running for cell in overview.cells] == [(), (0,), (), ()]
    assert [one.progress and one.progress.samples for one in overview.running] == [10]
    assert followed([*events, ended(TRIALS[1])]).running == ()


def test_trials_added_later_are_part_of_the_sweep() -> None:
    added = [trial(1, 32, 9)]
    events = [plan_event(TRIALS), plan_event([*TRIALS, *added], past=[attempt(TRIALS[0])])]
    overview = followed(events)
    assert (overview.planned, overview.done) == (len(TRIALS) + 1, 1)


def test_several_configurations_of_the_same_sizes_share_a_cell() -> None:
    twins = [
        trial(
            1, 32, 0, configuration_id=f"c{n}", trial_id=f"t{n}", distinction=f"learning_rate {n}"
        )
        for n in (1, 2)
    ]
    [cell] = followed([plan_event(twins)]).cells
    assert cell.configurations == ("c1", "c2")
    assert len(cell.outcomes) == 2


def test_stages_follow_each_other() -> None:
    clock = Clock(50.0)
    first = plan_event(TRIALS)
    assert followed([]).stage == "connecting"
    assert followed([first, WorkersStarting(pending=12)]).stage == "starting workers"
    assert followed([first, began(TRIALS[0])], clock).stage == "running"
    assert followed([first, began(TRIALS[0]), Stopping()]).stage == "stopping"
    assert followed([first, SweepEnded(interrupted=True)]).stage == "ended"


def test_a_plan_gives_every_trial_and_why_some_cannot_run() -> None:
    small = plan(seeds=2, capacity=1)
    found = planned(small)

    assert [one.trial_id for one in found[: len(small.trials)]] == [
        one.trial_id for one in small.trials
    ]
    refused = [one for one in found if one.infeasible is not None]
    assert len(refused) == len(small.infeasible) == 2
    assert "2 workers" in (refused[0].infeasible or "")
    overview = followed([plan_event(found, axis=BatchAxis.PER_WORKER)])
    assert overview.by_status == {Status.INFEASIBLE: 2}
    assert (overview.done, overview.left) == (2, 2)


def test_only_settings_that_differ_tell_configurations_apart() -> None:
    from ddp_sweep.plan import build_plan
    from ddp_sweep.spec import parse_spec

    spec = parse_spec(
        {
            "name": "sample",
            "workload": "some.module:Workload",
            "sweep": {
                "world_size": [1],
                "per_worker_batch_size": [4],
                "optimizer": ["sgd", "adamw"],
            },
            "seeds": 1,
            "training": {"samples": 640, "learning_rate": 0.1, "reference_batch_size": 4},
        }
    )
    found = planned(build_plan(spec, capacity=None, train_lengths=512))
    assert {one.name for one in found} == {
        "1 worker x 4, optimizer sgd",
        "1 worker x 4, optimizer adamw",
    }
    assert {(one.work, one.epochs) for one in found} == {(640.0, None)}


def test_several_trials_run_each_with_its_own_progress() -> None:
    first, second, third = TRIALS[:3]
    events = [
        plan_event(TRIALS),
        began(first),
        began(second),
        began(third),
        heard(second, training(samples=10)),
        heard(first, training(samples=20)),
        heard(second, training(samples=30)),
        ended(third),
    ]
    running = {one.trial.trial_id: one for one in followed(events).running}
    assert list(running) == [first.trial_id, second.trial_id]
    samples = [one.progress.samples for one in running.values() if one.progress]
    assert samples == [20, 30]
    overview = followed([*events, ended(first), ended(second)])
    assert (overview.running, overview.done) == ((), 3)


def test_two_seeds_of_a_cell_may_run_at_once() -> None:
    seeds = [trial(1, 32, seed) for seed in range(4)]
    (cell,) = followed([plan_event(seeds), began(seeds[1]), began(seeds[3])]).cells
    assert cell.running == (1, 3)
