"""Is a cluster fit for a sweep? What was found on it, and what is wrong with that.

Plain data and decisions, without Ray: `ddp_sweep.cluster.doctor` collects the facts,
`ddp_sweep.report.checkup_view` shows them.
"""

from __future__ import annotations

from ddp_sweep.checkup.facts import (
    ClusterFacts,
    ExchangeFacts,
    FolderFacts,
    InterfaceFacts,
    NodeFacts,
    Versions,
)
from ddp_sweep.checkup.judgement import find_problems
from ddp_sweep.checkup.problem import Gravity, Problem

__all__ = [
    "ClusterFacts",
    "ExchangeFacts",
    "FolderFacts",
    "Gravity",
    "InterfaceFacts",
    "NodeFacts",
    "Problem",
    "Versions",
    "find_problems",
]
