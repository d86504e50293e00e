"""Predictions, and margins that a validation set is too small for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddp_sweep.plan import Trial, build_plan, waves
from ddp_sweep.plan.estimate import MeasuredSpeed, MeasuredTrial, predict
from ddp_sweep.plan.margins import too_fine_margins
from ddp_sweep.report.tryout_view import Trend, loss_change
from ddp_sweep.spec import parse_spec
from ddp_sweep.training.tried import SpeedMemory

SPEC = parse_spec(
    {
        "name": "one",
        "workload": "mine.py:Mine",
        "sweep": {"world_size": [1, 2], "per_worker_batch_size": [10, 40]},
        "seeds": 2,
        "training": {"epochs": 3, "learning_rate": 0.1, "evaluations": 5},
    }
)
PLAN = build_plan(SPEC, capacity=None, train_lengths=1000)
SLOW = MeasuredSpeed(
    per_worker_batch_size=12, training_s_per_sample=0.010, evaluation_s_per_sample=0.002, setup_s=1
)
FAST = replace(SLOW, per_worker_batch_size=50, training_s_per_sample=0.001)


def predicted(**settings: Any) -> Any:
    known = {"lengths": lambda _: (1000, 100), "speeds": lambda _: (SLOW, FAST), "measured": {}}
    return predict(PLAN, **known | settings)


def test_the_nearest_batch_tells_and_workers_share_the_work() -> None:
    # One worker: 3 x 1000 samples, and 5 x 100 evaluated. Two batch sizes, two seeds.
    slow_s, fast_s = 30 + 1, 3 + 1
    found = predicted(price_per_worker_hour=2.0)

    assert found.trials == 8
    assert found.worker_hours == pytest.approx(2 * 2 * (slow_s + fast_s) / 3600)
    assert found.wall_s == pytest.approx(2 * 1.5 * (slow_s + fast_s) + 8 * 1)
    assert found.cost == pytest.approx(2 * found.worker_hours)


def test_workers_beyond_the_cores_make_nothing_faster() -> None:
    assert predicted(parallel=1).wall_s == pytest.approx(2 * 2 * (31 + 4) + 8)
    assert predicted(parallel=2) == predicted()


def test_finished_trials_come_before_predictions_and_a_gap_makes_all_unknown() -> None:
    ids = {trial.configuration_id for trial in PLAN.trials}
    measured = {one: MeasuredTrial(busy_s=5, wall_s=7) for one in ids}
    workers = sum(trial.world_size for trial in PLAN.trials)
    found = predicted(measured=measured, speeds=lambda _: ())
    assert (found.wall_s, found.worker_hours) == (56, pytest.approx(5 * workers / 3600))

    measured.pop(min(ids))
    unknown = predicted(measured=measured, speeds=lambda _: ())
    assert (unknown.trials, unknown.wall_s, unknown.worker_hours) == (8, None, None)


def test_speeds_are_remembered_by_what_makes_them_differ(tmp_path: Path) -> None:
    memory = SpeedMemory("abc", tmp_path)
    trial = PLAN.trials[0]
    memory.keep(trial, SLOW)
    memory.keep(trial, FAST)
    faster = replace(FAST, setup_s=0.5)
    memory.keep(trial, faster)

    def other(**parameters: Any) -> Trial:
        return replace(trial, parameters={**trial.parameters, **parameters})

    for same in (trial, *PLAN.trials, other(learning_rate=7.0, epochs=1)):
        assert set(memory.recall(same)) == {SLOW, faster}
    assert memory.recall(other(**{"workload_options.width": 9})) == ()
    assert memory.recall(other(precision="bfloat16")) == ()
    assert SpeedMemory("def", tmp_path).recall(trial) == ()
    for file in tmp_path.iterdir():
        file.write_text("[{}]")
    assert memory.recall(trial) == ()


@pytest.mark.parametrize(
    ("margins", "samples", "counts", "positive", "sentences"),
    [
        ({"recall": 0.02}, 500, (450, 50), 1, ["recall margin 0.02 is 1 of your 50 positives"]),
        ({"recall": 0.02}, 500, (50, 450), 1, []),
        ({"recall": 0.02}, 500, (50, 450), 0, ["recall margin 0.02 is 1 of your 50 positives"]),
        ({"accuracy": 0.01}, 150, None, None, ["is 1.5 of your 150 validation samples"]),
        ({"accuracy": 0.01}, 200, None, None, []),
        ({"recall": 0.01}, 90, (30, 30, 30), None, ["of the rarest of 3 classes, times 3"]),
        ({"recall": 0.01, "perplexity": "2%", "auroc": 0.001}, 90, None, None, []),
    ],
)
def test_margins_that_a_sample_or_two_decide(
    margins: dict[str, float | str],
    samples: int,
    counts: tuple[int, ...] | None,
    positive: int | None,
    sentences: list[str],
) -> None:
    found = list(
        too_fine_margins(
            margins, validation_samples=samples, class_counts=counts, positive=positive
        )
    )

    assert len(found) == len(sentences)
    for one, words in zip(found, sentences, strict=True):
        assert words in one


@pytest.mark.parametrize(
    ("losses", "trend"),
    [
        ([3.0 - 0.1 * step for step in range(20)], Trend.DOWN),
        ([1.0 + 0.1 * step for step in range(20)], Trend.UP),
        ([2.0 + 0.1 * (-1) ** step for step in range(20)], Trend.FLAT),
        ([2.0, 1.0], Trend.UNKNOWN),
        ([2.0, float("nan")] * 5, Trend.UNKNOWN),
    ],
)
def test_where_the_loss_goes(losses: list[float], trend: Trend) -> None:
    change = loss_change(losses)
    assert change.trend is trend
    # The sentence shows these figures, so it can never say down where they rise.
    if trend is Trend.DOWN:
        assert change.last < change.first
    if trend is Trend.UP:
        assert change.last > change.first


def test_trials_side_by_side_take_a_wave_after_the_other() -> None:
    """Of each world size two configurations with two seeds; every trial takes 7 s."""
    ids = {trial.configuration_id for trial in PLAN.trials}
    measured = {one: MeasuredTrial(busy_s=5, wall_s=7) for one in ids}
    ordered = sorted(PLAN.trials, key=lambda trial: trial.world_size)

    def wall_s(capacity: int | None) -> float | None:
        return predicted(measured=measured, parts=waves(ordered, "packed", capacity)).wall_s  # type: ignore[no-any-return]

    assert wall_s(2) == 4 * 7 / 2 + 4 * 7
    assert wall_s(100) == 7 + 7
    # Three of four at a time: none ends before its own time.
    assert wall_s(3) == pytest.approx(4 * 7 / 3 + 4 * 7)
    assert wall_s(None) is None
