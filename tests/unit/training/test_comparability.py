from __future__ import annotations

import pytest
from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.schema import Status
from ddp_sweep.training.messages import TrialRequest

pytestmark = pytest.mark.ddp
LAYERS = "training_workloads:Layers"
CHANCE = "training_workloads:Chance"


@pytest.mark.parametrize(
    ("kind", "comparable"),
    [
        ("plain", True),
        ("zero", True),
        ("batch_norm", False),
        ("dropout", False),
        ("batch_norm dropout", False),
        ("batch_norm zero", False),
        ("dropout zero", False),
        ("augment", False),
    ],
)
@pytest.mark.parametrize("world_size", [1, 3])
def test_the_probe_knows_whether_traces_can_be_compared(
    pool: RankProcesses, kind: str, world_size: int, comparable: bool
) -> None:
    training = {"samples": 180, "evaluations": 3}
    wanted = request(LAYERS, world_size, 18, options={"kind": kind}, training=training)
    report = pool.run(run_trial, LAYERS, wanted)[0]
    assert report.traces_comparable is comparable
    # Divergence of the traces is information, no fault.
    assert report.status is Status.SUCCEEDED
    assert report.gradient_error < 1e-6
    assert report.replica_divergence == 0.0
    assert report.eval_samples == 41


def test_a_compiled_model_with_dropout_has_no_gradient_to_compare_with(
    pool: RankProcesses,
) -> None:
    """Slow: the compiler takes some ten seconds a model where its cache is empty."""
    training = {"samples": 36, "compile": True}
    for kind, size in (("dropout", 1), ("plain", 2)):
        wanted = request(LAYERS, size, 18, options={"kind": kind}, training=training)
        report = pool.run(run_trial, LAYERS, wanted)[0]
        assert report.status is Status.SUCCEEDED
        if kind == "dropout":
            assert report.gradient_error is None
        else:
            assert report.gradient_error < 1e-6


def test_every_rank_draws_random_numbers_of_its_own(pool: RankProcesses) -> None:
    def wanted(world_size: int) -> TrialRequest:
        return request(CHANCE, world_size, 10, seed=5, training={"samples": 100})

    one, two, again = (
        pool.run(run_trial, CHANCE, wanted(world_size))[0] for world_size in (1, 2, 2)
    )
    # The mean of two ranks' numbers, one of which is that of the single worker.
    second_ranks = 2 * two.steps.train_loss - one.steps.train_loss
    assert ((second_ranks >= 0) & (second_ranks < 1)).all()
    assert (abs(second_ranks - one.steps.train_loss) > 1e-6).all()
    assert (again.steps.train_loss == two.steps.train_loss).all()
