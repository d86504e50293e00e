"""From measurements to a ranking: pandas, numpy and scipy, neither torch nor Ray.

How a verdict is reached is explained in METHOD.md beside this file.
"""

from __future__ import annotations

from ddp_sweep.analysis.many import rank_many
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import (
    Conditions,
    Evidence,
    Finding,
    FloorCheck,
    MetricComparison,
    RankedConfiguration,
    Ranking,
    Recommendation,
    RecommendationStatus,
    Severity,
    Verdict,
)
from ddp_sweep.analysis.ranking import rank

__all__ = [
    "Conditions",
    "Evidence",
    "Finding",
    "FloorCheck",
    "MetricComparison",
    "RankedConfiguration",
    "Ranking",
    "RankingOptions",
    "Recommendation",
    "RecommendationStatus",
    "Severity",
    "Verdict",
    "rank",
    "rank_many",
]
