"""From arrays over all configurations to the info object of one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ddp_sweep.analysis.outcome import (
    Finding,
    FloorCheck,
    MetricComparison,
    RankedConfiguration,
    RecommendationStatus,
    Verdict,
)
from ddp_sweep.analysis.statistics.estimation import Floats
from ddp_sweep.analysis.statistics.loss_tests import FloorResults, MetricResults
from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.verdicts.pitfalls import Pitfalls
from ddp_sweep.analysis.verdicts.recommendation import Choice
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import read_parameters, whole

__all__ = ["EntryBuilder"]


class EntryBuilder:
    """Makes the info object of a configuration from the arrays over all of them.

    Args:
        standing: Where every configuration stands.
        choice: What is recommended.
        diagnosed: Findings by number of the configuration.
    """

    def __init__(
        self,
        standing: Standing,
        choice: Choice,
        diagnosed: Mapping[int, tuple[Finding, ...]],
    ) -> None:
        self._standing = standing
        self._diagnosed = diagnosed
        self._confirmed = (
            choice.fastest if choice.status is RecommendationStatus.CONFIRMED else None
        )
        self._seeds_needed = standing.assessment.seeds_needed
        measured = standing.measured
        self._runs = measured.tally(Ending.FINISHED, Ending.MISSED, Ending.FAILED, Ending.BROKEN)
        self._failed = measured.tally(Ending.FAILED, Ending.BROKEN)
        self._missed = measured.tally(Ending.MISSED)
        self._pitfalls = Pitfalls(standing)

    def __call__(self, position: int) -> RankedConfiguration:
        """Everything about the configuration of that number."""
        standing, settings = self._standing, self._standing.names.settings[position]
        judged, speed = standing.judgements[position], standing.speed
        tests, reason = standing.assessment.tests, judged.reason
        fresh = standing.assessment.confirmations.of(position)
        if position == self._confirmed and fresh is not None:
            # What is recommended is what the runs showed that had no part in choosing it.
            speed, tests = fresh.speed, fresh.judge.tests
            reason = standing.fresh_reason(position)
        within = speed.within_one_start
        is_baseline = position == standing.baseline
        return RankedConfiguration(
            name=standing.names[position],
            distinction=standing.names.distinction(position),
            configuration_id=_text(settings.get("configuration_id")),
            world_size=int(settings["world_size"]),
            per_worker_batch_size=whole(settings.get("per_worker_batch_size")),
            global_batch_size=whole(settings.get("global_batch_size")),
            num_nodes=whole(settings.get("num_nodes")),
            parameters=_parameters(settings, ours=standing.measured.ours),
            n_seeds=int(self._runs[position]),
            n_failed=int(self._failed[position]),
            n_not_converged=int(self._missed[position]),
            speedup=_known(speed.speedup, position),
            speedup_low=_known(speed.low, position),
            speedup_high=_known(speed.high, position),
            scaling_efficiency=_known(speed.scaling_efficiency, position),
            throughput_efficiency=_known(speed.throughput_efficiency, position),
            statistical_efficiency=_known(speed.statistical_efficiency, position),
            within_one_start=None if within is None else bool(within[position]),
            cost_ratio=_known(standing.cost_ratio, position),
            verdict=Verdict.BASELINE if is_baseline else judged.verdict,
            evidence=judged.evidence,
            seeds_needed=whole(self._seeds_needed[position]),
            look=int(standing.assessment.look[position]),
            metrics={name: _comparison(found, position) for name, found in tests.metrics.items()},
            floors={name: _floor(found, position) for name, found in tests.floors.items()},
            findings=(*self._pitfalls.of(position), *self._diagnosed.get(position, ())),
            reason=f"the speed baseline; {reason}" if is_baseline else reason,
            refuted=bool(standing.assessment.confirmations.refuted[position]),
            same_updates_as=None if judged.twin is None else standing.names[judged.twin],
        )


def _comparison(found: MetricResults, position: int) -> MetricComparison:
    margin = found.margin
    return MetricComparison(
        reference=_known(found.reference, position),
        value=_known(found.value, position),
        difference=_known(found.difference, position),
        low=_known(found.low, position),
        high=_known(found.high, position),
        population_low=_known(found.population_low, position),
        population_high=_known(found.population_high, position),
        margin=None if margin is None else margin.asked,
        p_value=_known(found.p_value, position),
        end_value=_known(found.end_value, position),
        verdict=None if margin is None else Verdict(str(found.verdict[position])),
    )


def _floor(found: FloorResults, position: int) -> FloorCheck:
    return FloorCheck(
        floor=found.floor,
        value=_known(found.value, position),
        low=_known(found.low, position),
        high=_known(found.high, position),
        verdict=Verdict(str(found.verdict[position])),
    )


def _parameters(settings: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
    """Every setting but the sizes; our ``learning_rate`` column holds the scaled rate."""
    found = read_parameters(settings.get("parameters"))
    sizes = _run_sizes(settings)
    rate_name = "scaled_learning_rate" if ours else "learning_rate"
    extra = {
        "accumulation_steps": sizes["accumulation_steps"],
        "compute_precision": _text(settings.get("compute_precision")),
        rate_name: sizes["learning_rate"],
    }
    return found | {name: value for name, value in extra.items() if value is not None}


def _text(value: Any) -> str | None:  # noqa: ANN401 - a cell of a text column
    return None if pd.isna(value) else str(value)


def _known(values: Floats, position: int) -> float | None:
    """One figure of an array; None where it is unknown."""
    value = float(values[position])
    return value if math.isfinite(value) else None


def _run_sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Workers, batch sizes and learning rate: what it takes to run a configuration."""
    whole_names = (
        "world_size",
        "per_worker_batch_size",
        "accumulation_steps",
        "global_batch_size",
    )
    sizes: dict[str, Any] = {name: whole(settings.get(name)) for name in whole_names}
    rate = settings.get("learning_rate")
    return sizes | {"learning_rate": None if pd.isna(rate) else float(rate)}
