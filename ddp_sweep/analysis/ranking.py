"""From measurements to a ranking: the one way through the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ddp_sweep.analysis.baselines import quality_reference, speed_baseline
from ddp_sweep.analysis.diagnosis import diagnose, diagnose_configurations
from ddp_sweep.analysis.estimation import Floats
from ddp_sweep.analysis.measurements import Ending, Measurements, measure
from ddp_sweep.analysis.metrics import parse_margins
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import (
    Conditions,
    Finding,
    FloorCheck,
    MetricComparison,
    RankedConfiguration,
    Ranking,
    Recommendation,
    Verdict,
)
from ddp_sweep.analysis.pitfalls import pitfalls
from ddp_sweep.analysis.quality import (
    FloorResults,
    MetricResults,
    check_floors,
    compare_metrics,
)
from ddp_sweep.analysis.recommendation import Choice, choose
from ddp_sweep.analysis.same_updates import find_twins
from ddp_sweep.analysis.sources import Source, open_source
from ddp_sweep.analysis.speedup import cost_ratios, speedups
from ddp_sweep.analysis.standing import Standing
from ddp_sweep.analysis.verdict import Judge
from ddp_sweep.analysis.wording import distinctions, name_configurations, read_parameters, whole
from ddp_sweep.results import Results

__all__ = ["rank"]


def rank(
    source: Path | str | Results | pd.DataFrame,
    *,
    baseline: Mapping[str, Any] | None = None,
    margins: Mapping[str, float | str] | None = None,
    floors: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    reference_batch_size: float | None = None,
) -> Ranking:
    """Rank configurations by speed, with what is known of their quality. Writes nothing.

    Where an argument is not given, the sweep file in the results folder decides.

    Args:
        source: A results folder, loaded results, or a table (Parquet, CSV, frame) with one row a
            run: our trials, or any with ``world_size``, a batch size and a time or throughput.
        baseline: Settings of the configuration to compare with, ``{"world_size": 1}``.
        margins: The largest loss of a metric that counts as none: 0.01, for losses also "2%".
        floors: The least acceptable value of a metric, ``{"recall[1]": 0.8}``.
        target: The quality that ends the clock, ``{"accuracy": 0.95}``.
        reference_batch_size: Global batch nearest to which the quality reference is chosen.

    Raises:
        ResultsError: The folder does not exist or holds no trials yet.
        TableError: The table lacks a column, or holds something that cannot be.
    """
    opened = open_source(source)
    options = RankingOptions.from_spec_mapping(opened.spec or {}).overridden(
        baseline=baseline,
        margins=margins,
        floors=floors,
        target=target,
        reference_batch_size=reference_batch_size,
    )
    measured = measure(opened, options)
    names = name_configurations(measured.settings)
    reference = quality_reference(measured, options, names)
    metrics = compare_metrics(measured, reference, parse_margins(options.margins))
    floor_checks = check_floors(measured, options.floors)
    standing = _standing(measured, options, names, reference, metrics, floor_checks)
    choice = choose(standing)
    diagnosed = diagnose_configurations(standing, opened, options)
    entries = _Entries(standing, metrics, floor_checks, diagnosed).build()
    return Ranking(
        baseline=entries[standing.baseline],
        reference=entries[reference],
        configurations=tuple(entries[position] for position in standing.order),
        findings=diagnose(standing, choice.fastest, opened, options),
        recommendation=_recommendation(choice, entries, measured),
        conditions=_conditions(options, opened, measured),
    )


def _standing(
    measured: Measurements,
    options: RankingOptions,
    names: Sequence[str],
    reference: int,
    metrics: Mapping[str, MetricResults],
    floors: Mapping[str, FloorResults],
) -> Standing:
    judgements = Judge(
        measured=measured,
        reference=reference,
        metrics=metrics,
        floors=floors,
        twins=find_twins(measured, reference),
        names=names,
        target=", ".join(f"{name} {value:g}" for name, value in options.target.items()),
    ).judge()
    judged = any(m.margin is not None and not np.isnan(m.value).all() for m in metrics.values())
    baseline = speed_baseline(measured, options, reference, judgements, judged_quality=judged)
    return Standing(
        measured=measured,
        names=names,
        reference=reference,
        baseline=baseline,
        judgements=judgements,
        speed=speedups(measured, baseline),
        cost_ratio=cost_ratios(measured, baseline),
    )


class _Entries:
    """The info object of each configuration, from the arrays over all of them."""

    def __init__(
        self,
        standing: Standing,
        metrics: Mapping[str, MetricResults],
        floors: Mapping[str, FloorResults],
        diagnosed: Mapping[int, tuple[Finding, ...]],
    ) -> None:
        self._standing = standing
        self._metrics = metrics
        self._floors = floors
        measured = standing.measured
        self._settings = _records(measured.settings)
        self._runs = measured.tally(Ending.FINISHED, Ending.MISSED, Ending.FAILED, Ending.BROKEN)
        self._failed = measured.tally(Ending.FAILED, Ending.BROKEN)
        self._missed = measured.tally(Ending.MISSED)
        self._findings = pitfalls(standing)
        self._diagnosed = diagnosed
        self._distinctions = distinctions(measured.settings)

    def build(self) -> list[RankedConfiguration]:
        """By number of the configuration."""
        return [self._entry(position) for position in range(len(self._settings))]

    def _entry(self, position: int) -> RankedConfiguration:
        standing, settings = self._standing, self._settings[position]
        judged, speed = standing.judgements[position], standing.speed
        within = speed.within_one_start
        is_baseline = position == standing.baseline
        return RankedConfiguration(
            name=standing.names[position],
            distinction=self._distinctions[position],
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
            seeds_needed=None,
            metrics={name: _comparison(found, position) for name, found in self._metrics.items()},
            floors={name: _floor(found, position) for name, found in self._floors.items()},
            findings=self._findings[position] + self._diagnosed.get(position, ()),
            reason=f"the speed baseline; {judged.reason}" if is_baseline else judged.reason,
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
        population_low=None,
        population_high=None,
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


def _recommendation(
    choice: Choice, entries: Sequence[RankedConfiguration], measured: Measurements
) -> Recommendation:
    fastest = None if choice.fastest is None else entries[choice.fastest]
    settings = None
    if choice.fastest is not None:
        settings = _sizes(_records(measured.settings.iloc[[choice.fastest]])[0])
    return Recommendation(
        status=choice.status,
        fastest=fastest,
        cheapest=None if choice.cheapest is None else entries[choice.cheapest],
        pareto=tuple(entries[position] for position in choice.pareto),
        tied_with=tuple(entries[position] for position in choice.tied_with),
        reason=choice.reason,
        settings=settings,
    )


def _records(settings: pd.DataFrame) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", settings.to_dict("records"))


def _sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    whole_names = (
        "world_size",
        "per_worker_batch_size",
        "accumulation_steps",
        "global_batch_size",
    )
    sizes: dict[str, Any] = {name: whole(settings.get(name)) for name in whole_names}
    rate = settings.get("learning_rate")
    return sizes | {"learning_rate": None if pd.isna(rate) else float(rate)}


def _conditions(options: RankingOptions, source: Source, measured: Measurements) -> Conditions:
    return Conditions(
        target=dict(options.target),
        to_target=measured.to_target,
        margins=dict(options.margins),
        floors=dict(options.floors),
        source=source.name,
    )


def _parameters(settings: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
    """Every setting but the sizes; our ``learning_rate`` column holds the scaled rate."""
    found = read_parameters(settings.get("parameters"))
    sizes = _sizes(settings)
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
    return value if np.isfinite(value) else None
