from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ddp_processes import RankProcesses
from torch import nn
from trial_runs import request, run_trial

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import TrainingSettings
from ddp_sweep.training.optimization import LearningRate, build_optimizer, rate_factor

PLAIN = "training_workloads:Layers"
BARE: Any = object()
"""A workload that builds neither optimizer nor scheduler."""


def rates(
    schedule: Any, warmup_fraction: float, total_steps: int, workload: Any = BARE
) -> list[float]:
    """The rates of all steps of a trial at a base rate of 1."""
    settings = TrainingSettings(learning_rate=1.0, schedule=schedule)
    model = nn.Linear(2, 1)
    optimizer = build_optimizer(workload, model, settings, 1.0)
    rate = LearningRate(
        workload,
        optimizer,
        settings,
        warmup_fraction=warmup_fraction,
        total_steps=total_steps,
    )
    seen = []
    for step in range(total_steps):
        rate.before_step(step)
        seen.append(optimizer.param_groups[0]["lr"])
        assert rate.value == seen[-1]
        optimizer.step()
        rate.after_step()
    return seen


def test_the_rate_rises_over_the_warm_up_and_stays() -> None:
    assert rates("constant", 0.4, 10) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 7])
    assert rates("constant", 0.0, 3) == [1.0, 1.0, 1.0]


def test_the_cosine_is_that_of_pytorch() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates("cosine", 0.0, 12) == pytest.approx(expected)
    after_warm_up = rates("cosine", 0.2, 15)
    assert after_warm_up[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert after_warm_up[3:] == pytest.approx(expected)


def test_rates_stay_between_0_and_1() -> None:
    for total in (1, 2, 7):
        for warm_up in range(total + 1):
            for schedule in ("constant", "cosine"):
                factors = [rate_factor(step, total, warm_up, schedule) for step in range(total)]
                assert all(0 < factor <= 1 and math.isfinite(factor) for factor in factors)


class OwnScheduler:
    def build_scheduler(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total_steps)


def test_a_workloads_own_scheduler_is_used_instead() -> None:
    assert rates("constant", 0.5, 4, OwnScheduler()) == [1.0, 0.75, 0.5, 0.25]


def test_optimizers_are_those_of_the_settings() -> None:
    model = nn.Linear(2, 1)
    settings = TrainingSettings(learning_rate=1.0, optimizer="adamw", weight_decay=0.1)
    adamw = build_optimizer(BARE, model, settings, 0.3)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.3, 0.1)
    sgd = build_optimizer(BARE, model, TrainingSettings(learning_rate=1.0), 0.3)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9


class NoOptimizer:
    def build_optimizer(self, _model: nn.Module, learning_rate: float) -> float:
        return learning_rate


def test_what_is_no_optimizer_is_refused() -> None:
    settings = TrainingSettings(learning_rate=1.0)
    own: Any = NoOptimizer()
    with pytest.raises(WorkloadError, match=r"expected a torch.optim.Optimizer, got .* float"):
        build_optimizer(own, nn.Linear(2, 1), settings, 0.1)
    with pytest.raises(WorkloadError, match="no parameter of the model requires a gradient"):
        build_optimizer(BARE, nn.ReLU(), settings, 0.1)


@pytest.mark.ddp
def test_the_rates_of_a_trial_are_recorded(pool: RankProcesses) -> None:
    training = {
        "samples": 99,
        "warmup_fraction": 0.2,
        "schedule": "cosine",
        "learning_rate": 0.5,
        "record_every": 3,
    }
    wanted = request(PLAIN, 2, 10, options={"kind": "plain"}, training=training)
    report = pool.run(run_trial, PLAIN, wanted)[0]
    expected = [0.5 * rate for rate in rates("cosine", 0.2, 10)]
    assert report.steps.learning_rate == pytest.approx([expected[i] for i in (2, 5, 8, 9)])
    assert report.steps.samples.tolist() == [30, 60, 90, 99]


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2])
def test_bfloat16_trains_nearly_as_float32(pool: RankProcesses, world_size: int) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        wanted = request(
            PLAIN,
            world_size,
            10,
            options={"kind": "plain"},
            training={"samples": 300, "precision": precision},
        )
        report = pool.run(run_trial, PLAIN, wanted)[0]
        losses.append(report.steps.train_loss)
        assert report.traces_comparable is True
        assert report.gradient_error < (1e-6 if precision == "float32" else 2e-2)
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert (losses[0] != losses[1]).any()


@pytest.mark.ddp
@pytest.mark.slow
def test_a_compiled_model_trains_as_the_bare_one(pool: RankProcesses) -> None:
    """Slow: the compiler takes some ten seconds a world size where its cache is empty."""
    for world_size in (1, 2):
        reports = []
        for compiled in (False, True):
            training = {"samples": 300, "compile": compiled, "max_per_worker_batch_size": 6}
            wanted = request(PLAIN, world_size, 12, options={"kind": "plain"}, training=training)
            reports.append(pool.run(run_trial, PLAIN, wanted)[0])
        assert reports[1].steps.train_loss == pytest.approx(reports[0].steps.train_loss, abs=1e-5)
        assert reports[1].gradient_error < 1e-5
        assert reports[1].recycle_reason is None
        # Compiling is no part of a step.
        assert reports[1].seconds["probes"] > reports[1].train_time_s
