"""From a sweep file to its trials: which, in which order, and which cannot run.

Nothing here looks at a machine: the capacity and the lengths of the training sets are arguments.
"""

from __future__ import annotations

from ddp_sweep.plan.configuration import AUTO_WARMUP_FRACTION, scaled_learning_rate
from ddp_sweep.plan.trials import (
    Estimate,
    InfeasibleTrial,
    MoreSeeds,
    Plan,
    Trial,
    build_plan,
    configuration_ids,
    count_trials,
)
from ddp_sweep.plan.waves import Wave, waves

__all__ = [
    "AUTO_WARMUP_FRACTION",
    "Estimate",
    "InfeasibleTrial",
    "MoreSeeds",
    "Plan",
    "Trial",
    "Wave",
    "build_plan",
    "configuration_ids",
    "count_trials",
    "scaled_learning_rate",
    "waves",
]
