"""The time left, against sums done by hand and against what recorded sweeps really took."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

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
    recorded,
    trial,
)
from live_events import training as progress

from ddp_sweep.live import Event, PastAttempt, PlannedTrial, Stopping, SweepPlanned
from ddp_sweep.live.time_left import Pace
from ddp_sweep.live.trials import past_attempts

ONE, TWO = trial(1, 32, 0), trial(2, 32, 0)
TRIALS = grid((1, 2), (32,), seeds=5)


def at(of: PlannedTrial, start_s: float, seconds: float, **changes: object) -> PastAttempt:
    return attempt(of, seconds, started_s=start_s, **changes)


def test_a_configuration_takes_what_it_took_and_one_slow_run_does_not_count_for_all() -> None:
    past = [attempt(trial(1, 32, seed), s) for seed, s in enumerate((10.0, 11.0, 90.0))]
    past += [attempt(trial(2, 32, seed), s) for seed, s in enumerate((6.0, 6.0, 6.0))]
    pace = Pace(past, TRIALS)

    assert (pace.duration_s(ONE), pace.duration_s(TWO)) == (11.0, 6.0)
    assert pace.rest_s(TRIALS[6:], TRIALS[5]) == 2 * (11.0 + 6.0)


def test_pauses_are_those_seen_within_a_block_and_between_blocks() -> None:
    # 1 s within a block, 5 s between blocks: 10 + 1 + 10 + 5 + 10 + 1 + 10.
    starts = (0, 11, 26, 37)
    past = [at(one, start, 10) for one, start in zip(TRIALS, starts, strict=False)]
    pace = Pace(past, TRIALS)

    assert pace.pause_s(trial(1, 32, 2), trial(2, 32, 2)) == 1
    assert pace.pause_s(trial(2, 32, 2), trial(1, 32, 3)) == 5
    # Two more blocks of two trials after the last one that ran.
    assert pace.rest_s(TRIALS[4:8], TRIALS[3]) == 5 + 10 + 1 + 10 + 5 + 10 + 1 + 10


def test_pauses_across_sessions_do_not_count() -> None:
    past = [
        at(TRIALS[0], 0, 10, session_id="monday"),
        at(TRIALS[1], 90_000, 10, session_id="tuesday"),
    ]
    assert Pace(past, TRIALS).rest_s(TRIALS[2:3], TRIALS[1]) == 10


def test_a_configuration_that_fails_costs_a_start_of_workers_each_time() -> None:
    fails, runs = trial(2, 32, 0), trial(1, 32, 0)
    order = [trial(size, 32, seed) for seed in range(4) for size in (2, 1)]
    past = [
        at(fails, 0, 2, status="out_of_memory"),
        at(runs, 9, 10, startup_s=7.0),
        at(trial(2, 32, 1), 19, 2, status="out_of_memory"),
        at(trial(1, 32, 1), 28, 10, startup_s=7.0),
    ]
    pace = Pace(past, order)

    assert pace.rest_s(order[4:], order[3]) == 2 * (2 + 7 + 10)


def test_what_the_first_trial_of_new_workers_takes_longer_belongs_to_the_start() -> None:
    past = [
        at(trial(1, 32, 0), 0, 18, startup_s=5.0),
        at(trial(1, 32, 1), 18, 10),
        at(trial(1, 32, 2), 28, 10),
    ]
    pace = Pace(past, TRIALS)

    assert pace.duration_s(ONE) == 10
    # Workers to be started: 5 s, then 8 s more than usual.
    assert pace.rest_s([trial(1, 32, 3)], None) == 5 + 8 + 10


def test_a_configuration_that_ran_as_the_first_only_is_judged_by_the_others_too() -> None:
    cells = grid((1,), (32, 64, 128), seeds=1)
    past = [attempt(cells[0], 40.0, startup_s=8.0)]
    past += [attempt(one, 10.0) for one in cells[1:]]
    # Half the batch takes a little longer than its neighbours, but not four times as long.
    assert 9.0 < Pace(past, cells).duration_s(cells[0]) < 20.0
    # Where it did not take longer, its own time counts.
    quick = [attempt(cells[0], 2.0, startup_s=8.0), *past[1:]]
    assert Pace(quick, cells).duration_s(cells[0]) == 2.0


def test_before_a_second_trial_nothing_is_said() -> None:
    first = attempt(ONE, 30.0, startup_s=8.0)
    assert not Pace([], TRIALS).known
    assert not Pace([first], TRIALS).known
    assert Pace([first, attempt(TWO, 9.0)], TRIALS).known


def test_interrupted_and_lost_attempts_say_nothing_of_a_trial() -> None:
    past = [
        attempt(ONE, 10.0),
        attempt(TWO, 1.0, status="interrupted"),
        attempt(TWO, 1.0, status="worker_died"),
        attempt(trial(2, 32, 1), 1.0, status="timed_out", status_detail="stalled: no progress"),
        attempt(trial(2, 32, 2), 6.0),
    ]
    assert Pace(past, TRIALS).duration_s(TWO) == 6.0


def test_a_machine_that_became_slower_is_noticed() -> None:
    times = [10.0] * 12 + [15.0] * 3
    past = [attempt(trial(1, 32, seed), s) for seed, s in enumerate(times)]
    assert Pace(past, TRIALS).duration_s(ONE) == pytest.approx(15.0)


@pytest.mark.parametrize("seed", range(5))
def test_configurations_that_have_not_run_are_scaled_by_work_workers_and_steps(seed: int) -> None:
    """The truth has the three parts of the model, in shares that the test draws."""
    draw = random.Random(seed)
    fixed, compute, per_step = draw.uniform(1, 5), draw.uniform(20, 80), draw.uniform(50, 400)
    cells = grid((1, 2, 4, 8), (16, 64, 256), seeds=1)
    draw.shuffle(cells)

    def truth(one: PlannedTrial) -> float:
        work = 4.0
        return fixed + compute * work / one.world_size + per_step * work / one.global_batch_size

    half = len(cells) // 2
    pace = Pace([attempt(one, truth(one)) for one in cells[:half]], cells)

    assert pace.rest_s(cells[half:], cells[half - 1]) == pytest.approx(
        sum(map(truth, cells[half:])), rel=0.25
    )


def test_one_configuration_that_has_run_is_enough_for_a_guess_between_the_extremes() -> None:
    cells = grid((1, 4), (32,), seeds=1)
    pace = Pace([attempt(cells[0], 12.0)], cells)
    # Neither as long as on one worker nor the ideal quarter.
    assert 3.0 < pace.duration_s(cells[1]) < 12.0


def test_the_running_trial_counts_by_the_share_that_is_left() -> None:
    clock = Clock(1000.0)
    past = [attempt(trial(1, 32, seed), 10.0) for seed in range(3)]
    event = plan_event([trial(1, 32, seed) for seed in range(5)], past=past)
    running = heard(trial(1, 32, 3), progress(samples=750, budget=1000))

    overview = followed([event, began(trial(1, 32, 3)), running], clock)
    assert overview.time_left_s == 0.25 * 10 + 10

    building = heard(
        trial(1, 32, 3), progress(stage="building", samples=None, budget=None, began_s=997.0)
    )
    overview = followed([event, began(trial(1, 32, 3)), building], clock)
    assert overview.time_left_s == (10 - 3) + 10


def test_the_first_run_of_a_configuration_is_scaled_from_its_own_speed() -> None:
    plan = plan_event([ONE, TWO], past=[attempt(ONE, 10.0)])
    running = heard(TWO, progress(at_s=1000.0, began_s=980.0, samples=500))
    # Half of it took 20 s.
    assert followed([plan, began(TWO), running]).time_left_s == pytest.approx(20.0)


def test_after_ctrl_c_only_the_running_trial_is_left() -> None:
    past = [attempt(trial(1, 32, seed), 10.0) for seed in range(2)]
    plan = plan_event([trial(1, 32, seed) for seed in range(9)], past=past)
    running = heard(trial(1, 32, 2), progress(samples=500, budget=1000))
    overview = followed([plan, began(trial(1, 32, 2)), running, Stopping()])
    assert overview.time_left_s == 5.0
    assert followed([plan, ended(trial(1, 32, 2)), Stopping()]).time_left_s == 0.0


@pytest.mark.parametrize("name", ["sweep_quickstart.csv", "sweep_fraud.csv"])
def test_the_time_left_of_recorded_sweeps_is_right_within_a_quarter(name: str) -> None:
    """From half of the trials on, at the end of each one, until the last one but one has ended.

    The truth is the clock of the record alone: when the last trial ended, less the time now.
    """
    table = recorded(name)
    sizes = zip(table["world_size"], table["per_worker_batch_size"], strict=True)
    epochs = [json.loads(text)["epochs"] for text in table["parameters"]]
    trials = [
        trial(
            int(world_size),
            int(batch),
            int(table["seed"][row]),
            trial_id=table["trial_id"][row],
            configuration_id=table["configuration_id"][row],
            block=int(table["block"][row]),
            work=float(epochs[row]),
        )
        for row, (world_size, batch) in enumerate(sizes)
    ]
    past = past_attempts(table)
    assert [one.trial_id for one in past] == [one.trial_id for one in trials]
    ends = [one.timestamp() for one in table["started_at"]]
    ends = [begin + took for begin, took in zip(ends, table["wall_time_s"], strict=True)]

    for done in range(len(trials) // 2, len(trials) - 1):
        left_s = Pace(past[:done], trials).rest_s(trials[done:], trials[done - 1])
        assert left_s == pytest.approx(ends[-1] - ends[done - 1], rel=0.25), f"after {done}"


def packed(trials: list[PlannedTrial], **more: Any) -> SweepPlanned:
    return replace(plan_event(trials, **more), side_by_side={1: 4, 2: 2})


def test_side_by_side_the_rest_takes_as_long_as_its_waves() -> None:
    """One worker: 10 s, two: 6 s; four and two of them at a time."""
    past = [attempt(trial(1, 32, 0), 10.0), attempt(trial(2, 32, 0), 6.0)]
    ones = [trial(1, 32, seed) for seed in range(9)]
    twos = [trial(2, 32, seed) for seed in range(5)]
    overview = followed([packed([*ones, *twos], past=past)])
    # Eight of one worker in two rounds, four of two in two rounds.
    assert overview.time_left_s == 2 * 10 + 2 * 6


def test_the_last_of_several_that_run_says_how_long_it_takes() -> None:
    past = [attempt(trial(1, 32, seed), 10.0) for seed in range(2)]
    running = [trial(1, 32, 2), trial(1, 32, 3)]
    events: list[Event] = [
        packed([*(trial(1, 32, seed) for seed in range(2)), *running], past=past)
    ]
    events += [began(one) for one in running]
    events += [
        heard(running[0], progress(samples=500, budget=1000)),
        heard(running[1], progress(samples=100, budget=1000)),
    ]
    assert followed(events).time_left_s == 9.0
