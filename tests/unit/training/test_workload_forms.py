from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ddp_processes import RankProcesses
from trial_runs import request, run_trial
from workload_forms import Forms, plain_losses, plain_smoothing_free_loss

from ddp_sweep.errors import WorkloadError
from ddp_sweep.schema import Status
from ddp_sweep.spec import SweepSpec, parse_spec
from ddp_sweep.training.inspection import inspect_for, inspect_workload

pytestmark = pytest.mark.ddp

SAMPLES, BATCH, RATE = 180, 24, 0.2
STEPS = 5 + 4


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("kind", ["tuple", "named tuple", "dataclass", "frozen", "unused"])
def test_batches_and_models_of_any_form_make_the_updates_of_a_plain_loop(
    pool: RankProcesses, kind: str, world_size: int
) -> None:
    ddp = {"find_unused_parameters": True} if kind == "unused" else {}
    check(pool, "workload_forms:Forms", kind, world_size, [1.0] * STEPS, {"ddp": ddp})


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_parameter_group_keeps_its_own_rate_under_the_schedule(
    pool: RankProcesses, world_size: int
) -> None:
    # Two steps of warm-up, then half a cosine over the seven others.
    factors = [0.5, 1.0] + [(1 + math.cos(math.pi * done / 7)) / 2 for done in range(7)]
    settings = {"warmup_fraction": 0.2, "schedule": "cosine"}
    check(pool, "workload_forms:Groups", "groups", world_size, factors, settings)


def check(
    pool: RankProcesses,
    workload: str,
    kind: str,
    world_size: int,
    factors: list[float],
    settings: dict[str, Any],
) -> None:
    training = {"samples": SAMPLES, "learning_rate": RATE, **settings}
    wanted = request(workload, world_size, BATCH, options={"kind": kind}, training=training)
    report = pool.run(run_trial, workload, wanted)[0]
    losses, model = plain_losses(
        kind, samples=SAMPLES, batch_size=BATCH, factors=factors, learning_rate=RATE
    )
    assert report.status is Status.SUCCEEDED
    np.testing.assert_allclose(report.steps.train_loss, losses, rtol=0, atol=1e-5)
    # Labels are smoothed in training and not in evaluation.
    expected = plain_smoothing_free_loss(model)
    assert report.evaluations[-1].quality["val_loss"] == pytest.approx(expected, abs=1e-5)
    assert report.gradient_error < 1e-6
    assert report.replica_divergence == 0.0


def spec(**training: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "forms",
            "workload": "x:Y",
            "sweep": {"world_size": [1, 2], "global_batch_size": [64]},
            "training": {"epochs": 1, "learning_rate": 0.1, **training},
        }
    )


def test_parameters_that_several_workers_would_wait_for_are_named() -> None:
    unused = ("forgotten.weight", "forgotten.bias")
    assert inspect_workload(Forms, {"kind": "unused"}).unused_parameters == unused
    with pytest.raises(WorkloadError, match=r"forgotten.weight, .*find_unused_parameters: true"):
        inspect_for(spec(), Forms, {"kind": "unused"})
    allowed = spec(ddp={"find_unused_parameters": True})
    assert inspect_for(allowed, Forms, {"kind": "unused"}).unused_parameters == unused
    assert inspect_for(spec(), Forms, {"kind": "frozen"}).unused_parameters == ()
