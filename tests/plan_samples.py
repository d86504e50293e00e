"""Plans and trials of a small sweep, for tests of what runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddp_sweep.plan import Plan, Trial, build_plan
from ddp_sweep.reporter import SweepFacts
from ddp_sweep.spec import DataSettings, QualitySettings, SweepSpec, parse_spec
from ddp_sweep.training.messages import TrialRequest

__all__ = ["FACTS", "plan", "request", "spec", "trials"]

FACTS = SweepFacts(
    sweep="sample",
    session_id="s",
    placement="exclusive",
    price_per_worker_hour=None,
    ray_version="1",
    ddp_sweep_version="1",
    code_version="1:1",
)
"""What the rows of a session have in common."""


def spec(
    seeds: int = 2,
    *,
    world_sizes: tuple[int, ...] = (1, 2),
    resources: Mapping[str, Any] | None = None,
) -> SweepSpec:
    return parse_spec(
        {
            "name": "sample",
            "workload": "some.module:Workload",
            "sweep": {"world_size": list(world_sizes), "per_worker_batch_size": [4]},
            "seeds": seeds,
            "training": {"epochs": 1, "learning_rate": 0.1, "reference_batch_size": 4},
            "resources": dict(resources or {}),
        }
    )


def plan(seeds: int = 2, *, capacity: int | None = None) -> Plan:
    return build_plan(spec(seeds), capacity=capacity, train_lengths=512)


def trials(seeds: int = 2) -> tuple[Trial, ...]:
    """Two trials a seed: one of each world size."""
    return plan(seeds).trials


def request(trial: Trial, attempt: int = 1) -> TrialRequest:
    return TrialRequest(
        trial=trial, attempt=attempt, data=DataSettings(), quality=QualitySettings()
    )
