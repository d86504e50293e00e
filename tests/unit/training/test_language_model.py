from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from token_workloads import OwnSteps, Tokens, documents, plain_losses, plain_perplexity
from torch import Tensor, nn
from trial_runs import group_ranks, request, run_trial

from ddp_sweep.errors import WorkloadError
from ddp_sweep.reporter import AttemptResult, Reporter, SweepFacts
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.spec import DataSettings, TrainingSettings
from ddp_sweep.training.batch_steps import evaluation_step, is_weighted, training_step
from ddp_sweep.training.batches import BatchPlan
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.messages import RankReport
from ddp_sweep.training.metrics import perplexity
from ddp_sweep.training.model import wrap_model
from ddp_sweep.workload import LanguageModel

TOKENS, OWN = "token_workloads:Tokens", "token_workloads:OwnSteps"
SAMPLES, BATCH, RATE = 230, 24, 0.1


def drawn() -> list[list[int]]:
    """Documents of each step, as a single process would draw them."""
    steps: list[list[int]] = []
    for epoch in range(3):
        order = np.random.default_rng([0, epoch]).permutation(101)
        order = order[: SAMPLES - 101 * epoch]
        steps += [order[at : at + BATCH].tolist() for at in range(0, len(order), BATCH)]
    return steps


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(
    ("workload", "options"),
    [(TOKENS, {}), (TOKENS, {"shape": "flat"}), (OWN, {})],
    ids=["default steps", "flat losses", "own steps"],
)
def test_every_token_weighs_the_same_whatever_the_world_size(
    pool: RankProcesses, workload: str, options: dict[str, Any], world_size: int
) -> None:
    wanted = request(
        workload,
        world_size,
        BATCH,
        options=options,
        training={
            "samples": SAMPLES,
            "learning_rate": RATE,
            "max_per_worker_batch_size": 9,
        },
        data={"evaluation_batch_size": 5},
    )
    report: RankReport = pool.run(run_trial, workload, wanted)[0]
    losses, model = plain_losses(drawn(), 0, RATE)
    assert report.steps is not None
    np.testing.assert_allclose(report.steps.train_loss, losses, rtol=1e-9, atol=0)
    quality = report.evaluations[-1].quality
    expected = plain_perplexity(model)
    assert quality["perplexity"] == pytest.approx(expected, rel=1e-9, abs=0)
    assert quality["val_loss"] == pytest.approx(math.log(expected), rel=1e-9, abs=0)
    assert "accuracy" not in quality
    assert report.eval_samples == report.expected_eval_samples == 43
    assert report.tokens == sum(len(Tokens.train[row]) - 1 for step in drawn() for row in step)
    assert report.gradient_error is not None
    assert report.gradient_error < 1e-6


def step_gradients(rank: int, world_size: int) -> list[np.ndarray] | None:
    """Gradients of one global batch, in micro-batches of 4, as one step leaves them."""
    ranks = group_ranks(rank, world_size)
    if ranks is None:
        return None
    workload = Tokens()
    torch.manual_seed(0)
    model = workload.build_model()
    source = BatchSource(workload.build_data()[0], workload, DataSettings(), ranks.device)
    plan = BatchPlan(
        num_samples=101,
        budget=101,
        global_batch_size=BATCH,
        per_worker_batch_size=4,
        world_size=world_size,
        rank=rank,
        seed=0,
    )
    indices = next(plan.steps())
    step = GradientStep(
        wrap_model(model, ranks, TrainingSettings(learning_rate=1.0)),
        training_step(workload, ranks.device, "float32"),
        list(model.parameters()),
        ranks,
        weighted=is_weighted(workload),
    )
    step.run(indices, iter([source.fetch(part) for part in indices.micro_batches]))
    return [p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_averaged_gradient_is_that_of_the_mean_over_tokens(
    pool: RankProcesses, world_size: int
) -> None:
    rows = drawn()[0]
    assert len({len(Tokens.train[row]) for row in rows}) > 5
    # One step of plain SGD from the same weights moves them by the rate times the gradient.
    _, before = plain_losses([], 0, RATE)
    _, after = plain_losses([rows], 0, RATE)
    expected = [
        (old - new).detach().numpy() / RATE
        for old, new in zip(before.parameters(), after.parameters(), strict=True)
    ]
    for gradients in pool.run(step_gradients, world_size)[:world_size]:
        for gradient, right in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(gradient, right, rtol=0, atol=1e-6 * np.abs(right).max())


class NoPadding(Tokens):
    """Another mark for the places that do not count."""

    task = LanguageModel(ignore_index=0)


def test_the_mark_of_masked_tokens_is_the_tasks() -> None:
    workload = NoPadding()
    targets = torch.tensor([[3, 0, 0], [1, 2, 0]])
    inputs = torch.zeros(2, 3, dtype=torch.long)
    step = evaluation_step(workload, torch.device("cpu"), "float32", 0.5)
    result = step(workload.build_model(), (inputs, targets))
    assert float(result.weight) == 3


class Wrong(Tokens):
    """Returns outputs or losses of the wrong shape."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        if self.shape == "last token":
            return nn.Sequential(model, _LastToken())
        return model

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = super().loss(outputs, targets)
        return losses.mean(1) if self.shape == "a document" else losses


class _LastToken(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, -1]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("a document", r"losses of 48 tokens, shape \[4, 12\] or \[48\], got .* \[4\]"),
        ("last token", r"returned shape \[4, 17\]; .* logits, shape \[4, 12, vocabulary\]"),
    ],
)
def test_shapes_that_a_language_model_does_not_have_are_named(shape: str, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        inspect_workload(Wrong, {"shape": shape})


def test_a_sound_language_model_passes_inspection() -> None:
    for workload in (Tokens, OwnSteps):
        facts = inspect_workload(workload, {})
        assert facts.task.metrics == ("train_loss", "val_loss", "perplexity")
        assert facts.validation_samples == len(documents(43, seed=2))


def test_a_perplexity_without_tokens_or_beyond_floats_is_unknown() -> None:
    assert perplexity(0.0, 0.0) is None
    assert perplexity(1e6, 1.0) is None


@pytest.mark.ddp
def test_tokens_a_second_are_those_that_count(pool: RankProcesses, tmp_path: Path) -> None:
    wanted = request(TOKENS, 2, BATCH, training={"epochs": 1})
    reports = pool.run(run_trial, TOKENS, wanted)[:2]
    facts = SweepFacts(
        sweep="tokens",
        session_id="session",
        placement="exclusive",
        price_per_worker_hour=None,
        ray_version="2",
        ddp_sweep_version="0",
        code_version="abc:def",
    )
    ended = AttemptResult(trial=wanted.trial, attempt=1, status=Status.SUCCEEDED, reports=reports)
    row = Reporter(ResultsFolder(tmp_path), facts).trial_row(ended)
    tokens = sum(len(text) - 1 for text in Tokens.train)
    assert row["throughput_tokens_per_s"] == pytest.approx(tokens / row["train_time_s"])
    assert row["perplexity"] == pytest.approx(math.exp(row["val_loss"]))
