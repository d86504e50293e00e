"""What a ranking says, as plain data: the info objects behind every table, page and file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Conditions",
    "Evidence",
    "Finding",
    "FloorCheck",
    "MetricComparison",
    "RankedConfiguration",
    "Ranking",
    "Recommendation",
    "RecommendationStatus",
    "Severity",
    "Verdict",
    "show_rankings_with",
]


class Verdict(StrEnum):
    """What is known of a configuration's quality."""

    BASELINE = "baseline"
    """The configuration every speedup is measured against."""
    NON_INFERIOR = "non_inferior"
    INFERIOR = "inferior"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"


class Evidence(StrEnum):
    """What a verdict rests on."""

    SEEDS = "seeds"
    SAME_UPDATES = "same_updates"
    """The same optimizer updates as a configuration of fewer workers."""
    NONE = "none"


class Severity(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class RecommendationStatus(StrEnum):
    """How far a recommendation can be relied on."""

    CONFIRMED = "confirmed"
    PROVISIONAL = "provisional"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something a reader should know before trusting a figure."""

    kind: str
    severity: Severity
    message: str
    """A plain sentence or two; names the remedy where there is one."""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """One metric of a configuration against the quality reference.

    ``difference``, ``low`` and ``high`` (90 % interval) are value minus reference in the metric's
    unit; with a relative margin they are value / reference - 1. None is unknown.
    """

    reference: float | None
    value: float | None
    """Where a target is set, at the evaluation that met it; else at the end of training."""
    difference: float | None
    low: float | None
    high: float | None
    population_low: float | None
    """With the sampling error of the validation set; None where that is not known."""
    population_high: float | None
    margin: float | str | None
    """As asked for: 0.01, or "2%" for a relative one."""
    p_value: float | None
    """Of the one-sided test that the loss is as large as the margin, or larger."""
    end_value: float | None
    verdict: Verdict | None
    """None where no margin was set."""


@dataclass(frozen=True, kw_only=True)
class FloorCheck:
    """An absolute demand on a metric, with the one-sided 95 % bounds of its mean over seeds."""

    floor: float
    value: float | None
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class RankedConfiguration:
    """A configuration on a number of nodes, with everything that is known of it."""

    name: str
    """Unlike every other one's: ``2 workers x 64 (global batch 128), optimizer adamw``."""
    distinction: str
    """The part of the name that tells it from others of the same workers and batch, or empty."""
    configuration_id: str | None
    """None in a table of another tool."""
    world_size: int
    per_worker_batch_size: int | None
    global_batch_size: int | None
    num_nodes: int | None
    parameters: Mapping[str, Any]
    """Every other setting."""
    n_seeds: int
    """Runs with a result, failures of the configuration among them."""
    n_failed: int
    """Runs that diverged, ran out of memory or time, could not start, or raised."""
    n_not_converged: int
    """Runs that ended without meeting the target."""
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    scaling_efficiency: float | None
    throughput_efficiency: float | None
    statistical_efficiency: float | None
    within_one_start: bool | None
    """The runs compared share fewer than three starts of the worker processes."""
    cost_ratio: float | None
    verdict: Verdict
    evidence: Evidence
    seeds_needed: int | None
    metrics: Mapping[str, MetricComparison]
    floors: Mapping[str, FloorCheck]
    findings: tuple[Finding, ...]
    reason: str
    same_updates_as: str | None = None
    """The configuration of fewer workers whose updates it repeats, in words."""
    look: int = 1
    """Which look at the results decides: look k rests on its fresh seeds alone, and its intervals
    are those of tests at .05 / 2^(k-1)."""
    refuted: bool = False
    """Fresh seeds did not bear out what had chosen it; more seeds leave that as it is."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which configuration to take, if any.

    Where it is confirmed, the figures of ``fastest`` are those of the fresh seeds alone; all other
    configurations stand with those of the seeds that chose it.
    """

    status: RecommendationStatus
    fastest: RankedConfiguration | None
    cheapest: RankedConfiguration | None
    pareto: tuple[RankedConfiguration, ...]
    """Those of known quality that no other beats in both time and cost, fastest first."""
    tied_with: tuple[RankedConfiguration, ...]
    """Those of known quality that the data cannot tell from the fastest."""
    reason: str
    settings: Mapping[str, Any] | None
    advised: RankedConfiguration | None = None
    """Cheaper than the fastest and shown to take at most 5 % longer."""
    next_candidate: RankedConfiguration | None = None
    """What to confirm next, where fresh seeds did not bear out the one chosen before."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the configurations were judged by."""

    target: Mapping[str, float]
    to_target: bool
    """Whether times run to the target rather than over the same number of samples."""
    margins: Mapping[str, float | str]
    floors: Mapping[str, float]
    source: str | None
    """The folder or file that was ranked; None for a frame in memory."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of `rank` that were given, in the words of the table; what stands in a sweep
    file is not among them."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Ranking:
    """Configurations in order of rank, with the recommendation and what to know beforehand."""

    baseline: RankedConfiguration
    """Every speedup is relative to it."""
    reference: RankedConfiguration
    """Every quality difference is relative to it."""
    configurations: Sequence[RankedConfiguration]
    """In order of rank; each is built when it is looked at."""
    findings: tuple[Finding, ...]
    recommendation: Recommendation
    conditions: Conditions

    def to_json(self) -> dict[str, Any]:
        """The ranking as ``ddp-sweep rank --format json`` prints it.

        Only JSON types; an unknown figure is None, never NaN or infinity.
        """
        from ddp_sweep.analysis.serialization import ranking_to_json

        return ranking_to_json(self)

    def __repr__(self) -> str:
        """One line; ``print`` shows the table."""
        fastest = self.recommendation.fastest
        named = "" if fastest is None else f", fastest {fastest.name!r}"
        return (
            f"<Ranking of {len(self.configurations):,} configurations, recommendation "
            f"{self.recommendation.status}{named}>"
        )

    def __str__(self) -> str:
        """The table as a terminal shows it, and one line where nothing draws it."""
        return repr(self) if _as_text is None else _as_text(self)

    def _repr_html_(self) -> str | None:
        """What a notebook shows; None, and so the plain text, where nothing draws it."""
        return None if _as_html is None else _as_html(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a configuration in order of rank, unknown figures as missing values."""
        from ddp_sweep.analysis.serialization import ranking_to_frame

        return ranking_to_frame(self)


_as_html: Callable[[Ranking], str] | None = None
_as_text: Callable[[Ranking], str] | None = None


def show_rankings_with(*, html: Callable[[Ranking], str], text: Callable[[Ranking], str]) -> None:
    """Set what draws a ranking in a notebook and in ``print``; the analysis draws nothing."""
    global _as_html, _as_text
    _as_html, _as_text = html, text
