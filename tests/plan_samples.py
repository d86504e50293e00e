"""Plans and trials of a small sweep, for tests of what runs them."""

from __future__ import annotations

from ddp_sweep.plan import Plan, Trial, build_plan
from ddp_sweep.spec import DataSettings, QualitySettings, SweepSpec, parse_spec
from ddp_sweep.training.messages import TrialRequest

__all__ = ["plan", "request", "spec", "trials"]


def spec(seeds: int = 2, *, world_sizes: tuple[int, ...] = (1, 2)) -> SweepSpec:
    return parse_spec(
        {
            "name": "sample",
            "workload": "some.module:Workload",
            "sweep": {"world_size": list(world_sizes), "per_worker_batch_size": [4]},
            "seeds": seeds,
            "training": {"epochs": 1, "learning_rate": 0.1, "reference_batch_size": 4},
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
